//! Redis URLs. What is not understood is an error, and no error shows a value.

use std::path::PathBuf;

use kvstore_core::url::{Parameter, check, decode, number, parameters};
use kvstore_core::{Error, ErrorKind, Result};
use url::{Host, Url};

use crate::config::{Address, RedisConfig};

/// The schemes that [`parse`] understands.
pub(crate) const SCHEMES: &[&str] = &[
    "redis",
    "rediss",
    "valkey",
    "valkeys",
    "redis+unix",
    "valkey+unix",
];

pub(crate) fn parse(text: &str) -> Result<RedisConfig> {
    // The parser below would drop some of these without a word.
    check(text)?;
    let url = Url::parse(text).map_err(|source| {
        invalid(
            "the URL cannot be read; in passwords, `/`, `?`, `#`, `@` and `:` are percent-encoded",
        )
        .with_source(source)
    })?;
    if url.cannot_be_a_base() {
        return Err(invalid("the URL has no `//` after the scheme"));
    }
    if url.fragment().is_some() {
        return Err(invalid(
            "the URL has a fragment, which means nothing here; a `#` is written %23",
        ));
    }
    let mut config = match url.scheme() {
        "redis" | "valkey" => tcp(&url)?,
        "rediss" | "valkeys" => tcp(&url)?.tls(),
        "redis+unix" | "valkey+unix" => unix(&url)?,
        _ => {
            let message = format!("the URL's scheme is none of {}", SCHEMES.join(", "));
            return Err(invalid(message));
        }
    };
    if !url.username().is_empty() {
        config.username = Some(decode("the user name", url.username())?);
    }
    if let Some(password) = url.password() {
        config.password = Some(decode("the password", password)?);
    }
    for parameter in parameters(url.query().unwrap_or_default())? {
        set(&mut config, &parameter)?;
    }
    config.check()?;
    Ok(config)
}

fn tcp(url: &Url) -> Result<RedisConfig> {
    let host = match url.host() {
        Some(Host::Domain(name)) if name.contains('%') => {
            return Err(invalid("the URL's host has characters that no host has"));
        }
        Some(Host::Domain(name)) if !name.is_empty() => name.to_owned(),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_string(),
        Some(Host::Domain(_)) | None => return Err(invalid("the URL has no host")),
    };
    let mut config = RedisConfig::at(Address::Tcp(host, url.port().unwrap_or(6379)));
    if let Some(database) = url.path().strip_prefix('/').filter(|path| !path.is_empty()) {
        config.database = self::database("the URL's path, after the slash,", database)?;
    }
    Ok(config)
}

fn unix(url: &Url) -> Result<RedisConfig> {
    if !matches!(url.host_str(), None | Some("" | "localhost")) || url.port().is_some() {
        return Err(invalid(
            "the URL of a Unix socket has three slashes, and no host but `localhost`",
        ));
    }
    let path = decode("the path", url.path())?;
    if path.is_empty() || path.ends_with('/') {
        return Err(invalid("the URL does not name the file of the Unix socket"));
    }
    Ok(RedisConfig::at(Address::Unix(PathBuf::from(path))))
}

fn set(config: &mut RedisConfig, parameter: &Parameter<'_>) -> Result<()> {
    let is_unix = matches!(config.address, Address::Unix(_));
    match parameter.name() {
        "prefix" => config.prefix = parameter.value().to_owned(),
        "db" if is_unix => config.database = database("the URL's `db`", parameter.value())?,
        "timeout" => config.timeout = parameter.duration()?,
        "connect_timeout" => config.connect_timeout = parameter.duration()?,
        "max_pending" => config.max_pending = parameter.number()?,
        "max_value_len" => config.max_value_len = parameter.number()?,
        "ca" => config.ca = Some(parameter.file()?),
        "client_cert" => config.client_cert = Some(parameter.file()?),
        "client_key" => config.client_key = Some(parameter.file()?),
        _ => {
            let known = "prefix, timeout, connect_timeout, max_pending, max_value_len, ca, client_cert, client_key";
            let db = if is_unix { ", db" } else { "" };
            return Err(parameter.unknown(&format!("{known}{db}")));
        }
    }
    Ok(())
}

