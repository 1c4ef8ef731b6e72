//! The connection, by fred. What fred does not do, or does wrong, is put right here:
//!
//! - A command waits for a connection *before* it is given to fred. fred would queue it for as long as
//!   the server is down, without bound; bounded, its queue kills the connection's task when it is full at
//!   the moment the connection is lost.
//! - fred sends a queued command later even when its caller has dropped the future. So a write goes on
//!   until its deadline, after which fred does not send it any more.
//! - A pipeline of fred's is sent later even after its deadline. So batches are single commands at once,
//!   which fred writes together.
//! - fred notices a connection that swallows everything only while nobody uses it, and is stuck with one
//!   that takes no more bytes. So when a call runs out of time, a `PING` is sent after it, and when that is
//!   not answered either, the connection's task is ended.
//! - When fred's task has ended, for whatever reason, there is a new client of fred's: started again, the
//!   old one miscounts its queue, and then waits for ever before it writes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, Weak};
use std::time::{Duration, Instant};

use fred::clients::Client as Fred;
use fred::error::{Error as FredError, ErrorKind as FredKind};
use fred::interfaces::{ClientLike as _, EventInterface as _};
use fred::types::config::{Options, Server};
use kvstore_core::{Error, ErrorKind, Result};
use tokio::runtime::Handle;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{sleep, timeout};

use crate::RedisConfig;
use crate::callers::Callers;
use crate::command::{Command, Reply};
use crate::error::{Failure, connecting};
use crate::settings;

/// A connection that is made again whenever it is lost.
pub(crate) struct Client {
    current: RwLock<Current>,
    errors: Mutex<LastError>,
    config: RedisConfig,
    permits: Semaphore,
    probing: AtomicBool,
    callers: Callers,
    runtime: Handle,
    supervisor: AbortHandle,
}

/// The client of fred's that is used now, and the end of its task.
#[derive(Clone)]
struct Current {
    fred: Fred,
    end: AbortHandle,
}

impl Current {
    /// The client, if it is connected.
    fn connected(&self) -> Option<Fred> {
        // When its task was ended, fred still says that it is connected.
        let connected = self.fred.is_connected() && !self.end.is_finished();
        connected.then(|| self.fred.clone())
    }
}

impl Client {
    /// Connects, and fails when that fails.
    pub(crate) async fn connect(config: RedisConfig) -> Result<Arc<Self>> {
        let fred = settings::client(&config, true)?;
        let mut task = AbortOnDrop(fred.connect());
        while !fred.is_connected() {
            if task.0.is_finished() {
                let ended = (&mut task.0)
                    .await
                    .unwrap_or_else(|error| Err(error.into()));
                let error = ended.err().unwrap_or_else(FredError::new_canceled);
                return Err(connecting(error, &config));
            }
            let soon = Duration::from_millis(10);
            drop(timeout(soon, fred.wait_for_connect()).await);
        }
        Ok(Self::new(config, fred, Handle::current(), task))
    }

    /// Begins to connect, and goes on until that succeeds.
    pub(crate) fn lazy(config: RedisConfig) -> Result<Arc<Self>> {
        let runtime = Handle::try_current().map_err(|source| {
            let message =
                "a lazy provider connects in the background: make it where a tokio runtime runs";
            Error::new(ErrorKind::InvalidConfig, message).with_source(source)
        })?;
        let fred = settings::client(&config, false)?;
        let task = AbortOnDrop(fred.connect());
        Ok(Self::new(config, fred, runtime, task))
    }

    fn new(config: RedisConfig, fred: Fred, runtime: Handle, task: AbortOnDrop) -> Arc<Self> {
        Arc::new_cyclic(|client| Self {
            errors: Mutex::new(LastError::of(&fred)),
            current: RwLock::new(Current {
                fred,
                end: task.0.abort_handle(),
            }),
            permits: Semaphore::new(config.max_pending),
            config,
            probing: AtomicBool::new(false),
            callers: Callers::default(),
            supervisor: runtime
                .spawn(supervise(client.clone(), task))
                .abort_handle(),
            runtime,
        })
    }

    pub(crate) fn config(&self) -> &RedisConfig {
        &self.config
    }

