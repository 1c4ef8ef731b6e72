//! One connection, on which any number of calls are under way at once.
//!
//! A task of its own owns it. It writes what calls give it, as many requests together as there are, and hands
//! out the answers, which come in the order of the requests. So a call that is dropped leaves nothing half
//! read: its answer is read all the same, and thrown away.

use std::collections::VecDeque;
use std::future::{Future as _, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep};

use crate::command::Request;
use crate::reply::{Garbled, Kinds, Reader, Reply};

/// How many requests are written in one piece.
const TOGETHER: usize = 64;

/// How many requests wait to be taken at most, also of calls that were dropped; more wait in their calls.
const QUEUE: usize = 1024;

/// The least room that there is for reading.
const ROOM: usize = 16 * 1024;

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

type Answer = Result<Vec<Reply>, Lost>;

/// A handle on the connection; dropping it closes the connection, once nobody waits for an answer.
pub(crate) struct Connection {
    given: Sender<Given>,
}

/// A request, as a call gives it.
struct Given {
    data: Bytes,
    replies: usize,
    kinds: Kinds,
    answer: oneshot::Sender<Answer>,
}

impl Connection {
    /// Takes a stream; `together`: requests may be written in one piece. When the server says nothing for as long
    /// as `silence`, although it was asked, the connection is dead.
    pub(crate) fn start<S>(stream: S, together: bool, silence: Duration) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (given, requests) = channel(QUEUE);
        let driver = Driver {
            stream,
            together,
            given: requests,
            outgoing: VecDeque::new(),
            written: 0,
            unflushed: false,
            yielded: false,
            waiting: VecDeque::new(),
            incoming: BytesMut::with_capacity(ROOM),
            reader: Reader::default(),
            silence,
            heard: Instant::now(),
            alarm: Box::pin(sleep(silence)),
            armed: false,
        };
        tokio::spawn(driver.run());
        Self { given }
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.given.is_closed()
    }

    /// Sends a request, and waits for its answers.
    ///
    /// When this future is dropped before the request is sent, it is not sent any more.
    pub(crate) async fn ask(&self, request: &Request) -> Answer {
        let (answer, answered) = oneshot::channel();
        let given = Given {
            data: request.data.clone(),
            replies: request.replies,
            kinds: request.kinds,
            answer,
        };
        if self.given.send(given).await.is_err() {
            let (why, sent) = (Why::Closed, false);
            return Err(Lost { why, sent });
        }
        answered.await.unwrap_or_else(|_| {
            // The task was dropped, by its runtime.
            let (why, sent) = (Why::Runtime, true);
            Err(Lost { why, sent })
        })
    }
}

/// The task that owns the connection.
struct Driver<S> {
    stream: S,
    together: bool,
    given: Receiver<Given>,
    /// What is still to be written: of the first, from `written` on.
    outgoing: VecDeque<Bytes>,
    written: usize,
    unflushed: bool,
    /// It let others go first, so that their requests go along.
    yielded: bool,
    /// Who waits for answers, in their order; the last of them for what is in `outgoing`.
    waiting: VecDeque<Waiting>,
    incoming: BytesMut,
    reader: Reader,
    silence: Duration,
    /// When something last came, or was asked for after a rest.
    heard: Instant,
    alarm: Pin<Box<Sleep>>,
    armed: bool,
}

struct Waiting {
    replies: Vec<Reply>,
    missing: usize,
    kinds: Kinds,
    answer: oneshot::Sender<Answer>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    async fn run(mut self) {
        let why = poll_fn(|context| self.poll(context)).await;
        self.given.close();
        // Of what is in `outgoing` only the first can have been sent, in part; that may have been answered already,
        // by a server that refuses a value before it has it.
        let unsent = self.outgoing.len() - usize::from(self.written > 0);
        let sent = self.waiting.len().saturating_sub(unsent);
        for (at, waiting) in self.waiting.into_iter().enumerate() {
            let (why, sent) = (why.clone(), at < sent);
            // Nobody waits any more where this fails, here and below.
            let _ = waiting.answer.send(Err(Lost { why, sent }));
        }
        while let Some(given) = self.given.recv().await {
            let (why, sent) = (why.clone(), false);
            let _ = given.answer.send(Err(Lost { why, sent }));
        }
    }

