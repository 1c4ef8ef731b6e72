//! Redis' protocol, as much as a test needs to set the server up and look into it.

use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// What Redis answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// No value.
    Nil,
    /// A number.
    Integer(i64),
    /// A value, or a status such as `OK`.
    Data(Vec<u8>),
    /// Several answers.
    List(Vec<Self>),
    /// A refusal, with Redis' own words.
    Error(String),
}

impl Reply {
    /// The value as text.
    ///
    /// # Panics
    /// When the answer is something else than a value, a status or a number.
    pub fn text(&self) -> String {
        match self {
            Self::Data(data) => String::from_utf8_lossy(data).into_owned(),
            Self::Integer(number) => number.to_string(),
            other => panic!("Redis answered {other:?}, where a value was expected"),
        }
    }
}

/// An answer as it is on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Status(String),
    Error(String),
    Integer(i64),
    /// A value; `None` is the null of it.
    Bulk(Option<Vec<u8>>),
    /// Several answers; `None` is the null of it.
    Array(Option<Vec<Self>>),
}

impl Answer {
    /// Writes it as it came.
    pub(crate) fn write(&self, to: &mut Vec<u8>) {
        let mut line = |text: String| to.extend_from_slice(format!("{text}\r\n").as_bytes());
        match self {
            Self::Status(text) => line(format!("+{text}")),
            Self::Error(text) => line(format!("-{text}")),
            Self::Integer(number) => line(format!(":{number}")),
            Self::Bulk(None) => line("$-1".to_owned()),
            Self::Array(None) => line("*-1".to_owned()),
            Self::Bulk(Some(data)) => {
                line(format!("${}", data.len()));
                to.extend_from_slice(data);
                to.extend_from_slice(b"\r\n");
            }
            Self::Array(Some(items)) => {
                line(format!("*{}", items.len()));
                items.iter().for_each(|item| item.write(to));
            }
        }
    }
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Status(text) => Self::Data(text.into_bytes()),
            Answer::Error(text) => Self::Error(text),
            Answer::Integer(number) => Self::Integer(number),
            Answer::Bulk(data) => data.map_or(Self::Nil, Self::Data),
            Answer::Array(items) => items.map_or(Self::Nil, |items| {
                Self::List(items.into_iter().map(Self::from).collect())
            }),
        }
    }
}

/// A connection that sends one command at a time.
#[derive(Debug)]
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        let limit = Duration::from_secs(5);
        let stream = TcpStream::connect_timeout(&address, limit)?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Whether the server still holds it, and has sent nothing that was not asked for.
    pub(crate) fn is_open(&self) -> bool {
        let stream = self.0.get_ref();
        let waits = |stream: &TcpStream| matches!(stream.peek(&mut [0]), Err(e) if e.kind() == io::ErrorKind::WouldBlock);
        stream.set_nonblocking(true).is_ok()
            && waits(stream)
            && stream.set_nonblocking(false).is_ok()
    }

    pub(crate) fn command<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<Reply> {
        self.ask(args).map(Reply::from)
    }

    pub(crate) fn ask<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<Answer> {
        let mut request = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args.iter().map(AsRef::as_ref) {
            request.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            request.extend_from_slice(arg);
            request.extend_from_slice(b"\r\n");
        }
        self.0.get_mut().write_all(&request)?;
        read(&mut self.0)
    }
}

fn read(stream: &mut impl BufRead) -> io::Result<Answer> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line)?;
    let line = String::from_utf8_lossy(&line);
    let strange = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("not an answer of Redis: {line:?}"),
        )
    };
    let (kind, rest) = line
        .strip_suffix("\r\n")
        .and_then(|l| l.split_at_checked(1))
        .ok_or_else(strange)?;
    let number = || rest.parse::<i64>().map_err(|_| strange());
    Ok(match kind {
        "+" => Answer::Status(rest.to_owned()),
        "-" => Answer::Error(rest.to_owned()),
        ":" => Answer::Integer(number()?),
        "$" if rest == "-1" => Answer::Bulk(None),
        "*" if rest == "-1" => Answer::Array(None),
        "$" => {
            let length = u64::try_from(number()?).map_err(|_| strange())?;
            let mut data = Vec::new();
            stream.take(length).read_to_end(&mut data)?;
            let mut end = [0; 2];
            stream.read_exact(&mut end)?;
            Answer::Bulk(Some(data))
        }
        "*" => Answer::Array(Some(
            (0..number()?)
                .map(|_| read(stream))
                .collect::<io::Result<_>>()?,
        )),
        _ => return Err(strange()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let sent = b"*6\r\n+OK\r\n:-7\r\n$4\r\na\r\n\0\r\n$-1\r\n*-1\r\n-ERR no\r\n";
        let answer = read(&mut &sent[..]).unwrap();
        let mut written = Vec::new();
        answer.write(&mut written);
        assert_eq!(written, sent);
        let expected = Reply::List(vec![
            Reply::Data(b"OK".to_vec()),
            Reply::Integer(-7),
            Reply::Data(b"a\r\n\0".to_vec()),
            Reply::Nil,
            Reply::Nil,
            Reply::Error("ERR no".to_owned()),
        ]);
        assert_eq!(Reply::from(answer), expected);
    }

    #[test]
    fn what_is_not_redis_is_an_error() {
        for text in [
            "",
            "+OK",
            "HTTP/1.1 200 OK\r\n",
            "$x\r\n",
            "$5\r\nab",
            "$-2\r\n",
            "é\r\n",
        ] {
            assert!(read(&mut text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
