//! ZooKeeper URLs. What is not understood is an error, and no error shows a value.

use std::borrow::Cow;
use std::str::FromStr;
use std::time::Duration;

use kvstore_core::{Error, ErrorKind, Result};
use percent_encoding::percent_decode_str;

use crate::ZooKeeperConfig;
use crate::config::PORT;

/// The schemes that [`parse`] understands.
pub(crate) const SCHEMES: &[&str] = &["zookeeper"];

pub(crate) fn parse(url: &str) -> Result<ZooKeeperConfig> {
    if url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(invalid(
            "the URL has a space or a control character; percent-encode it (%20)",
        ));
    }
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
    let mut seen = Vec::new();
    for pair in query.split('&').filter(|_| !query.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if seen.contains(&name) {
            return Err(invalid(format!(
                "the URL has the parameter {} twice",
                show(name)
            )));
        }
        seen.push(name);
        config = parameter(config, name, &decode("a parameter", value)?)?;
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

fn parameter(config: ZooKeeperConfig, name: &str, value: &str) -> Result<ZooKeeperConfig> {
    let wanted = |what: &str| invalid(format!("the URL's `{name}` is not {what}"));
    let duration = || duration(value).ok_or_else(|| wanted(DURATION));
    let count = |what| number(value).ok_or_else(|| wanted(what));
    Ok(match name {
        "acl" => {
            let acl: Result<Vec<_>> = value.split(',').map(str::parse).collect();
            config.acl(acl?)
        }
        "timeout" => config.timeout(duration()?),
        "connect_timeout" => config.connect_timeout(duration()?),
        "session_timeout" => config.session_timeout(duration()?),
        "max_pending" => config.max_pending(count("a number")?),
        "max_value_len" => config.max_value_len(count("a number of bytes")?),
        _ => {
            let name = show(name);
            return Err(invalid(format!(
                "the URL has the parameter {name}, which is none of {KNOWN}"
            )));
        }
    })
}

const KNOWN: &str = "acl, timeout, connect_timeout, session_timeout, max_pending, max_value_len";

const DURATION: &str = "a number followed by `ms`, `s` or `m`, as `5s`";

fn duration(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit);
    let number = self::number(number)?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        _ => None,
    }
}

/// Digits and nothing else: `parse` alone would take a plus sign.
fn number<N: FromStr>(text: &str) -> Option<N> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

fn decode(what: &str, text: &str) -> Result<String> {
    let is_escape = |(at, _): (usize, &str)| {
        let digits = text.get(at + 1..at + 3);
        digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    if !text.match_indices('%').all(is_escape) {
        return Err(invalid(format!(
            "{what} of the URL has a `%` without two hexadecimal digits; a `%` itself is written %25"
        )));
    }
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| {
        invalid(format!(
            "{what} of the URL is not UTF-8 when percent-decoded"
        ))
    })
}

/// A parameter's name, unless it may be a piece of something else that was not encoded.
fn show(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_lowercase() || b"_-".contains(&byte);
    match name.len() <= 30 && name.bytes().all(plain) {
        true => format!("`{name}`"),
        false => "with a strange name".to_owned(),
    }
}

fn invalid(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}

#[cfg(test)]
mod tests;
