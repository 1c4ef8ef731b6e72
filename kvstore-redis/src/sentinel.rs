//! Sentinels, which know who the primary is and who its replicas are.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use kvstore_core::{Error, ErrorKind, Result};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::address::Address;
use crate::command::{Command, Reply};
use crate::error::Failure;
use crate::link::{Link, Opener, Role};
use crate::shard::turn;

/// How long the other sentinels are waited for when one has answered: it may be the one that does not know yet.
const OTHERS: Duration = Duration::from_millis(250);

pub(crate) struct Sentinel {
    pub(crate) sentinels: Vec<Address>,
    pub(crate) name: String,
    pub(crate) opener: Arc<Opener>,
    pub(crate) asking: Opener,
}

/// What a sentinel says of a server: names and values.
type Fields = HashMap<String, String>;

impl Sentinel {
    /// Opens a connection to who is the primary now.
    pub(crate) async fn open_primary(&self) -> Result<(Link, JoinHandle<()>)> {
        let said = self.ask_all("MASTER").await?;
        let address = latest(said.iter().flatten()).ok_or_else(not_understood)?;
        self.opener.open(&address, Role::Primary).await
    }

    /// Opens a connection to a replica that the sentinels think well of.
    pub(crate) async fn open_replica(&self) -> Result<(Link, JoinHandle<()>)> {
        let said = self.ask_all("REPLICAS").await?;
        let is_well = |fields: &&Fields| {
            let field = |name: &str| fields.get(name).map(String::as_str);
            field("flags") == Some("slave") && field("master-link-status") == Some("ok")
        };
        let mut well: Vec<_> = said
            .iter()
            .flatten()
            .filter(is_well)
            .filter_map(address)
            .collect();
        well.sort_by_key(ToString::to_string);
        well.dedup();
        // Not all clients the same.
        let mut error = None;
        for _ in 0..well.len() {
            let next = turn(well.len());
            match self.opener.open(&well.swap_remove(next), Role::Any).await {
                Ok(opened) => return Ok(opened),
                Err(failed) => error = Some(failed),
            }
        }
        Err(error.unwrap_or_else(|| {
            let message = format!(
                "the sentinels know no replica of `{}` that is well",
                self.name
            );
            Error::new(ErrorKind::Unavailable, message)
        }))
    }

    /// Asks all sentinels, and gives what those say who answer soon.
    async fn ask_all(&self, what: &str) -> Result<Vec<Vec<Fields>>> {
        let mut answers: FuturesUnordered<_> = self
            .sentinels
            .iter()
            .map(|sentinel| self.ask(sentinel, what))
            .collect();
        let (mut said, mut error) = (Vec::new(), None::<Error>);
        while said.is_empty()
            && let Some(answer) = answers.next().await
        {
            match answer {
                Ok(fields) => said.push(fields),
                // What waiting does not mend is worth more than that another cannot be reached.
                Err(failed) if error.as_ref().is_none_or(Error::is_retryable) => {
                    error = Some(failed);
                }
                Err(_) => {}
            }
        }
        let others = async {
            while let Some(answer) = answers.next().await {
                said.extend(answer.ok());
            }
        };
        tokio::select! {
            () = others => {}
            () = sleep(OTHERS) => {}
        }
        match error {
            Some(error) if said.is_empty() => Err(error),
            _ => Ok(said),
        }
    }

    async fn ask(&self, sentinel: &Address, what: &str) -> Result<Vec<Fields>> {
        let opened = self.asking.open(sentinel, Role::Any).await;
        let (mut link, _task) = opened.map_err(|error| match error.kind() {
            ErrorKind::Unauthenticated => {
                let message = format!("the sentinel {sentinel} refuses: see `sentinel_password`");
                Error::new(ErrorKind::Unauthenticated, message).with_source(error)
            }
            _ => error,
        })?;
        let command = Command::other("SENTINEL").word(what).word(&self.name);
        let answer = timeout(self.asking.connect_timeout, link.send(&command)).await;
        let answer = answer.map_err(|_| {
            let message = format!("the sentinel {sentinel} does not answer");
            Error::new(ErrorKind::Unavailable, message)
        })?;
        let answer = answer.map_err(|failure| match failure {
            Failure::Refused(refusal) if refusal.to_string().contains("unknown command") => {
                let message = format!("{sentinel} is no sentinel");
                Error::new(ErrorKind::InvalidConfig, message).with_source(refusal)
            }
            failure => failure.into(),
        })?;
        let Reply::List(parts) = answer else {
            return Err(not_understood());
        };
        match parts.first() {
            Some(Reply::List(_)) => Ok(parts.iter().map(fields).collect()),
            _ => Ok(vec![fields(&Reply::List(parts))]),
        }
    }
}

fn fields(reply: &Reply) -> Fields {
    let Reply::List(parts) = reply else {
        return Fields::new();
    };
    let text = |part: &Reply| match part {
        Reply::Data(text) => String::from_utf8_lossy(text).into_owned(),
        _ => String::new(),
    };
    let pairs = parts.chunks_exact(2);
    pairs.map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
}

/// Of several primaries, the one that was made last: who names another does not know yet.
fn latest<'a>(said: impl Iterator<Item = &'a Fields>) -> Option<Address> {
    let epoch = |fields: &&Fields| -> u64 {
        let epoch = fields.get("config-epoch");
        epoch.and_then(|epoch| epoch.parse().ok()).unwrap_or(0)
    };
    said.max_by_key(epoch).and_then(address)
}

fn address(fields: &Fields) -> Option<Address> {
    let host = fields.get("ip").filter(|host| !host.is_empty())?;
    Some(Address::Tcp(
        host.clone(),
        fields.get("port")?.parse().ok()?,
    ))
}

fn not_understood() -> Error {
    let message = "a sentinel's answer was not understood; is it a Redis sentinel?";
    Error::new(ErrorKind::Other, message)
}

impl fmt::Display for Sentinel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` of the sentinels", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_knows_the_latest_failover_is_believed() {
        let said = |port: &str, epoch: &str| {
            let fields = [("ip", "10.0.0.1"), ("port", port), ("config-epoch", epoch)];
            Fields::from(fields.map(|(name, value)| (name.to_owned(), value.to_owned())))
        };
        let [old, new, lost] = [said("1", "9"), said("2", "10"), said("3", "")];
        for all in [[&old, &new, &lost], [&new, &lost, &old]] {
            let expected = Address::Tcp("10.0.0.1".to_owned(), 2);
            assert_eq!(latest(all.into_iter()), Some(expected));
        }
        assert_eq!(latest([].into_iter()), None);
        assert_eq!(latest([&Fields::new()].into_iter()), None);
    }

    #[test]
    fn what_a_sentinel_says_is_read() {
        let word = |text: &'static str| Reply::Data(text.as_bytes().into());
        let said = Reply::List(vec![
            word("ip"),
            word("h"),
            word("port"),
            word("7"),
            word("odd"),
        ]);
        assert_eq!(
            address(&fields(&said)),
            Some(Address::Tcp("h".to_owned(), 7))
        );
        assert_eq!(address(&fields(&Reply::Nil)), None);
    }
}
