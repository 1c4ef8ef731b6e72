//! What `serde_json` says of an error, without the value that it says it of.

use crate::BoxError;

/// Why a value did not encode.
pub(super) fn encoding(error: serde_json::Error) -> BoxError {
    if error.is_io() {
        // Of our own making: see `exact`.
        return error.to_string().into();
    }
    match error.to_string().as_str() {
        known @ ("key must be a string" | "float key must be finite") => {
            format!("the value does not serialise to JSON: {known}").into()
        }
        _ => "the value does not serialise to JSON: its Serialize answered an error".into(),
    }
}

/// Why stored text did not decode. Messages such as `invalid type: string "…", expected u64` quote what was
/// stored: of these what was expected is kept, which comes from the type.
pub(super) fn decoding(error: &serde_json::Error) -> BoxError {
    let (line, column) = (error.line(), error.column());
    if error.is_syntax() || error.is_eof() {
        return format!("the stored text is not JSON (line {line} column {column})").into();
    }
    let message = error.to_string();
    let at = format!(" at line {line} column {column}");
    let message = message.strip_suffix(&at).unwrap_or(&message);
    let quotes = [
        "invalid type: ",
        "invalid value: ",
        "invalid length ",
        "unknown variant ",
    ];
    let missing = ["missing field `", "duplicate field `"];
    let what = if missing.iter().any(|begin| message.starts_with(begin)) {
        message.to_owned()
    } else if let Some(begin) = quotes.iter().find(|begin| message.starts_with(**begin)) {
        let kind = begin.trim_end_matches([':', ' ']);
        let expected = message
            .rsplit_once(", expected ")
            .map(|(_, expected)| expected);
        format!("{kind}, expected {}", expected.unwrap_or("something else"))
    } else if message.starts_with("unknown field ") {
        "unknown field".to_owned()
    } else {
        "its Deserialize refused it".to_owned()
    };
    format!("{what}{at}").into()
}
