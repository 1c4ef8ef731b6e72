//! Redis URLs. What is not understood is an error, and no error shows a value.

use std::borrow::Cow;
use std::path::PathBuf;

use kvstore_core::url::{Parameter, check, decode, number, parameters};
use kvstore_core::{Error, ErrorKind, Result};

use crate::address::{Address, Servers};
use crate::config::{PORT, RedisConfig};

/// The schemes that [`parse`] understands.
pub(crate) const SCHEMES: &[&str] = &[
    "redis",
    "rediss",
    "redis+unix",
    "redis-cluster",
    "rediss-cluster",
    "redis-sentinel",
    "rediss-sentinel",
    "valkey",
    "valkeys",
    "valkey+unix",
    "valkey-cluster",
    "valkeys-cluster",
    "valkey-sentinel",
    "valkeys-sentinel",
    #[cfg(feature = "rest")]
    "upstash+https",
    #[cfg(feature = "rest")]
    "upstash+http",
];

/// Where sentinels are, unless the URL says.
const SENTINEL_PORT: u16 = 26379;

pub(crate) fn parse(url: &str) -> Result<RedisConfig> {
    check(url)?;
    if url.contains('#') {
        return Err(invalid("the URL has a `#`, which is written %23"));
    }
    let (scheme, rest) = url
        .split_once("://")
        .ok_or_else(|| invalid("the URL has no `://` after its scheme"))?;
    let scheme = scheme.to_ascii_lowercase();
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (place, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (login, hosts) = match place.rsplit_once('@') {
        Some((login, hosts)) => (Some(login), hosts),
        None => (None, place),
    };
    if path.contains('@') || login.is_some_and(|login| login.contains('@')) {
        return Err(invalid(
            "the URL has a `/` or `@` too many; in passwords, `/`, `?`, `#`, `@`, `:` and `%` are percent-encoded",
        ));
    }
    let mut config = match &scheme[..] {
        "redis" | "valkey" | "rediss" | "valkeys" => {
            let (host, port) = one(hosts, PORT)?;
            RedisConfig::at(Servers::One(Address::Tcp(host, port)))
        }
        "redis+unix" | "valkey+unix" => unix(hosts, path)?,
        "redis-cluster" | "rediss-cluster" | "valkey-cluster" | "valkeys-cluster" => {
            RedisConfig::cluster(several(hosts, PORT)?)
        }
        "redis-sentinel" | "rediss-sentinel" | "valkey-sentinel" | "valkeys-sentinel" => {
            RedisConfig::sentinel("", several(hosts, SENTINEL_PORT)?)
        }
        #[cfg(feature = "rest")]
        "upstash+https" | "upstash+http" => {
            let (host, port) = one(hosts, if scheme == "upstash+https" { 443 } else { 80 })?;
            RedisConfig::at(Servers::Rest(host, port))
        }
        #[cfg(not(feature = "rest"))]
        "upstash+https" | "upstash+http" => {
            return Err(invalid(
                "the REST API of Upstash goes with the feature `rest` of kvstore-redis, which is off",
            ));
        }
        _ => {
            let message = format!("the URL's scheme is none of {}", SCHEMES.join(", "));
            return Err(invalid(message));
        }
    };
    config.tls = matches!(
        scheme.split('-').next(),
        Some("rediss" | "valkeys" | "upstash+https")
    );
    let is_unix = matches!(config.servers, Servers::One(Address::Unix(_)));
    if let Some(text) = path
        .strip_prefix('/')
        .filter(|text| !is_unix && !text.is_empty())
    {
        config.database = database("the URL's path, after the slash,", text)?;
    }
    if let Some(login) = login {
        read_login(&mut config, login)?;
    }
    for parameter in parameters(query)? {
        set(&mut config, &parameter)?;
    }
    config.check()?;
    Ok(config)
}

/// The one host and its port.
fn one(hosts: &str, port: u16) -> Result<(String, u16)> {
    if hosts.contains(',') {
        return Err(invalid(
            "the URL has several hosts, which are for `redis-cluster://` and `redis-sentinel://`",
        ));
    }
    server(hosts, port)
}

fn several(hosts: &str, port: u16) -> Result<Vec<(String, u16)>> {
    hosts.split(',').map(|host| server(host, port)).collect()
}

/// A host, in brackets when it is an IPv6 address, and its port.
fn server(text: &str, usual: u16) -> Result<(String, u16)> {
    let (host, port) = match text.strip_prefix('[').map(|text| text.split_once(']')) {
        Some(None) => return Err(invalid("a host of the URL has a `[` without a `]`")),
        Some(Some((host, ""))) => (host, None),
        Some(Some((host, rest))) => (host, Some(rest.strip_prefix(':').unwrap_or_default())),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() {
        return Err(invalid("the URL has no host, or an empty one"));
    }
    let of_hosts = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if !host.chars().all(of_hosts) {
        return Err(invalid("a host of the URL has characters that no host has"));
    }
    let port = match port {
        None => usual,
        Some(port) => number(port)
            .filter(|port| *port != 0)
            .ok_or_else(|| invalid("a port of the URL is not a number from 1 to 65535"))?,
    };
    Ok((host.to_owned(), port))
}

fn unix(host: &str, path: &str) -> Result<RedisConfig> {
    if !matches!(host, "" | "localhost") {
        return Err(invalid(
            "the URL of a Unix socket has three slashes, and no host but `localhost`",
        ));
    }
    let path = decode("the path", path)?;
    if path.is_empty() || path.ends_with('/') {
        return Err(invalid("the URL does not name the file of the Unix socket"));
    }
    Ok(RedisConfig::unix(PathBuf::from(path)))
}

fn read_login(config: &mut RedisConfig, login: &str) -> Result<()> {
    let (user, password) = match login.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (login, None),
    };
    if password.is_some_and(|password| password.contains(':')) {
        return Err(invalid(
            "the password of the URL has a `:`, which is written %3A",
        ));
    }
    if !user.is_empty() {
        config.username = Some(decode("the user name", user)?);
    }
    if let Some(password) = password {
        config.password = Some(decode("the password", password)?);
    }
    Ok(())
}

fn set(config: &mut RedisConfig, parameter: &Parameter<'_>) -> Result<()> {
    match (parameter.name(), &mut config.servers) {
        ("master", Servers::Sentinel { name, .. }) => *name = parameter.value().to_owned(),
        ("db", Servers::One(Address::Unix(_))) => {
            config.database = database("the URL's `db`", parameter.value())?;
        }
        ("sentinel_username", Servers::Sentinel { .. }) => {
            config.sentinel_username = Some(parameter.value().to_owned());
        }
        ("sentinel_password", Servers::Sentinel { .. }) => {
            config.sentinel_password = Some(parameter.value().to_owned());
        }
        ("prefix", _) => config.prefix = parameter.value().to_owned(),
        ("timeout", _) => config.timeout = parameter.duration()?,
        ("connect_timeout", _) => config.connect_timeout = parameter.duration()?,
        ("max_pending", _) => config.max_pending = parameter.number()?,
        ("max_value_len", _) => config.max_value_len = Some(parameter.number()?),
        ("read_from", _) => {
            config.read_from_replicas = match parameter.value() {
                "replica" => true,
                "primary" => false,
                _ => return Err(parameter.is_not("`primary` or `replica`")),
            };
        }
        ("wait_replicas", _) => config.wait_replicas = parameter.number()?,
        #[cfg(feature = "rest")]
        ("max_connections", Servers::Rest(..)) => {
            config.max_connections = Some(parameter.number()?)
        }
        ("upstash", _) => config.upstash = parameter.flag()?,
        ("ca", _) => config.ca = Some(parameter.file()?),
        ("client_cert", _) => config.client_cert = Some(parameter.file()?),
        ("client_key", _) => config.client_key = Some(parameter.file()?),
        _ => {
            let more = match &config.servers {
                Servers::One(Address::Unix(_)) => ", db",
                Servers::Sentinel { .. } => ", master, sentinel_username, sentinel_password",
                #[cfg(feature = "rest")]
                Servers::Rest(..) => ", max_connections",
                _ => "",
            };
            return Err(parameter.unknown(&format!("{KNOWN}{more}")));
        }
    }
    Ok(())
}

const KNOWN: &str = "prefix, timeout, connect_timeout, max_pending, max_value_len, read_from, wait_replicas, upstash, \
                     ca, client_cert, client_key";

fn database(what: &str, text: &str) -> Result<u8> {
    number(text).ok_or_else(|| {
        invalid(format!(
            "{what} is the number of a database, from 0 to 255, or not there"
        ))
    })
}

fn invalid(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}

#[cfg(test)]
mod tests;
