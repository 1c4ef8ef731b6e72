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

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use fred::clients::Client as Fred;
use fred::error::{Error as FredError, ErrorKind as FredKind};
use fred::interfaces::{ClientLike as _, EventInterface as _};
use fred::types::config::{
    Config, ConnectionConfig, Options, PerformanceConfig, ReconnectPolicy, Server, ServerConfig,
};
use kvstore_core::{Error, ErrorKind, Result};
use tokio::runtime::Handle;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{sleep, timeout};

use crate::RedisConfig;
use crate::command::{Command, Reply};
use crate::config::Address;
use crate::error::{Failure, connecting};

/// A connection that is made again whenever it is lost.
pub(crate) struct Client {
    current: RwLock<Current>,
    errors: Mutex<LastError>,
    config: RedisConfig,
    permits: Semaphore,
    probing: AtomicBool,
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
    fn is_connected(&self) -> bool {
        // When its task was ended, fred still says that it is connected.
        self.fred.is_connected() && !self.end.is_finished()
    }
}

impl Client {
    /// Connects, and fails when that fails.
    pub(crate) async fn connect(config: RedisConfig) -> Result<Arc<Self>> {
        let fred = build(&config, true)?;
        let task = fred
            .init()
            .await
            .map_err(|error| connecting(error, &config))?;
        Ok(Self::new(config, fred, Handle::current(), task))
    }

    /// Begins to connect, and goes on until that succeeds.
    pub(crate) fn lazy(config: RedisConfig) -> Result<Arc<Self>> {
        let runtime = Handle::try_current().map_err(|source| {
            let message =
                "a lazy provider connects in the background: make it where a tokio runtime runs";
            Error::new(ErrorKind::InvalidConfig, message).with_source(source)
        })?;
        let fred = build(&config, false)?;
        let task = fred.connect();
        Ok(Self::new(config, fred, runtime, task))
    }

    fn new(config: RedisConfig, fred: Fred, runtime: Handle, task: Task) -> Arc<Self> {
        Arc::new_cyclic(|client| Self {
            errors: Mutex::new(LastError::of(&fred)),
            current: RwLock::new(Current {
                fred,
                end: task.abort_handle(),
            }),
            permits: Semaphore::new(config.max_pending),
            config,
            probing: AtomicBool::new(false),
            supervisor: runtime
                .spawn(supervise(client.clone(), AbortOnDrop(task)))
                .abort_handle(),
            runtime,
        })
    }

    pub(crate) fn config(&self) -> &RedisConfig {
        &self.config
    }

    fn current(&self) -> Current {
        let current = self.current.read();
        current.unwrap_or_else(PoisonError::into_inner).clone()
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
        let deadline = Instant::now() + self.config.timeout;
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
            let current = self.current();
            if current.is_connected() {
                return Ok(current.fred);
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
                // fred may connect just before it is asked to tell, and then does not: look again soon.
                _ => {
                    let soon = left.min(Duration::from_millis(200));
                    drop(timeout(soon, current.fred.wait_for_connect()).await);
                }
            }
        }
    }

    /// Ends the connection if it does not answer any more.
    fn probe(self: &Arc<Self>) {
        if self.probing.swap(true, Ordering::AcqRel) {
            return;
        }
        let (client, Current { fred, end }) = (Arc::clone(self), self.current());
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
        let current = client.current();
        let fred = match current.is_connected() {
            true => current.fred,
            false => client
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
        // fred's futures have 7 KB: in a box of their own, those around them are small.
        let run = Box::pin(command.run(fred.with_options(&options)));
        let answer = if writes {
            Insistent::new(run, &client.runtime).await
        } else {
            run.await
        };
        answer.map(Reply::from).map_err(|error| {
            if *error.kind() == FredKind::Timeout {
                client.probe();
            }
            Failure::new(error, writes, client.config.timeout)
        })
    }
}

type Task = JoinHandle<Result<(), FredError>>;

struct AbortOnDrop(Task);

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
        let fred = build(&client.config, false).unwrap_or_else(|_| client.current().fred);
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

/// A future that goes on in the background when it is dropped before its end.
struct Insistent<F: Future<Output: Send> + Send + 'static> {
    future: Option<Pin<Box<F>>>,
    runtime: Handle,
}

impl<F: Future<Output: Send> + Send + 'static> Insistent<F> {
    fn new(future: Pin<Box<F>>, runtime: &Handle) -> Self {
        Self {
            future: Some(future),
            runtime: runtime.clone(),
        }
    }
}

impl<F: Future<Output: Send> + Send + 'static> Future for Insistent<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(future) = &mut self.future else {
            return Poll::Pending;
        };
        let output = ready!(future.as_mut().poll(context));
        self.future = None;
        Poll::Ready(output)
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Insistent<F> {
    fn drop(&mut self) {
        if let Some(future) = self.future.take() {
            self.runtime.spawn(future);
        }
    }
}

fn build(config: &RedisConfig, fail_fast: bool) -> Result<Fred> {
    config.check()?;
    let server = match &config.address {
        Address::Tcp(host, port) => {
            // fred looks it up as `host:port`, and takes it as the name in the server's certificate.
            let in_brackets = if host.contains(':') {
                format!("[{host}]")
            } else {
                host.clone()
            };
            let mut server = Server::new(in_brackets, *port);
            server.tls_server_name = Some(host.as_str().into());
            ServerConfig::Centralized { server }
        }
        #[cfg(unix)]
        Address::Unix(path) => ServerConfig::Unix { path: path.clone() },
        #[cfg(not(unix))]
        Address::Unix(_) => unreachable!("`check` refuses it"),
    };
    let tls = config
        .tls
        .then(|| crate::tls::connector(config))
        .transpose()?;
    let fred_config = Config {
        server,
        tls,
        fail_fast,
        username: config.username.clone(),
        password: config.password.clone(),
        // Where it is 0, the right to SELECT is not needed.
        database: (config.database != 0).then_some(config.database),
        ..Config::default()
    };
    let mut connection = ConnectionConfig {
        connection_timeout: config.connect_timeout,
        internal_command_timeout: config.connect_timeout,
        max_command_attempts: 1,
        ..ConnectionConfig::default()
    };
    connection.tcp.nodelay = Some(true);
    // Keeps an idle connection open in between, or finds that it is not.
    connection.tcp.keepalive =
        Some(socket2::TcpKeepalive::new().with_time(Duration::from_secs(30)));
    let performance = PerformanceConfig {
        default_command_timeout: config.timeout,
        ..PerformanceConfig::default()
    };
    // From 10 ms to 2 s, for ever.
    let mut policy = ReconnectPolicy::new_exponential(0, 10, 2_000, 2);
    policy.set_jitter(20);
    Ok(Fred::new(
        fred_config,
        Some(performance),
        Some(connection),
        Some(policy),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kvstore_core::Bytes;
    use kvstore_testsuite::servers::RedisServer;

    #[tokio::test]
    async fn a_connections_task_that_ends_is_started_again() {
        let server = RedisServer::start();
        let config: RedisConfig = server.url().parse().unwrap();
        let client = Client::connect(config).await.unwrap();
        let get = async || {
            let get = Command::Get(Bytes::from_static(b"key"));
            client.call().unwrap().send(get).await
        };
        assert!(matches!(get().await, Ok(Reply::Nil)));
        client.current().end.abort();
        let start = Instant::now();
        while get().await.is_err() {
            assert!(start.elapsed() < Duration::from_secs(30), "it is not");
            sleep(Duration::from_millis(10)).await;
        }
    }
}
