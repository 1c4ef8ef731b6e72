//! The connection, by fred. What fred does not do, or does wrong, is put right here:
//!
//! - A command waits for a connection *before* it is given to fred. fred would queue it for as long as
//!   the server is down, without bound; bounded, its queue kills the connection's task when it is full at
//!   the moment the connection is lost.
//! - fred sends a queued command later even when its caller has dropped the future. So a write goes on
//!   until its deadline, after which fred does not send it any more.
//! - A pipeline of fred's is sent later even after its deadline. So batches are single commands at once,
//!   which fred writes together.
//! - fred notices a connection that swallows everything only while nobody uses it. So when a call runs out
//!   of time, a `PING` is sent after it, and when that is not answered either, there is a new connection.
//! - fred's task may end. Then it is started again.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use fred::error::Error as FredError;
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
use crate::error::{Endpoint, Failure, connecting};

/// A connection that is made again whenever it is lost.
pub(crate) struct Client {
    fred: fred::clients::Client,
    server: Endpoint,
    timeout: Duration,
    max_pending: usize,
    permits: Semaphore,
    errors: Mutex<LastError>,
    probing: AtomicBool,
    runtime: Handle,
    supervisor: AbortHandle,
}

impl Client {
    /// Connects, and fails when that fails.
    pub(crate) async fn connect(config: &RedisConfig) -> Result<Arc<Self>> {
        let fred = build(config, true)?;
        let errors = LastError::of(&fred);
        let task = fred
            .init()
            .await
            .map_err(|error| connecting(error, &endpoint(config)))?;
        Ok(Self::new(config, fred, errors, Handle::current(), task))
    }

    /// Begins to connect, and goes on until that succeeds.
    pub(crate) fn lazy(config: &RedisConfig) -> Result<Arc<Self>> {
        let runtime = Handle::try_current().map_err(|source| {
            let message =
                "a lazy provider connects in the background: make it where a tokio runtime runs";
            Error::new(ErrorKind::InvalidConfig, message).with_source(source)
        })?;
        let fred = build(config, false)?;
        let (errors, task) = (LastError::of(&fred), fred.connect());
        Ok(Self::new(config, fred, errors, runtime, task))
    }

    fn new(
        config: &RedisConfig,
        fred: fred::clients::Client,
        errors: LastError,
        runtime: Handle,
        task: Task,
    ) -> Arc<Self> {
        let supervisor = runtime
            .spawn(supervise(fred.clone(), AbortOnDrop(task)))
            .abort_handle();
        Arc::new(Self {
            fred,
            server: endpoint(config),
            timeout: config.timeout,
            max_pending: config.max_pending,
            permits: Semaphore::new(config.max_pending),
            errors: Mutex::new(errors),
            probing: AtomicBool::new(false),
            runtime,
            supervisor,
        })
    }

