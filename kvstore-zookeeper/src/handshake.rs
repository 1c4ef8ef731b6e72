//! The beginning of a connection: the session, and who it is.

use std::io;
use std::mem::replace;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use kvstore_core::{Error, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Duration, Instant, timeout};

use crate::ZooKeeperConfig;
use crate::config::Server;
use crate::error::{no_connection, refused};
use crate::status::{CatchUp, Status};
use crate::wire::{self, Answer, Connected, Garbled};

/// What the servers know us by. A new connection goes on with the session of the one before, so that what
/// that one still carries is refused from then on: a write whose answer was lost is not done after later ones.
pub(crate) struct Session {
    /// 0 is none.
    id: i64,
    password: Bytes,
    /// The last transaction seen; a server that is behind it refuses the connection.
    zxid: i64,
    /// The number of the next request. Counted on over all connections: servers find the answer that is due to a
    /// connection by session and number, and one to the connection before may still come.
    pub(crate) next: i32,
    /// Since when there is no connection, and how long the servers keep the session then.
    lost: Instant,
    kept: Duration,
    /// Whether a server was told to go on with it and has not answered. It may do so at any time later, and
    /// then what a connection before still carries to that server would be done.
    doubtful: bool,
}

/// What a session without a password has for one; the server makes one of the same length.
const NO_PASSWORD: Bytes = Bytes::from_static(&[0; 16]);

impl Session {
    pub(crate) fn new() -> Self {
        Self {
            id: 0,
            password: NO_PASSWORD,
            zxid: 0,
            next: 1,
            lost: Instant::now(),
            kept: Duration::ZERO,
            doubtful: false,
        }
    }

    /// An answer came with this transaction.
    pub(crate) fn saw(&mut self, zxid: i64) {
        self.zxid = self.zxid.max(zxid);
    }

    /// The connection is lost.
    pub(crate) fn lose(&mut self) {
        self.lost = Instant::now();
    }

    /// Makes the next connection begin another session.
    pub(crate) fn forget(&mut self) {
        (self.id, self.password, self.doubtful) = (0, NO_PASSWORD, false);
    }

    /// A server closes the connection at once. It may be one that has lost what it had, or was given an older
    /// state, and would refuse for ever who saw more; the session is over when it was not used for so long.
    fn refused(&mut self) {
        if self.lost.elapsed() > self.kept {
            self.forget();
            self.zxid = 0;
        }
    }
}

/// A connection with a session, to be used.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    /// What was read and not looked at.
    pub(crate) input: BytesMut,
    /// How long the server keeps a session of which it hears nothing.
    pub(crate) session_timeout: Duration,
    /// What is to be sent ahead of what is read.
    pub(crate) catch_up: CatchUp,
}

/// Connects to a server, which may have several addresses: a name may stand for all of an ensemble. `None`: it is
/// choosy, and reads there would cost a write, of which they may be free elsewhere.
pub(crate) async fn connect(
    config: &ZooKeeperConfig,
    server: &Server,
    session: &mut Session,
    choosy: bool,
) -> Result<Option<Connection>> {
    let host = (server.host.as_str(), server.port);
    let mut failure = Failure::Unknown(None);
    let mut passed_over = false;
    match timeout(config.connect_timeout, lookup_host(host)).await {
        Ok(Ok(found)) => {
            let mut addresses: Vec<_> = found.collect();
            fastrand::shuffle(&mut addresses);
            for address in addresses {
                match reach(config, address, session, choosy).await {
                    Ok(None) => passed_over = true,
                    Ok(connection) => return Ok(connection),
                    Err(error) => failure = error,
                }
            }
        }
        Ok(Err(error)) => failure = Failure::Unknown(Some(error)),
        Err(_) => {}
    }
    match passed_over {
        true => Ok(None),
        false => Err(failure.into_error(server)),
    }
}

/// Connects to one address.
async fn reach(
    config: &ZooKeeperConfig,
    address: SocketAddr,
    session: &mut Session,
    choosy: bool,
) -> Result<Option<Connection>, Failure> {
    if choosy {
        let asked = timeout(config.connect_timeout, Status::ask(address)).await;
        let status = asked.map_err(|_| Failure::Silent)?;
        let status = status.map_err(Failure::Unreachable)?;
        if CatchUp::of(status.as_ref(), true) == CatchUp::Write {
            return Ok(None);
        }
    }
    let mut begun = timeout(config.connect_timeout, begin(config, address, session)).await;
    if let Ok(Err(Failure::Ended)) = begun {
        begun = timeout(config.connect_timeout, begin(config, address, session)).await;
    }
    let result = begun.unwrap_or(Err(Failure::Silent));
    if let Err(Failure::Closed(_)) = result {
        session.refused();
    }
    result.map(Some)
}

/// Why there is no connection.
enum Failure {
    Unknown(Option<io::Error>),
    Unreachable(io::Error),
    Silent,
    Garbled,
    Closed(Option<io::Error>),
    Ended,
    Refused(Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Closed(Some(error))
    }
}

impl From<Garbled> for Failure {
    fn from(_: Garbled) -> Self {
        Self::Garbled
    }
}

impl Failure {
    fn into_error(self, server: &Server) -> Error {
        let (why, source) = match self {
            Self::Unknown(source) => ("its name has no address", source),
            Self::Unreachable(source) => ("it cannot be reached", Some(source)),
            Self::Silent => ("it does not answer", None),
            Self::Garbled => ("what answers there is no ZooKeeper", None),
            Self::Closed(source) => (
                "it closes the connection: it has no quorum, or too many connections from here, or wants TLS",
                source,
            ),
            Self::Ended => ("the session has ended", None),
            Self::Refused(error) => return error,
        };
        let error = no_connection(server, why);
        match source {
            Some(source) => error.with_source(source),
            None => error,
        }
    }
}

