//! What this program itself takes from a URL, whose other parts are the provider's: where the password is.

use std::env;
use std::fs::File;
use std::io::Read as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use tokio::task::spawn_blocking;

use crate::failure::Failure;

/// What is percent-encoded in a password: all but what RFC 3986 calls unreserved.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

const FILE: &str = "password_file";
const VARIABLE: &str = "password_env";

/// What stands before the URLs of two stores that are used as one.
const TWO: &str = "fallback:";

/// The URLs in a URL: of the new store and of the old one, or itself.
pub(crate) fn parts(url: &str) -> Vec<&str> {
    match two(url) {
        Some(both) => both.split_ascii_whitespace().filter(is_url).collect(),
        None => vec![url],
    }
}

/// Changes each of the URLs in a URL.
pub(crate) fn each(
    url: &str,
    change: impl Fn(&str) -> Result<String, Failure>,
) -> Result<String, Failure> {
    let Some(both) = two(url) else {
        return change(url);
    };
    let changed = both
        .split_ascii_whitespace()
        .map(|part| match is_url(&part) {
            true => change(part),
            false => Ok(part.to_owned()),
        });
    let changed = changed.collect::<Result<Vec<_>, _>>()?;
    Ok(format!("{TWO}{}", changed.join(" ")))
}

/// What names the two, where there are two.
fn two(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_at_checked(TWO.len())?;
    scheme.eq_ignore_ascii_case(TWO).then_some(rest)
}

/// Whether a URL names two stores.
pub(crate) fn is_two(url: &str) -> bool {
    two(url).is_some()
}

/// The parameters of the two together stand before them.
fn is_url(part: &&str) -> bool {
    !part.starts_with('?')
}

/// How many bytes the file of a password may have.
const LIMIT: u64 = 64 << 10;

/// Puts the passwords into a URL whose parameters say where they are. A file may be a pipe, which is waited for.
pub(crate) async fn with_password(url: &str) -> Result<String, Failure> {
    let url = url.to_owned();
    let read = spawn_blocking(move || each(&url, with_one_password)).await;
    read.map_err(|error| Failure::io("reading a password", error.into()))?
}

fn with_one_password(url: &str) -> Result<String, Failure> {
    let Some((place, query)) = url.split_once('?') else {
        return Ok(url.to_owned());
    };
    let mut rest = Vec::new();
    let mut password = None;
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let read: fn(&str) -> Result<String, Failure> = match name {
            FILE => from_file,
            VARIABLE => from_environment,
            _ => {
                rest.push(pair);
                continue;
            }
        };
        let value = percent_decode_str(value).decode_utf8().map_err(|_| {
            Failure::usage(format!(
                "the URL's `{name}` is not UTF-8 when percent-decoded"
            ))
        })?;
        if password.replace(read(&value)?).is_some() {
            return Err(Failure::usage("the URL says twice where its password is"));
        }
    }
    let Some(password) = password else {
        return Ok(url.to_owned());
    };
    let mut url = inserted(place, &password)?;
    if !rest.is_empty() {
        url.push('?');
        url.push_str(&rest.join("&"));
    }
    Ok(url)
}

fn from_file(path: &str) -> Result<String, Failure> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(LIMIT + 1).read_to_string(&mut text));
    read.map_err(|error| {
        Failure::usage(format!(
            "the file of the URL's `{FILE}` cannot be read: {error}"
        ))
    })?;
    if text.len() as u64 > LIMIT {
        return Err(Failure::usage(format!(
            "the file of the URL's `{FILE}` has more than {LIMIT} bytes"
        )));
    }
    // Editors end a file with a newline, which is no part of a password.
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    match password.is_empty() {
        true => Err(Failure::usage(format!(
            "the file of the URL's `{FILE}` is empty"
        ))),
        false => Ok(password.to_owned()),
    }
}

fn from_environment(name: &str) -> Result<String, Failure> {
    let password = env::var(name).ok().filter(|password| !password.is_empty());
    password.ok_or_else(|| {
        Failure::usage(format!(
            "the variable of the URL's `{VARIABLE}` is not set, or not UTF-8"
        ))
    })
}

fn inserted(place: &str, password: &str) -> Result<String, Failure> {
    let Some((scheme, rest)) = place.split_once("://") else {
        return Err(Failure::usage(
            "the URL has a password, and no `//` after its scheme",
        ));
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if user.contains(':') {
        return Err(Failure::usage(
            "the URL has a password, and says where another one is",
        ));
    }
    // A Unix socket's URL has no host, unless there is a password.
    let host = if host.is_empty() { "localhost" } else { host };
    let password = utf8_percent_encode(password, ENCODED);
    Ok(format!("{scheme}://{user}:{password}@{host}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_put_where_it_belongs() {
        let insert = |place| inserted(place, "p/w:ü%@~").unwrap();
        let encoded = "p%2Fw%3A%C3%BC%25%40~";
        for (place, expected) in [
            ("redis://h", format!("redis://:{encoded}@h")),
            ("redis://h:1/0", format!("redis://:{encoded}@h:1/0")),
            ("redis://u@h/0", format!("redis://u:{encoded}@h/0")),
            ("mongodb://u@a,b/d", format!("mongodb://u:{encoded}@a,b/d")),
            (
                "redis+unix:///s",
                format!("redis+unix://:{encoded}@localhost/s"),
            ),
        ] {
            assert_eq!(insert(place), expected);
        }
        for place in ["memory:", "redis://u:p@h", "redis://:p@h"] {
            assert!(inserted(place, "secret").is_err(), "{place}");
        }
    }

    #[test]
    fn a_url_that_says_nothing_of_a_password_stays_as_it_is() {
        for url in [
            "",
            "memory:",
            "redis://:a%3F@h/0?prefix=p%26&timeout=1s",
            "redis://h?",
        ] {
            assert_eq!(with_one_password(url).unwrap(), url);
        }
    }

    #[test]
    fn two_urls_are_changed_each() {
        let change = |url: &str| Ok(format!("<{url}>"));
        for (url, parts_of_it, changed) in [
            ("a://b?c", &["a://b?c"][..], "<a://b?c>"),
            (
                "fallback:a://b?c d:",
                &["a://b?c", "d:"],
                "fallback:<a://b?c> <d:>",
            ),
            (
                "Fallback:?tombstones=5m  a: b:",
                &["a:", "b:"],
                "fallback:?tombstones=5m <a:> <b:>",
            ),
            ("fallback:", &[], "fallback:"),
            ("fallbäck", &["fallbäck"], "<fallbäck>"),
        ] {
            assert_eq!(parts(url), parts_of_it);
            assert_eq!(each(url, change).unwrap(), changed);
        }
        assert!(each("fallback:a: b:", |_| Err(Failure::Interrupted)).is_err());
    }
}
