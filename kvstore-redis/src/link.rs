//! One connection to one server, by `redis`: opened, greeted, asked.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::join_all;
use kvstore_core::{Error, ErrorKind, Result};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Pipeline, RedisConnectionInfo, RedisError, Value};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::RedisConfig;
use crate::address::Address;
use crate::command::{Command, Reply};
use crate::error::{Failure, connecting};

/// A connection. Commands of all clones are written together, and answered in order.
#[derive(Clone)]
pub(crate) struct Link {
    connection: MultiplexedConnection,
    shared: Arc<Shared>,
}

struct Shared {
    task: AbortHandle,
    /// Found by a call, which may be before the task has ended.
    is_lost: AtomicBool,
    left: Notify,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How to open connections.
pub(crate) struct Opener {
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) database: u8,
    pub(crate) connect_timeout: Duration,
    /// How many commands may wait for the connection to take them.
    pub(crate) queue: usize,
    pub(crate) tls: Option<TlsConnector>,
}

/// What a server must be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Any,
    /// What sentinels call a primary may be one no more.
    Primary,
    /// A replica in a cluster, which has to be told that it may answer.
    Replica,
}

impl Opener {
    pub(crate) fn new(config: &RedisConfig) -> Result<Self> {
        let tls = config.tls.then(|| crate::tls::client(config)).transpose()?;
        Ok(Self {
            username: config.username.clone(),
            password: config.password.clone(),
            database: config.database,
            connect_timeout: config.connect_timeout,
            queue: config.max_pending,
            tls: tls.map(|client| Arc::new(client).into()),
        })
    }

    /// The same for sentinels, which have credentials of their own.
    pub(crate) fn for_sentinels(&self, config: &RedisConfig) -> Self {
        Self {
            username: config.sentinel_username.clone(),
            password: config.sentinel_password.clone(),
            database: 0,
            tls: self.tls.clone(),
            ..*self
        }
    }

    /// Opens a connection, and says who we are. Its task ends when the connection is lost.
    pub(crate) async fn open(
        &self,
        address: &Address,
        role: Role,
    ) -> Result<(Link, JoinHandle<()>)> {
        let failed = |error: io::Error| connecting(error, address, self.tls.is_some());
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        let opened = timeout(self.connect_timeout, self.stream(address));
        let (link, task) = opened.await.map_err(late).flatten().map_err(failed)?;
        let greeted = timeout(self.connect_timeout, self.greet(&link, role, address)).await;
        greeted.map_err(|error| failed(late(error))).flatten()?;
        Ok((link, task))
    }

    async fn stream(&self, address: &Address) -> io::Result<(Link, JoinHandle<()>)> {
        let (host, port) = match address {
            Address::Tcp(host, port) => (host, *port),
            #[cfg(unix)]
            Address::Unix(path) => {
                return self
                    .link(tokio::net::UnixStream::connect(path).await?)
                    .await;
            }
            #[cfg(not(unix))]
            Address::Unix(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        let stream = TcpStream::connect((&host[..], port)).await?;
        stream.set_nodelay(true)?;
        // Keeps an idle connection open in between, or finds that it is not.
        let keepalive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(30));
        socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        match &self.tls {
            None => self.link(stream).await,
            Some(tls) => {
                let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                self.link(tls.connect(name, stream).await?).await
            }
        }
    }

    async fn link<S>(&self, stream: S) -> io::Result<(Link, JoinHandle<()>)>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // Deadlines are the caller's, and who we are is said below: then what the server answers is ours to read.
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_pipeline_buffer_size(self.queue);
        let nobody = RedisConnectionInfo::default().set_skip_set_lib_name();
        let made = MultiplexedConnection::new_with_config(&nobody, stream, config).await;
        let (connection, driver) = made.map_err(io::Error::other)?;
        let task = tokio::spawn(Patient {
            driver: Box::pin(driver),
            has_waited: false,
        });
        let shared = Shared {
            task: task.abort_handle(),
            is_lost: AtomicBool::new(false),
            left: Notify::new(),
        };
        let shared = Arc::new(shared);
        Ok((Link { connection, shared }, task))
    }

