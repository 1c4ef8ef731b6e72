//! All servers, and the calls under way.

use std::hash::{DefaultHasher, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use kvstore_core::{Error, ErrorKind, Result};
use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError};
use tokio::time::{Instant, sleep};

use crate::MemcachedConfig;
use crate::command::Commands;
use crate::error;
use crate::names::{Name, Names};
use crate::reply::Reply;
use crate::ring::Ring;
use crate::server::Server;
use crate::tls;

pub(crate) struct Servers {
    config: Arc<MemcachedConfig>,
    servers: Vec<Server>,
    ring: Ring,
    names: Names,
    permits: Semaphore,
}

impl Servers {
    pub(crate) fn new(config: MemcachedConfig) -> Result<Self> {
        config.check()?;
        let config = Arc::new(config);
        let tls = config.tls.then(|| tls::connector(&config)).transpose()?;
        let server =
            |address: &_| Server::new(Arc::clone(&config), Clone::clone(address), tls.clone());
        Ok(Self {
            servers: config.servers.iter().map(server).collect(),
            ring: Ring::new(&config.servers),
            names: Names::new(&config.prefix),
            permits: Semaphore::new(config.max_pending),
            config,
        })
    }

    pub(crate) fn config(&self) -> &MemcachedConfig {
        &self.config
    }

    pub(crate) fn all(&self) -> &[Server] {
        &self.servers
    }

    /// Connects to all of them; the size of the largest item that all take.
    pub(crate) async fn connect(&self) -> Result<usize> {
        let deadline = Instant::now() + self.config.timeout.max(self.config.connect_timeout);
        let connecting = self
            .servers
            .iter()
            .map(|server| server.item_size_max(0, deadline));
        let mut smallest = usize::MAX;
        for item_size_max in join_all(connecting).await {
            smallest = smallest.min(item_size_max?);
        }
        Ok(smallest)
    }

    /// Begins a call: its deadline runs from here, over all that it asks.
    pub(crate) fn call(&self) -> Result<Call<'_>> {
        match self.permits.try_acquire() {
            Ok(permit) => Ok(Call {
                servers: self,
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

    /// Refuses further calls, lets those under way end, and closes the connections.
    pub(crate) async fn close(&self) {
        self.permits.close();
        // A little longer than the last call, so that it ends by itself.
        let deadline = Instant::now() + self.config.timeout + Duration::from_millis(100);
        while self.permits.available_permits() < self.config.max_pending
            && Instant::now() < deadline
        {
            sleep(Duration::from_millis(5)).await;
        }
        self.servers.iter().for_each(Server::close);
    }
}

/// One call of the provider, which may ask several things.
pub(crate) struct Call<'a> {
    servers: &'a Servers,
    _permit: SemaphorePermit<'a>,
    pub(crate) deadline: Instant,
}

/// Which way to a key: its server, and the connection there. It is always the same, so that what is asked of a
/// key is done in the order in which it was asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) server: usize,
    pub(crate) lane: usize,
}

impl<'a> Call<'a> {
    pub(crate) fn name(&self, key: &str) -> Name {
        self.servers.names.name(key)
    }

    pub(crate) fn route(&self, name: &Name) -> Route {
        let lane = match self.servers.config.connections {
            1 => 0,
            connections => {
                let mut hasher = DefaultHasher::new();
                hasher.write(name.text.as_bytes());
                let hash = hasher.finish() % connections as u64;
                usize::try_from(hash).unwrap_or_default()
            }
        };
        Route {
            server: self.servers.ring.server(&name.text),
            lane,
        }
    }

    pub(crate) fn server(&self, route: Route) -> &'a Server {
        &self.servers.servers[route.server]
    }

    /// Asks the server of a key.
    pub(crate) async fn ask(&self, route: Route, commands: Commands) -> Result<Vec<Reply>> {
        let request = commands.request();
        self.server(route)
            .ask(route.lane, &request, self.deadline)
            .await
    }

    /// Asks one thing.
    pub(crate) async fn ask_one(&self, route: Route, commands: Commands) -> Result<Reply> {
        let replies = self.ask(route, commands).await?;
        match replies.into_iter().next() {
            Some(Reply::Refused(words)) => Err(error::refused(&words)),
            Some(reply) => Ok(reply),
            None => Err(error::not_understood()),
        }
    }
}
