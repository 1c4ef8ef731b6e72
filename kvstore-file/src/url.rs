//! File URLs. What is not understood is an error, and no error shows a value.

use std::time::Duration;

use kvstore_core::Result;
use percent_encoding::percent_decode_str;

use crate::config::FileConfig;
use crate::error::invalid;

/// The scheme, and the provider's name.
pub(crate) const SCHEME: &str = "file";

pub(crate) fn parse(url: &str) -> Result<FileConfig> {
    if url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(invalid(
            "the URL has a space or a control character; percent-encode it (%20)",
        ));
    }
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
    let mut seen = Vec::new();
    for pair in query.split('&').filter(|_| !query.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if seen.contains(&name) {
            let name = show(name);
            return Err(invalid(format!("the URL has the parameter {name} twice")));
        }
        seen.push(name);
        config = parameter(config, name, &decode("a parameter", value)?)?;
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

fn parameter(mut config: FileConfig, name: &str, value: &str) -> Result<FileConfig> {
    let wanted = |what: &str| invalid(format!("the URL's `{name}` is not {what}"));
    let time = || duration(value).ok_or_else(|| wanted(DURATION));
    let count = || number(value).ok_or_else(|| wanted("a number"));
    match name {
        "timeout" => config.timeout = time()?,
        "connect_timeout" => config.connect_timeout = time()?,
        "max_pending" => config.max_pending = count()?,
        "max_value_len" => config.max_value_len = count()?,
        "cache_size" => config.cache_size = count()?,
        _ => {
            let (name, known) = (
                show(name),
                "timeout, connect_timeout, max_pending, max_value_len, cache_size",
            );
            let message = format!("the URL has the parameter {name}, which is none of {known}");
            return Err(invalid(message));
        }
    }
    Ok(config)
}

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
fn number<N: std::str::FromStr>(text: &str) -> Option<N> {
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
    match name.len() <= 30
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || b"_-".contains(&byte))
    {
        true => format!("`{name}`"),
        false => "with a strange name".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kvstore_core::ErrorKind;

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
            ("file:/a?&", "which is none of"),
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
