//! What the URLs of all providers have in common, for providers: their parts, and their parameters.
//!
//! What is not understood is an error that names the part, and never shows a value.
//!
//! ```
//! use std::time::Duration;
//! use kvstore_core::{Result, url};
//!
//! struct Config { servers: Vec<(String, u16)>, timeout: Duration, max_pending: usize }
//!
//! # fn main() -> Result<()> {
//! let url = url::Url::parse("fruit://one.example,[::1]:7001?timeout=1500ms&max_pending=7")?;
//! if url.scheme() != "fruit" {
//!     return Err(url.is_none_of(&["fruit"]));
//! }
//! let servers = url.servers(7000)?;
//! let mut config = Config { servers, timeout: Duration::from_secs(5), max_pending: 10_000 };
//! for parameter in url.parameters()? {
//!     match parameter.name() {
//!         "timeout" => config.timeout = parameter.duration()?,
//!         "max_pending" => config.max_pending = parameter.number()?,
//!         _ => return Err(parameter.unknown("timeout, max_pending")),
//!     }
//! }
//! assert_eq!(config.servers, [("one.example".to_owned(), 7000), ("::1".to_owned(), 7001)]);
//! assert_eq!((config.timeout.as_millis(), config.max_pending), (1500, 7));
//! # Ok(()) }
//! ```

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use crate::{Error, ErrorKind, Result};

/// The longest name of a parameter that an error shows.
const MAX_SHOWN: usize = 30;

/// Refuses the characters that parsers of URLs drop without a word.
///
/// # Errors
/// [`ErrorKind::InvalidConfig`] for spaces and control characters.
pub fn check(url: &str) -> Result<()> {
    match url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        true => Err(invalid(
            "the URL has a space or a control character; percent-encode it (%20)",
        )),
        false => Ok(()),
    }
}

/// A URL of one server or several: `scheme://[user[:password]@]host[:port][,host[:port]…][/path][?parameters]`.
///
/// Parsers of web addresses know one host. `Debug` prints the scheme and the hosts alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Url<'a> {
    scheme: String,
    login: Option<&'a str>,
    hosts: &'a str,
    path: &'a str,
    query: &'a str,
}

impl<'a> Url<'a> {
    /// Finds the parts, and decodes none of them.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] as [`check`], where there is no `://` or a `#`, and for a `/` or `@` more than
    /// there can be, as a password has that was not percent-encoded.
    pub fn parse(url: &'a str) -> Result<Self> {
        check(url)?;
        if url.contains('#') {
            return Err(invalid(
                "the URL has a fragment, which means nothing here; a `#` is written %23",
            ));
        }
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| invalid("the URL has no `://` after its scheme"))?;
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
        Ok(Self {
            scheme: scheme.to_ascii_lowercase(),
            login,
            hosts,
            path,
            query,
        })
    }

    /// The scheme, in lower case.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The error that the scheme is none of these.
    pub fn is_none_of(&self, schemes: &[&str]) -> Error {
        let schemes = schemes.join(", ");
        invalid(format!("the URL's scheme is none of {schemes}"))
    }

    /// The user, and the password if there is one, decoded.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] for a second `:`, and as [`decode`].
    pub fn login(&self) -> Result<Option<(String, Option<String>)>> {
        let Some(login) = self.login else {
            return Ok(None);
        };
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (login, None),
        };
        if password.is_some_and(|password| password.contains(':')) {
            return Err(invalid(
                "the password of the URL has a `:`, which is written %3A",
            ));
        }
        let user = decode("the user name", user)?;
        let password = password.map(|password| decode("the password", password));
        Ok(Some((user, password.transpose()?)))
    }

    /// What stands where the hosts are.
    pub fn hosts(&self) -> &'a str {
        self.hosts
    }

    /// The hosts, IPv6 addresses without their brackets, each with its port or, where it has none, this one. There
    /// is one at least.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] for what is no host or no port.
    pub fn servers(&self, port: u16) -> Result<Vec<(String, u16)>> {
        let servers = self.hosts.split(',').map(|text| server(text, port));
        servers.collect()
    }

    /// What stands after the hosts: a `/` and more, or nothing.
    pub fn path(&self) -> &'a str {
        self.path
    }

    /// The parameters.
    ///
    /// # Errors
    /// As [`parameters`].
    pub fn parameters(&self) -> Result<Vec<Parameter<'a>>> {
        parameters(self.query)
    }
}

impl fmt::Debug for Url<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Url")
            .field("scheme", &self.scheme)
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

