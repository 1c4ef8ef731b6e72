//! Ctrl-C, and being told to end.

use tokio::sync::watch;

use crate::failure::{Failure, INTERRUPTED};

/// Knows whether the program was told to end.
pub(crate) struct Signals(watch::Receiver<bool>);

impl Signals {
    /// Listens from now on. What is told a second time ends the program on the spot: the first may have met one
    /// that waits for whoever reads its output.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let (sender, receiver) = watch::channel(false);
        let failed = |error| Failure::io("listening for signals", error);
        #[cfg(unix)]
        let mut told = {
            use tokio::signal::unix::{SignalKind, signal};
            let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
            let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
            async move || {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            }
        };
        #[cfg(windows)]
        let mut told = {
            let mut interrupt = tokio::signal::windows::ctrl_c().map_err(failed)?;
            async move || {
                interrupt.recv().await;
            }
        };
        tokio::spawn(async move {
            told().await;
            sender.send_replace(true);
            told().await;
            std::process::exit(INTERRUPTED.into());
        });
        Ok(Self(receiver))
    }

    /// Waits until the program is told to end.
    pub(crate) async fn interrupted(&self) {
        let mut receiver = self.0.clone();
        // An error: the one who tells is gone, and nothing will be told any more.
        if receiver.wait_for(|told| *told).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
