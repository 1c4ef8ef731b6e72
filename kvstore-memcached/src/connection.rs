//! One connection, on which any number of calls are under way at once.
//!
//! A task of its own owns it. It writes what calls give it, as many requests together as there are, and hands
//! out the answers, which come in the order of the requests. So a call that is dropped leaves nothing half
//! read: its answer is read all the same, and thrown away.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::{Sender, channel};
use tokio::sync::oneshot;

use crate::command::Request;
use crate::driver::Driver;
use crate::reply::{Garbled, Kinds, Reply};

/// How many requests wait to be taken at most, also of calls that were dropped; more wait in their calls.
pub(crate) const QUEUE: usize = 1024;

/// Why a connection has ended.
#[derive(Clone, Debug)]
pub(crate) enum Why {
    Io(Arc<io::Error>),
    /// The server closed it.
    Closed,
    /// The server was asked, and said nothing for this long.
    Silent(Duration),
    /// What the server said was not understood.
    Garbled,
    /// The server said this, and was not asked.
    Said(String),
    /// The runtime on which it was made has ended.
    Runtime,
}

/// A request that has no answer, because the connection has ended.
#[derive(Clone, Debug)]
pub(crate) struct Lost {
    pub(crate) why: Why,
    /// Whether some of it was sent, so that the server may have done it.
    pub(crate) sent: bool,
}

/// Whether all answers are there.
type Outcome = Result<(), Lost>;

/// The answers to a request, as they come: those that are there stay, whatever becomes of the others.
#[derive(Clone, Default)]
pub(crate) struct Replies(Arc<Mutex<Vec<Reply>>>);

impl Replies {
    pub(crate) fn with_capacity(replies: usize) -> Self {
        Self(Arc::new(Mutex::new(Vec::with_capacity(replies))))
    }

    pub(crate) fn push(&self, reply: Reply) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(reply);
    }

    pub(crate) fn take(&self) -> Vec<Reply> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A handle on the connection; dropping it closes the connection, once nobody waits for an answer.
pub(crate) struct Connection {
    given: Sender<Given>,
    heard: Arc<AtomicUsize>,
}

/// A request, as a call gives it.
pub(crate) struct Given {
    pub(crate) data: Bytes,
    pub(crate) missing: usize,
    pub(crate) kinds: Kinds,
    pub(crate) replies: Replies,
    pub(crate) outcome: oneshot::Sender<Outcome>,
}

impl Connection {
    /// Takes a stream; `together`: requests may be written in one piece. When the server says nothing for as long
    /// as `silence`, although it was asked, the connection is dead.
    pub(crate) fn start<S>(stream: S, together: bool, silence: Duration) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (given, requests) = channel(QUEUE);
        let heard = Arc::new(AtomicUsize::new(0));
        let driver = Driver::new(stream, together, silence, requests, Arc::clone(&heard));
        tokio::spawn(driver.run());
        Self { given, heard }
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.given.is_closed()
    }

    /// How often something came.
    pub(crate) fn heard(&self) -> usize {
        self.heard.load(Ordering::Relaxed)
    }

    /// Sends a request, and waits for its answers, which are put there.
    ///
    /// When this future is dropped before the request is sent, it is not sent any more.
    pub(crate) async fn ask(&self, request: &Request, replies: &Replies) -> Outcome {
        let (outcome, ended) = oneshot::channel();
        let given = Given {
            data: request.data.clone(),
            missing: request.replies,
            kinds: request.kinds,
            replies: replies.clone(),
            outcome,
        };
        if self.given.send(given).await.is_err() {
            let (why, sent) = (Why::Closed, false);
            return Err(Lost { why, sent });
        }
        ended.await.unwrap_or_else(|_| {
            // The task was dropped, by its runtime.
            let (why, sent) = (Why::Runtime, true);
            Err(Lost { why, sent })
        })
    }
}

impl From<Garbled> for Why {
    fn from(_: Garbled) -> Self {
        Self::Garbled
    }
}
