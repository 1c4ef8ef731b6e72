//! One server: what it is asked, and how often.

use std::sync::{Arc, PoisonError};

use kvstore_core::{Error, ErrorKind, Result};
use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use crate::MemcachedConfig;
use crate::clock::Clock;
use crate::command::{self, Request};
use crate::config::Address;
use crate::connection::Replies;
use crate::error;
use crate::link::{Dial, Lane, Link};
use crate::reply::Reply;

/// How often a request is sent at most, where its connection is lost each time.
const ATTEMPTS: usize = 3;

pub(crate) struct Server {
    dial: Arc<Dial>,
    /// One for each connection that there may be.
    lanes: Vec<Lane>,
    /// For the calls under way.
    places: Semaphore,
}

impl Server {
    pub(crate) fn new(
        config: Arc<MemcachedConfig>,
        address: Address,
        tls: Option<TlsConnector>,
    ) -> Self {
        Self {
            lanes: (0..config.connections).map(|_| Lane::default()).collect(),
            places: Semaphore::new(config.max_pending),
            dial: Arc::new(Dial::new(config, address, tls)),
        }
    }

    /// Its host and port.
    pub(crate) fn name(&self) -> &str {
        &self.dial.name
    }

    /// Whether a request may store several items.
    pub(crate) fn takes_many(&self) -> bool {
        !self.dial.is_tls()
    }

    /// A place for a call.
    pub(crate) fn place(&self) -> Result<SemaphorePermit<'_>> {
        self.places.try_acquire().map_err(|error| match error {
            TryAcquireError::Closed => ErrorKind::Closed.into(),
            TryAcquireError::NoPermits => {
                let (name, most) = (self.name(), self.dial.config.max_pending);
                let message =
                    format!("{most} calls to {name} are under way, which is `max_pending`");
                Error::new(ErrorKind::Busy, message)
            }
        })
    }

    /// Has no place for further calls.
    pub(crate) fn refuse(&self) {
        self.places.close();
    }

    pub(crate) fn refuses(&self) -> bool {
        self.places.is_closed()
    }

    /// Whether no call is under way.
    pub(crate) fn rests(&self) -> bool {
        self.places.available_permits() == self.dial.config.max_pending
    }

    /// How many bytes an item may have: what the server said when it was last connected to.
    pub(crate) async fn item_size_max(&self, lane: usize, deadline: Instant) -> Result<usize> {
        Ok(self.link(lane, deadline).await?.facts.item_size_max)
    }

    /// Its clock: what it showed a short while ago, or shows now.
    pub(crate) async fn clock(&self, lane: usize, deadline: Instant) -> Result<Clock> {
        let link = self.link(lane, deadline).await?;
        let known = *link.clock.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(clock) = known.filter(Clock::is_fresh) {
            return Ok(clock);
        }
        let clock = Clock::ask(self, lane, deadline).await?;
        *link.clock.lock().unwrap_or_else(PoisonError::into_inner) = Some(clock);
        Ok(clock)
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
        match self.ask_each(lane, request, deadline).await {
            (replies, None) => Ok(replies),
            (_, Some(error)) => Err(error),
        }
    }

    /// The same, where each answer is one by itself: those that came, from the first on, and why there are no more.
    pub(crate) async fn ask_each(
        &self,
        lane: usize,
        request: &Request,
        deadline: Instant,
    ) -> (Vec<Reply>, Option<Error>) {
        let unknown = |error: Error| match request.writes {
            true => error.with_outcome_unknown(),
            false => error,
        };
        // Of several attempts, those of the one that came furthest.
        let mut came = Vec::new();
        let mut attempt = 1;
        let error = loop {
            let link = match self.link(lane, deadline).await {
                Ok(link) => link,
                Err(error) => break error,
            };
            if request.largest > link.facts.item_size_max {
                break command::too_large(link.facts.item_size_max);
            }
            if request.only_on.is_some_and(|number| number != link.number) {
                return (vec![Reply::Changed], None);
            }
            let (asked, heard) = (Instant::now(), link.connection.heard());
            let replies = Replies::with_capacity(request.replies);
            let outcome = timeout_at(deadline, link.connection.ask(request, &replies)).await;
            let mut replies = replies.take();
            if matches!(outcome, Ok(Ok(()))) {
                for reply in &mut replies {
                    if let Reply::Done(item) = reply {
                        item.connection = link.number;
                    }
                }
                return (replies, None);
            }
            if replies.len() > came.len() {
                came = replies;
            }
            match outcome {
                Ok(Err(lost))
                    if attempt < ATTEMPTS
                        && !(lost.sent && request.writes)
                        && Instant::now() < deadline =>
                {
                    attempt += 1;
                }
                Ok(Err(lost)) => {
                    let error = error::lost(&lost.why, self.name());
                    break if lost.sent { unknown(error) } else { error };
                }
                Ok(Ok(())) | Err(_) => {
                    let (server, span) = (self.name(), self.dial.config.timeout);
                    // The connection notices by itself, unless its runtime does not run any more.
                    if heard == link.connection.heard() && asked.elapsed() > span.mul_f32(0.9) {
                        self.lanes[lane].give_up(&link);
                    }
                    let message = format!("no answer from {server} within {span:?}");
                    break unknown(Error::new(ErrorKind::Timeout, message));
                }
            }
        };
        (came, Some(error))
    }

    /// Closes all connections, once what is under way on them is answered.
    pub(crate) fn close(&self) {
        self.lanes.iter().for_each(Lane::close);
    }

    async fn link(&self, lane: usize, deadline: Instant) -> Result<Arc<Link>> {
        self.dial.link(&self.lanes[lane], deadline).await
    }
}
