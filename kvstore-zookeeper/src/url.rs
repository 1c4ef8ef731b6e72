//! ZooKeeper URLs. What is not understood is an error, and no error shows a value.

use std::borrow::Cow;

use kvstore_core::url::{Parameter, Url, decode};
use kvstore_core::{Error, ErrorKind, Result};

use crate::ZooKeeperConfig;
use crate::config::PORT;

/// The schemes that [`parse`] understands.
pub(crate) const SCHEMES: &[&str] = &["zookeeper"];

pub(crate) fn parse(url: &str) -> Result<ZooKeeperConfig> {
    let url = Url::parse(url)?;
    if !SCHEMES.contains(&url.scheme()) {
        return Err(url.is_none_of(SCHEMES));
    }
    let mut servers = url.servers(PORT)?.into_iter();
    let (host, port) = servers.next().unwrap_or_default();
    let config = ZooKeeperConfig::new(host, port);
    let mut config = servers.fold(config, |config, (host, port)| config.server(host, port));
    let root = url.path();
    if !matches!(root, "" | "/") {
        config = config.root(decode("the path", root)?);
    }
    if let Some((user, password)) = url.login()? {
        let password =
            password.ok_or_else(|| invalid("the URL has a user name without a password"))?;
        config = config.credentials(user, password);
    }
    for parameter in url.parameters()? {
        config = set(config, &parameter)?;
    }
    config.check()?;
    Ok(config)
}

fn set(config: ZooKeeperConfig, parameter: &Parameter<'_>) -> Result<ZooKeeperConfig> {
    Ok(match parameter.name() {
        "acl" => {
            let acl: Result<Vec<_>> = parameter.value().split(',').map(str::parse).collect();
            config.acl(acl?)
        }
        "timeout" => config.timeout(parameter.duration()?),
        "connect_timeout" => config.connect_timeout(parameter.duration()?),
        "session_timeout" => config.session_timeout(parameter.duration()?),
        "max_pending" => config.max_pending(parameter.number()?),
        "max_value_len" => config.max_value_len(parameter.number()?),
        _ => return Err(parameter.unknown(KNOWN)),
    })
}

const KNOWN: &str = "acl, timeout, connect_timeout, session_timeout, max_pending, max_value_len";

fn invalid(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}

#[cfg(test)]
mod tests;
