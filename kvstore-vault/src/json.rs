//! What Vault does to JSON: every number becomes a 64-bit float, and some characters take more room.

use serde_json::Value;

/// Whether Vault would give back a number of this JSON text as another one: an integer beyond what a float
/// holds exactly, or a float without a fraction, which would come back as an integer.
pub(crate) fn is_rounded(text: &str) -> bool {
    let mut rest = text;
    while let Some(at) = rest.find(|char: char| matches!(char, '"' | '-' | '0'..='9')) {
        rest = &rest[at..];
        let len = match rest.starts_with('"') {
            true => quoted_len(rest),
            false => {
                let len =
                    rest.find(|char| !matches!(char, '0'..='9' | '+' | '-' | '.' | 'e' | 'E'));
                let len = len.unwrap_or(rest.len());
                if !survives(&rest[..len]) {
                    return true;
                }
                len
            }
        };
        rest = &rest[len..];
    }
    false
}

/// The length of the string that a text begins with, with its quotes.
fn quoted_len(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |end| end + 2)
}

fn survives(number: &str) -> bool {
    const EXACT: u64 = 1 << 53;
    if let Ok(integer) = number.parse::<i64>() {
        return integer.unsigned_abs() <= EXACT;
    }
    number.parse().is_ok_and(|float: f64| float.fract() != 0.0)
}

/// Whether two JSON values are the same, numbers compared as Vault keeps them.
pub(crate) fn same_rounded(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_rounded(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let same =
                |(name, a): (&String, &Value)| b.get(name).is_some_and(|b| same_rounded(a, b));
            a.len() == b.len() && a.iter().all(same)
        }
        _ => a == b,
    }
}

/// Appends text as a JSON string.
pub(crate) fn push_string(to: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    to.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| must_be_escaped(*byte)) {
        let byte = rest[at];
        to.extend_from_slice(&rest[..at]);
        match byte {
            b'"' | b'\\' => to.extend_from_slice(&[b'\\', byte]),
            b'\n' => to.extend_from_slice(br"\n"),
            b'\r' => to.extend_from_slice(br"\r"),
            b'\t' => to.extend_from_slice(br"\t"),
            _ => {
                to.extend_from_slice(br"\u00");
                to.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
        rest = &rest[at + 1..];
    }
    to.extend_from_slice(rest);
    to.push(b'"');
}

fn must_be_escaped(byte: u8) -> bool {
    byte < b' ' || matches!(byte, b'"' | b'\\')
}

/// At least as many bytes as `push_string` appends.
pub(crate) fn string_len(text: &str) -> usize {
    let escaped = text.bytes().filter(|byte| must_be_escaped(*byte)).count();
    text.len() + 5 * escaped + 2
}

/// How many bytes longer Vault writes JSON text: it escapes what would mean something in HTML or JavaScript.
pub(crate) fn longer(text: &str) -> usize {
    let bytes = text.as_bytes();
    let html = bytes
        .iter()
        .filter(|byte| matches!(byte, b'<' | b'>' | b'&'));
    // They begin with this byte; most text is without it.
    let lines = match bytes.contains(&0xE2) {
        true => text.matches(['\u{2028}', '\u{2029}']).count(),
        false => 0,
    };
    html.count() * 5 + lines * 3
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn knows_which_numbers_come_back() {
        for text in [
            "0",
            "-0",
            "-1",
            "9007199254740992",
            "-9007199254740992",
            "0.1",
            "-1.5e-7",
            "5e-324",
            "[1,2.5]",
            r#"{"a":"9007199254740993","b\"1e3":[true,null]}"#,
            r#""\\\"1.0""#,
            r#"{"\\":1}"#,
            "true",
        ] {
            assert!(!is_rounded(text), "{text}");
        }
        for text in [
            "9007199254740993",
            "-9007199254740993",
            "18446744073709551615",
            "1.0",
            "1e3",
            "-0.0",
            "1e300",
            r#"{"a":[{"b":1.0}]}"#,
            r#"["\"",1.0]"#,
            r#"["\\",1e2]"#,
        ] {
            assert!(is_rounded(text), "{text}");
        }
    }

    #[test]
    fn compares_as_vault_rounds() {
        let same = |a: &str, b: &str| {
            let parse = |text| serde_json::from_str(text).unwrap();
            same_rounded(&parse(a), &parse(b))
        };
        assert!(same("18446744073709551615", "18446744073709552000"));
        assert!(same(
            r#"{"b":[1.0,-0.0],"a":"x"}"#,
            r#"{"a":"x","b":[1,-0]}"#
        ));
        for (a, b) in [
            ("1", "2"),
            ("1", "\"1\""),
            ("[1]", "[1,2]"),
            (r#"{"a":1}"#, r#"{"b":1}"#),
            (r#"{"a":1}"#, r#"{"a":1,"b":2}"#),
        ] {
            assert!(!same(a, b), "{a} {b}");
        }
    }

    #[test]
    fn measures_as_vault_writes() {
        assert_eq!(longer("a<b>&\u{2028}\u{2029}é"), 3 * 5 + 2 * 3);
    }

    proptest! {
        #[test]
        fn strings_are_json(text in "(?s).{0,40}") {
            let mut json = Vec::new();
            push_string(&mut json, &text);
            prop_assert!(json.len() <= string_len(&text));
            prop_assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), text);
        }
    }
}
