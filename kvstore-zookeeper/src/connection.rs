//! The task that keeps a connection to one of the servers, and carries requests over it.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use kvstore_core::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::ZooKeeperConfig;
use crate::client::Permit;
use crate::handshake::{Connection, READ, Session, connect, frame};
use crate::status::CatchUp;
use crate::wire::{self, Answer, Code, Frames};

/// Requests to be sent together, and where their answers go.
pub(crate) struct Ask {
    pub(crate) frames: Frames,
    pub(crate) reply: oneshot::Sender<Result<Vec<Answer>, Lost>>,
    pub(crate) permit: Permit,
}

/// Why there are no answers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lost {
    /// Nothing was sent, or what was sent the server did not do.
    Undone,
    /// The connection was lost after the requests were sent.
    Sent,
}

/// Whether there is a connection.
pub(crate) enum State {
    Connected,
    /// With what was wrong at the last attempt.
    Connecting(Option<Error>),
    /// None of the servers could be reached since there was one, and another round has begun or will.
    Unreachable(Error),
}

/// What is done between two attempts over all servers.
const PAUSES: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(500)];

/// Keeps a connection until nobody can ask any more.
pub(crate) async fn keep(
    mut config: ZooKeeperConfig,
    mut asks: mpsc::UnboundedReceiver<Ask>,
    state: watch::Sender<State>,
) {
    // So that not all clients go to the same.
    fastrand::shuffle(&mut config.servers);
    let mut session = Session::new();
    let mut pause = PAUSES[0];
    let mut rounds = 0_usize;
    let several = config.servers.len() > 1;
    // Whether servers where reads cost a write are left to others.
    let mut choosy = several;
    loop {
        let mut last = None;
        let mut passed_over = false;
        for server in &config.servers {
            let connected = tokio::select! {
                connected = connect(&config, server, &mut session, choosy) => connected,
                () = refuse(&mut asks) => return,
            };
            match connected {
                Ok(None) => passed_over = true,
                Ok(Some(connection)) => {
                    pause = PAUSES[0];
                    (rounds, last) = (0, None);
                    (choosy, passed_over) = (several, false);
                    state.send_replace(State::Connected);
                    let mut line = Line::new(connection, config.timeout, session.next);
                    let end = line.serve(&mut asks, &mut session).await;
                    session.lose();
                    // Before the asks fail: who asks again is to wait.
                    state.send_replace(State::Connecting(None));
                    line.fail();
                    if matches!(end, End::Closed) {
                        return;
                    }
                }
                Err(error) => {
                    last = Some(error.clone());
                    state.send_replace(match rounds {
                        0 => State::Connecting(Some(error)),
                        _ => State::Unreachable(error),
                    });
                }
            }
        }
        if passed_over {
            // There is no other.
            choosy = false;
            continue;
        }
        choosy = several;
        if let Some(error) = last {
            rounds += 1;
            state.send_replace(State::Unreachable(error));
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = refuse(&mut asks) => return,
        }
        pause = (pause * 2).min(PAUSES[1]);
    }
}

/// Refuses what is asked while there is no connection, until nobody can ask any more.
async fn refuse(asks: &mut mpsc::UnboundedReceiver<Ask>) {
    while let Some(ask) = asks.recv().await {
        // In vain when the caller has gone.
        let _ = ask.reply.send(Err(Lost::Undone));
    }
}

/// Why a connection is served no more.
enum End {
    Lost,
    Closed,
}

/// A connection in use.
struct Line {
    connection: Connection,
    output: BytesMut,
    waiting: VecDeque<Waiting>,
    /// The number of the next request to be answered.
    next: i32,
    /// How long the server may be silent while something waits for it.
    patience: Duration,
    /// Since when it is silent.
    silent: Instant,
    sent: Instant,
    pinged: bool,
}

/// Asked, and to be answered.
struct Waiting {
    /// Whether the server has yet to catch up: the next answer is to that.
    behind: bool,
    /// Why it did not.
    stale: Option<Code>,
    count: usize,
    /// Whether it is one request of several writes, whose answer has the errors within.
    multi: bool,
    answers: Vec<Answer>,
    reply: oneshot::Sender<Result<Vec<Answer>, Lost>>,
    _permit: Permit,
}

impl Line {
    fn new(connection: Connection, timeout: Duration, next: i32) -> Self {
        // A little longer than the calls have: each ends by its own deadline.
        let patience = timeout + Duration::from_millis(100);
        let now = Instant::now();
        Self {
            patience: patience.min(connection.session_timeout),
            connection,
            output: BytesMut::new(),
            waiting: VecDeque::new(),
            next,
            silent: now,
            sent: now,
            pinged: false,
        }
    }

