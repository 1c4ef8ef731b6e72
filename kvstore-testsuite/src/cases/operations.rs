//! Operations: O1 to O6.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use kvstore_core::{Bytes, Condition, KeyValueStore, SetOptions};
use tokio::time::{Instant, sleep, timeout};

use crate::Fixture;
use crate::check::{Checked, ensure, ensure_eq, listed, unsupported};
use crate::lease::{HOUR, Lease, short};

pub(crate) async fn o1_a_missing_key_is_none(f: Fixture) -> Checked {
    let store = f.text();
    // Beside other keys, and after it was deleted.
    store
        .set_many(
            [("neighbour", "value"), ("deleted", "value")],
            SetOptions::new(),
        )
        .await?;
    store.delete("deleted").await?;
    for key in ["missing", "deleted", "neighbou", "neighbour/x", "Neighbour"] {
        ensure_eq!(store.get(key).await?, None, "get, key `{key}`");
        let default = store.get_or(key, "default".to_owned()).await?;
        ensure_eq!(default, "default", "get_or, key `{key}`");
        ensure!(
            store.get_entry(key).await?.is_none(),
            "get_entry, key `{key}`: not None"
        );
        ensure!(!store.has(key).await?, "has, key `{key}`: true");
        ensure_eq!(
            store.get_many([key]).await?,
            [None],
            "get_many, key `{key}`"
        );
    }
    let found = store.get_or("neighbour", "default".to_owned()).await?;
    ensure_eq!(found, "value", "get_or of a key that is there");
    Ok(())
}

pub(crate) async fn o2_deleting_a_missing_key_succeeds(f: Fixture) -> Checked {
    let store = f.text();
    store
        .set_many([("a", "1"), ("b", "2")], SetOptions::new())
        .await?;
    store.delete("missing").await?;
    for _ in 0..2 {
        store.delete("a").await?;
        ensure_eq!(store.get("a").await?, None, "a deleted key");
    }
    let found = store.get("b").await?;
    ensure_eq!(found.as_deref(), Some("2"), "the key beside a deleted one");
    store.set("a", "3").await?;
    let found = store.get("a").await?;
    ensure_eq!(
        found.as_deref(),
        Some("3"),
        "a key set again after it was deleted"
    );
    Ok(())
}

pub(crate) async fn o3_a_write_is_read_by_every_client(f: Fixture) -> Checked {
    let (writer, reader) = (f.text(), f.other_text());
    // Without the guarantee a write is read some time.
    let patience = match f.capabilities().strong_reads {
        true => Duration::ZERO,
        false => Duration::from_secs(60),
    };
    for round in 0..30 {
        let value = round.to_string();
        writer.set("key", &value).await?;
        reads(&reader, Some(&value), patience).await?;
        if round % 3 == 0 {
            writer.delete("key").await?;
            reads(&reader, None, patience).await?;
        }
    }
    Ok(())
}

