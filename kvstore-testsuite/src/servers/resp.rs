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

    pub(crate) fn command<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<Reply> {
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

fn read(stream: &mut impl BufRead) -> io::Result<Reply> {
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
        "+" => Reply::Data(rest.as_bytes().to_vec()),
        "-" => Reply::Error(rest.to_owned()),
        ":" => Reply::Integer(number()?),
        "$" | "*" if rest == "-1" => Reply::Nil,
        "$" => {
            let length = u64::try_from(number()?).map_err(|_| strange())?;
            let mut data = Vec::new();
            stream.take(length).read_to_end(&mut data)?;
            let mut end = [0; 2];
            stream.read_exact(&mut end)?;
            Reply::Data(data)
        }
        "*" => Reply::List(
            (0..number()?)
                .map(|_| read(stream))
                .collect::<io::Result<_>>()?,
        ),
        _ => return Err(strange()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let mut stream = &b"*5\r\n+OK\r\n:-7\r\n$4\r\na\r\n\0\r\n$-1\r\n-ERR no\r\n"[..];
        let expected = Reply::List(vec![
            Reply::Data(b"OK".to_vec()),
            Reply::Integer(-7),
            Reply::Data(b"a\r\n\0".to_vec()),
            Reply::Nil,
            Reply::Error("ERR no".to_owned()),
        ]);
        assert_eq!(read(&mut stream).unwrap(), expected);
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