    async fn serve(
        &mut self,
        asks: &mut mpsc::UnboundedReceiver<Ask>,
        session: &mut Session,
    ) -> End {
        let tick = (self.patience / 8).clamp(Duration::from_millis(1), Duration::from_secs(1));
        let mut tick = interval(tick);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let input = &mut self.connection.input;
            if input.capacity() - input.len() < READ / 4 {
                input.reserve(READ);
            }
            let (mut reader, mut writer) = self.connection.stream.split();
            tokio::select! {
                biased;
                // First, so that what comes together is sent together.
                ask = asks.recv(), if self.output.len() < FULL => match ask {
                    Some(ask) => self.push(ask, session),
                    None => {
                        self.close().await;
                        return End::Closed;
                    }
                },
                written = writer.write_buf(&mut self.output), if !self.output.is_empty() => {
                    if written.is_err() {
                        return End::Lost;
                    }
                }
                read = reader.read_buf(input) => {
                    self.silent = Instant::now();
                    if !matches!(read, Ok(1..)) || self.answer(session).is_none() {
                        return End::Lost;
                    }
                }
                _ = tick.tick() => {
                    if self.silent.elapsed() > self.patience && !self.is_idle() {
                        return End::Lost;
                    }
                    if self.sent.elapsed() > self.connection.session_timeout / 3 && !self.pinged {
                        self.sends();
                        self.pinged = true;
                        self.output.extend_from_slice(&wire::ping());
                    }
                }
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.output.is_empty() && !self.pinged
    }

    /// Something is put into the output; where nothing else waits for the server, its silence begins now.
    fn sends(&mut self) {
        self.sent = Instant::now();
        if self.is_idle() {
            self.silent = self.sent;
        }
    }

    fn push(&mut self, ask: Ask, session: &mut Session) {
        if ask.reply.is_closed() {
            // The caller has gone, and nothing was sent so far.
            return;
        }
        self.sends();
        let catch_up = match ask.frames.is_fresh() {
            true => self.connection.catch_up.frames(),
            false => None,
        };
        let behind = catch_up.is_some();
        if let Some(frames) = catch_up {
            self.output
                .extend_from_slice(&frames.numbered(&mut session.next));
        }
        let (count, multi) = (ask.frames.count(), ask.frames.is_multi());
        let frames = ask.frames.numbered(&mut session.next);
        match self.output.is_empty() && frames.len() > COPIED {
            true => self.output = frames,
            false => self.output.extend_from_slice(&frames),
        }
        self.waiting.push_back(Waiting {
            behind,
            stale: None,
            count,
            multi,
            answers: Vec::with_capacity(count),
            reply: ask.reply,
            _permit: ask.permit,
        });
    }

    /// Hands on the answers that are there; `None`: the connection is of no more use.
    fn answer(&mut self, session: &mut Session) -> Option<()> {
        while let Some(frame) = frame(&mut self.connection.input).ok()? {
            let mut answer = Answer::new(frame).ok()?;
            match answer.number {
                wire::xid::PING => {
                    self.pinged = false;
                    continue;
                }
                wire::xid::NOTIFICATION => continue,
                number if number != self.next => return None,
                _ => self.next = wire::next(self.next),
            }
            session.saw(answer.zxid);
            // One is there, since its number was the next.
            let waiting = self.waiting.front_mut()?;
            let multi = match waiting.behind {
                true => self.connection.catch_up == CatchUp::Write,
                false => waiting.multi,
            };
            let failed = match &answer.result {
                Err(code) => Some(*code),
                Ok(body) if multi => wire::failed_write(body.clone()).ok()?.map(|(_, code)| code),
                Ok(_) => None,
            };
            if failed == Some(Code::SESSION_EXPIRED) {
                session.forget();
                // It does nothing more for this session.
                for waiting in self.waiting.drain(..) {
                    let _ = waiting.reply.send(Err(Lost::Undone));
                }
                return None;
            }
            if let Err(Code::AUTH_FAILED | Code::AUTH_WANTED) = answer.result {
                // The server closes the connection now, and answers nothing more.
                waiting.answers.resize(waiting.count, answer);
            } else if waiting.behind {
                waiting.behind = false;
                // A check that is not allowed has had its turn, too.
                waiting.stale = failed.filter(|code| *code != Code::NO_AUTH);
            } else {
                answer.result = waiting.stale.map_or(answer.result, Err);
                waiting.answers.push(answer);
            }
            if waiting.answers.len() == waiting.count {
                let done = self.waiting.pop_front()?;
                // In vain when the caller has gone.
                let _ = done.reply.send(Ok(done.answers));
            }
        }
        Some(())
    }

    /// Tells those who wait that there will be no answers.
    fn fail(&mut self) {
        for waiting in self.waiting.drain(..) {
            let _ = waiting.reply.send(Err(Lost::Sent));
        }
    }

    /// Ends the session, if the server takes that; else it ends by itself.
    async fn close(&mut self) {
        self.output.extend_from_slice(&wire::close());
        let writing = async {
            let stream = &mut self.connection.stream;
            while self.output.has_remaining() && stream.write_buf(&mut self.output).await.is_ok() {}
            // Until it closes the connection, which it does when the session has ended.
            let mut rest = [0; 1024];
            while matches!(stream.read(&mut rest).await, Ok(1..)) {}
        };
        let _ = tokio::time::timeout(self.patience, writing).await;
    }
}

/// What is longer is not copied; what is shorter is, so that the output's memory is used again.
const COPIED: usize = 4096;

/// How much may wait to be written before no more is taken up.
const FULL: usize = 1 << 20;
