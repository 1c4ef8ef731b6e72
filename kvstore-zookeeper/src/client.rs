//! Calls: each with its deadline, over the connection that there is.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kvstore_core::{Error, ErrorKind, Result};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::connection::{Ask, Lost, State, keep};
use crate::error::{lost, timed_out, too_long};
use crate::place::Root;
use crate::wire::{Answer, Frames};
use crate::{Acl, ZooKeeperConfig};

pub(crate) struct Client {
    pub(crate) config: ZooKeeperConfig,
    pub(crate) root: Root,
    /// What nodes are created with.
    pub(crate) acl: Vec<Acl>,
    link: Mutex<Option<Link>>,
    calls: Arc<Semaphore>,
    closed: AtomicBool,
    /// The longest request that a server is known to take.
    taken: AtomicUsize,
}

/// How long a request is that every server takes which was told nothing else.
pub(crate) const TAKEN: usize = 0xf_ffff;

/// The task that keeps the connection. It ends when this is dropped.
struct Link {
    asks: mpsc::UnboundedSender<Ask>,
    state: watch::Receiver<State>,
    task: JoinHandle<()>,
}

/// A call under way: its deadline is that of all its requests.
pub(crate) struct Call<'a> {
    pub(crate) client: &'a Client,
    pub(crate) deadline: Instant,
    /// Whether it waits for a server to come back, if none was reached.
    waits: bool,
    permit: Permit,
}

/// A call's place among those under way. Its requests have it as well, so that those whose caller has gone
/// count until they are answered, or will not be.
pub(crate) type Permit = Arc<OwnedSemaphorePermit>;

/// What requests do, which decides what is done when their answers are lost.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing, or nothing more when it is done again: they are asked again.
    None,
    /// A write, which may have been done, and is not sent again.
    Write,
}

impl Client {
    pub(crate) fn new(config: ZooKeeperConfig) -> Self {
        Self {
            root: Root::new(&config.root),
            acl: config.acl_or_default(),
            link: Mutex::new(None),
            calls: Arc::new(Semaphore::new(config.max_pending)),
            closed: AtomicBool::new(false),
            taken: AtomicUsize::new(TAKEN),
            config,
        }
    }

