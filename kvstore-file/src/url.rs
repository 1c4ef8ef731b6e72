//! File URLs. What is not understood is an error, and no error shows a value.

use kvstore_core::Result;
use kvstore_core::url::{check, decode, parameters};

use crate::config::FileConfig;
use crate::error::invalid;

/// The scheme, and the provider's name.
pub(crate) const SCHEME: &str = "file";

pub(crate) fn parse(url: &str) -> Result<FileConfig> {
    check(url)?;
    let Some((scheme, rest)) = url.split_once(':') else {
        return Err(invalid(
            "the URL has no scheme; write `file:` before the path",
        ));
    };
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return Err(invalid("the URL's scheme is not `file`"));
    }
    if rest.contains('#') {
        return Err(invalid(
            "the URL has a fragment, which means nothing here; in a path, a `#` is written %23",
        ));
    }
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut config = FileConfig::new(decode("the path", path(place)?)?);
    for parameter in parameters(query)? {
        match parameter.name() {
            "timeout" => config.timeout = parameter.duration()?,
            "connect_timeout" => config.connect_timeout = parameter.duration()?,
            "max_pending" => config.max_pending = parameter.number()?,
            "max_value_len" => config.max_value_len = parameter.number()?,
            "cache_size" => config.cache_size = parameter.number()?,
            _ => return Err(parameter.unknown(KNOWN)),
        }
    }
    config.check()?;
    Ok(config)
}

/// What stands after the scheme, and after an empty host or `localhost`.
fn path(place: &str) -> Result<&str> {
    let path = match place.strip_prefix("//") {
        None => place,
        Some(rest) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            if !host.is_empty() && !host.eq_ignore_ascii_case("localhost") {
                return Err(invalid(
                    "the URL has a host, or a user; a path begins with one slash or with three, or without any where it \
                     begins at the working folder",
                ));
            }
            path
        }
    };
    match path.is_empty() {
        true => Err(invalid(
            "the URL has no path; write `file:/var/lib/app/store.redb`",
        )),
        false => Ok(path),
    }
}

const KNOWN: &str = "timeout, connect_timeout, max_pending, max_value_len, cache_size";

#[cfg(test)]
mod tests {
    use super::*;
    use kvstore_core::ErrorKind;
    use std::time::Duration;

    #[track_caller]
    fn parsed(url: &str) -> FileConfig {
        parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    #[test]
    fn every_part_is_read() {
        let config = parsed(
            "file:///var/my%20app/%C3%BC%23%3F%25+.redb?timeout=1500ms&connect_timeout=2m&max_pending=7\
             &max_value_len=99&cache_size=0",
        );
        let by_hand = FileConfig::new("/var/my app/ü#?%+.redb")
            .timeout(Duration::from_millis(1500))
            .connect_timeout(Duration::from_secs(120))
            .max_pending(7)
            .max_value_len(99)
            .cache_size(0);
        assert_eq!(config, by_hand);
    }

    #[test]
    fn a_path_is_written_in_several_ways() {
        for url in [
            "file:/a/b.redb",
            "file:///a/b.redb",
            "FILE:///a/b.redb",
            "file://localhost/a/b.redb",
            "file:/a/b.redb?",
            "file:/a/./b.redb",
        ] {
            assert_eq!(parsed(url), FileConfig::new("/a/b.redb"), "{url}");
        }
        let here = std::env::current_dir().unwrap();
        assert_eq!(parsed("file:b.redb").path, here.join("b.redb"));
        assert_eq!(parsed("file:a/b").path, here.join("a/b"));
    }

    #[test]
    fn what_is_not_understood_is_an_error_that_names_the_part_and_no_value() {
        for (url, part) in [
            ("", "no scheme"),
            ("/secret", "no scheme"),
            ("redis:secret", "not `file`"),
            ("file:", "no path"),
            ("file://", "no path"),
            ("file://localhost", "no path"),
            ("file:?timeout=1s", "no path"),
            ("file://secret.redb", "a host"),
            ("file://secret/store.redb", "a host"),
            ("file://secret@localhost/store.redb", "a host, or a user"),
            ("file:/", "does not name a file"),
            ("file:/secret/", "does not name a file"),
            ("file:/secret/..", "does not name a file"),
            ("file:/secret%00", "NUL"),
            ("file:/secret%ff", "the path"),
            ("file:/secret%", "the path"),
            ("file:/100%secret", "the path"),
            ("file:/secret%2", "the path"),
            ("file:/secret%é", "the path"),
            ("file:/a?timeout=secret%+1", "a parameter"),
            ("file:/sec ret", "space"),
            ("file:/secret\n", "control"),
            ("file:/secret#secret", "fragment"),
            ("file:/a?secret", "`secret`"),
            ("file:/a?Secret=secret", "strange name"),
            ("file:/a?timeout=secret", "`timeout`"),
            ("file:/a?timeout=5", "`timeout`"),
            ("file:/a?timeout=+5s", "`timeout`"),
            ("file:/a?timeout=0s", "`timeout`"),
            ("file:/a?timeout=99999999999999999999s", "`timeout`"),
            ("file:/a?timeout=9999999999999999999m", "`timeout`"),
            ("file:/a?timeout=25000m", "`timeout`"),
            ("file:/a?timeout=1s&timeout=1s", "`timeout` twice"),
            ("file:/a?connect_timeout=0ms", "`connect_timeout`"),
            ("file:/a?max_pending=0", "`max_pending`"),
            ("file:/a?max_pending=-1", "`max_pending`"),
            ("file:/a?max_value_len=secret", "`max_value_len`"),
            ("file:/a?max_value_len=1073741825", "`max_value_len`"),
            ("file:/a?cache_size=secret%ff", "UTF-8"),
            ("file:/a?cache_size=1M", "`cache_size`"),
            ("file:/a?=", "without a name"),
        ] {
            let error = parse(url).expect_err(url);
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}");
            assert!(error.to_string().contains(part), "{url}: {error}");
            if part != "`secret`" {
                assert!(
                    !format!("{error} {error:?}").contains("ecret"),
                    "{url}: {error:?}"
                );
            }
        }
    }
}
