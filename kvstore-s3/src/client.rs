//! Calls: each with its deadline.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use kvstore_core::{Error, ErrorKind, Result};
use tokio::sync::{Mutex, MutexGuard, Semaphore, SemaphorePermit, TryAcquireError};
use tokio::time::{Instant, timeout_at};

use crate::S3Config;
use crate::conditions::Conditions;
use crate::error::Refusal;
use crate::http::{Answer, Ask, Http};
use crate::joint::Joint;
use crate::name::Names;
use crate::walk::STEP;

pub(crate) struct Client {
    pub(crate) config: S3Config,
    pub(crate) names: Names,
    /// Whether objects expire: for good, so that what has expired does not come back.
    pub(crate) expires: bool,
    /// What the server was found to honour.
    pub(crate) conditions: OnceLock<Conditions>,
    pub(crate) probing: Joint<Conditions>,
    /// `None` when it was closed.
    http: RwLock<Option<Arc<Http>>>,
    connections: Semaphore,
    /// Each for some of the objects.
    turns: Vec<Mutex<()>>,
    hasher: RandomState,
    calls: Semaphore,
    closed: AtomicBool,
}

/// A call under way: its deadline is that of all its requests.
pub(crate) struct Call<'a> {
    pub(crate) client: &'a Arc<Client>,
    pub(crate) deadline: Instant,
    /// `None` where it is none of the callers'.
    _permit: Option<SemaphorePermit<'a>>,
}

impl Client {
    pub(crate) fn new(config: S3Config) -> Result<Self> {
        Ok(Self {
            names: Names::new(&config.prefix),
            expires: config.expiry,
            conditions: OnceLock::new(),
            probing: Joint::new(),
            http: RwLock::new(Some(Arc::new(Http::new(&config)?))),
            connections: Semaphore::new(config.max_connections),
            turns: (0..TURNS).map(|_| Mutex::new(())).collect(),
            hasher: RandomState::new(),
            calls: Semaphore::new(config.max_pending),
            closed: AtomicBool::new(false),
            config,
        })
    }

    /// Begins a call: its deadline runs from here.
    pub(crate) fn call(self: &Arc<Self>) -> Result<Call<'_>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(ErrorKind::Closed.into());
        }
        match self.calls.try_acquire() {
            Ok(permit) => Ok(Call {
                _permit: Some(permit),
                ..self.own_call()
            }),
            // It is never closed.
            Err(TryAcquireError::Closed) => Err(ErrorKind::Closed.into()),
            Err(TryAcquireError::NoPermits) => {
                let calls = self.config.max_pending;
                let message = format!("{calls} calls are under way, which is `max_pending`");
                Err(Error::new(ErrorKind::Busy, message))
            }
        }
    }

    /// Begins what no caller asked for.
    pub(crate) fn own_call(self: &Arc<Self>) -> Call<'_> {
        Call {
            client: self,
            deadline: Instant::now() + self.config.timeout,
            _permit: None,
        }
    }

    /// Refuses further calls, lets those under way end, and closes the connections.
    pub(crate) async fn close(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        let deadline = Instant::now() + self.config.timeout;
        let calls = u32::try_from(self.config.max_pending).unwrap_or(u32::MAX);
        let under_way = async {
            let _calls = self.calls.acquire_many(calls).await;
            self.probing.ended().await;
        };
        // In vain where a call takes longer: each ends by its own deadline.
        let _ = timeout_at(deadline, under_way).await;
        *self.http.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    async fn ask(&self, ask: &Ask, deadline: Instant) -> Result<Answer> {
        let permit = timeout_at(deadline, self.connections.acquire()).await;
        let Ok(permit) = permit else {
            let message =
                "no connection was free in time: `max_connections` requests are under way";
            return Err(Error::new(ErrorKind::Timeout, message));
        };
        // It is never closed.
        let _permit = permit.map_err(|_| ErrorKind::Closed)?;
        let http = self
            .http
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        http.ok_or(ErrorKind::Closed)?.ask(ask, deadline).await
    }
}

/// How many objects can be written under a condition at once, at most.
const TURNS: usize = 256;

impl Call<'_> {
    /// Waits until no other call of this provider writes the object under a condition.
    ///
    /// All but one of them would be in vain, and SeaweedFS makes each wait for whole seconds.
    pub(crate) async fn turn(&self, object: &str) -> Result<MutexGuard<'_, ()>> {
        let random = self.client.hasher.hash_one(object) % TURNS as u64;
        let turn = usize::try_from(random).unwrap_or_default();
        let turn = timeout_at(self.deadline, self.client.turns[turn].lock()).await;
        turn.map_err(|_| {
            let message = "other calls that write the key under a condition took all the time; nothing was sent";
            Error::new(ErrorKind::Timeout, message)
        })
    }

    /// Begins the next part of a batch, with a deadline of its own, unless the server was too slow before, or
    /// not there: then the rest has no more time than that.
    pub(crate) fn go_on<T>(&mut self, before: &[Result<T>]) {
        let is_gone = |result: &Result<T>| result.as_ref().is_err_and(Error::is_retryable);
        if !before.iter().rev().take(STEP).any(is_gone) {
            self.begin_anew();
        }
    }

    /// Gives what follows the whole time.
    pub(crate) fn begin_anew(&mut self) {
        self.deadline = Instant::now() + self.client.config.timeout;
    }

    /// Asks, whatever the answer is.
    pub(crate) async fn ask(&self, ask: &Ask) -> Result<Answer> {
        self.client.ask(ask, self.deadline).await
    }

    /// Asks for what is done or refused.
    pub(crate) async fn done(&self, ask: &Ask) -> Result<Answer> {
        let answer = self.ask(ask).await?;
        match answer.status.is_success() {
            true => Ok(answer),
            false => Err(Refusal::new(&answer, ask).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_batch_gets_no_more_time_for_a_server_that_is_gone_or_too_slow() {
        let config = S3Config::new("h", "bucket").plain().anonymous();
        let client = Arc::new(Client::new(config).unwrap());
        for (before, goes_on) in [
            (Ok(()), true),
            (Err(ErrorKind::Decode.into()), true),
            (Err(ErrorKind::Timeout.into()), false),
            (Err(ErrorKind::Unavailable.into()), false),
        ] {
            let mut call = client.call().unwrap();
            let first = call.deadline;
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            call.go_on(&[Ok(()), before, Ok(())]);
            assert_eq!(call.deadline > first, goes_on);
        }
    }
}
