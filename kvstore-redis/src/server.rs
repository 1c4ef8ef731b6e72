//! What the server lets us do, and what it says of itself.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;

use futures_util::future::join_all;
use kvstore_core::{Bytes, Error, ErrorKind, Result, ServerInfo};

use crate::RedisConfig;
use crate::client::Call;
use crate::command::{Command, Only, Reply, Ttl};
use crate::config::Address;
use crate::error::Failure;
use crate::provider::not_understood;
use crate::script::GET_ENTRY;

/// Makes sure that the user may give the commands, on a key that does not exist.
///
/// MGET and MSET are not among them: where they are refused, there are GET and SET. Neither is SCAN,
/// which only listings need.
pub(crate) async fn check(call: &Call<'_>, prefix: &str) -> Result<()> {
    let random = RandomState::new();
    let key: Bytes = format!(
        "{prefix}kvstore-check-{:016x}{:016x}",
        random.hash_one(0),
        random.hash_one(1)
    )
    .into();
    let one = || vec![key.clone()];
    let set = Command::Set {
        key: key.clone(),
        value: Bytes::new(),
        ttl: Ttl::Millis(1),
        only: Some(Only::IfPresent),
    };
    let by_sha1 = Bytes::from_static(b"0000000000000000000000000000000000000000");
    let by_text = Bytes::from_static(b"return 0");
    let commands = [
        ("get", Command::Get(key.clone())),
        ("set", set),
        ("del", Command::Delete(one())),
        ("exists", Command::Exists(key.clone())),
        ("getdel", Command::Take(key.clone())),
        ("pexpire", Command::Expire(key.clone(), 1)),
        ("persist", Command::Other("PERSIST", one())),
        ("pttl", Command::Other("PTTL", one())),
        ("evalsha", GET_ENTRY.command("EVALSHA", &by_sha1, &key, &[])),
        ("eval", GET_ENTRY.command("EVAL", &by_text, &key, &[])),
    ];
    let mut lacking = Vec::new();
    let mut no_key = None;
    let answers =
        join_all(commands.map(async |(name, command)| (name, call.send(command).await))).await;
    for (name, answer) in answers {
        let Err(failure) = answer else { continue };
        match (failure.code(), &failure) {
            // `… no permissions to access one of the keys …`, and not `… to run the 'get' command`.
            ("NOPERM", Failure::Refused(refusal))
                if !refusal.to_string().contains("to run the") =>
            {
                no_key = Some(failure);
            }
            ("NOPERM", _) => lacking.push(format!("+{name}")),
            // States that come and go, while reading and deleting may work; and the script is not known.
            ("OOM" | "MISCONF" | "NOREPLICAS" | "NOSCRIPT", _) => {}
            (_, Failure::Lost(error)) if error.kind() == ErrorKind::Unavailable => {
                let message =
                    "the server closes the connection; where it speaks TLS, use `rediss://`";
                return Err(Error::new(ErrorKind::Unavailable, message).with_source(error.clone()));
            }
            _ => return Err(failure.into()),
        }
    }
    if !lacking.is_empty() {
        let message = format!("the ACL user lacks commands: allow {}", lacking.join(" "));
        return Err(Error::new(ErrorKind::PermissionDenied, message));
    }
    match no_key {
        // Without a prefix, the user may be allowed the namespaces that are used and nothing else.
        Some(_) if prefix.is_empty() => Ok(()),
        Some(failure) => {
            let message = "the ACL user may not use the keys that begin with `prefix`: allow `~` followed by it and `*`";
            Err(Error::new(ErrorKind::PermissionDenied, message).with_source(Error::from(failure)))
        }
        None => Ok(()),
    }
}

/// Asks for an answer, and for what INFO tells of dangers.
pub(crate) async fn ping(call: &Call<'_>, config: &RedisConfig) -> Result<ServerInfo> {
    call.send(Command::Other("PING", Vec::new())).await?;
    let info = match call.send(Command::Other("INFO", Vec::new())).await {
        Ok(Reply::Data(text)) => String::from_utf8_lossy(&text).into_owned(),
        Ok(_) => return Err(not_understood()),
        Err(failure) if failure.code() == "NOPERM" => {
            let info = ServerInfo::new("redis").with_warning(
                "the ACL user may not ask for INFO: the version, eviction and durability are not known",
            );
            return Ok(transport(config, info));
        }
        Err(failure) => return Err(failure.into()),
    };
    Ok(transport(config, read(&info)))
}

fn read(info: &str) -> ServerInfo {
    let field = |name: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim_end)
    };
    // Valkey gives the version of Redis that it is compatible with as `redis_version`.
    let (product, version) = match field("valkey_version") {
        Some(version) => ("valkey", Some(version)),
        None => ("redis", field("redis_version")),
    };
    let mut answer = ServerInfo::new(product);
    if let Some(version) = version {
        answer = answer.with_version(version);
    }
    let limited = field("maxmemory").is_some_and(|bytes| bytes != "0");
    if let Some(policy) =
        field("maxmemory_policy").filter(|policy| limited && *policy != "noeviction")
    {
        let warning =
            format!("short of memory, the server evicts keys (`maxmemory-policy {policy}`)");
        answer = answer.with_warning(warning);
    }
    if field("aof_enabled") == Some("0") {
        answer =
            answer.with_warning("the append-only file is off: a crash loses acknowledged writes");
    }
    if field("role") == Some("slave") {
        answer = answer.with_warning("the server is a replica: what is written here is not kept");
    }
    answer
}

fn transport(config: &RedisConfig, answer: ServerInfo) -> ServerInfo {
    let remote = match &config.address {
        Address::Unix(_) => false,
        Address::Tcp(host, _) => {
            host != "localhost"
                && !host
                    .parse()
                    .is_ok_and(|address: IpAddr| address.is_loopback())
        }
    };
    match remote && !config.tls {
        true => {
            answer.with_warning("no TLS: values and the password cross the network in the clear")
        }
        false => answer,
    }
}
