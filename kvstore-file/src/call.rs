//! A call: what an async caller waits for, and a thread does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kvstore_core::{Error, ErrorKind, Result};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// A call in a queue, to be done on something: a snapshot, or the tables of a transaction.
pub(crate) trait Call<On>: Send {
    /// Begins it, unless its caller does not wait any more: then nothing is done.
    fn begin(&self) -> bool;

    /// Does it, and may do it again. What comes of it is kept back until it is finished.
    fn run(&mut self, on: &mut On) -> Result<(), redb::Error>;

    /// Answers the caller: with what came of it, or with what went wrong after all.
    fn finish(self: Box<Self>, all: Result<()>);
}

/// Makes a call of some work, which writes or only reads, with what waits for it.
pub(crate) fn call<F, T>(work: F, writes: bool) -> (Work<F, T>, Pending<T>) {
    let (sender, receiver) = oneshot::channel();
    let begun = Arc::new(AtomicBool::new(false));
    let work = Work {
        work,
        done: None,
        begun: Arc::clone(&begun),
        answer: sender,
    };
    let pending = Pending {
        answer: receiver,
        begun,
        writes,
    };
    (work, pending)
}

pub(crate) struct Work<F, T> {
    work: F,
    done: Option<T>,
    begun: Arc<AtomicBool>,
    answer: oneshot::Sender<Result<T>>,
}

impl<On, F, T> Call<On> for Work<F, T>
where
    F: FnMut(&mut On) -> Result<T, redb::Error> + Send,
    T: Send,
{
    fn begin(&self) -> bool {
        !self.answer.is_closed() && !self.begun.swap(true, Ordering::AcqRel)
    }

    fn run(&mut self, on: &mut On) -> Result<(), redb::Error> {
        self.done = Some((self.work)(on)?);
        Ok(())
    }

    fn finish(self: Box<Self>, all: Result<()>) {
        // Nobody may wait any more, which is no error.
        let _ = match (all, self.done) {
            (Ok(()), Some(done)) => self.answer.send(Ok(done)),
            (Ok(()), None) => self.answer.send(Err(ErrorKind::Other.into())),
            (Err(error), _) => self.answer.send(Err(error)),
        };
    }
}

/// Waits for a call.
pub(crate) struct Pending<T> {
    answer: oneshot::Receiver<Result<T>>,
    /// Whether the thread has begun it; set by who comes first, the thread or the deadline.
    begun: Arc<AtomicBool>,
    writes: bool,
}

impl<T> Pending<T> {
    /// Waits until the deadline. After it, a call that was not begun never will be.
    pub(crate) async fn wait(mut self, deadline: Instant) -> Result<T> {
        if let Ok(answer) = timeout_at(deadline, &mut self.answer).await {
            return answer.unwrap_or_else(|_| Err(self.unanswered()));
        }
        match self.begun.swap(true, Ordering::AcqRel) {
            true => {
                let message = "the deadline passed before the disk was done";
                Err(self.may_be_done(Error::new(ErrorKind::Timeout, message)))
            }
            false => {
                let message = "the deadline passed before the call was begun; nothing was done";
                Err(Error::new(ErrorKind::Timeout, message))
            }
        }
    }

    /// Waits as long as it takes.
    pub(crate) async fn wait_without_deadline(mut self) -> Result<T> {
        let answer = (&mut self.answer).await;
        answer.unwrap_or_else(|_| Err(self.unanswered()))
    }

    /// The thread that had the call has panicked.
    fn unanswered(&self) -> Error {
        let message = "the database has failed in a way that it should not";
        self.may_be_done(Error::new(ErrorKind::Other, message))
    }

    fn may_be_done(&self, error: Error) -> Error {
        match self.writes {
            true => error.with_outcome_unknown(),
            false => error,
        }
    }
}
