//! Bytes, text and JSON objects: V1.

use std::fmt::Debug;

use kvstore_core::{Bytes, ErrorKind, KeyValueStore, SetOptions};
use serde_json::{Map, Value, json};

use crate::check::{Checked, ensure};
use crate::generate::{self, MEMBERS, generated};
use crate::{Fixture, unique_root};

/// Sets values of which some may be refused, and checks that each comes back exactly or was refused.
pub(super) async fn come_back<V: Clone + Debug + 'static>(
    store: &KeyValueStore<V>,
    values: &[V],
    same: impl Fn(&V, &V) -> bool,
    may_be_refused: impl Fn(&V) -> bool,
) -> Checked {
    // Keys that no call before this one has written: where this value is refused, nothing must be found.
    let round = unique_root();
    let keys: Vec<String> = (0..values.len())
        .map(|index| format!("{round} {index}"))
        .collect();
    let items = keys.iter().zip(values.iter().cloned());
    let set = store.set_many(items, SetOptions::new()).await;
    let results = match set {
        Ok(()) => vec![Ok(()); values.len()],
        Err(batch) => batch.into_results(),
    };
    let found = store.get_many(&keys).await?;
    for ((value, set), found) in values.iter().zip(results).zip(found) {
        match (set, found) {
            (Ok(()), Some(found)) => ensure!(
                same(value, &found),
                "another value came back: set {value:?}, found {found:?}"
            ),
            (Ok(()), None) => ensure!(false, "set and then missing: {value:?}"),
            (Err(error), found) => {
                let refused = error.kind() == ErrorKind::InvalidValue;
                ensure!(
                    refused && may_be_refused(value),
                    "set failed: {error:?}, of {value:?}"
                );
                ensure!(found.is_none(), "refused and stored: {value:?}");
            }
        }
    }
    // The single calls, with some of them.
    for value in values
        .iter()
        .step_by(values.len() / 20 + 1)
        .filter(|value| !may_be_refused(value))
    {
        store.set("single", value).await?;
        let found = store.get("single").await?;
        ensure!(
            found.as_ref().is_some_and(|found| same(value, found)),
            "set {value:?}, found {found:?}"
        );
        let entry = store.get_entry("single").await?.map(|entry| entry.value);
        ensure!(
            entry.as_ref().is_some_and(|found| same(value, found)),
            "set {value:?}, found {entry:?} by get_entry"
        );
        if store.capabilities().take {
            let taken = store.take("single").await?;
            ensure!(
                taken.as_ref().is_some_and(|found| same(value, found)),
                "set {value:?}, took {taken:?}"
            );
        }
    }
    Ok(())
}

pub(crate) async fn v1_any_bytes_come_back(f: Fixture) -> Checked {
    let mut values = vec![Bytes::new(), Bytes::from((0..=255).collect::<Vec<u8>>())];
    values.extend((0..=255).map(|byte| Bytes::from(vec![byte])));
    let odd = [
        &b"\xff\xfe"[..],
        b"\xc3\x28",
        b"\r\n",
        b"null",
        b"{}",
        b"\"a\"",
        b"a\r\nb\0c",
        b"$a",
        b" a ",
    ];
    values.extend(odd.map(Bytes::from_static));
    values.push(Bytes::from(vec![0xff; 10_000]));
    values.extend(
        generated(100, generate::bytes())
            .into_iter()
            .map(Bytes::from),
    );
    come_back(&f.bytes(), &values, Bytes::eq, |_| false).await
}

pub(crate) async fn v1_any_text_comes_back(f: Fixture) -> Checked {
    let odd = [
        "",
        " ",
        " a ",
        "\0",
        "a\0b",
        "\0\0",
        "\n",
        "a\r\nb\n",
        "\t",
        "\u{1b}",
        "\u{7f}",
        "\"",
        "\\",
        "\\u0000",
        "null",
        "{}",
        "123456789012345678901234567890",
        "1e400",
        "é",
        "e\u{301}",
        "\u{feff}a",
        "\u{fffd}",
        "\u{ffff}",
        "\u{10ffff}",
        "🦀",
        "\u{2028}",
        "$set",
        "$a.b",
        "=",
        "YQ==",
    ];
    let mut values: Vec<String> = odd.map(str::to_owned).to_vec();
    values.push("long ".repeat(2000));
    values.extend(generated(200, generate::text()));
    come_back(&f.text(), &values, String::eq, |_| false).await
}

