//! ZooKeeper URLs. What is not understood is an error, and no error shows a value.

use std::borrow::Cow;

use kvstore_core::url::{Parameter, check, decode, number, parameters};
use kvstore_core::{Error, ErrorKind, Result};

use crate::ZooKeeperConfig;
use crate::config::PORT;

/// The schemes that [`parse`] understands.
pub(crate) const SCHEMES: &[&str] = &["zookeeper"];

pub(crate) fn parse(url: &str) -> Result<ZooKeeperConfig> {
    check(url)?;
    if url.contains('#') {
        return Err(invalid("the URL has a `#`, which is written %23"));
    }
    let (scheme, rest) = url
        .split_once("://")
        .ok_or_else(|| invalid("the URL has no `://` after its scheme"))?;
    if !SCHEMES.iter().any(|own| own.eq_ignore_ascii_case(scheme)) {
        let message = format!("the URL's scheme is none of {}", SCHEMES.join(", "));
        return Err(invalid(message));
    }
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (place, root) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let (login, hosts) = match place.rsplit_once('@') {
        Some((login, hosts)) => (Some(login), hosts),
        None => (None, place),
    };
    if root.contains('@') || login.is_some_and(|login| login.contains('@')) {
        return Err(invalid(
            "the URL has a `/` or `@` too many; in passwords, `/`, `?`, `#`, `@`, `:` and `%` are percent-encoded",
        ));
    }
    let mut servers = hosts.split(',').map(server);
    // `split` gives one at least.
    let (host, port) = servers.next().unwrap_or_else(|| server(""))?;
    let mut config = ZooKeeperConfig::new(host, port);
    for server in servers {
        let (host, port) = server?;
        config = config.server(host, port);
    }
    if !matches!(root, "" | "/") {
        config = config.root(decode("the path", root)?);
    }
    if let Some(login) = login {
        let (user, password) = login
            .split_once(':')
            .ok_or_else(|| invalid("the URL has a user name without a password"))?;
        if password.contains(':') {
            return Err(invalid(
                "the password of the URL has a `:`, which is written %3A",
            ));
        }
        config = config.credentials(
            decode("the user name", user)?,
            decode("the password", password)?,
        );
    }
    for parameter in parameters(query)? {
        config = set(config, &parameter)?;
    }
    config.check()?;
    Ok(config)
}

/// A host, in brackets when it is an IPv6 address, and its port.
fn server(text: &str) -> Result<(&str, u16)> {
    let (host, port) = match text.strip_prefix('[').map(|text| text.split_once(']')) {
        Some(None) => return Err(invalid("a host of the URL has a `[` without a `]`")),
        Some(Some((host, ""))) => (host, None),
        Some(Some((host, rest))) => {
            let port = rest.strip_prefix(':');
            (host, Some(port.unwrap_or_default()))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        None => PORT,
        Some(port) => number(port)
            .filter(|_| !port.is_empty())
            .ok_or_else(|| invalid("a port of the URL is not a number from 1 to 65535"))?,
    };
    Ok((host, port))
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
