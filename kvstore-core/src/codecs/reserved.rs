//! The member names by which `serde_json` tells itself that a map is none.
//!
//! Where its features `arbitrary_precision` and `raw_value` are on, an object of one such member is read as
//! something else. So they are refused in every build, written or read.

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// The member in the map that stands for a number.
pub(super) const NUMBER: &str = "$serde_json::private::Number";

const NAMES: [&str; 2] = [NUMBER, "$serde_json::private::RawValue"];

pub(super) const REFUSED: &str = "it has a member named `$serde_json::private::…`, which serde_json reads as something else; choose another name";

pub(super) fn is_reserved(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Whether JSON text has such a member. Called for all that is read.
pub(super) fn is_in(text: &[u8]) -> bool {
    static BEGIN: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new("\"$serde_json::private::"));
    BEGIN.find_iter(text).any(|at| {
        let quoted = &text[at + 1..];
        NAMES.iter().any(|name| {
            let after = quoted
                .strip_prefix(name.as_bytes())
                .and_then(|rest| rest.strip_prefix(b"\""));
            after.is_some_and(|after| after.trim_ascii_start().starts_with(b":"))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_names_and_no_values() {
        for name in NAMES {
            let with = |text: &str| text.replace('N', name);
            for text in [r#"{"N":"1"}"#, r#"[{"a":"N","N" : 1}]"#] {
                assert!(is_in(with(text).as_bytes()), "{text}");
            }
            for text in [r#""N""#, r#"{"a":"N"}"#, r#"{"aN":1}"#, r#"{"Na":1}"#] {
                assert!(!is_in(with(text).as_bytes()), "{text}");
            }
        }
    }
}