fn database(what: &str, text: &str) -> Result<u8> {
    number(text).ok_or_else(|| {
        invalid(format!(
            "{what} is the number of a database, from 0 to 255, or not there"
        ))
    })
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;
    use std::time::Duration;

    #[track_caller]
    fn parsed(url: &str) -> RedisConfig {
        parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    fn tcp_at(host: &str, port: u16) -> Address {
        Address::Tcp(host.to_owned(), port)
    }

    #[test]
    fn every_part_is_read() {
        let config = parsed(
            "rediss://us%40er:p%2Fw%3A%C3%BC%25@cache.example:7000/3?prefix=a%26b%20+%3A&timeout=1500ms\
             &connect_timeout=2m&max_pending=7&max_value_len=99&ca=/tls/ca.pem&client_cert=/c.pem&client_key=/k%20.pem",
        );
        assert_eq!(config.address, tcp_at("cache.example", 7000));
        assert_eq!(config.username.as_deref(), Some("us@er"));
        assert_eq!(config.password.as_deref(), Some("p/w:ü%"));
        assert_eq!(config.database, 3);
        assert!(config.tls);
        assert_eq!(config.prefix, "a&b +:", "a plus sign is a plus sign");
        assert_eq!(config.timeout, Duration::from_millis(1500));
        assert_eq!(config.connect_timeout, Duration::from_secs(120));
        assert_eq!((config.max_pending, config.max_value_len), (7, 99));
        assert_eq!(config.ca, Some("/tls/ca.pem".into()));
        assert_eq!(config.client_cert, Some("/c.pem".into()));
        assert_eq!(config.client_key, Some("/k .pem".into()));
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        for url in ["redis://h", "redis://h/", "valkey://h", "redis://h?"] {
            assert_eq!(parsed(url), RedisConfig::new("h"));
        }
        assert_eq!(parsed("valkeys://h"), RedisConfig::new("h").tls());
        let config = parsed("redis://:pw@127.0.0.1");
        assert_eq!(
            (config.username, config.password.as_deref()),
            (None, Some("pw"))
        );
        assert_eq!(config.address, tcp_at("127.0.0.1", 6379));
        assert_eq!(
            (config.database, config.timeout),
            (0, Duration::from_secs(5))
        );
        assert_eq!(
            (config.max_pending, config.max_value_len),
            (10_000, 512 << 20)
        );
    }

    #[test]
    fn ipv6_hosts_lose_their_brackets() {
        let config = parsed("redis://[::1]:7000/0");
        assert_eq!(config.address, tcp_at("::1", 7000));
        assert_eq!(config.address.to_string(), "[::1]:7000");
    }

    #[test]
    fn unix_sockets() {
        let config = parsed("redis+unix:///run/redis/a%20b.sock?db=2&prefix=x:");
        assert_eq!(config.address, Address::Unix("/run/redis/a b.sock".into()));
        assert_eq!((config.database, config.prefix.as_str()), (2, "x:"));
        let config = parsed("valkey+unix://u:p@localhost/s");
        assert_eq!(config.address, Address::Unix("/s".into()));
        assert_eq!(
            (config.username.as_deref(), config.password.as_deref()),
            (Some("u"), Some("p"))
        );
    }

    #[test]
    fn what_is_not_understood_is_an_error_that_names_the_part_and_no_value() {
        for (url, part) in [
            ("", "cannot be read"),
            ("secret", "cannot be read"),
            ("redis:secret", "`//`"),
            ("redis://", "host"),
            ("redis:///0", "host"),
            ("redis://:secret@", "cannot be read"),
            ("redis://:sec/ret@h", "cannot be read"),
            ("redis://:sec ret@h", "space"),
            ("redis://h/0\n", "control"),
            ("redis://h#secret", "fragment"),
            ("http://secret@h", "scheme"),
            ("redis://h%20st", "host"),
            ("redis://h:99999", "cannot be read"),
            ("redis://secret@h", "user name without a password"),
            ("redis://%ff:secret@h", "the user name"),
            ("redis://:secret%ff@h", "the password"),
            ("redis://h/secret", "database"),
            ("redis://h/256", "database"),
            ("redis://h/+1", "database"),
            ("redis://h/1/", "database"),
            ("redis://h//1", "database"),
            ("redis://h?secret", "`secret`"),
            ("redis://h?Secret=secret", "strange name"),
            ("redis://h?db=secret", "`db`"),
            ("redis://h?prefix=secret&prefix=secret", "`prefix` twice"),
            ("redis://h?prefix=secret%ff", "UTF-8"),
            ("redis://h?timeout=secret", "`timeout`"),
            ("redis://h?timeout=5", "`timeout`"),
            ("redis://h?timeout=s", "`timeout`"),
            ("redis://h?timeout=-5s", "`timeout`"),
            ("redis://h?timeout=0s", "`timeout`"),
            ("redis://h?timeout=99999999999999999999s", "`timeout`"),
            ("redis://h?timeout=9999999999999999999m", "`timeout`"),
            ("redis://h?timeout=25000m", "`timeout`"),
            ("redis://h?connect_timeout=0ms", "`connect_timeout`"),
            ("redis://h?max_pending=0", "`max_pending`"),
            ("redis://h?max_pending=9999999999", "`max_pending`"),
            ("redis://h?max_value_len=secret", "`max_value_len`"),
            ("redis://h?ca=secret", "`rediss://`"),
            (
                "redis://h?client_cert=secret&client_key=secret",
                "`rediss://`",
            ),
            ("rediss://h?ca=", "`ca`"),
            ("rediss://h?client_cert=secret", "go together"),
            ("redis+unix://secret/s", "no host but"),
            ("redis+unix:///", "file"),
            ("redis+unix:///s?ca=secret", "`rediss://`"),
        ] {
            let error = parse(url).expect_err(url);
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}");
            assert!(error.to_string().contains(part), "{url}: {error}");
            if part != "`secret`" {
                let source = error.source().map(ToString::to_string).unwrap_or_default();
                assert!(
                    !format!("{error} {error:?} {source}").contains("ecret"),
                    "{url}: {error:?}"
                );
            }
        }
    }

    #[test]
    fn debug_has_no_password() {
        let config = parsed("redis://user:hunter2@h?prefix=p:");
        let debug = format!("{config:?} {config:#?}");
        assert!(
            debug.contains("user") && debug.contains("p:") && !debug.contains("hunter2"),
            "{debug}"
        );
    }
}