    fn current(&self) -> RwLockReadGuard<'_, Current> {
        self.current.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn errors(&self) -> MutexGuard<'_, LastError> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a call: its deadline runs from here, over all of its commands.
    pub(crate) fn call(self: &Arc<Self>) -> Result<Call<'_>> {
        match self.permits.try_acquire() {
            Ok(permit) => Ok(Call {
                client: self,
                _permit: permit,
                deadline: Instant::now() + self.config.timeout,
            }),
            Err(TryAcquireError::Closed) => Err(ErrorKind::Closed.into()),
            Err(TryAcquireError::NoPermits) => {
                let message = format!(
                    "{} calls are under way, which is `max_pending`",
                    self.config.max_pending
                );
                Err(Error::new(ErrorKind::Busy, message))
            }
        }
    }

    /// Refuses further calls, lets those under way end, and closes the connection.
    pub(crate) async fn close(&self) {
        self.permits.close();
        // A little longer than the last call, so that it ends by itself.
        let deadline = Instant::now() + self.config.timeout + Duration::from_millis(100);
        while self.permits.available_permits() < self.config.max_pending
            && Instant::now() < deadline
        {
            sleep(Duration::from_millis(5)).await;
        }
        self.supervisor.abort();
    }

    /// Waits until there is a connection. No command has been sent so far.
    async fn connected(&self, deadline: Instant) -> Result<Fred> {
        loop {
            let Current { fred, end } = self.current().clone();
            if let Some(connected) = self.current().connected() {
                return Ok(connected);
            }
            if self.supervisor.is_finished() {
                let message = "the tokio runtime on which the provider was made has ended";
                return Err(Error::new(ErrorKind::Unavailable, message));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let last = self.errors().read();
            match last.map(|error| connecting(error, &self.config)) {
                // Waiting does not help against a wrong password.
                Some(error) if left.is_zero() || !error.is_retryable() => return Err(error),
                None if left.is_zero() => {
                    let (address, span) = (&self.config.address, self.config.timeout);
                    let message = format!("no connection to {address} within {span:?}");
                    return Err(Error::new(ErrorKind::Unavailable, message));
                }
                // There will be another client soon, and this one says that it is connected.
                _ if end.is_finished() => sleep(Duration::from_millis(10)).await,
                // fred may connect just before it is asked to tell, and then does not: look again soon.
                _ => {
                    let soon = left.min(Duration::from_millis(200));
                    drop(timeout(soon, fred.wait_for_connect()).await);
                }
            }
        }
    }

    /// Ends the connection if it does not answer any more.
    fn probe(self: &Arc<Self>) {
        if self.probing.swap(true, Ordering::AcqRel) {
            return;
        }
        let (client, Current { fred, end }) = (Arc::clone(self), self.current().clone());
        self.runtime.spawn(async move {
            let options = Options {
                timeout: Some(client.config.timeout),
                max_attempts: Some(1),
                ..Options::default()
            };
            let answer: Result<(), FredError> = fred.with_options(&options).ping(None).await;
            let silent = answer.is_err_and(|error| *error.kind() == FredKind::Timeout);
            // While it is not connected, it is busy connecting.
            if silent && fred.is_connected() {
                end.abort();
            }
            client.probing.store(false, Ordering::Release);
        });
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

/// One call of the provider, which may give several commands.
pub(crate) struct Call<'a> {
    client: &'a Arc<Client>,
    _permit: SemaphorePermit<'a>,
    deadline: Instant,
}

impl Call<'_> {
    /// Gives a command, and waits for its answer until the call's deadline.
    pub(crate) async fn send(&self, command: Command) -> Result<Reply, Failure> {
        let client = self.client;
        let connected = client.current().connected();
        let fred = match connected {
            Some(fred) => fred,
            None => client
                .connected(self.deadline)
                .await
                .map_err(Failure::Lost)?,
        };
        // Never zero, which would be no deadline.
        let left = self
            .deadline
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(1));
        let writes = command.writes();
        // What reads may be sent again on the next connection.
        let options = Options {
            timeout: Some(left),
            max_attempts: Some(if writes { 1 } else { 3 }),
            ..Options::default()
        };
        let fred = fred.with_options(&options);
        let answer = client.callers.call(command, fred, &client.runtime).await;
        answer.map(Reply::from).map_err(|error| {
            if *error.kind() == FredKind::Timeout {
                client.probe();
            }
            Failure::new(error, writes, client.config.timeout)
        })
    }
}

/// fred's task, ended when nobody watches it any more.
struct AbortOnDrop(JoinHandle<Result<(), FredError>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Replaces fred's client whenever its task has ended; ends the task when it is aborted itself.
async fn supervise(client: Weak<Client>, mut task: AbortOnDrop) {
    loop {
        // Its error was told to `LastError`.
        let _ = (&mut task.0).await;
        sleep(Duration::from_millis(100)).await;
        let Some(client) = client.upgrade() else {
            return;
        };
        // It fails when a certificate's file cannot be read any more; then what there is stays.
        let fred = settings::client(&client.config, false)
            .unwrap_or_else(|_| client.current().fred.clone());
        *client.errors() = LastError::of(&fred);
        task = AbortOnDrop(fred.connect());
        let end = task.0.abort_handle();
        let current = client.current.write();
        *current.unwrap_or_else(PoisonError::into_inner) = Current { fred, end };
    }
}

/// The last thing that was wrong with the connection.
struct LastError {
    told: Receiver<(FredError, Option<Server>)>,
    last: Option<FredError>,
}

impl LastError {
    fn of(fred: &Fred) -> Self {
        Self {
            told: fred.error_rx(),
            last: None,
        }
    }

    fn read(&mut self) -> Option<FredError> {
        loop {
            match self.told.try_recv() {
                Ok((error, _)) => self.last = Some(error),
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return self.last.clone(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kvstore_core::Bytes;
    use kvstore_testsuite::servers::RedisServer;

    async fn get(client: &Arc<Client>) -> Result<Reply> {
        let get = Command::Get(Bytes::from_static(b"key"));
        Ok(client.call()?.send(get).await?)
    }

    async fn end(client: &Client) {
        let end = client.current().end.clone();
        end.abort();
        while !end.is_finished() {
            sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn when_freds_task_has_ended_there_is_another() {
        let server = RedisServer::start();
        let config: RedisConfig = server.url().parse().unwrap();
        let client = Client::connect(config).await.unwrap();
        for _ in 0..3 {
            assert!(matches!(get(&client).await, Ok(Reply::Nil)));
            end(&client).await;
        }
        assert!(matches!(get(&client).await, Ok(Reply::Nil)));
        server.command(&["CONFIG", "SET", "requirepass", "secret"]);
        end(&client).await;
        let error = get(&client).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error:?}");
    }
}