    /// Begins a call: its deadline runs from here.
    pub(crate) fn call(&self) -> Result<Call<'_>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(ErrorKind::Closed.into());
        }
        match Arc::clone(&self.calls).try_acquire_owned() {
            Ok(permit) => Ok(Call {
                client: self,
                deadline: Instant::now() + self.config.timeout,
                waits: true,
                permit: Arc::new(permit),
            }),
            // There is none left: it is never closed.
            Err(_) => {
                let calls = self.config.max_pending;
                let message = format!("{calls} calls are under way, which is `max_pending`");
                Err(Error::new(ErrorKind::Busy, message))
            }
        }
    }

    /// Refuses further calls, lets those under way end, and ends the session.
    pub(crate) async fn close(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        let deadline = Instant::now() + self.config.timeout;
        let calls = u32::try_from(self.config.max_pending).unwrap_or(u32::MAX);
        // In vain where a call takes longer: each ends by its own deadline.
        let _ = timeout_at(deadline, self.calls.acquire_many(calls)).await;
        let link = self.link().take();
        if let Some(Link { asks, task, .. }) = link {
            drop(asks);
            // What does not end in time ends by itself.
            let _ = timeout_at(deadline, task).await;
        }
    }

    fn link(&self) -> MutexGuard<'_, Option<Link>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way to ask, where there is a connection; else what to wait for. The first call starts the task, and
    /// so does one that finds that it is gone, with the runtime on which it was started.
    fn way(&self) -> Result<Result<mpsc::UnboundedSender<Ask>, watch::Receiver<State>>> {
        let mut link = self.link();
        let alive = |link: &&Link| link.state.has_changed().is_ok();
        if let Some(link) = link.as_ref().filter(alive) {
            let connected = matches!(*link.state.borrow(), State::Connected);
            return Ok(match connected {
                true => Ok(link.asks.clone()),
                false => Err(link.state.clone()),
            });
        }
        // A batch that goes on in parts may be longer under way than `close` waits.
        if self.closed.load(Ordering::Acquire) {
            return Err(ErrorKind::Closed.into());
        }
        let runtime = Handle::try_current().map_err(|source| {
            let message = "the provider is used where no tokio runtime runs";
            Error::new(ErrorKind::InvalidConfig, message).with_source(source)
        })?;
        let (asks, asked) = mpsc::unbounded_channel();
        let (told, state) = watch::channel(State::Connecting(None));
        let task = runtime.spawn(keep(self.config.clone(), asked, told));
        *link = Some(Link {
            asks,
            state: state.clone(),
            task,
        });
        Ok(Err(state))
    }

    /// Waits until there is a connection. Nothing has been sent so far.
    async fn connected(&self, call: &Call<'_>) -> Result<mpsc::UnboundedSender<Ask>> {
        loop {
            let mut state = match self.way()? {
                Ok(asks) => return Ok(asks),
                Err(state) => state,
            };
            let last = match &*state.borrow_and_update() {
                State::Connected => continue,
                State::Connecting(last) => last.clone(),
                State::Unreachable(last) if !call.waits => return Err(last.clone()),
                State::Unreachable(last) => Some(last.clone()),
            };
            // Waiting does not help against wrong credentials.
            if let Some(error) = last.as_ref().filter(|error| !error.is_retryable()) {
                return Err(error.clone());
            }
            if timeout_at(call.deadline, state.changed()).await.is_err() {
                return Err(last.unwrap_or_else(|| {
                    let span = self.config.timeout;
                    let message = format!("no connection within {span:?}");
                    Error::new(ErrorKind::Unavailable, message)
                }));
            }
        }
    }
}

impl Call<'_> {
    /// Makes it fail when no server can be reached, rather than wait for one to come back.
    pub(crate) fn at_once(mut self) -> Self {
        self.waits = false;
        self
    }

    /// Sends requests, and waits for their answers until the call's deadline. They are made anew for every time
    /// that they are sent.
    pub(crate) async fn ask(
        &self,
        effect: Effect,
        frames: impl Fn() -> Frames,
    ) -> Result<Vec<Answer>> {
        let unknown = |error: Error| match effect {
            Effect::None => error,
            Effect::Write => error.with_outcome_unknown(),
        };
        // A server that falls over what it is asked is not asked for ever.
        let mut again = 2;
        loop {
            let asks = self.client.connected(self).await?;
            let timed_out = || timed_out(self.client.config.timeout);
            if Instant::now() >= self.deadline {
                return Err(timed_out());
            }
            let (reply, answers) = oneshot::channel();
            let frames = frames();
            let length = frames.longest();
            let ask = Ask {
                frames,
                reply,
                permit: Arc::clone(&self.permit),
            };
            if asks.send(ask).is_err() {
                // The task has ended since, and there will be another.
                tokio::task::yield_now().await;
                continue;
            }
            drop(asks);
            match timeout_at(self.deadline, answers).await {
                Ok(Ok(Ok(answers))) => {
                    if length > TAKEN {
                        self.client.taken.fetch_max(length, Ordering::AcqRel);
                    }
                    return Ok(answers);
                }
                Ok(Ok(Err(Lost::Undone))) => {}
                Ok(Ok(Err(Lost::Sent)))
                    if effect == Effect::Write
                        && length > self.client.taken.load(Ordering::Acquire) =>
                {
                    return Err(unknown(too_long()));
                }
                // The second: the runtime of the task has ended.
                Ok(Ok(Err(Lost::Sent)) | Err(_)) => {
                    again -= 1;
                    if effect == Effect::Write || again == 0 {
                        return Err(unknown(lost()));
                    }
                }
                Err(_) => return Err(unknown(timed_out())),
            }
        }
    }
}