async fn begin(
    config: &ZooKeeperConfig,
    address: SocketAddr,
    session: &mut Session,
) -> Result<Connection, Failure> {
    let mut stream = TcpStream::connect(address)
        .await
        .map_err(Failure::Unreachable)?;
    // Requests that follow each other closely are not to wait for each other.
    stream.set_nodelay(true)?;
    let milliseconds = i32::try_from(config.session_timeout.as_millis()).unwrap_or(i32::MAX);
    let was_doubtful = replace(&mut session.doubtful, session.id != 0);
    let hello = wire::connect(session.zxid, milliseconds, session.id, &session.password);
    stream.write_all(&hello).await?;
    if let Some((user, password)) = &config.credentials {
        let who = wire::auth(&format!("{user}:{password}"));
        stream.write_all(&who).await?;
    }
    let mut input = BytesMut::with_capacity(4096);
    let connected = Connected::read(read(&mut stream, &mut input).await?)?;
    let Ok(session_timeout @ 1..) = u64::try_from(connected.timeout) else {
        session.forget();
        return Err(Failure::Ended);
    };
    if was_doubtful {
        end(&mut stream, &mut input).await?;
        session.forget();
        return Err(Failure::Ended);
    }
    session.doubtful = false;
    session.id = connected.session;
    session.password = Bytes::copy_from_slice(&connected.password);
    session.kept = Duration::from_millis(session_timeout);
    if config.credentials.is_some() {
        let answer = Answer::new(read(&mut stream, &mut input).await?)?;
        if answer.number != wire::xid::AUTH {
            return Err(Failure::Garbled);
        }
        answer
            .result
            .map_err(|code| Failure::Refused(refused(code)))?;
    }
    // Not before: a server that begins or ceases to lead ends all its connections, so that what it says now
    // holds as long as this one does.
    let status = Status::ask(address).await.ok().flatten();
    Ok(Connection {
        catch_up: CatchUp::of(status.as_ref(), config.servers.len() > 1),
        stream,
        input,
        session_timeout: session.kept,
    })
}

/// Ends the session: nothing is done for it from then on, whatever is still on its way to any server.
async fn end(stream: &mut TcpStream, input: &mut BytesMut) -> Result<(), Failure> {
    stream.write_all(&wire::close()).await?;
    loop {
        let answer = Answer::new(read(stream, input).await?)?;
        // That to the credentials comes before.
        if answer.number != wire::xid::AUTH {
            return answer.result.map(drop).map_err(|_| Failure::Closed(None));
        }
    }
}

/// Reads one frame.
async fn read(stream: &mut TcpStream, input: &mut BytesMut) -> Result<Bytes, Failure> {
    loop {
        if let Some(frame) = frame(input)? {
            return Ok(frame);
        }
        if stream.read_buf(input).await? == 0 {
            return Err(Failure::Closed(None));
        }
    }
}

/// Takes a frame from what was read, when all of it is there.
pub(crate) fn frame(input: &mut BytesMut) -> Result<Option<Bytes>, Garbled> {
    let Some(length) = input.first_chunk() else {
        return Ok(None);
    };
    let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| Garbled)?;
    if length > MAX_FRAME {
        return Err(Garbled);
    }
    let end = 4 + length;
    if input.len() < end {
        // No more than what came already: anybody can claim that much will come.
        input.reserve((end - input.len()).min(input.len() + READ));
        return Ok(None);
    }
    let mut frame = input.split_to(end);
    Ok(Some(frame.split_off(4).freeze()))
}

/// The longest answer that is taken: values of the largest kind in numbers, or the names of 80,000 of the longest keys.
pub(crate) const MAX_FRAME: usize = 1 << 28;

/// How much is read at once, unless more is known to come.
pub(crate) const READ: usize = 1 << 14;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_when_they_are_there() {
        let mut input = BytesMut::new();
        for byte in b"\0\0\0\x02ab\0\0\0\0\0\0\0\x01" {
            input.extend_from_slice(&[*byte]);
            let frame = frame(&mut input).unwrap();
            match input.len() {
                0 if *byte == b'b' => assert_eq!(frame.unwrap(), "ab"),
                0 => assert_eq!(frame.unwrap(), ""),
                _ => assert_eq!(frame, None),
            }
        }
        assert_eq!(input.len(), 4);
    }

    #[test]
    fn what_has_no_length_is_no_frame() {
        // A web server, a length below zero, and one over what is taken.
        for garbled in [&b"HTTP/1.1 400"[..], b"\xff\xff\xff\xff", b"\x10\0\0\x01"] {
            assert!(frame(&mut garbled.into()).is_err());
        }
    }

    #[test]
    fn memory_grows_with_what_came_and_not_with_what_is_said_to_come() {
        let mut input = BytesMut::from(&b"\x10\0\0\0"[..]);
        assert_eq!(frame(&mut input).unwrap(), None);
        assert!(input.capacity() <= 4 * READ, "{}", input.capacity());
        // Read after read, it is taken when it is there.
        while input.len() < 4 + MAX_FRAME / 8 {
            input.resize(input.len() + READ, 7);
            assert_eq!(frame(&mut input).unwrap(), None);
            assert!(input.capacity() <= 4 * (input.len() + READ));
        }
    }
}
