//! Memcached URLs. What is not understood is an error, and no error shows a value.

use kvstore_core::url::{Parameter, Url};
use kvstore_core::{Error, ErrorKind, Result};

use crate::config::{MemcachedConfig, PORT};

/// The schemes that [`parse`] understands.
pub(crate) const SCHEMES: &[&str] = &["memcached", "memcacheds"];

pub(crate) fn parse(url: &str) -> Result<MemcachedConfig> {
    let url = Url::parse(url)?;
    let tls = match url.scheme() {
        "memcached" => false,
        "memcacheds" => true,
        _ => return Err(url.is_none_of(SCHEMES)),
    };
    if !matches!(url.path(), "" | "/") {
        return Err(invalid(
            "the URL has a path, which means nothing here; a `/` in a password is written %2F",
        ));
    }
    let mut servers = url.servers(PORT)?.into_iter();
    let (host, port) = servers.next().unwrap_or_default();
    let config = MemcachedConfig::new(host, port);
    let mut config = servers.fold(config, |config, (host, port)| config.server(host, port));
    if tls {
        config = config.tls();
    }
    if let Some((user, password)) = url.login()? {
        let password =
            password.ok_or_else(|| invalid("the URL has a user name without a password"))?;
        config = config.credentials(user, password);
    }
    for parameter in url.parameters()? {
        set(&mut config, &parameter)?;
    }
    config.check()?;
    Ok(config)
}

fn set(config: &mut MemcachedConfig, parameter: &Parameter<'_>) -> Result<()> {
    match parameter.name() {
        "prefix" => config.prefix = parameter.value().to_owned(),
        "timeout" => config.timeout = parameter.duration()?,
        "connect_timeout" => config.connect_timeout = parameter.duration()?,
        "connections" => config.connections = parameter.number()?,
        "max_pending" => config.max_pending = parameter.number()?,
        "max_value_len" => config.max_value_len = Some(parameter.number()?),
        "ca" => config.ca = Some(parameter.file()?),
        "client_cert" => config.client_cert = Some(parameter.file()?),
        "client_key" => config.client_key = Some(parameter.file()?),
        _ => return Err(parameter.unknown(KNOWN)),
    }
    Ok(())
}

