//! A server, over a connection that is made again whenever it is lost.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kvstore_core::{Error, ErrorKind, Result};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::address::Address;
use crate::command::{Command, Reply};
use crate::error::Failure;
use crate::link::{Link, Opener, Role};
use crate::sentinel::Sentinel;

/// How long it is until a connection is tried again: after the first failure, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(2));

/// Where a server is, or who knows.
pub(crate) enum Place {
    At {
        address: Address,
        role: Role,
        opener: Arc<Opener>,
    },
    Primary(Arc<Sentinel>),
    Replica(Arc<Sentinel>),
}

impl Place {
    async fn open(&self) -> Result<(Link, JoinHandle<()>)> {
        match self {
            Self::At {
                address,
                role,
                opener,
            } => opener.open(address, *role).await,
            Self::Primary(sentinel) => sentinel.open_primary().await,
            Self::Replica(sentinel) => sentinel.open_replica().await,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At { address, .. } => address.fmt(f),
            Self::Primary(sentinel) => write!(f, "the primary {sentinel}"),
            Self::Replica(sentinel) => write!(f, "a replica {sentinel}"),
        }
    }
}

pub(crate) struct Node {
    place: Arc<Place>,
    state: watch::Receiver<State>,
    probing: AtomicBool,
    runtime: Handle,
    /// How long a `PING` may take that is to tell whether there is somebody.
    timeout: Duration,
    keeper: AbortHandle,
}

#[derive(Clone)]
enum State {
    Up(Link),
    /// With the last thing that was wrong.
    Down(Option<Error>),
}

impl Node {
    /// Begins to connect, and goes on for ever.
    pub(crate) fn new(place: Place, timeout: Duration, runtime: &Handle) -> Arc<Self> {
        let place = Arc::new(place);
        let (told, state) = watch::channel(State::Down(None));
        let keeper = runtime.spawn(keep(Arc::clone(&place), told));
        Arc::new(Self {
            place,
            state,
            probing: AtomicBool::new(false),
            runtime: runtime.clone(),
            timeout,
            keeper: keeper.abort_handle(),
        })
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Where it is, if that does not change.
    pub(crate) fn address(&self) -> Option<&Address> {
        match &*self.place {
            Place::At { address, .. } => Some(address),
            Place::Primary(_) | Place::Replica(_) => None,
        }
    }

    /// The connection, if there is one.
    pub(crate) fn link(&self) -> Option<Link> {
        match &*self.state.borrow() {
            State::Up(link) if link.is_up() => Some(link.clone()),
            _ => None,
        }
    }

    /// Waits for the first attempt to connect.
    pub(crate) async fn first_link(&self) -> Result<Link> {
        let mut state = self.state.clone();
        let tried = state
            .wait_for(|state| !matches!(state, State::Down(None)))
            .await;
        match tried.as_deref() {
            Ok(State::Up(link)) => Ok(link.clone()),
            Ok(State::Down(Some(error))) => Err(error.clone()),
            _ => Err(ended()),
        }
    }

    /// Waits until there is a connection. Nothing has been sent so far.
    pub(crate) async fn link_by(&self, deadline: Instant) -> Result<Link> {
        let mut state = self.state.clone();
        loop {
            let last = match &*state.borrow_and_update() {
                State::Up(link) if link.is_up() => return Ok(link.clone()),
                State::Up(_) => None,
                State::Down(last) => last.clone(),
            };
            // Waiting does not help against a wrong password.
            if let Some(error) = last.clone().filter(|error| !error.is_retryable()) {
                return Err(error);
            }
            match timeout_at(deadline, state.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(ended()),
                Err(_) => {
                    let message = format!("no connection to {} before the deadline", self.place);
                    return Err(last.unwrap_or_else(|| Error::new(ErrorKind::Unavailable, message)));
                }
            }
        }
    }

    /// Gives one command over a connection, and waits for its answer until the deadline.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        link: &mut Link,
        command: &Command,
        deadline: Instant,
    ) -> Result<Reply, Failure> {
        let mut asking = Asking::new(self);
        let answer = timeout_at(deadline, link.send(command)).await;
        asking.is_answered = answer.is_ok();
        answer.unwrap_or_else(|_| Err(Failure::timed_out(self.timeout, command.is_write())))
    }

    /// Gives several commands, written together.
    pub(crate) async fn ask_all(
        self: &Arc<Self>,
        link: &mut Link,
        commands: &[&Command],
        deadline: Instant,
    ) -> Vec<Result<Reply, Failure>> {
        let mut asking = Asking::new(self);
        let answers = timeout_at(deadline, link.send_all(commands.iter().copied())).await;
        asking.is_answered = answers.is_ok();
        answers.unwrap_or_else(|_| {
            let late =
                |command: &&Command| Err(Failure::timed_out(self.timeout, command.is_write()));
            commands.iter().map(late).collect()
        })
    }

    /// Ends the connection if it does not answer any more.
    fn probe(self: &Arc<Self>) {
        let Some(mut link) = self.link() else {
            return;
        };
        if self.probing.swap(true, Ordering::AcqRel) {
            return;
        }
        let node = Arc::clone(self);
        self.runtime.spawn(async move {
            let ping = Command::other("PING");
            if timeout(node.timeout, link.send(&ping)).await.is_err() {
                link.end();
            }
            node.probing.store(false, Ordering::Release);
        });
    }

    pub(crate) fn close(&self) {
        self.keeper.abort();
        if let Some(link) = self.link() {
            link.end();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// What is said when nobody connects any more.
pub(crate) fn ended() -> Error {
    let message = "the tokio runtime on which the provider was made has ended";
    Error::new(ErrorKind::Unavailable, message)
}

/// A call that is under way. When it runs out of time, or its caller of patience, the connection is asked whether
/// it still answers: the next caller would wait in vain as well.
struct Asking<'a> {
    node: &'a Arc<Node>,
    is_answered: bool,
}

impl<'a> Asking<'a> {
    fn new(node: &'a Arc<Node>) -> Self {
        Self {
            node,
            is_answered: false,
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.node.probe();
        }
    }
}

/// Connects again whenever the connection is lost or left.
async fn keep(place: Arc<Place>, told: watch::Sender<State>) {
    let (mut pause, longest) = PAUSES;
    loop {
        match place.open().await {
            Ok((link, mut task)) => {
                pause = PAUSES.0;
                told.send_replace(State::Up(link.clone()));
                tokio::select! {
                    _ = &mut task => {}
                    () = link.left() => {}
                }
                told.send_replace(State::Down(None));
            }
            Err(error) => {
                told.send_replace(State::Down(Some(error)));
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(longest);
    }
}
