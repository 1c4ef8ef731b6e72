//! All servers, and the calls under way.

use std::hash::{DefaultHasher, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use kvstore_core::{Error, ErrorKind, Result};
use tokio::sync::SemaphorePermit;
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
        if self.servers.iter().any(Server::refuses) {
            return Err(ErrorKind::Closed.into());
        }
        Ok(Call {
            servers: self,
            places: Mutex::default(),
            deadline: Instant::now() + self.config.timeout,
        })
    }

    /// Refuses further calls, lets those under way end, and closes the connections.
    pub(crate) async fn close(&self) {
        self.servers.iter().for_each(Server::refuse);
        // A little longer than the last call, so that it ends by itself.
        let deadline = Instant::now() + self.config.timeout + Duration::from_millis(100);
        while !self.servers.iter().all(Server::rests) && Instant::now() < deadline {
            sleep(Duration::from_millis(5)).await;
        }
        self.servers.iter().for_each(Server::close);
    }
}

/// One call of the provider, which may ask several things.
pub(crate) struct Call<'a> {
    servers: &'a Servers,
    /// At each server that it has asked so far.
    places: Mutex<Vec<(usize, SemaphorePermit<'a>)>>,
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

    /// The server on the way to a key, where the call takes a place for as long as it lasts.
    pub(crate) fn server(&self, route: Route) -> Result<&'a Server> {
        let server = &self.servers.servers[route.server];
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if !places.iter().any(|(taken, _)| *taken == route.server) {
            places.push((route.server, server.place()?));
        }
        Ok(server)
    }

    /// Asks the server of a key.
    pub(crate) async fn ask(&self, route: Route, commands: Commands) -> Result<Vec<Reply>> {
        let (server, request) = (self.server(route)?, commands.request());
        server.ask(route.lane, &request, self.deadline).await
    }

    /// The same, where each answer is one by itself: those that came, from the first on, and why there are no more.
    pub(crate) async fn ask_each(
        &self,
        route: Route,
        commands: Commands,
    ) -> (Vec<Reply>, Option<Error>) {
        let server = match self.server(route) {
            Ok(server) => server,
            Err(error) => return (Vec::new(), Some(error)),
        };
        let request = commands.request();
        server.ask_each(route.lane, &request, self.deadline).await
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
