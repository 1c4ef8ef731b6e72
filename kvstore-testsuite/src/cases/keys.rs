//! Keys: K1, K2 and K4.

use std::collections::BTreeSet;

use kvstore_core::{Condition, ErrorKind, KeyValueStore, SetOptions};

use crate::Fixture;
use crate::check::{Checked, ensure, ensure_eq, fails, items_fail, listed, shown, unsupported};
use crate::generate::{self, generated, near_keys, odd_keys};
use crate::lease::HOUR;

/// A length of keys beyond which a case does not go, however long they may be.
const AFFORDABLE: usize = 1 << 16;

pub(crate) async fn k1_any_text_is_a_key(f: Fixture) -> Checked {
    let store = f.text();
    for key in &odd_keys() {
        let shown = shown(key);
        ensure_eq!(store.get(key).await?, None, "get before set, key {shown}");
        store.set(key, "value").await?;
        let found = store.get(key).await?;
        ensure_eq!(
            found.as_deref(),
            Some("value"),
            "get after set, key {shown}"
        );
        ensure!(store.has(key).await?, "has after set is false, key {shown}");
        store.delete(key).await?;
        ensure_eq!(store.get(key).await?, None, "get after delete, key {shown}");
        ensure!(
            !store.has(key).await?,
            "has after delete is true, key {shown}"
        );
    }
    Ok(())
}

pub(crate) async fn k1_generated_keys_are_keys(f: Fixture) -> Checked {
    let keys: BTreeSet<String> = generated(400, generate::key()).into_iter().collect();
    let keys: Vec<String> = keys.into_iter().collect();
    round_trip(&f.text(), &keys).await
}

pub(crate) async fn k1_keys_of_any_length_up_to_the_limit(f: Fixture) -> Checked {
    let limit = f.capabilities().max_key_len;
    ensure!(
        limit >= 255,
        "the provider states {limit} bytes, and a key may have 255"
    );
    let lengths = [1, 2, 100, 199, 200, 201, 249, 250, 251, 254, 255];
    let more = [limit / 2, limit - 1, limit].map(|len| len.min(AFFORDABLE));
    let lengths: BTreeSet<usize> = lengths.into_iter().chain(more).collect();
    let mut keys = BTreeSet::new();
    for len in lengths {
        let begin = "x".repeat(len - 1);
        keys.extend(["a", "b"].map(|last| format!("{begin}{last}")));
        // One segment, and many; one byte a character, and more; what may need no escape, and what does.
        for part in ["a/", "é", "🦀", "\0", " ", "/", "%"] {
            let (times, rest) = (len / part.len(), len % part.len());
            keys.insert(format!("{}{}", part.repeat(times), "z".repeat(rest)));
        }
    }
    round_trip(&f.text(), &Vec::from_iter(keys)).await
}

pub(crate) async fn k1_a_key_and_keys_below_it(f: Fixture) -> Checked {
    let store = f.text();
    let keys = [
        "a/b/c", "a", "a/b", "a/", "a//b", "a/b/", "a/b/c/d", "a/./b", "a/.", "a/..",
    ];
    for key in keys {
        store.set(key, key).await?;
    }
    // From the root and from the leaves: what is above and below stays.
    for gone in [&["a"][..], &["a", "a/b/c/d"], &["a", "a/b/c/d", "a/b"]] {
        store.delete(gone[gone.len() - 1]).await?;
        for key in keys {
            let expected = (!gone.contains(&key)).then_some(key);
            let found = store.get(key).await?;
            ensure_eq!(
                found.as_deref(),
                expected,
                "key `{key}` with {gone:?} deleted"
            );
        }
    }
    Ok(())
}

pub(crate) async fn k2_near_keys_never_meet(f: Fixture) -> Checked {
    round_trip(&f.text(), &near_keys()).await
}

pub(crate) async fn k2_listings_name_keys_exactly(f: Fixture) -> Checked {
    let store = f.text();
    if f.capabilities().keys.is_none() {
        unsupported(listing_error(&store).await, "keys")?;
        return Ok(());
    }
    let mut keys: BTreeSet<String> = near_keys().into_iter().collect();
    keys.extend(odd_keys());
    keys.extend(generated(200, generate::key()));
    store
        .set_many(keys.iter().map(|key| (key, "value")), SetOptions::new())
        .await?;
    let found: BTreeSet<String> = listed(&store, "").await?.into_iter().collect();
    let show = |keys: Vec<&String>| keys.into_iter().map(|key| shown(key)).collect::<Vec<_>>();
    let (missing, alien) = (
        show(keys.difference(&found).collect()),
        show(found.difference(&keys).collect()),
    );
    ensure!(missing.is_empty(), "the listing lacks {missing:?}");
    ensure!(
        alien.is_empty(),
        "the listing names keys that were not set: {alien:?}"
    );
    Ok(())
}