const KNOWN: &str = "prefix, timeout, connect_timeout, connections, max_pending, max_value_len, ca, client_cert, \
    client_key";

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Address;
    use std::time::Duration;

    #[track_caller]
    fn parsed(url: &str) -> MemcachedConfig {
        parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    fn at(host: &str, port: u16) -> Address {
        let host = host.to_owned();
        Address { host, port }
    }

    #[test]
    fn every_part_is_read() {
        let config = parsed(
            "memcacheds://us%40er:p%2Fw%3A%C3%BC%25@one.example:7000,10.0.0.2,[::1]:7001,[fe80::2]/?prefix=a%26b%20+%3A\
             &timeout=1500ms&connect_timeout=2m&connections=3&max_pending=7&max_value_len=99&ca=/tls/ca.pem\
             &client_cert=/c.pem&client_key=/k%20.pem",
        );
        let servers = [
            at("one.example", 7000),
            at("10.0.0.2", 11211),
            at("::1", 7001),
            at("fe80::2", 11211),
        ];
        assert_eq!(config.servers, servers);
        let login = config.credentials.unwrap();
        assert_eq!((&login.user[..], &login.password[..]), ("us@er", "p/w:ü%"));
        assert!(config.tls);
        assert_eq!(config.prefix, "a&b +:", "a plus sign is a plus sign");
        assert_eq!(config.timeout, Duration::from_millis(1500));
        assert_eq!(config.connect_timeout, Duration::from_secs(120));
        assert_eq!((config.connections, config.max_pending), (3, 7));
        assert_eq!(config.max_value_len, Some(99));
        assert_eq!(config.ca, Some("/tls/ca.pem".into()));
        assert_eq!(config.client_cert, Some("/c.pem".into()));
        assert_eq!(config.client_key, Some("/k .pem".into()));
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        for url in [
            "memcached://h",
            "memcached://h/",
            "MEMCACHED://h:11211",
            "memcached://h?",
        ] {
            assert_eq!(parsed(url), MemcachedConfig::new("h", 11211));
        }
        assert_eq!(
            parsed("memcacheds://h"),
            MemcachedConfig::new("h", 11211).tls()
        );
        assert_eq!(at("::1", 7).to_string(), "[::1]:7");
    }

    #[test]
    fn what_is_not_understood_is_an_error_that_names_the_part_and_no_value() {
        for (url, part) in [
            ("", "`://`"),
            ("secret", "`://`"),
            ("memcached:secret", "`://`"),
            ("http://secret@h", "scheme"),
            ("memcached://", "host"),
            ("memcached://:11211", "host"),
            ("memcached://user:secret@", "host"),
            ("memcached://user:sec ret@h", "space"),
            ("memcached://user:sec/ret@h", "`/` or `@`"),
            ("memcached://user:sec:ret@h", "%3A"),
            ("memcached://us@er:secret@h", "`/` or `@`"),
            ("memcached://h/0\n", "control"),
            ("memcached://h/secret", "path"),
            ("memcached://h//", "path"),
            ("memcached://h#secret", "fragment"),
            ("memcached://h%20st", "host"),
            ("memcached://h:99999", "port"),
            ("memcached://h:+1", "port"),
            ("memcached://h:", "port"),
            ("memcached://h:0", "port"),
            ("memcached://h,", "host"),
            ("memcached://h,h:11211", "twice"),
            ("memcached://::1", "no host"),
            ("memcached://[::1", "brackets"),
            ("memcached://[secret]", "brackets"),
            ("memcached://secret@h", "user name without a password"),
            ("memcached://:secret@h", "the user and the password"),
            ("memcached://user:@h", "the user and the password"),
            ("memcached://us%20er:secret@h", "the user and the password"),
            ("memcached://user:sec%0Aret@h", "the user and the password"),
            ("memcached://user:sec%20ret@h", "the user and the password"),
            ("memcached://%ff:secret@h", "the user name"),
            ("memcached://u:secret%ff@h", "the password"),
            ("memcached://u:secret%@h", "the password"),
            ("memcached://sec%ret:p@h", "the user name"),
            ("memcached://h?prefix=secret%2", "a parameter"),
            ("memcached://h?ca=%+1secret", "a parameter"),
            ("memcached://h?secret", "`secret`"),
            ("memcached://h?Secret=secret", "strange name"),
            (
                "memcached://h?prefix=secret&prefix=secret",
                "`prefix` twice",
            ),
            ("memcached://h?prefix=secret%ff", "UTF-8"),
            ("memcached://h?timeout=secret", "`timeout`"),
            ("memcached://h?timeout=5", "`timeout`"),
            ("memcached://h?timeout=-5s", "`timeout`"),
            ("memcached://h?timeout=0s", "`timeout`"),
            ("memcached://h?timeout=99999999999999999999s", "`timeout`"),
            ("memcached://h?timeout=9999999999999999999m", "`timeout`"),
            ("memcached://h?timeout=25000m", "`timeout`"),
            ("memcached://h?connect_timeout=0ms", "`connect_timeout`"),
            ("memcached://h?connections=0", "`connections`"),
            ("memcached://h?connections=65", "`connections`"),
            ("memcached://h?max_pending=0", "`max_pending`"),
            ("memcached://h?max_pending=9999999999", "`max_pending`"),
            ("memcached://h?max_value_len=secret", "`max_value_len`"),
            ("memcached://h?max_value_len=9999999999", "`max_value_len`"),
            ("memcached://h?ca=secret", "`memcacheds://`"),
            ("memcacheds://h?ca=", "`ca`"),
            ("memcacheds://h?client_cert=secret", "go together"),
            ("memcached://h?=", "without a name"),
        ] {
            let error = parse(url).expect_err(url);
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}");
            assert!(error.to_string().contains(part), "{url}: {error}");
            if part != "`secret`" {
                let printed = format!("{error} {error:?}");
                assert!(!printed.contains("ecret"), "{url}: {error:?}");
            }
        }
    }

    #[test]
    fn a_prefix_leaves_room_for_keys() {
        let with = |prefix: &str| MemcachedConfig::new("h", 1).prefix(prefix).check();
        with(&"p".repeat(184)).unwrap();
        with(&"p".repeat(185)).unwrap_err();
        with(&" ".repeat(61)).unwrap();
        with(&" ".repeat(62)).unwrap_err();
    }

    #[test]
    fn debug_has_no_password() {
        let config = parsed("memcached://user:hunter2@h?prefix=p:");
        let debug = format!("{config:?} {config:#?}");
        assert!(
            debug.contains("user") && debug.contains("p:") && !debug.contains("hunter2"),
            "{debug}"
        );
    }
}
