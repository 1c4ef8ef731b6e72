use std::env;
use std::error::Error;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use kvstore_core::Provider;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::failure::chain;
use crate::store::default_url;
use crate::{open, say, say_out};

/// As a shell has it for a program that Ctrl-C ended.
const TOLD_AGAIN: u8 = 130;

/// How long requests under way may take when a service is told to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs a service, as `NAME [URL]`, until it is told to end by Ctrl-C or `SIGTERM`; requests under way are answered, if
/// that takes no more than ten seconds. Told again, it ends at once.
///
/// Without an argument the URL is that in `KVSTORE_URL`, so that a password need not stand in the list of processes.
/// The service listens at the address in `LISTEN`, on this machine alone unless told otherwise, and prints where.
pub async fn serve<M>(name: &str, app: impl FnOnce(Arc<dyn Provider>) -> M) -> ExitCode
where
    M: Future<Output = Result<Router, Box<dyn Error>>>,
{
    let arguments: Vec<String> = env::args().skip(1).collect();
    let url = match &arguments[..] {
        [] => env::var("KVSTORE_URL").unwrap_or_else(|_| {
            let url = default_url(name);
            say(&format!(
                "no URL is given: what is stored is kept in this folder, by `{url}`"
            ));
            url
        }),
        [url] if !url.starts_with('-') => url.clone(),
        _ => {
            say(&format!(
                "usage: {name} [URL]\n  URL  of the store, as redis://localhost; else that in KVSTORE_URL, else `{}`",
                default_url(name)
            ));
            return ExitCode::from(2);
        }
    };
    let provider = match open(&url).await {
        Ok(provider) => provider,
        Err(error) => {
            say(&format!("{name}: {}", chain(&error)));
            return ExitCode::FAILURE;
        }
    };
    let served = async {
        let address = env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
        let listener = TcpListener::bind(&address).await?;
        let app = app(Arc::clone(&provider)).await?;
        say_out(&format!(
            "{name} listens at http://{}",
            listener.local_addr()?
        ));
        serve_until(listener, app, told_to_end()).await?;
        Ok::<_, Box<dyn Error>>(())
    };
    let again = async {
        told_to_end().await;
        told_to_end().await;
    };
    let served = tokio::select! {
        served = served => served,
        () = again => return ExitCode::from(TOLD_AGAIN),
    };
    let closed = provider.close().await;
    if let Err(error) = served {
        say(&format!("{name}: {error}"));
        return ExitCode::FAILURE;
    }
    if let Err(error) = closed {
        say(&format!("{name}: {}", chain(&error)));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Answers who connects, until then; requests under way are answered, if that takes no more than ten seconds.
///
/// # Errors
/// When connections cannot be taken.
pub async fn serve_until(
    listener: TcpListener,
    app: Router,
    until: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (sender, told) = oneshot::channel();
    let until = async {
        until.await;
        let _ = sender.send(());
    };
    let served = axum::serve(listener, app).with_graceful_shutdown(until);
    let late = async {
        match told.await {
            Ok(()) => sleep(PATIENCE).await,
            // It has ended by itself.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        served = served => served,
        () = late => Ok(()),
    }
}

async fn told_to_end() {
    #[cfg(unix)]
    let terminated = async {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut signals) => _ = signals.recv().await,
            // Then there is Ctrl-C.
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminated = std::future::pending::<()>();
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}