async fn reads(
    store: &KeyValueStore<String>,
    expected: Option<&str>,
    patience: Duration,
) -> Checked {
    let give_up = Instant::now() + patience;
    loop {
        let found = store.get("key").await?;
        let has = store.has("key").await?;
        let many = store.get_many(["key"]).await?;
        let entry = store.get_entry("key").await?.map(|entry| entry.value);
        let (found, entry) = (found.as_deref(), entry.as_deref());
        let all = [found, many[0].as_deref(), entry];
        if (all, has) == ([expected; 3], expected.is_some()) {
            return Ok(());
        }
        ensure!(
            Instant::now() < give_up,
            "the other client expects {expected:?}, and reads {found:?} by get, has is {has}, {many:?} by get_many, \
             {entry:?} by get_entry"
        );
        sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) async fn o4_set_replaces_the_value(f: Fixture) -> Checked {
    let (store, long) = (f.text(), "x".repeat(5000));
    for value in ["one", "", &long, "short", "one"] {
        store.set("key", value).await?;
        let found = store.get("key").await?;
        ensure_eq!(found.as_deref(), Some(value), "get after set");
        store
            .set_many([("key", "another")], SetOptions::new())
            .await?;
        let found = store.get("key").await?;
        ensure_eq!(found.as_deref(), Some("another"), "get after set_many");
    }
    Ok(())
}

pub(crate) async fn o5_has_agrees_with_get(f: Fixture) -> Checked {
    let store = f.bytes();
    for (key, value) in [
        ("empty", &b""[..]),
        ("zero", b"\0"),
        ("long", &[7; 100_000]),
    ] {
        ensure!(
            !store.has(key).await?,
            "has before set is true, key `{key}`"
        );
        store.set(key, value).await?;
        ensure!(store.has(key).await?, "has after set is false, key `{key}`");
        let found = store.get(key).await?;
        ensure!(
            found.as_deref() == Some(value),
            "get after set, key `{key}`: another value"
        );
        store.delete(key).await?;
        ensure!(
            !store.has(key).await?,
            "has after delete is true, key `{key}`"
        );
    }
    let json = f.json();
    json.set("object", serde_json::Map::new()).await?;
    ensure!(json.has("object").await?, "has of an empty object is false");
    Ok(())
}

pub(crate) async fn o5_has_agrees_with_get_as_a_key_expires(f: Fixture) -> Checked {
    let (store, ttl) = (f.text(), short(&f));
    let options = SetOptions::new().ttl(ttl);
    if f.capabilities().expiry.is_none() {
        unsupported(
            store.set_with("key", "value", options).await,
            "a time to live",
        )?;
        ensure!(!store.has("key").await?, "a refused write was done");
        return Ok(());
    }
    let (lease, ()) = Lease::start(&f, ttl, store.set_with("key", "value", options)).await?;
    // What one of them misses, the next one cannot find.
    loop {
        let has = store.has("key").await?;
        let found = store.get("key").await?.is_some();
        let has_then = store.has("key").await?;
        ensure!(has || !found, "get finds a key that has missed before");
        ensure!(found || !has_then, "has finds a key that get missed before");
        if !has_then {
            break;
        }
        ensure!(!lease.is_over(), "has and get find an expired key");
        sleep(Duration::from_millis(1)).await;
    }
    lease.watch(&store, "key").await
}

pub(crate) async fn o6_a_dropped_future_leaves_the_key_as_before_or_after(f: Fixture) -> Checked {
    let store = f.text();
    for round in 0..30 {
        let key = format!("set {round}");
        store.set(&key, "before").await?;
        drop_midway(store.set(&key, "after"), round).await;
        let found = store.get(&key).await?;
        ensure!(
            matches!(found.as_deref(), Some("before" | "after")),
            "a dropped set left {found:?}"
        );
        let key = format!("delete {round}");
        store.set(&key, "before").await?;
        drop_midway(store.delete(&key), round).await;
        let found = store.get(&key).await?;
        ensure!(
            matches!(found.as_deref(), None | Some("before")),
            "a dropped delete left {found:?}"
        );
        if f.capabilities().if_absent {
            let key = format!("create {round}");
            let create = store.set_if(&key, "after", Condition::Absent, SetOptions::new());
            drop_midway(create, round).await;
            let found = store.get(&key).await?;
            ensure!(
                matches!(found.as_deref(), None | Some("after")),
                "a dropped set_if left {found:?}"
            );
        }
        if f.capabilities().expiry.is_some() {
            let key = format!("expiry {round}");
            drop_midway(
                store.set_with(&key, "after", SetOptions::new().ttl(HOUR)),
                round,
            )
            .await;
            let entry = store.get_entry(&key).await?;
            ensure!(
                entry.is_none_or(|entry| entry.value == "after" && entry.expires_in.is_some()),
                "a dropped set_with left something else, or a key that does not expire"
            );
        }
    }
    Ok(())
}

pub(crate) async fn o6_a_dropped_future_leaves_the_store_usable(f: Fixture) -> Checked {
    let store = f.text();
    let keys: Vec<String> = (0..100).map(|index| format!("many {index}")).collect();
    let items = || keys.iter().map(|key| (key, "value"));
    store.set_many(items(), SetOptions::new()).await?;
    for round in 0..30 {
        drop_midway(store.get("many 0"), round).await;
        drop_midway(store.get_many(&keys), round).await;
        drop_midway(store.set_many(items(), SetOptions::new()), round).await;
        drop_midway(store.has("many 0"), round).await;
        drop_midway(store.get_entry("many 0"), round).await;
        drop_midway(store.take("taken"), round).await;
        drop_midway(listed(&store, "many"), round).await;
        // An answer that nobody waited for must not be taken for that of the next call.
        let (key, value) = (format!("key {round}"), format!("value {round}"));
        store.set(&key, &value).await?;
        let found = store.get(&key).await?;
        ensure_eq!(
            found,
            Some(value),
            "a key written after futures were dropped"
        );
        ensure_eq!(
            store.get("missing").await?,
            None,
            "a missing key after futures were dropped"
        );
    }
    let found = store.get_many(&keys).await?;
    ensure!(
        found.iter().all(|value| value.as_deref() == Some("value")),
        "values were lost by dropped futures"
    );
    Ok(())
}

/// Polls a future some times, or for some microseconds, and drops it.
async fn drop_midway(future: impl Future, round: u32) {
    if round.is_multiple_of(2) {
        let span = Duration::from_micros(u64::from(round) * 40);
        drop(timeout(span, future).await);
        return;
    }
    let (mut future, mut polls) = (pin!(future), round / 2);
    poll_fn(|context| {
        let done = future.as_mut().poll(context).is_ready() || polls == 0;
        polls = polls.saturating_sub(1);
        context.waker().wake_by_ref();
        if done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

pub(crate) async fn o3_what_was_written_is_retained(f: Fixture) -> Checked {
    let store = f.bytes();
    let value = |index: u32| Bytes::from(index.to_le_bytes().repeat(1024));
    for begin in (0..500).step_by(100) {
        let items = (begin..begin + 100).map(|index| (index.to_string(), value(index)));
        store.set_many(items, SetOptions::new()).await?;
    }
    let mut kept = 0;
    for begin in (0..500).step_by(100) {
        let keys = (begin..begin + 100).map(|index| index.to_string());
        for (index, found) in (begin..).zip(store.get_many(keys).await?) {
            // Without the guarantee the server may evict; it may never give something else.
            let same = found.as_ref() == Some(&value(index));
            ensure!(same || found.is_none(), "key `{index}` has another value");
            kept += u32::from(same);
        }
    }
    ensure!(
        kept == 500 || (kept > 0 && !f.capabilities().retains),
        "of 500 keys {kept} are left"
    );
    Ok(())
}
