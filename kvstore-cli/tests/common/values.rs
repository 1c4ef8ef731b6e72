//! Keys and values that are easily mangled, and how stores differ.

use serde_json::Value;

use super::{Place, kvstore};

/// The types of values, and what the command calls them: a JSON object, and any JSON, which is what models become.
pub(crate) const TYPES: [(&str, &str); 4] = [
    ("bytes", "bytes"),
    ("text", "text"),
    ("object", "json"),
    ("model", "json"),
];

/// Keys and values that are easily mangled on the way, of a type; one of them expires.
pub(crate) fn fill(place: &Place, (type_, kind): (&str, &str)) -> usize {
    let values: &[&[u8]] = match type_ {
        "bytes" => &[b"", b"\0\xff\xfe", b"plain", b"\n"],
        "text" => &[b"", "grüße\0\n".as_bytes(), b"plain", b"true"],
        "object" => &[
            br#"{"a":1,"b":[1.0,18446744073709551615,-9223372036854775808,0.1,1e300],"":{"$oid":"x"}}"#,
            b"{}",
            br#"{"$date":"2020-01-01T00:00:00Z","a.b":null,"$x":[[],{}]}"#,
        ],
        _ => &[
            b"[]",
            b"\"text\"",
            b"9007199254740993",
            b"-0.0",
            b"[1,1.0,{\"a\":false}]",
        ],
    };
    let keys = ["a", "a/b", "..", " ü ", "a:b", "*", "~", "\u{1f980}"];
    for (place_in_list, key) in keys.iter().enumerate() {
        let value = values[place_in_list % values.len()];
        place
            .run_reading(&["set", key, "-", "--as", kind], value)
            .ends(0);
    }
    place
        .run_reading(
            &["set", "expiring", "-", "--as", kind, "--ttl", "1h"],
            values[0],
        )
        .ends(0);
    keys.len() + 1
}

#[track_caller]
pub(crate) fn diff(a: &Place, b: &Place, kind: &str, code: i32) -> Vec<(String, String)> {
    let ran = kvstore(["diff", &a.url, &b.url, "--as", kind, "--json"]).ends(code);
    let pair = |line: &Value| {
        let text = |name: &str| line[name].as_str().unwrap().to_owned();
        (text("key"), text("differs"))
    };
    let mut found: Vec<_> = ran.jsons().iter().map(pair).collect();
    found.sort();
    found
}