/// The one error of a listing that is not supported.
pub(super) async fn listing_error(store: &KeyValueStore<String>) -> kvstore_core::Result<()> {
    let mut keys = store.keys("");
    keys.next().await.map_or(Ok(()), |key| key.map(drop))
}

/// Sets all keys to values of their own, reads them, deletes every second one, and reads them again.
async fn round_trip(store: &KeyValueStore<String>, keys: &[String]) -> Checked {
    let value = |index: usize| format!("value {index}");
    let items = keys
        .iter()
        .enumerate()
        .map(|(index, key)| (key, value(index)));
    store.set_many(items, SetOptions::new()).await?;
    let found = store.get_many(keys).await?;
    for (index, (key, found)) in keys.iter().zip(found).enumerate() {
        ensure_eq!(
            found,
            Some(value(index)),
            "key {} of {} others",
            shown(key),
            keys.len()
        );
    }
    store.delete_many(keys.iter().step_by(2)).await?;
    let found = store.get_many(keys).await?;
    for (index, (key, found)) in keys.iter().zip(found).enumerate() {
        let expected = (index % 2 == 1).then(|| value(index));
        ensure_eq!(
            found,
            expected,
            "key {}, after every second was deleted",
            shown(key)
        );
    }
    store.delete_many(keys).await?;
    Ok(())
}

pub(crate) async fn k4_the_empty_key_is_invalid(f: Fixture) -> Checked {
    every_method_refuses(&f, &f.text(), "").await?;
    every_method_refuses(&f, &f.text().namespace("name")?, "").await
}

pub(crate) async fn k4_a_key_over_the_limit_is_invalid(f: Fixture) -> Checked {
    let (store, limit) = (f.text(), f.capabilities().max_key_len);
    if limit > AFFORDABLE {
        // A key as long is not worth its memory; the store's check is the same.
        return k1_keys_of_any_length_up_to_the_limit(f).await;
    }
    every_method_refuses(&f, &store, &"x".repeat(limit + 1)).await?;
    // Bytes count, not characters; and namespaces do.
    every_method_refuses(&f, &store, &"é".repeat(limit / 2 + 1)).await?;
    let namespace = store.namespace("name")?;
    every_method_refuses(&f, &namespace, &"x".repeat(limit - 4)).await?;
    let longest = "x".repeat(limit - 5);
    namespace.set(&longest, "value").await?;
    ensure!(
        namespace.has(&longest).await?,
        "the longest key of a namespace is missing"
    );
    let name = "n".repeat(limit);
    fails(
        store.namespace(&name),
        ErrorKind::InvalidKey,
        "a namespace without room for a key",
    )?;
    Ok(())
}

/// Every method that takes a key refuses this one, and of a batch refuses it alone.
async fn every_method_refuses(f: &Fixture, store: &KeyValueStore<String>, key: &str) -> Checked {
    let invalid = ErrorKind::InvalidKey;
    fails(store.get(key).await, invalid, "get")?;
    fails(store.get_or(key, String::new()).await, invalid, "get_or")?;
    fails(store.get_entry(key).await, invalid, "get_entry")?;
    fails(store.has(key).await, invalid, "has")?;
    fails(store.set(key, "value").await, invalid, "set")?;
    fails(store.delete(key).await, invalid, "delete")?;
    let capabilities = f.capabilities();
    if capabilities.expiry.is_some() {
        let options = SetOptions::new().ttl(HOUR);
        fails(
            store.set_with(key, "value", options).await,
            invalid,
            "set_with",
        )?;
    }
    if capabilities.if_absent {
        let outcome = store.set_if(key, "value", Condition::Absent, SetOptions::new());
        fails(outcome.await, invalid, "set_if")?;
    }
    if capabilities.versions.is_some() {
        fails(store.delete_if(key, 1.into()).await, invalid, "delete_if")?;
    }
    if capabilities.take {
        fails(store.take(key).await, invalid, "take")?;
    }
    if capabilities.touch {
        fails(store.touch(key, HOUR).await, invalid, "touch")?;
        fails(store.persist(key).await, invalid, "persist")?;
    }
    let bad = [(1, key, invalid)];
    let set = store
        .set_many([("good", "value"), (key, "value")], SetOptions::new())
        .await;
    items_fail(set, &bad, "set_many")?;
    let found = items_fail(store.get_many(["good", key]).await, &bad, "get_many")?;
    ensure!(
        matches!(&found[0], Ok(Some(value)) if value == "value"),
        "the valid key of a batch with an invalid one was not set, or not read"
    );
    items_fail(store.delete_many(["good", key]).await, &bad, "delete_many")?;
    ensure!(
        !store.has("good").await?,
        "the valid key of a batch with an invalid one was not deleted"
    );
    Ok(())
}