    /// Begins a call: its deadline runs from here, over all of its commands.
    pub(crate) fn call(self: &Arc<Self>) -> Result<Call<'_>> {
        match self.permits.try_acquire() {
            Ok(permit) => Ok(Call {
                client: self,
                _permit: permit,
                deadline: Instant::now() + self.timeout,
            }),
            Err(TryAcquireError::Closed) => Err(ErrorKind::Closed.into()),
            Err(TryAcquireError::NoPermits) => {
                let message = format!(
                    "{} calls are under way, which is `max_pending`",
                    self.max_pending
                );
                Err(Error::new(ErrorKind::Busy, message))
            }
        }
    }

    /// Refuses further calls, lets those under way end, and closes the connection.
    pub(crate) async fn close(&self) {
        self.permits.close();
        let deadline = Instant::now() + self.timeout;
        while self.permits.available_permits() < self.max_pending && Instant::now() < deadline {
            sleep(Duration::from_millis(5)).await;
        }
        self.supervisor.abort();
    }

    /// Waits until there is a connection. No command has been sent so far.
    async fn connected(&self, deadline: Instant) -> Result<()> {
        while !self.fred.is_connected() {
            let left = deadline.saturating_duration_since(Instant::now());
            let refused = self
                .errors()
                .read()
                .map(|error| connecting(error, &self.server));
            match refused {
                // Waiting does not help against a wrong password.
                Some(error) if !error.is_retryable() => return Err(error),
                Some(error) if left.is_zero() => return Err(error),
                None if left.is_zero() => {
                    let message = format!(
                        "no connection to {} within {:?}",
                        self.server.address, self.timeout
                    );
                    return Err(Error::new(ErrorKind::Unavailable, message));
                }
                // fred may connect just before it is asked to tell, and then does not: look again soon.
                _ => drop(
                    timeout(
                        left.min(Duration::from_millis(200)),
                        self.fred.wait_for_connect(),
                    )
                    .await,
                ),
            }
        }
        Ok(())
    }

    /// Makes a new connection if this one does not answer any more.
    fn probe(self: &Arc<Self>) {
        if self.probing.swap(true, Ordering::AcqRel) {
            return;
        }
        let client = Arc::clone(self);
        self.runtime.spawn(async move {
            let options = Options {
                timeout: Some(client.timeout),
                max_attempts: Some(1),
                ..Options::default()
            };
            let answer: Result<(), FredError> = client.fred.with_options(&options).ping(None).await;
            if answer.is_err_and(|error| *error.kind() == fred::error::ErrorKind::Timeout)
                && client.fred.is_connected()
            {
                client.errors().forget();
                // It takes effect even if it takes longer than this.
                drop(timeout(client.timeout, client.fred.force_reconnection()).await);
            }
            client.probing.store(false, Ordering::Release);
        });
    }

    fn errors(&self) -> std::sync::MutexGuard<'_, LastError> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner)
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
        if !client.fred.is_connected() {
            client
                .connected(self.deadline)
                .await
                .map_err(Failure::Lost)?;
        }
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
        let run = Box::pin(command.run(client.fred.with_options(&options)));
        let answer = if writes {
            Insistent::new(run, &client.runtime).await
        } else {
            run.await
        };
        answer.map(Reply::from).map_err(|error| {
            if *error.kind() == fred::error::ErrorKind::Timeout {
                client.probe();
            }
            Failure::new(error, writes, client.timeout)
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

/// Starts the connection's task again whenever it ends; ends it when it is aborted itself.
async fn supervise(fred: fred::clients::Client, mut task: AbortOnDrop) {
    loop {
        // Its error was told by `LastError`.
        let _ = (&mut task.0).await;
        sleep(Duration::from_millis(100)).await;
        task = AbortOnDrop(fred.connect());
    }
}

/// The last thing that was wrong with the connection.
struct LastError {
    told: Receiver<(FredError, Option<Server>)>,
    last: Option<FredError>,
}

impl LastError {
    fn of(fred: &fred::clients::Client) -> Self {
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

    fn forget(&mut self) {
        self.read();
        self.last = None;
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

fn endpoint(config: &RedisConfig) -> Endpoint {
    Endpoint {
        address: config.address.clone(),
        tls: config.tls,
    }
}

fn build(config: &RedisConfig, fail_fast: bool) -> Result<fred::clients::Client> {
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
    connection.tcp.keepalive =
        Some(socket2::TcpKeepalive::new().with_time(Duration::from_secs(30)));
    #[cfg(target_os = "linux")]
    {
        // Else a write to a host that is gone holds fred up for a quarter of an hour.
        connection.tcp.user_timeout = Some(config.timeout.max(Duration::from_secs(1)));
    }
    let performance = PerformanceConfig {
        default_command_timeout: config.timeout,
        ..PerformanceConfig::default()
    };
    // From 10 ms to 2 s, for ever.
    let mut policy = ReconnectPolicy::new_exponential(0, 10, 2_000, 2);
    policy.set_jitter(20);
    Ok(fred::clients::Client::new(
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
        let fred = build(&config, true).unwrap();
        let errors = LastError::of(&fred);
        let task = fred.init().await.unwrap();
        let end = task.abort_handle();
        let client = Client::new(&config, fred, errors, Handle::current(), task);
        let get = async || {
            let get = Command::Get(Bytes::from_static(b"key"));
            client.call().unwrap().send(get).await
        };
        assert!(matches!(get().await, Ok(Reply::Nil)));
        end.abort();
        let start = Instant::now();
        while get().await.is_err() {
            assert!(start.elapsed() < Duration::from_secs(30), "it is not");
            sleep(Duration::from_millis(10)).await;
        }
    }
}
