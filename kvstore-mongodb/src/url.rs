//! MongoDB URLs. What is not understood is an error, and no error shows a value.

use std::time::Duration;

use kvstore_core::Result;
use percent_encoding::percent_decode_str;

use crate::MongoDbConfig;
use crate::options::{invalid, show};

/// The schemes that [`parse`] understands.
pub(crate) const SCHEMES: &[&str] = &["mongodb", "mongodb+srv"];

pub(crate) fn parse(url: &str) -> Result<MongoDbConfig> {
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
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (place, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, hosts) = match place.rsplit_once('@') {
        Some((login, hosts)) => (Some(login), hosts),
        None => (None, place),
    };
    if database.contains(['/', '@']) || login.is_some_and(|login| login.contains('@')) {
        return Err(invalid(
            "the URL has a `/` or `@` too many; in passwords, `/`, `?`, `#`, `@`, `:` and `%` are percent-encoded",
        ));
    }
    let database = decode("the database", database)?;
    let scheme = scheme.to_ascii_lowercase();
    let mut config = match scheme.as_str() {
        "mongodb" => MongoDbConfig::new(hosts, &*database),
        "mongodb+srv" => MongoDbConfig::srv(hosts, &*database),
        _ => {
            return Err(invalid(format!(
                "the URL's scheme is none of {}",
                SCHEMES.join(", ")
            )));
        }
    };
    if let Some(login) = login {
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
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
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let lower = name.to_ascii_lowercase();
        if seen.contains(&lower) {
            return Err(invalid(format!(
                "the URL has the parameter {} twice",
                show(name)
            )));
        }
        config = parameter(config, &lower, decode("a parameter", value)?)?;
        seen.push(lower);
    }
    // As MongoDB has it: who logs in is looked up in the database that the path names.
    let by_password = config
        .options
        .get("authmechanism")
        .is_none_or(|mechanism| mechanism.starts_with("SCRAM"));
    if config.credentials.is_some() && by_password && !database.is_empty() {
        config
            .options
            .entry("authsource".to_owned())
            .or_insert(database);
    }
    config.check()?;
    Ok(config)
}

fn parameter(mut config: MongoDbConfig, name: &str, value: String) -> Result<MongoDbConfig> {
    match name {
        "database" => config.database = value,
        "collection" => config.collection = value,
        "timeout" => {
            let wanted =
                "the URL's `timeout` is not a number followed by `ms`, `s` or `m`, as `5s`";
            config.timeout = duration(&value).ok_or_else(|| invalid(wanted))?;
        }
        "max_value_len" => {
            let wanted = "the URL's `max_value_len` is not a number of bytes";
            config.max_value_len = number(&value).ok_or_else(|| invalid(wanted))?;
        }
        _ => config = config.option(name, value),
    }
    Ok(config)
}

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
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| {
        invalid(format!(
            "{what} of the URL is not UTF-8 when percent-decoded"
        ))
    })
}
