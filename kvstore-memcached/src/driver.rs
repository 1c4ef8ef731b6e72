//! The task that drives a connection: it writes, reads, and notices that a server is dead.

use std::collections::VecDeque;
use std::future::{Future as _, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep};

use crate::connection::{Given, Lost, Replies, Why};
use crate::reply::{Kinds, Reader, Reply};

/// How many requests are written in one piece.
const TOGETHER: usize = 64;

/// The least room that there is for reading.
const ROOM: usize = 16 * 1024;

/// The task that owns a connection.
pub(crate) struct Driver<S> {
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
    count: Arc<AtomicUsize>,
    alarm: Pin<Box<Sleep>>,
    armed: bool,
}

/// Whoever waits for answers.
struct Waiting {
    missing: usize,
    kinds: Kinds,
    replies: Replies,
    outcome: oneshot::Sender<Result<(), Lost>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    /// `count` is how often something came, for others to see.
    pub(crate) fn new(
        stream: S,
        together: bool,
        silence: Duration,
        given: Receiver<Given>,
        count: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            stream,
            together,
            given,
            outgoing: VecDeque::new(),
            written: 0,
            unflushed: false,
            yielded: false,
            waiting: VecDeque::new(),
            incoming: BytesMut::with_capacity(ROOM),
            reader: Reader::default(),
            silence,
            heard: Instant::now(),
            count,
            alarm: Box::pin(sleep(silence)),
            armed: false,
        }
    }

    pub(crate) async fn run(mut self) {
        let why = poll_fn(|context| self.poll(context)).await;
        self.given.close();
        // Of what is in `outgoing` only the first can have been sent, in part; that may have been answered already,
        // by a server that refuses a value before it has it.
        let unsent = self.outgoing.len() - usize::from(self.written > 0);
        let sent = self.waiting.len().saturating_sub(unsent);
        for (at, waiting) in self.waiting.into_iter().enumerate() {
            let (why, sent) = (why.clone(), at < sent);
            // Nobody waits any more where this fails, here and below.
            let _ = waiting.outcome.send(Err(Lost { why, sent }));
        }
        while let Some(given) = self.given.recv().await {
            let (why, sent) = (why.clone(), false);
            let _ = given.outcome.send(Err(Lost { why, sent }));
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
            if taken == Poll::Ready(false) && self.waiting.iter().all(|of| of.outcome.is_closed()) {
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
            if given.outcome.is_closed() {
                continue;
            }
            if self.waiting.is_empty() {
                self.heard = Instant::now();
            }
            self.outgoing.push_back(given.data);
            self.waiting.push_back(Waiting {
                missing: given.missing,
                kinds: given.kinds,
                replies: given.replies,
                outcome: given.outcome,
            });
        }
        Poll::Ready(true)
    }

    /// Forgets what nobody waits for any more, as far as nothing of it was written.
    fn forget(&mut self) {
        let unsent = self.outgoing.len() - usize::from(self.written > 0);
        for from_end in (1..=unsent).rev() {
            let at = self.waiting.len() - from_end;
            if self.waiting[at].outcome.is_closed() {
                self.waiting.remove(at);
                self.outgoing.remove(self.outgoing.len() - from_end);
            }
        }
    }

    /// Writes; whether all is written.
    fn write(&mut self, context: &mut Context<'_>) -> io::Result<bool> {
        self.forget();
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
                Poll::Ready(Ok(_)) => {
                    self.heard = Instant::now();
                    self.count.fetch_add(1, Ordering::Relaxed);
                }
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
            let _ = done.outcome.send(Ok(()));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Commands, Request};
    use crate::connection::{Connection, QUEUE};
    use bytes::Bytes;
    use futures_util::future::poll_immediate;
    use tokio::io::{AsyncWriteExt as _, duplex};
    use tokio::task::unconstrained;

    struct Held {
        _count: Arc<()>,
    }

    impl AsRef<[u8]> for Held {
        fn as_ref(&self) -> &[u8] {
            b"version\r\n"
        }
    }

    fn asking(data: Bytes) -> Request {
        Request {
            data,
            replies: 1,
            kinds: Kinds::VERSION,
            writes: false,
            largest: 0,
            only_on: None,
        }
    }

    /// Whoever drops calls all the time, as by deadlines of its own, is not bounded by the calls under way.
    #[tokio::test]
    async fn dropped_calls_do_not_pile_up() {
        let (stream, mut server) = duplex(64);
        let connection = Connection::start(stream, true, Duration::from_secs(60));
        let held = Arc::new(());
        for _ in 0..3 * QUEUE {
            let request = asking(Bytes::from_owner(Held {
                _count: Arc::clone(&held),
            }));
            let replies = Replies::default();
            // Else tokio would make this test wait, to let others go first.
            let asked = unconstrained(poll_immediate(connection.ask(&request, &replies)));
            assert!(asked.await.is_none());
        }
        assert!(Arc::strong_count(&held) <= 1 + QUEUE);
        // And are in nobody's way.
        let mut version = Commands::default();
        version.version();
        let (request, replies, mut question) = (version.request(), Replies::default(), [0; 9]);
        let answering = async {
            server.read_exact(&mut question).await.unwrap();
            server.write_all(b"VERSION 1\r\n").await.unwrap();
        };
        let (outcome, ()) = tokio::join!(connection.ask(&request, &replies), answering);
        outcome.unwrap();
        assert_eq!(replies.take().len(), 1);
        assert_eq!(Arc::strong_count(&held), 1);
    }

    /// What was taken to be written, and waits for what is before it.
    #[tokio::test]
    async fn what_is_dropped_before_anything_of_it_was_written_is_not_written() {
        let (stream, mut server) = duplex(64);
        let connection = Connection::start(stream, true, Duration::from_secs(60));
        let requests = [&[b'a'; 200][..], &[b'b'; 50], &[b'c'; 50]];
        let requests = requests.map(|data| asking(Bytes::from_static(data)));
        let replies = [(); 3].map(|()| Replies::default());
        let mut asked: Vec<_> = requests
            .iter()
            .zip(&replies)
            .map(|(request, replies)| Box::pin(connection.ask(request, replies)))
            .collect();
        for ask in &mut asked {
            assert!(poll_immediate(ask.as_mut()).await.is_none());
        }
        // The first is written in part, and the others are not.
        tokio::task::yield_now().await;
        drop(asked.remove(1));
        let mut written = [0; 250];
        server.read_exact(&mut written).await.unwrap();
        assert_eq!(written[..200], [b'a'; 200]);
        assert_eq!(written[200..], [b'c'; 50]);
        for answer in ["VERSION 1\r\n", "VERSION 2\r\n"] {
            server.write_all(answer.as_bytes()).await.unwrap();
            asked.remove(0).await.unwrap();
        }
        let there = replies.each_ref().map(|replies| replies.take().len());
        assert_eq!(there, [1, 0, 1]);
    }
}
