//! What a server says of itself, and what makes it know of all that was written before.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, ToSocketAddrs};

use crate::wire::{ANY, Frames, Write};

/// What a server answers to `srvr`, the one word that all answer unless they are told not to.
pub(crate) struct Status(String);

impl Status {
    /// Asks on a connection of its own; `None`: the server does not tell. An error: there is no connection.
    pub(crate) async fn ask(address: impl ToSocketAddrs) -> io::Result<Option<Self>> {
        let mut stream = TcpStream::connect(address).await?;
        let asking = async {
            stream.write_all(b"srvr").await?;
            let mut answer = String::new();
            stream.take(4096).read_to_string(&mut answer).await?;
            io::Result::Ok(Self(answer))
        };
        let status = asking.await.ok();
        Ok(status.filter(|status| status.mode().is_some()))
    }

    pub(crate) fn version(&self) -> Option<&str> {
        self.field("Zookeeper version")?.split(['-', ',']).next()
    }

    pub(crate) fn mode(&self) -> Option<&str> {
        self.field("Mode")
    }

    fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.0.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// What makes a server know of all that was written before, and is sent ahead of what is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CatchUp {
    /// It is alone, and knows of what it does.
    Nothing,
    /// A follower waits until it has done what its leader has told it to.
    Sync,
    /// A leader tells its followers to do a write before it does so itself, and a `sync` does not wait there:
    /// whoever was answered by a follower may know of a write of which the leader does not tell yet. What is
    /// read after a write of the same session is read when that is done, and so all before it are. This one
    /// changes nothing.
    Write,
}

impl CatchUp {
    /// By what is known of a server. That it follows must be certain: `is_one` says that the address of which
    /// it was asked cannot be that of another server the next time.
    pub(crate) fn of(status: Option<&Status>, is_one: bool) -> Self {
        match status.and_then(Status::mode) {
            Some("standalone") => Self::Nothing,
            Some("follower" | "observer") if is_one => Self::Sync,
            _ => Self::Write,
        }
    }

    pub(crate) fn frames(self) -> Option<Frames> {
        // There is no need to have the right to read this node, nor to write it.
        let (path, version) = ("/", ANY);
        match self {
            Self::Nothing => None,
            Self::Sync => Some(Frames::new().sync()),
            Self::Write => Some(Frames::new().multi(&[Write::Check { path, version }])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_reads_after_a_write_unless_it_is_known_to_follow_or_to_be_alone() {
        let status = |mode: &str| Status(format!("Latency min/avg/max: 0/0/0\nMode: {mode}\n"));
        for (mode, is_one, expected) in [
            ("standalone", false, CatchUp::Nothing),
            ("standalone", true, CatchUp::Nothing),
            ("follower", true, CatchUp::Sync),
            ("observer", true, CatchUp::Sync),
            ("follower", false, CatchUp::Write),
            ("leader", true, CatchUp::Write),
            ("read-only", true, CatchUp::Write),
        ] {
            let status = status(mode);
            assert_eq!(CatchUp::of(Some(&status), is_one), expected, "{mode}");
        }
        assert_eq!(CatchUp::of(None, true), CatchUp::Write);
    }
}
