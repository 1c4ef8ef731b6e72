//! A small client of HTTP, which sends what it is told.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use kvstore_testsuite::servers::{RedisServer, UpstashFront};

/// A front, and the Redis behind it.
pub(crate) fn start() -> (RedisServer, UpstashFront) {
    let redis = RedisServer::start();
    let front = UpstashFront::start(&redis);
    (redis, front)
}

/// Posts a command as an array, or a value.
pub(crate) fn post(front: &UpstashFront, path: &str, body: &str) -> Sent {
    Http::post(path, body.as_bytes()).to(front)
}

/// A request.
#[derive(Clone)]
pub(crate) struct Http {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    token: bool,
}

/// An answer.
pub(crate) struct Sent {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Http {
    pub(crate) fn new(method: &str, path: &str, body: &[u8]) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: body.to_owned(),
            token: true,
        }
    }

    pub(crate) fn get(path: &str) -> Self {
        Self::new("GET", path, b"")
    }

    pub(crate) fn post(path: &str, body: &[u8]) -> Self {
        Self::new("POST", path, body)
    }

    /// Adds a header.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Leaves out the front's token.
    pub(crate) fn without_token(mut self) -> Self {
        self.token = false;
        self
    }

    /// Sends it, and waits for the answer.
    pub(crate) fn to(&self, front: &UpstashFront) -> Sent {
        fetch(self, front, Duration::from_secs(60)).unwrap()
    }
}

impl Sent {
    /// The body of an answer that is no error.
    pub(crate) fn ok(self) -> String {
        self.refused(200)
    }

    /// The body of an answer with this status.
    pub(crate) fn refused(self, status: u16) -> String {
        let body = String::from_utf8(self.body).unwrap();
        assert_eq!(self.status, status, "{body}");
        body
    }

    /// A header, empty if there is none.
    pub(crate) fn header(&self, name: &str) -> String {
        let named = |line: &str| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then(|| value.to_owned())
        };
        self.head.lines().find_map(named).unwrap_or_default()
    }
}

/// Sends a request on a connection of its own; an error also if no answer comes so long.
pub(crate) fn fetch(request: &Http, front: &UpstashFront, wait: Duration) -> io::Result<Sent> {
    let mut stream = TcpStream::connect(front.address())?;
    stream.set_read_timeout(Some(wait))?;
    let Http {
        method, path, body, ..
    } = request;
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n",
        front.address()
    );
    if request.token {
        head += &format!("Authorization: Bearer {}\r\n", front.token());
    }
    for (name, value) in &request.headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("content-length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut sent = Vec::new();
    stream.read_to_end(&mut sent)?;
    let nothing = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let end = sent
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .ok_or_else(nothing)?;
    let body = sent.split_off(end + 4);
    let head = String::from_utf8(sent).map_err(io::Error::other)?;
    let status = head
        .get(9..12)
        .and_then(|status| status.parse().ok())
        .ok_or_else(nothing)?;
    Ok(Sent { status, head, body })
}
