//! Redis URLs. What is not understood is an error, and no error shows a value.

use std::borrow::Cow;
use std::path::PathBuf;

use kvstore_core::url::{Parameter, Url, decode, number};
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
    let url = Url::parse(url)?;
    let scheme = url.scheme();
    let mut config = match scheme {
        "redis" | "valkey" | "rediss" | "valkeys" => {
            let (host, port) = one(&url, PORT)?;
            RedisConfig::at(Servers::One(Address::Tcp(host, port)))
        }
        "redis+unix" | "valkey+unix" => unix(url.hosts(), url.path())?,
        "redis-cluster" | "rediss-cluster" | "valkey-cluster" | "valkeys-cluster" => {
            RedisConfig::cluster(url.servers(PORT)?)
        }
        "redis-sentinel" | "rediss-sentinel" | "valkey-sentinel" | "valkeys-sentinel" => {
            RedisConfig::sentinel("", url.servers(SENTINEL_PORT)?)
        }
        #[cfg(feature = "rest")]
        "upstash+https" | "upstash+http" => {
            let (host, port) = one(&url, if scheme == "upstash+https" { 443 } else { 80 })?;
            RedisConfig::at(Servers::Rest(host, port))
        }
        #[cfg(not(feature = "rest"))]
        "upstash+https" | "upstash+http" => {
            return Err(invalid(
                "the REST API of Upstash goes with the feature `rest` of kvstore-redis, which is off",
            ));
        }
        _ => return Err(url.is_none_of(SCHEMES)),
    };
    config.tls = matches!(
        scheme.split('-').next(),
        Some("rediss" | "valkeys" | "upstash+https")
    );
    let is_unix = matches!(config.servers, Servers::One(Address::Unix(_)));
    let path = url.path().strip_prefix('/');
    if let Some(text) = path.filter(|text| !is_unix && !text.is_empty()) {
        config.database = database("the URL's path, after the slash,", text)?;
    }
    if let Some((user, password)) = url.login()? {
        config.username = Some(user).filter(|user| !user.is_empty());
        config.password = password;
    }
    for parameter in url.parameters()? {
        set(&mut config, &parameter)?;
    }
    config.check()?;
    Ok(config)
}

/// The one host and its port.
fn one(url: &Url<'_>, port: u16) -> Result<(String, u16)> {
    let [server] = <[_; 1]>::try_from(url.servers(port)?).map_err(|_| {
        invalid(
            "the URL has several hosts, which are for `redis-cluster://` and `redis-sentinel://`",
        )
    })?;
    Ok(server)
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