pub(crate) async fn v1_any_json_object_comes_back(f: Fixture) -> Checked {
    let mut values = Vec::new();
    let mut add = |value: Value| values.extend(value.as_object().cloned());
    add(json!({}));
    add(json!({"a": null, "b": [], "c": {}, "d": [null], "e": {"": {}}, "f": [[], [{}]]}));
    add(json!({"value": {"value": 1}, "expires_at": "2000-01-01T00:00:00.000Z", "version": 1}));
    add(json!({"$oid": "0123456789abcdef01234567"}));
    add(
        json!({"a": {"$date": {"$numberLong": "0"}}, "b": {"$numberLong": "1"}, "c": {"$binary": "x"}}),
    );
    add(json!({"date": "2000-01-01T00:00:00Z", "number": "12", "text": "\0é🦀\u{2028}"}));
    for name in MEMBERS {
        add(json!({*name: 1}));
        add(json!({"outer": {*name: {*name: null}}, "list": [{*name: "text"}]}));
    }
    for number in numbers() {
        add(json!({"number": number, "list": [number]}));
    }
    values.extend(generated(150, generate::object()));
    let same_object = |a: &Map<_, _>, b: &Map<_, _>| members_are_same(a, b);
    let may_be_refused = |object: &Map<_, _>| !is_ordinary(&Value::Object(object.clone()));
    come_back(&f.json(), &values, same_object, may_be_refused).await
}

/// Numbers at the edges of what some form holds.
pub(super) fn numbers() -> Vec<Value> {
    let mut numbers: Vec<Value> = Vec::new();
    let mut edges = vec![
        0u64,
        1,
        u64::MAX,
        1 << 63,
        (1 << 63) - 1,
        1 << 53,
        (1 << 53) + 1,
        1 << 32,
        1 << 31,
        255,
    ];
    edges.extend([
        10_000_000_000_000_000_000,
        u64::MAX - 1,
        (1 << 63) + 1,
        9_007_199_254_740_993,
    ]);
    numbers.extend(edges.iter().map(|number| Value::from(*number)));
    let signed = edges
        .iter()
        .map(|number| number.cast_signed().wrapping_neg());
    numbers.extend(signed.map(Value::from));
    let floats = [
        0.0,
        -0.0,
        0.1,
        1.0,
        -1.5,
        0.1 + 0.2,
        1e16,
        1e21,
        1e22,
        1e-7,
        5e-324,
        f64::MIN_POSITIVE,
        f64::MAX,
        f64::MIN,
        f64::EPSILON,
        9_007_199_254_740_992.0,
        18_446_744_073_709_551_616.0,
        1.797_693_134_862_315_5e308,
    ];
    numbers.extend(floats.map(Value::from));
    numbers
}

/// Whether two objects are exactly the same: a number of another kind, or minus zero, is another.
fn members_are_same(a: &Map<String, Value>, b: &Map<String, Value>) -> bool {
    let same_member =
        |(name, value): (&String, &Value)| b.get(name).is_some_and(|other| is_same(value, other));
    a.len() == b.len() && a.iter().all(same_member)
}

fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => members_are_same(a, b),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
        }
        (Value::Number(a), Value::Number(b)) => a.to_string() == b.to_string(),
        _ => a == b,
    }
}

/// Whether any native form holds a value exactly; what is not ordinary may be refused.
pub(super) fn is_ordinary(value: &Value) -> bool {
    match value {
        Value::Object(members) => members
            .iter()
            .all(|(name, value)| !name.contains('\0') && is_ordinary(value)),
        Value::Array(items) => items.iter().all(is_ordinary),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => integer.unsigned_abs() <= 1 << 53,
            // A whole float may come back as an integer.
            None => number
                .as_f64()
                .is_some_and(|float| !number.is_u64() && float.fract() != 0.0),
        },
        _ => true,
    }
}
