//! Looks at JSON numbers as text, where `serde_json` would round them in silence.

/// Whether a JSON number is written as an integer.
pub(super) fn is_integer(number: &str) -> bool {
    !number.contains(['.', 'e', 'E'])
}

/// Whether the text of a JSON number is, as a decimal, the shortest text of this float: no digit is lost.
pub(super) fn is_exactly(text: &str, float: f64) -> bool {
    float.is_finite() && decimal(text) == decimal(&format!("{float:e}"))
}

/// A decimal as sign, digits without zeros at either end, and the exponent of the digit before the point.
fn decimal(text: &str) -> (bool, String, Option<i64>) {
    let (negative, text) = match text.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        return (negative, String::new(), None);
    }
    let leading_zeros = digits.len() - significant.len();
    let point = i64::try_from(whole.len())
        .ok()
        .zip(i64::try_from(leading_zeros).ok());
    let exponent = exponent.parse::<i64>().ok().zip(point);
    let exponent = exponent.and_then(|(e, (whole, zeros))| e.checked_add(whole - zeros));
    (
        negative,
        significant.trim_end_matches('0').to_owned(),
        exponent,
    )
}

/// The fewest digits of an integer that may be beyond 64 bits.
const LONG: usize = 19;

/// Whether JSON text has an integer beyond `i64` and `u64`, which would be read as the nearest float.
///
/// Called for all that is read, so it looks at one byte in 19: no longer run of digits can hide between.
pub(super) fn has_inexact_integer(text: &[u8]) -> bool {
    let suspicious = |at: usize| {
        let digits = |byte: &&u8| byte.is_ascii_digit();
        let before = text[..at].iter().rev().take_while(digits).count();
        let after = text[at..].iter().take_while(digits).count();
        before + after >= LONG
    };
    let mut places = (LONG - 1..text.len()).step_by(LONG);
    places.any(|at| text[at].is_ascii_digit() && suspicious(at)) && scan(text).inexact_integer
}

/// How deep arrays and objects are nested in JSON text.
pub(super) fn nesting(text: &str) -> usize {
    scan(text.as_bytes()).nesting
}

#[derive(Default)]
struct Scan {
    nesting: usize,
    inexact_integer: bool,
}

/// Walks over JSON text token by token. Text that is not JSON gives some answer.
fn scan(text: &[u8]) -> Scan {
    let mut found = Scan::default();
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(&byte) = text.get(at) {
        let rest = &text[at..];
        at += match byte {
            b'"' => string_len(rest),
            b'-' | b'0'..=b'9' => {
                let in_number = |byte: &&u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
                let len = rest.iter().take_while(in_number).count();
                let number = str::from_utf8(&rest[..len]).unwrap_or_default();
                let fits = number.parse::<u64>().is_ok() || number.parse::<i64>().is_ok();
                found.inexact_integer |= is_integer(number) && !fits;
                len
            }
            b'[' | b'{' => {
                depth += 1;
                found.nesting = found.nesting.max(depth);
                1
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                1
            }
            _ => 1,
        };
    }
    found
}

/// The length of the string at the beginning of a text, with both quotes.
fn string_len(text: &[u8]) -> usize {
    let mut at = 1;
    while let Some(&byte) = text.get(at) {
        at += match byte {
            b'"' => return at + 1,
            b'\\' => 2,
            _ => 1,
        };
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_integers_beyond_64_bits_and_only_those() {
        for number in [
            "18446744073709551616",
            "-9223372036854775809",
            "99999999999999999999999999",
        ] {
            for text in [
                format!("{{\"a\":{number}}}"),
                format!("[{number},1]"),
                number.to_owned(),
            ] {
                assert!(has_inexact_integer(text.as_bytes()), "{text}");
            }
        }
        for number in [
            "18446744073709551615",
            "-9223372036854775808",
            "1e40",
            "0.12345678901234567890123",
        ] {
            for text in [format!("{{\"a\":{number}}}"), number.to_owned()] {
                assert!(!has_inexact_integer(text.as_bytes()), "{text}");
            }
        }
        assert!(!has_inexact_integer(
            br#"{"a\"":"99999999999999999999999"}"#
        ));
        assert!(!has_inexact_integer(br#""\"99999999999999999999999""#));
    }

    #[test]
    fn no_place_hides_a_long_integer() {
        for shift in 0..60 {
            let text = format!("[{}-9223372036854775809]", " ".repeat(shift));
            assert!(has_inexact_integer(text.as_bytes()), "{shift}");
        }
    }

    #[test]
    fn measures_nesting_outside_of_strings() {
        assert_eq!(nesting("1"), 0);
        assert_eq!(nesting(r#"[{"a":[1]},[]]"#), 3);
        assert_eq!(nesting(r#"["[[[\"[[", "\\"]"#), 1);
    }

    #[test]
    fn knows_which_decimals_a_float_holds() {
        for text in [
            "1.10",
            "1e5",
            "100000.0",
            "-0.0",
            "0e9",
            "5e-324",
            "123.456e-2",
            "1E+2",
        ] {
            assert!(is_exactly(text, text.parse().unwrap()), "{text}");
        }
        for text in [
            "0.1000000000000000055511151231257827",
            "1e400",
            "1e-400",
            "3.14159265358979323846",
        ] {
            assert!(!is_exactly(text, text.parse().unwrap()), "{text}");
        }
    }
}
