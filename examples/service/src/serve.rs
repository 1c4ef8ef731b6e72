use std::env::{self, VarError};
use std::error::Error;
use std::ffi::OsString;
use std::future::pending;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse as _;
use kvstore_core::Provider;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use crate::failure::chain;
use crate::store::default_url;
use crate::{open, say, say_out};

/// As a shell has it for a program that Ctrl-C ended.
const TOLD_AGAIN: u8 = 130;

/// How long requests under way and closing the store may take when a service is told to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs a service, as `NAME [URL]`, until it is told to end by Ctrl-C or `SIGTERM`; requests under way are answered and
/// the store is closed, if that takes no more than ten seconds. Told again, it ends at once.
///
/// Without an argument the URL is that in `KVSTORE_URL`, so that a password need not stand in the list of processes.
/// The service listens at the address in `LISTEN`, on this machine alone unless told otherwise, and prints where.
pub async fn serve<M>(name: &str, app: impl FnOnce(Arc<dyn Provider>) -> M) -> ExitCode
where
    M: Future<Output = Result<Router, Box<dyn Error>>>,
{
    let url = match store_url(name) {
        Ok(url) => url,
        Err(wrong) => {
            say(&wrong);
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
    let served = async |until| {
        let address = variable("LISTEN")?.unwrap_or_else(|| "127.0.0.1:3000".to_owned());
        let listener = TcpListener::bind(&address).await?;
        let app = app(Arc::clone(&provider)).await?;
        say_out(&format!(
            "{name} listens at http://{}",
            listener.local_addr()?
        ));
        Ok(answer(listener, app, until).await?)
    };
    match serve_and_close(&*provider, served, told_to_end, PATIENCE).await {
        Ended::Closed(Ok(())) => ExitCode::SUCCESS,
        Ended::Closed(Err(error)) => {
            say(&format!("{name}: {error}"));
            ExitCode::FAILURE
        }
        Ended::Late => {
            say(&format!("{name}: not all was done within {PATIENCE:?}"));
            ExitCode::SUCCESS
        }
        Ended::ToldAgain => ExitCode::from(TOLD_AGAIN),
    }
}

/// The URL of the store, or what is wrong.
fn store_url(name: &str) -> Result<String, String> {
    let arguments = env::args_os().skip(1).map(OsString::into_string);
    let Ok(arguments) = arguments.collect::<Result<Vec<_>, _>>() else {
        return Err(format!("{name}: an argument is not UTF-8"));
    };
    match &arguments[..] {
        [] => {}
        [url] if !url.starts_with('-') => return Ok(url.clone()),
        _ => {
            return Err(format!(
                "usage: {name} [URL]\n  URL  of the store, as redis://localhost; else that in KVSTORE_URL, else `{}`",
                default_url(name)
            ));
        }
    }
    let url = variable("KVSTORE_URL").map_err(|error| format!("{name}: {error}"))?;
    Ok(url.unwrap_or_else(|| {
        let url = default_url(name);
        say(&format!(
            "no URL is given: what is stored is kept in this folder, by `{url}`"
        ));
        url
    }))
}

/// A variable of the environment; `None` where it is not set.
///
/// # Errors
/// When it is not UTF-8, with its name and not its value.
pub fn variable(name: &str) -> Result<Option<String>, Box<dyn Error>> {
    match env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(format!("{name} is not UTF-8").into()),
    }
}

/// Answers who connects, until then; requests under way are answered, if that takes no more than ten seconds.
///
/// A request is done to its end also when its caller hangs up, and that is waited for as well.
///
/// # Errors
/// When connections cannot be taken.
pub async fn serve_until(
    listener: TcpListener,
    app: Router,
    until: impl Future<Output = ()>,
) -> io::Result<()> {
    let (sender, told) = oneshot::channel();
    tokio::select! {
        served = answer(listener, app, told) => served,
        _ = give_up(sender, until, pending(), PATIENCE) => Ok(()),
    }
}

/// How a service ended.
#[derive(Debug)]
enum Ended {
    Closed(Result<(), Box<dyn Error>>),
    Late,
    ToldAgain,
}

/// Serves until told to end, and closes the store: within that time together, or until told again.
async fn serve_and_close(
    provider: &dyn Provider,
    served: impl AsyncFnOnce(oneshot::Receiver<()>) -> Result<(), Box<dyn Error>>,
    told: impl AsyncFn(),
    patience: Duration,
) -> Ended {
    let (sender, until) = oneshot::channel();
    let closed = async {
        let served = served(until).await;
        let closed = provider.close().await;
        served?;
        closed.map_err(|error| chain(&error).into())
    };
    tokio::select! {
        closed = closed => Ended::Closed(closed),
        ended = give_up(sender, told(), told(), patience) => ended,
    }
}

/// Ends when what is under way then is waited for no more.
async fn give_up(
    sender: oneshot::Sender<()>,
    told: impl Future<Output = ()>,
    again: impl Future<Output = ()>,
    patience: Duration,
) -> Ended {
    told.await;
    // It may have ended by itself.
    let _ = sender.send(());
    tokio::select! {
        () = again => Ended::ToldAgain,
        () = sleep(patience) => Ended::Late,
    }
}

/// Answers who connects, each request in a task of its own, until told; ends with the last of them.
async fn answer(
    listener: TcpListener,
    app: Router,
    until: oneshot::Receiver<()>,
) -> io::Result<()> {
    let tasks = TaskTracker::new();
    let tracked = tasks.clone();
    let app = app.layer(from_fn(move |request: Request, next: Next| {
        let answered = tracked.spawn(next.run(request));
        async move {
            let answered = answered.await;
            answered.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
        }
    }));
    let until = async { drop(until.await) };
    axum::serve(listener, app)
        .with_graceful_shutdown(until)
        .await?;
    tasks.close();
    tasks.wait().await;
    Ok(())
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use kvstore_core::{
        Bytes, Capabilities, DeleteRequest, GetRequest, Outcome, SetRequest, async_trait,
    };

    use super::*;

    /// A store that does not come to its end.
    struct Endless(Capabilities);

    #[async_trait]
    impl Provider for Endless {
        fn capabilities(&self) -> &Capabilities {
            &self.0
        }

        async fn get(&self, _: GetRequest<'_>) -> kvstore_core::Result<Option<Bytes>> {
            pending().await
        }

        async fn set(&self, _: SetRequest<'_>) -> kvstore_core::Result<Outcome> {
            pending().await
        }

        async fn delete(&self, _: DeleteRequest<'_>) -> kvstore_core::Result<Outcome> {
            pending().await
        }

        async fn close(&self) -> kvstore_core::Result<()> {
            pending().await
        }
    }

    /// What closing it ends with, told to end so often.
    async fn closing(times: usize, patience: Duration) -> Ended {
        let provider = Endless(Capabilities::new("endless"));
        let told = AtomicUsize::new(0);
        let tell = async || {
            if told.fetch_add(1, Ordering::Relaxed) >= times {
                pending().await
            }
        };
        let served = async |until: oneshot::Receiver<()>| Ok(until.await?);
        let ended = serve_and_close(&provider, served, tell, patience);
        let limit = Duration::from_secs(10);
        tokio::time::timeout(limit, ended).await.unwrap()
    }

    #[tokio::test]
    async fn a_store_that_does_not_close_is_not_waited_for() {
        let hour = Duration::from_secs(3600);
        assert!(matches!(closing(2, hour).await, Ended::ToldAgain));
        let soon = Duration::from_millis(10);
        assert!(matches!(closing(1, soon).await, Ended::Late));
    }

    #[tokio::test]
    async fn it_may_end_by_itself() {
        let memory = kvstore_memory::MemoryProvider::new();
        let served = async |_| Err("no port".into());
        let told = async || pending().await;
        match serve_and_close(&memory, served, told, PATIENCE).await {
            Ended::Closed(Err(error)) => assert_eq!(error.to_string(), "no port"),
            ended => panic!("{ended:?}"),
        }
        assert!(memory.ping().await.is_err(), "the store is closed");
    }
}
