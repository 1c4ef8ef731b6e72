//! The commands this provider gives, and what comes back.

use fred::clients::{Client, WithOptions};
use fred::interfaces::{ClientLike as _, FredResult, KeysInterface as _};
use fred::types::{ClusterHash, CustomCommand, Expiration, SetOptions, Value};
use kvstore_core::{Bytes, Error, ErrorKind, Expiry};

/// One command, with its arguments as bytes that are shared and never copied.
#[derive(Clone)]
pub(crate) enum Command {
    Get(Bytes),
    Set {
        key: Bytes,
        value: Bytes,
        ttl: Ttl,
        only: Option<Only>,
    },
    GetMany(Vec<Bytes>),
    SetMany(Vec<(Bytes, Bytes)>),
    Delete(Vec<Bytes>),
    Exists(Bytes),
    Take(Bytes),
    Expire(Bytes, i64),
    /// `EVAL` or `EVALSHA`, and whether the script writes.
    Script {
        by: &'static str,
        writes: bool,
        args: Vec<Bytes>,
    },
    /// Any other that does not write.
    Other(&'static str, Vec<Bytes>),
}

#[derive(Clone, Copy)]
pub(crate) enum Only {
    IfAbsent,
    IfPresent,
}

impl Command {
    /// Whether it may change something, so that it must not be sent twice.
    pub(crate) fn writes(&self) -> bool {
        match self {
            Self::Get(_) | Self::GetMany(_) | Self::Exists(_) | Self::Other(..) => false,
            Self::Set { .. }
            | Self::SetMany(_)
            | Self::Delete(_)
            | Self::Take(_)
            | Self::Expire(..) => true,
            Self::Script { writes, .. } => *writes,
        }
    }

    /// Gives it. `client` is owned, so that the future outlives a caller who drops it.
    pub(crate) async fn run(self, client: WithOptions<Client>) -> FredResult<Value> {
        match self {
            Self::Get(key) => client.get(key).await,
            Self::Set {
                key,
                value,
                ttl,
                only,
            } => {
                let expiry = match ttl {
                    Ttl::Never => None,
                    Ttl::Millis(millis) => Some(Expiration::PX(millis)),
                    Ttl::Keep => Some(Expiration::KEEPTTL),
                };
                let only = only.map(|only| match only {
                    Only::IfAbsent => SetOptions::NX,
                    Only::IfPresent => SetOptions::XX,
                });
                client
                    .set(key, Value::Bytes(value), expiry, only, false)
                    .await
            }
            Self::GetMany(keys) => client.mget(keys).await,
            Self::SetMany(items) => {
                let items: Vec<_> = items
                    .into_iter()
                    .map(|(key, value)| (key, Value::Bytes(value)))
                    .collect();
                client.mset(items).await.map(|()| Value::Null)
            }
            Self::Delete(keys) => client.del(keys).await,
            Self::Exists(key) => client.exists(key).await,
            Self::Take(key) => client.getdel(key).await,
            Self::Expire(key, millis) => client.pexpire(key, millis, None).await,
            Self::Script { by: name, args, .. } | Self::Other(name, args) => {
                let command = CustomCommand::new_static(name, ClusterHash::FirstKey, false);
                client
                    .custom(command, args.into_iter().map(Value::Bytes).collect())
                    .await
            }
        }
    }
}

/// An expiry as Redis takes it.
#[derive(Clone, Copy)]
pub(crate) enum Ttl {
    Never,
    Millis(i64),
    Keep,
}

impl TryFrom<Expiry> for Ttl {
    type Error = Error;

    fn try_from(expiry: Expiry) -> Result<Self, Error> {
        match expiry {
            Expiry::Never => Ok(Self::Never),
            // Rounded up. The store admits no more than 100 years.
            Expiry::After(ttl) => Ok(Self::Millis(
                i64::try_from(ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX),
            )),
            Expiry::Keep => Ok(Self::Keep),
            _ => Err(Error::new(
                ErrorKind::Unsupported,
                "this release does not know that expiry",
            )),
        }
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) enum Reply {
    Nil,
    Int(i64),
    Data(Bytes),
    List(Vec<Self>),
    /// What the protocol's version 2 does not have.
    Strange,
}

impl From<Value> for Reply {
    fn from(value: Value) -> Self {
        match value {
            Value::String(text) => Self::Data(text.into_inner()),
            Value::Bytes(data) => Self::Data(data),
            Value::Integer(number) => Self::Int(number),
            Value::Array(items) => Self::List(items.into_iter().map(Self::from).collect()),
            Value::Null => Self::Nil,
            _ => Self::Strange,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_ttl_is_rounded_up_to_milliseconds() {
        for (nanos, expected) in [(1, 1), (1_000_000, 1), (1_000_001, 2)] {
            let ttl = Expiry::After(Duration::from_nanos(nanos)).try_into();
            assert!(
                matches!(ttl, Ok(Ttl::Millis(millis)) if millis == expected),
                "{nanos}"
            );
        }
    }
}
