//! A place for a connection to a server, which is made when it is needed, and lost.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use futures_util::future::{Either, select};
use kvstore_core::{ErrorKind, Result};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use crate::MemcachedConfig;
use crate::clock::Clock;
use crate::config::Address;
use crate::connection::{Connection, Why};
use crate::error::Connecting;
use crate::handshake::{Facts, shake_hands};

/// How much longer than a call a connection waits before it takes the server for dead, and a call than an attempt to
/// connect.
const MARGIN: Duration = Duration::from_millis(50);

/// A connection on which the server has told what it is.
pub(crate) struct Link {
    pub(crate) connection: Connection,
    pub(crate) facts: Facts,
    /// Which of those to the server it is.
    pub(crate) number: u64,
    /// What the server's clock showed.
    pub(crate) clock: Mutex<Option<Clock>>,
}

/// A place for a connection: the last attempt to make one, and what came of it.
#[derive(Default)]
pub(crate) struct Lane(RwLock<Option<Attempt>>);

type Outcome = Option<Result<Arc<Link>>>;

/// An attempt to connect. It is a task of its own, which goes on without the calls that wait for it, and ends when its lane
/// has gone.
#[derive(Clone)]
struct Attempt {
    outcome: watch::Receiver<Outcome>,
    deadline: Instant,
}

impl Attempt {
    fn start(
        connect: impl Future<Output = Result<Link>> + Send + 'static,
        deadline: Instant,
    ) -> Self {
        let (sender, outcome) = watch::channel(None);
        tokio::spawn(async move {
            let made = match select(pin!(connect), pin!(sender.closed())).await {
                Either::Left((made, _)) => made.map(Arc::new),
                Either::Right(_) => return,
            };
            // Nobody wants it any more where this fails.
            let _ = sender.send(Some(made));
        });
        Self { outcome, deadline }
    }

    fn link(&self) -> Option<Arc<Link>> {
        match &*self.outcome.borrow() {
            Some(Ok(link)) if link.connection.is_open() => Some(Arc::clone(link)),
            _ => None,
        }
    }

    /// Whether something may still come of it; not so where its runtime has ended, or does not run any more.
    fn goes_on(&self) -> bool {
        self.outcome.borrow().is_none()
            && self.outcome.has_changed().is_ok()
            && Instant::now() < self.deadline + MARGIN
    }
}

impl Lane {
    fn current(&self) -> Option<Arc<Link>> {
        let current = self.0.read().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().and_then(Attempt::link)
    }

    /// The attempt under way, or a new one.
    fn attempt(&self, start: impl FnOnce() -> Attempt) -> Attempt {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match &*current {
            Some(attempt) if attempt.goes_on() || attempt.link().is_some() => attempt.clone(),
            _ => current.insert(start()).clone(),
        }
    }

    /// Closes the connection, once what is under way on it is answered.
    pub(crate) fn close(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The same, if it is this one.
    pub(crate) fn give_up(&self, link: &Arc<Link>) {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let open = current.as_ref().and_then(Attempt::link);
        if open.is_some_and(|open| Arc::ptr_eq(&open, link)) {
            *current = None;
        }
    }
}

/// What connections to a server are made by.
pub(crate) struct Dial {
    pub(crate) config: Arc<MemcachedConfig>,
    pub(crate) name: String,
    address: Address,
    tls: Option<TlsConnector>,
    /// How many there were.
    made: AtomicU64,
}

impl Dial {
    pub(crate) fn new(
        config: Arc<MemcachedConfig>,
        address: Address,
        tls: Option<TlsConnector>,
    ) -> Self {
        Self {
            config,
            name: address.to_string(),
            address,
            tls,
            made: AtomicU64::new(0),
        }
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The connection of a lane, made if need be. Nothing is sent so far.
    pub(crate) async fn link(
        self: &Arc<Self>,
        lane: &Lane,
        deadline: Instant,
    ) -> Result<Arc<Link>> {
        if let Some(link) = lane.current() {
            return Ok(link);
        }
        let mut attempt = lane.attempt(|| {
            let (dial, deadline) = (
                Arc::clone(self),
                Instant::now() + self.config.connect_timeout,
            );
            let connect = async move {
                let connecting = timeout_at(deadline, dial.connect()).await;
                connecting.unwrap_or_else(|_| Err(dial.connecting().no_answer()))
            };
            Attempt::start(connect, deadline)
        });
        let until = deadline.min(attempt.deadline + MARGIN);
        let outcome = timeout_at(until, attempt.outcome.wait_for(Option::is_some)).await;
        let outcome = outcome.map(|outcome| outcome.map(|outcome| outcome.clone()));
        match outcome {
            Ok(Ok(Some(outcome))) => outcome,
            Ok(Ok(None) | Err(_)) => Err(self.connecting().lost(&Why::Runtime)),
            Err(_) => Err(self.connecting().no_answer()),
        }
    }

    async fn connect(&self) -> Result<Link> {
        let at = self.connecting();
        let io = |error| at.io(&Arc::new(error));
        let Address { host, port } = &self.address;
        let stream = TcpStream::connect((host.as_str(), *port)).await;
        let stream = stream.map_err(io)?;
        stream.set_nodelay(true).map_err(io)?;
        // The calls under way are told first, each by its own deadline.
        let silence = self.config.timeout + MARGIN;
        let connection = match &self.tls {
            None => Connection::start(stream, true, silence),
            Some(tls) => {
                let name = ServerName::try_from(host.clone()).map_err(|source| {
                    let message = "its host is no name that a certificate can have";
                    at.error(ErrorKind::InvalidConfig, message)
                        .with_source(source)
                })?;
                let stream = tls.connect(name, stream).await.map_err(io)?;
                // Up to Memcached 1.6.38 a server with TLS waits for ever after a value whose last record has more
                // in it: so each value has to end its record.
                Connection::start(stream, false, silence)
            }
        };
        let facts = shake_hands(&connection, at).await?;
        Ok(Link {
            connection,
            facts,
            number: self.made.fetch_add(1, Ordering::Relaxed),
            clock: Mutex::default(),
        })
    }

    fn connecting(&self) -> Connecting<'_> {
        Connecting {
            server: &self.name,
            config: &self.config,
        }
    }
}
