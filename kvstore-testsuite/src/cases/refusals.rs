//! What is not stored, and what does not decode: V2, V3 and V4.

use kvstore_core::{Bytes, ErrorKind, KeyValueStore, Result, SetOptions};
use serde_json::{Map, Value, json};

use super::models::refused;
use crate::check::{Checked, ensure, ensure_eq, fails, items_fail};
use crate::{Failure, Fixture};

/// A length of values beyond which a case does not go, however long they may be.
const AFFORDABLE: usize = 64 << 20;

pub(crate) async fn v2_no_value_is_not_a_value(f: Fixture) -> Checked {
    refused(&f, &Some(7u32), &None).await?;
    refused(&f, &Some("text".to_owned()), &None).await?;
    refused(&f, &json!({"a": null}), &Value::Null).await?;
    refused(&f, &Some(Some(true)), &Some(None)).await?;
    // What has no other value cannot be stored at all.
    let store = f.model::<()>();
    fails(
        store.set("unit", ()).await,
        ErrorKind::InvalidValue,
        "the value ()",
    )?;
    ensure!(!store.has("unit").await?, "a refused value was stored");
    Ok(())
}

pub(crate) async fn v3_a_value_over_the_limit_is_refused(f: Fixture) -> Checked {
    let store = f.bytes();
    let limit = f
        .capabilities()
        .max_value_len
        .filter(|limit| *limit <= AFFORDABLE);
    let (fits, edge) = limit.map_or((64 << 10, 1 << 20), |limit| (limit / 2, limit));
    // What fits surely, also as base64.
    let value = Bytes::from(vec![7; fits]);
    store.set("key", &value).await?;
    ensure!(
        store.get("key").await? == Some(value),
        "a value of {fits} bytes came back as another"
    );
    // What may fit, by how it is sent; where it does not, the old value stays.
    let value = Bytes::from(vec![8; edge]);
    kept_or_refused(&store, &value, store.set("key", &value).await).await?;
    let Some(limit) = limit else {
        return Ok(());
    };
    let value = Bytes::from(vec![9; limit + 1]);
    store.set("key", "old".as_bytes()).await?;
    let (counted, faults) = f.counted();
    fails(
        counted.bytes().set("key", &value).await,
        ErrorKind::ValueTooLarge,
        "a value over the limit",
    )?;
    ensure_eq!(
        faults.calls(),
        0,
        "the number of calls that the provider got"
    );
    let old = Bytes::from_static(b"old");
    ensure!(
        store.get("key").await? == Some(old.clone()),
        "a value over the limit changed the old one"
    );
    let items = [("one", &old), ("key", &value), ("two", &old)];
    let set = store.set_many(items, SetOptions::new()).await;
    items_fail(
        set,
        &[(1, "key", ErrorKind::ValueTooLarge)],
        "set_many with a value over the limit",
    )?;
    for key in ["one", "key", "two"] {
        let found = store.get(key).await?;
        ensure!(
            found.as_ref() == Some(&old),
            "the value of `{key}`, after one over the limit was refused"
        );
    }
    Ok(())
}

async fn kept_or_refused(store: &KeyValueStore<Bytes>, value: &Bytes, set: Result<()>) -> Checked {
    let (found, len) = (store.get("key").await?, value.len());
    if set.is_ok() {
        ensure!(
            found.as_ref() == Some(value),
            "a value of {len} bytes came back as another"
        );
        return Ok(());
    }
    fails(
        set,
        ErrorKind::ValueTooLarge,
        format!("a value of {len} bytes"),
    )?;
    // Memcached deletes it.
    ensure!(
        found.is_none_or(|found| found.first() == Some(&7)),
        "a refused value of {len} bytes is there in part"
    );
    Ok(())
}

/// The stores whose types do not take each other's values, on one key each.
struct Stores {
    bytes: KeyValueStore<Bytes>,
    text: KeyValueStore<String>,
    json: KeyValueStore<Map<String, Value>>,
    number: KeyValueStore<u64>,
}

impl Stores {
    async fn set(f: &Fixture) -> Checked<Self> {
        let stores = Self {
            bytes: f.bytes(),
            text: f.text(),
            json: f.json(),
            number: f.model(),
        };
        stores.bytes.set("bytes", b"\xff\xfe\0").await?;
        stores.text.set("text", "no number {").await?;
        stores.json.set("json", Map::new()).await?;
        stores.number.set("number", 7).await?;
        Ok(stores)
    }
}

/// Checks that a call answers `Decode`, and names the key.
fn decode<T>(result: Result<T>, key: &str, what: &str) -> Checked {
    let error = fails(
        result,
        ErrorKind::Decode,
        format!("{what} of `{key}`, which has another type"),
    )?;
    ensure_eq!(
        error.key(),
        Some(key),
        "the key that the error of {what} names"
    );
    Ok(())
}

pub(crate) async fn v4_what_is_not_of_the_type_is_an_error(f: Fixture) -> Checked {
    let stores = Stores::set(&f).await?;
    for key in ["bytes", "text", "json"] {
        decode(stores.number.get(key).await, key, "get")?;
        decode(stores.number.get_or(key, 1).await, key, "get_or")?;
        decode(stores.number.get_entry(key).await, key, "get_entry")?;
        let many = items_fail(
            stores.number.get_many(["number", key, "missing"]).await,
            &[(1, key, ErrorKind::Decode)],
            "get_many with a value of another type",
        )?;
        ensure!(
            matches!(many[..], [Ok(Some(7)), _, Ok(None)]),
            "the items beside it: {many:?}"
        );
    }
    for key in ["bytes", "text", "number"] {
        decode(stores.json.get(key).await, key, "get")?;
        decode(stores.json.get_entry(key).await, key, "get_entry")?;
    }
    // Vault keeps bytes as base64, which is text; elsewhere these bytes are none.
    match stores.text.get("bytes").await {
        Ok(Some(found)) => ensure_eq!(found, "//4A", "get of `bytes` as text"),
        other => decode(other, "bytes", "get")?,
    }
    // Bare bytes are bytes, whatever they were; a server that tells types apart says so.
    for (key, raw) in [
        ("text", &b"no number {"[..]),
        ("json", b"{}"),
        ("number", b"7"),
    ] {
        match stores.bytes.get(key).await {
            Ok(Some(found)) => ensure_eq!(found, raw, "get of `{key}` as bytes"),
            Ok(None) => return Err(Failure::new(format!("get of `{key}` as bytes is a miss"))),
            Err(error) => decode(Err::<(), _>(error), key, "get")?,
        }
    }
    // They are there, and stay.
    for key in ["bytes", "text", "json", "number"] {
        ensure!(stores.number.has(key).await?, "has of `{key}` is false");
    }
    Ok(())
}

pub(crate) async fn v4_a_take_of_another_type_has_removed_it(f: Fixture) -> Checked {
    let stores = Stores::set(&f).await?;
    for key in ["bytes", "text", "json"] {
        let taken = stores.number.take(key).await;
        if f.capabilities().take {
            decode(taken, key, "take")?;
            ensure!(
                !stores.number.has(key).await?,
                "the key `{key}` is there after a take"
            );
        } else {
            crate::check::unsupported(taken, "take")?;
            ensure!(
                stores.number.has(key).await?,
                "a refused take deleted `{key}`"
            );
        }
    }
    Ok(())
}