    /// Logs in, and makes sure that the server serves.
    async fn greet(&self, link: &Link, role: Role, address: &Address) -> Result<()> {
        let mut commands = Vec::new();
        if let Some(password) = &self.password {
            let auth = Command::other("AUTH");
            let auth = match &self.username {
                Some(username) => auth.word(username),
                None => auth,
            };
            commands.push(auth.word(password));
        }
        if self.database != 0 {
            // Where it is 0, the right to SELECT is not needed.
            commands.push(Command::other("SELECT").word(self.database.to_string()));
        }
        if role == Role::Replica {
            commands.push(Command::other("READONLY"));
        }
        let checked = commands.len();
        commands.push(Command::other("PING"));
        if role == Role::Primary {
            commands.push(Command::other("ROLE"));
        }
        // Each by itself: an error of TLS comes to the first of them.
        let send = async |command| link.clone().send(command).await;
        let answers = join_all(commands.iter().map(send)).await;
        for (place, answer) in answers.into_iter().enumerate() {
            match answer {
                Err(Failure::Cut(error)) => {
                    return Err(connecting(error, address, self.tls.is_some()));
                }
                // Who may not ask that is known all the same.
                Err(failure) if failure.code() == "NOPERM" && place >= checked => {}
                Err(failure) if failure.code() == "NOPERM" && role == Role::Replica => {
                    let message = "the ACL user lacks a command that reading from replicas needs: allow +readonly";
                    let refusal = Error::from(failure);
                    return Err(
                        Error::new(ErrorKind::PermissionDenied, message).with_source(refusal)
                    );
                }
                Err(failure) => return Err(failure.into()),
                Ok(Reply::List(parts)) if place == checked + 1 => {
                    if !matches!(parts.first(), Some(Reply::Data(role)) if &role[..] == b"master") {
                        let message = format!("{address} is no primary any more");
                        return Err(Error::new(ErrorKind::Unavailable, message));
                    }
                }
                Ok(_) => {}
            }
        }
        Ok(())
    }
}

impl Link {
    /// Whether it was not found to be lost.
    pub(crate) fn is_up(&self) -> bool {
        !self.shared.is_lost.load(Ordering::Acquire) && !self.shared.task.is_finished()
    }

    fn lost(&self, error: RedisError, writes: bool) -> Failure {
        self.shared.is_lost.store(true, Ordering::Release);
        Failure::cut(error, writes)
    }

    /// Whether two are the same connection.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Ends it, with everything that is under way.
    pub(crate) fn end(&self) {
        self.shared.task.abort();
    }

    /// Lets what is under way end, and gives it no more.
    pub(crate) fn leave(&self) {
        self.shared.left.notify_one();
    }

    pub(crate) async fn left(&self) {
        self.shared.left.notified().await;
    }

    pub(crate) async fn send(&mut self, command: &Command) -> Result<Reply, Failure> {
        match self.connection.send_packed_command(command.packed()).await {
            Ok(value) => read(value),
            Err(error) => Err(self.lost(error, command.is_write())),
        }
    }

    /// Sends several, written together.
    pub(crate) async fn send_all(
        &mut self,
        commands: impl IntoIterator<Item = &Command>,
    ) -> Vec<Result<Reply, Failure>> {
        let mut pipeline = Pipeline::new();
        let mut writes = Vec::new();
        for command in commands {
            pipeline.add_command(command.packed().clone());
            writes.push(command.is_write());
        }
        let answers = self
            .connection
            .send_packed_commands(&pipeline, 0, writes.len())
            .await;
        match answers {
            Ok(answers) => answers.into_iter().map(read).collect(),
            Err(error) => {
                let cut = |writes| Err(self.lost(error.clone(), writes));
                writes.into_iter().map(cut).collect()
            }
        }
    }
}

/// Lets other tasks go first, once, whenever there is something to do: what they send goes along in the same write.
struct Patient<F> {
    driver: Pin<Box<F>>,
    has_waited: bool,
}

impl<F: Future<Output = ()>> Future for Patient<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.has_waited = !self.has_waited;
        if self.has_waited {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.driver.as_mut().poll(context)
    }
}

fn read(value: Value) -> Result<Reply, Failure> {
    match value {
        Value::ServerError(error) => Err(Failure::refused(&error)),
        value => Ok(value.into()),
    }
}