/// A host, in brackets when it is an IPv6 address, and its port.
fn server(text: &str, usual: u16) -> Result<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(text) => {
            let (host, rest) = text
                .split_once(']')
                .filter(|(host, _)| host.parse::<Ipv6Addr>().is_ok())
                .ok_or_else(|| invalid("a host of the URL in brackets is no IPv6 address"))?;
            let port = (!rest.is_empty()).then(|| rest.strip_prefix(':').unwrap_or_default());
            (host, port)
        }
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
        Some(port) => number(port).filter(|port| *port != 0).ok_or_else(|| {
            invalid(
                "a port of the URL is not a number from 1 to 65535; an IPv6 address is in brackets",
            )
        })?,
    };
    Ok((host.to_owned(), port))
}

/// Percent-decodes a part of a URL; `what` names it in errors, as `the password`.
///
/// # Errors
/// [`ErrorKind::InvalidConfig`] for a `%` without two hexadecimal digits, and for what is not UTF-8.
pub fn decode(what: &str, text: &str) -> Result<String> {
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
    decoded.map(Cow::into_owned).map_err(|_| {
        invalid(format!(
            "{what} of the URL is not UTF-8 when percent-decoded"
        ))
    })
}

/// The parameters of a URL: what stands after its `?`, in order, decoded.
///
/// # Errors
/// [`ErrorKind::InvalidConfig`] for one that has no name or is there twice, and as [`decode`].
pub fn parameters(query: &str) -> Result<Vec<Parameter<'_>>> {
    let mut parameters: Vec<Parameter<'_>> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if name.is_empty() {
            return Err(invalid("the URL has a parameter without a name"));
        }
        if parameters.iter().any(|before| before.name == name) {
            let name = shown(name);
            return Err(invalid(format!("the URL has the parameter {name} twice")));
        }
        let value = decode("a parameter", value)?;
        parameters.push(Parameter { name, value });
    }
    Ok(parameters)
}

/// A parameter of a URL. `Debug` prints no value.
pub struct Parameter<'a> {
    name: &'a str,
    value: String,
}

impl<'a> Parameter<'a> {
    /// The name, as it stands in the URL.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// The value, decoded.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// A time: a number followed by `ms`, `s`, `m` or `h`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] for anything else.
    pub fn duration(&self) -> Result<Duration> {
        let wanted = "a number followed by `ms`, `s`, `m` or `h`, as `5s`";
        duration(&self.value).ok_or_else(|| self.is_not(wanted))
    }

    /// A number: digits and nothing else.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] for anything else, and for what is too large.
    pub fn number<N: FromStr>(&self) -> Result<N> {
        number(&self.value).ok_or_else(|| self.is_not("a number"))
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] for anything else.
    pub fn flag(&self) -> Result<bool> {
        let flag = self.value.parse();
        flag.map_err(|_| self.is_not("`true` or `false`"))
    }

    /// The path of a file.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] where it is empty.
    pub fn file(&self) -> Result<PathBuf> {
        match self.value.is_empty() {
            true => Err(self.is_not("the path of a file")),
            false => Ok(PathBuf::from(&self.value)),
        }
    }

    /// The error that the value is not what is wanted, as `a number from 1 to 7`.
    pub fn is_not(&self, wanted: &str) -> Error {
        let name = shown(self.name);
        invalid(format!("the URL's {name} is not {wanted}"))
    }

    /// The error that there is no such parameter, but those that are named, with commas between them.
    pub fn unknown(&self, known: &str) -> Error {
        let name = shown(self.name);
        invalid(format!(
            "the URL has the parameter {name}, which is none of {known}"
        ))
    }
}

impl fmt::Debug for Parameter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Parameter").field(&shown(self.name)).finish()
    }
}

fn duration(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at(unit);
    let count = number::<u64>(digits)?;
    match unit {
        "ms" => Some(Duration::from_millis(count)),
        "s" => Some(Duration::from_secs(count)),
        "m" => count.checked_mul(60).map(Duration::from_secs),
        "h" => count.checked_mul(60 * 60).map(Duration::from_secs),
        _ => None,
    }
}

/// A number of digits and nothing else, as of a port; `parse` alone would take a plus sign.
pub fn number<N: FromStr>(text: &str) -> Option<N> {
    match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse().ok(),
        false => None,
    }
}

/// A parameter's name, unless it may be a piece of something else that was not encoded.
fn shown(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || b"_-".contains(&byte);
    match name.len() <= MAX_SHOWN && name.bytes().all(is_plain) {
        true => format!("`{name}`"),
        false => "with a strange name".to_owned(),
    }
}

fn invalid(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}

#[cfg(test)]
mod tests;