    /// Does what can be done now; ready when the connection has ended.
    ///
    /// It reads first: what is given to a connection that the server has closed is then known not to have been sent.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Why> {
        if let Err(why) = self.read(context) {
            return Poll::Ready(why);
        }
        loop {
            let rested = self.waiting.is_empty();
            let taken = self.take(context);
            // No more will come, and nobody waits for what is under way.
            if taken == Poll::Ready(false) && self.waiting.iter().all(|of| of.answer.is_closed()) {
                return Poll::Ready(Why::Closed);
            }
            // While answers are under way, more requests will come along in a moment: one write carries them all.
            if !rested && !self.yielded && self.written == 0 && !self.outgoing.is_empty() {
                self.yielded = true;
                context.waker().wake_by_ref();
                break;
            }
            self.yielded = false;
            match self.write(context) {
                Err(error) => return Poll::Ready(Why::Io(Arc::new(error))),
                // There may be more than could be taken at once.
                Ok(true) if taken == Poll::Ready(true) => {}
                Ok(_) => break,
            }
        }
        self.listen(context)
    }

    /// Takes requests; ready when there may be more than it took, and with `false` when no more will come.
    fn take(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        while self.outgoing.len() < TOGETHER {
            let given = match self.given.poll_recv(context) {
                Poll::Ready(Some(given)) => given,
                Poll::Ready(None) => return Poll::Ready(false),
                Poll::Pending => return Poll::Pending,
            };
            // Whoever asked has gone.
            if given.answer.is_closed() {
                continue;
            }
            if self.waiting.is_empty() {
                self.heard = Instant::now();
            }
            self.outgoing.push_back(given.data);
            self.waiting.push_back(Waiting {
                replies: Vec::with_capacity(given.replies),
                missing: given.replies,
                kinds: given.kinds,
                answer: given.answer,
            });
        }
        Poll::Ready(true)
    }

    /// Writes; whether all is written.
    fn write(&mut self, context: &mut Context<'_>) -> io::Result<bool> {
        while !self.outgoing.is_empty() {
            let mut slices = [IoSlice::new(&[]); TOGETHER];
            for (slice, data) in slices.iter_mut().zip(&self.outgoing) {
                *slice = IoSlice::new(data);
            }
            slices[0] = IoSlice::new(&self.outgoing[0][self.written..]);
            let count = if self.together {
                self.outgoing.len()
            } else {
                1
            };
            let slices = &slices[..count.min(TOGETHER)];
            let stream = Pin::new(&mut self.stream);
            let Poll::Ready(length) = stream.poll_write_vectored(context, slices)? else {
                return Ok(false);
            };
            if length == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.unflushed = true;
            self.written += length;
            while let Some(first) = self.outgoing.front()
                && first.len() <= self.written
            {
                self.written -= first.len();
                self.outgoing.pop_front();
            }
        }
        if self.unflushed {
            let flushed = Pin::new(&mut self.stream).poll_flush(context)?;
            self.unflushed = flushed.is_pending();
        }
        Ok(!self.unflushed)
    }

    /// Reads, and hands out answers.
    fn read(&mut self, context: &mut Context<'_>) -> Result<(), Why> {
        loop {
            while let Some(reply) = self.reader.next(&mut self.incoming)? {
                self.hand_out(reply)?;
            }
            if self.incoming.capacity() - self.incoming.len() < ROOM / 4 {
                self.incoming.reserve(ROOM);
            }
            match pin!(self.stream.read_buf(&mut self.incoming)).poll(context) {
                Poll::Ready(Ok(0)) => return Err(Why::Closed),
                Poll::Ready(Ok(_)) => self.heard = Instant::now(),
                Poll::Ready(Err(error)) => return Err(Why::Io(Arc::new(error))),
                Poll::Pending => return Ok(()),
            }
        }
    }

    fn hand_out(&mut self, reply: Reply) -> Result<(), Why> {
        let Some(first) = self.waiting.front_mut() else {
            return Err(match reply {
                Reply::Refused(words) => Why::Said(words),
                _ => Why::Garbled,
            });
        };
        // One answer too many or too few, and each call would be told what was meant for another.
        if !reply.is_one_of(first.kinds) {
            return Err(Why::Garbled);
        }
        first.replies.push(reply);
        first.missing -= 1;
        if first.missing == 0
            && let Some(done) = self.waiting.pop_front()
        {
            // Whoever asked may have gone.
            let _ = done.answer.send(Ok(done.replies));
        }
        Ok(())
    }

    /// Notices when the server says nothing any more. The alarm is set once in a while, not for each request.
    fn listen(&mut self, context: &mut Context<'_>) -> Poll<Why> {
        loop {
            if self.armed && !self.alarm.is_elapsed() {
                return Poll::Pending;
            }
            self.armed = !self.waiting.is_empty();
            if !self.armed {
                return Poll::Pending;
            }
            let until = self.heard + self.silence;
            if until <= Instant::now() {
                return Poll::Ready(Why::Silent(self.silence));
            }
            self.alarm.as_mut().reset(until);
            if self.alarm.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl From<Garbled> for Why {
    fn from(_: Garbled) -> Self {
        Self::Garbled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::poll_immediate;
    use tokio::io::duplex;
    use tokio::task::unconstrained;

    struct Held {
        _count: Arc<()>,
    }

    impl AsRef<[u8]> for Held {
        fn as_ref(&self) -> &[u8] {
            b"version\r\n"
        }
    }

    /// Whoever drops calls all the time, as by deadlines of its own, is not bounded by the calls under way.
    #[tokio::test]
    async fn dropped_calls_do_not_pile_up() {
        let (stream, mut server) = duplex(64);
        let connection = Connection::start(stream, true, Duration::from_secs(60));
        let held = Arc::new(());
        for _ in 0..3 * QUEUE {
            let request = Request {
                data: Bytes::from_owner(Held {
                    _count: Arc::clone(&held),
                }),
                replies: 1,
                kinds: Kinds::VERSION,
                writes: false,
                largest: 0,
            };
            // Else tokio would make this test wait, to let others go first.
            let asked = unconstrained(poll_immediate(connection.ask(&request)));
            assert!(asked.await.is_none());
        }
        assert!(Arc::strong_count(&held) <= 1 + QUEUE);
        // And are in nobody's way.
        let mut version = crate::command::Commands::default();
        version.version();
        let (request, mut question) = (version.request(), [0; 9]);
        let answering = async {
            server.read_exact(&mut question).await.unwrap();
            let answer = tokio::io::AsyncWriteExt::write_all(&mut server, b"VERSION 1\r\n");
            answer.await.unwrap();
        };
        let (answer, ()) = tokio::join!(connection.ask(&request), answering);
        assert_eq!(answer.unwrap().len(), 1);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
