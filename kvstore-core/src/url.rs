//! What the URLs of all providers have in common, for providers: which characters they have, and their parameters.
//!
//! A parameter is not understood or is there twice: an error names it, and never shows a value.
//!
//! ```
//! use std::time::Duration;
//! use kvstore_core::{Result, url};
//!
//! struct Config { timeout: Duration, max_pending: usize }
//!
//! # fn main() -> Result<()> {
//! let mut config = Config { timeout: Duration::from_secs(5), max_pending: 10_000 };
//! for parameter in url::parameters("timeout=1500ms&max_pending=7")? {
//!     match parameter.name() {
//!         "timeout" => config.timeout = parameter.duration()?,
//!         "max_pending" => config.max_pending = parameter.number()?,
//!         _ => return Err(parameter.unknown("timeout, max_pending")),
//!     }
//! }
//! assert_eq!((config.timeout.as_millis(), config.max_pending), (1500, 7));
//! # Ok(()) }
//! ```

use std::borrow::Cow;
use std::fmt;
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
mod tests {
    use super::*;

    fn one(query: &str) -> Parameter<'_> {
        parameters(query).unwrap().pop().unwrap()
    }

    #[track_caller]
    fn refused<T>(result: Result<T>) -> String {
        let error = result.err().expect("it is refused");
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        error.to_string()
    }

    #[test]
    fn parameters_come_in_order_and_decoded() {
        let all = parameters("&b=%C3%BC%25&a&&c=x=y+z&").unwrap();
        let all: Vec<_> = all.iter().map(|one| (one.name(), one.value())).collect();
        assert_eq!(all, [("b", "ü%"), ("a", ""), ("c", "x=y+z")]);
        assert!(parameters("").unwrap().is_empty());
    }

    #[test]
    fn times_are_numbers_with_a_unit() {
        for (text, expected) in [
            ("0s", 0),
            ("1500ms", 1500),
            ("2m", 120_000),
            ("1h", 3_600_000),
        ] {
            let query = format!("timeout={text}");
            let parsed = one(&query).duration().unwrap();
            assert_eq!(parsed, Duration::from_millis(expected), "{text}");
        }
        let too_long = format!("{}m", u64::MAX / 60 + 1);
        for text in ["", "5", "s", "+5s", "5 s", "1.5s", "5d", "-1s", &too_long] {
            let query = format!("timeout={text}");
            let message = refused(one(&query).duration());
            assert!(
                message.contains("`timeout` is not a number followed by"),
                "{message}"
            );
        }
    }

    #[test]
    fn numbers_are_digits() {
        assert_eq!(one("n=255").number::<u8>().unwrap(), 255);
        for text in ["", "256", "+1", "-1", "1_0", "0x1"] {
            let query = format!("n={text}");
            assert!(refused(one(&query).number::<u8>()).contains("`n` is not a number"));
        }
    }

    #[test]
    fn flags_are_words_and_files_are_named() {
        assert!(one("x=true").flag().unwrap());
        assert!(!one("x=false").flag().unwrap());
        assert!(refused(one("x=yes").flag()).contains("`true` or `false`"));
        assert_eq!(one("ca=/a%20b").file().unwrap(), PathBuf::from("/a b"));
        assert!(refused(one("ca=").file()).contains("`ca` is not the path of a file"));
    }

    #[test]
    fn what_is_wrong_is_named_and_no_value_is_shown() {
        for (query, named) in [
            ("=secret", "a parameter without a name"),
            ("a=secret&a=secret", "the parameter `a` twice"),
            ("Secret=1&Secret=1", "with a strange name twice"),
            ("a=%secret", "a parameter of the URL has a `%`"),
            ("a=secret%2", "a parameter of the URL has a `%`"),
            ("a=secret%+1", "a parameter of the URL has a `%`"),
            ("a=secret%FF", "not UTF-8"),
        ] {
            let message = refused(parameters(query));
            assert!(message.contains(named), "{message}");
            assert!(!message.to_lowercase().contains("secret"), "{message}");
        }
        for (query, named) in [
            ("tiemout=secret", "`tiemout`, which is none of timeout"),
            ("Secret=secret", "with a strange name"),
        ] {
            let parameter = one(query);
            let message = refused::<()>(Err(parameter.unknown("timeout")));
            assert!(message.contains(named), "{message}");
            for shown in [message, format!("{parameter:?}")] {
                assert!(!shown.to_lowercase().contains("secret"), "{shown}");
            }
        }
    }

    #[test]
    fn spaces_and_controls_are_refused() {
        for text in ["a b", "a\n", "\ta", "a\u{a0}b", "a\0"] {
            refused(check(text));
        }
        check("redis://h/%20?ü=1").unwrap();
    }
}
