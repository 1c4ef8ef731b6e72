//! One server, and the connections to it, which are made when they are needed and lost.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use kvstore_core::{Error, ErrorKind, Result};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use crate::MemcachedConfig;
use crate::clock::Clock;
use crate::command::{self, Request};
use crate::config::Address;
use crate::connection::Connection;
use crate::error::{self, Connecting};
use crate::handshake::{Facts, shake_hands};
use crate::reply::Reply;

/// How often a request is sent at most, where its connection is lost each time.
const ATTEMPTS: usize = 3;

/// How much longer than a call a connection waits, before it takes the server for dead.
const MARGIN: Duration = Duration::from_millis(50);

pub(crate) struct Server {
    config: Arc<MemcachedConfig>,
    address: Address,
    name: String,
    tls: Option<TlsConnector>,
    /// One for each connection that there may be.
    lanes: Vec<Lane>,
    /// What its clock showed, since it was last connected to.
    clock: std::sync::Mutex<Option<Clock>>,
}

/// A place for a connection.
#[derive(Default)]
struct Lane {
    current: RwLock<Option<Arc<Link>>>,
    /// Held while a connection is being made: when the last attempt failed, and why.
    connecting: Mutex<Option<(Instant, Error)>>,
}

/// A connection on which the server has told what it is.
struct Link {
    connection: Connection,
    facts: Facts,
}

impl Lane {
    fn open(&self) -> Option<Arc<Link>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current
            .as_ref()
            .filter(|link| link.connection.is_open())
            .cloned()
    }

    fn replace(&self, link: Option<Arc<Link>>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = link;
    }
}

impl Server {
    pub(crate) fn new(
        config: Arc<MemcachedConfig>,
        address: Address,
        tls: Option<TlsConnector>,
    ) -> Self {
        let lanes = (0..config.connections).map(|_| Lane::default()).collect();
        Self {
            name: address.to_string(),
            config,
            address,
            tls,
            lanes,
            clock: std::sync::Mutex::default(),
        }
    }

    /// Its host and port.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether a request may store several items.
    pub(crate) fn takes_many(&self) -> bool {
        self.tls.is_none()
    }

    /// How many bytes an item may have: what the server said when it was last connected to.
    pub(crate) async fn item_size_max(&self, lane: usize, deadline: Instant) -> Result<usize> {
        Ok(self.link(lane, deadline).await?.facts.item_size_max)
    }

    /// Sends a request on the connection of that number, and waits for its answers.
    ///
    /// What was not sent, and what changes nothing, is sent again when the connection is lost.
    pub(crate) async fn ask(
        &self,
        lane: usize,
        request: &Request,
        deadline: Instant,
    ) -> Result<Vec<Reply>> {
        let unknown = |error: Error| match request.writes {
            true => error.with_outcome_unknown(),
            false => error,
        };
        let mut attempt = 1;
        loop {
            let link = self.link(lane, deadline).await?;
            if request.largest > link.facts.item_size_max {
                return Err(command::too_large(link.facts.item_size_max));
            }
            match timeout_at(deadline, link.connection.ask(request)).await {
                Ok(Ok(replies)) => return Ok(replies),
                Ok(Err(lost))
                    if attempt < ATTEMPTS
                        && !(lost.sent && request.writes)
                        && Instant::now() < deadline =>
                {
                    attempt += 1;
                }
                Ok(Err(lost)) => {
                    let error = error::lost(&lost.why, &self.name);
                    return Err(if lost.sent { unknown(error) } else { error });
                }
                Err(_) => {
                    let (server, span) = (&self.name, self.config.timeout);
                    let message = format!("no answer from {server} within {span:?}");
                    return Err(unknown(Error::new(ErrorKind::Timeout, message)));
                }
            }
        }
    }

    /// What its clock showed when it was last asked.
    pub(crate) fn clock(&self) -> Option<Clock> {
        *self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn remember(&self, clock: Option<Clock>) {
        *self.clock.lock().unwrap_or_else(PoisonError::into_inner) = clock;
    }

    /// Closes all connections, once what is under way on them is answered.
    pub(crate) fn close(&self) {
        self.lanes.iter().for_each(|lane| lane.replace(None));
    }

    /// The connection of that number, made if need be. Nothing is sent so far.
    async fn link(&self, lane: usize, deadline: Instant) -> Result<Arc<Link>> {
        let lane = &self.lanes[lane];
        if let Some(link) = lane.open() {
            return Ok(link);
        }
        let at = self.connecting();
        let began = Instant::now();
        // One at a time; the others share what comes of it.
        let Ok(mut failed) = timeout_at(deadline, lane.connecting.lock()).await else {
            return Err(at.no_answer());
        };
        if let Some(link) = lane.open() {
            return Ok(link);
        }
        if let Some((when, error)) = &*failed
            && *when > began
        {
            return Err(error.clone());
        }
        let limit = deadline.min(began + self.config.connect_timeout);
        let attempt = timeout_at(limit, self.connect()).await;
        match attempt.unwrap_or_else(|_| Err(at.no_answer())) {
            Ok(link) => {
                let link = Arc::new(link);
                lane.replace(Some(Arc::clone(&link)));
                // It may be another by now.
                self.remember(None);
                *failed = None;
                Ok(link)
            }
            Err(error) => {
                *failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
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
        Ok(Link { connection, facts })
    }

    fn connecting(&self) -> Connecting<'_> {
        Connecting {
            server: &self.name,
            config: &self.config,
        }
    }
}
