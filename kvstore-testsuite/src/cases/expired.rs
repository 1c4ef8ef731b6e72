//! What an expired key is to each operation: T2.

use std::time::Duration;

use kvstore_core::{Condition, KeyValueStore, Outcome, SetOptions};

use super::expiry::no_expiry;
use crate::Fixture;
use crate::check::{Checked, ensure, ensure_eq, listed};
use crate::lease::{HOUR, Lease, short};

/// A store on which these keys, and no others, have expired, and have not been looked at since.
async fn expired(f: &Fixture, keys: &[&str]) -> Checked<KeyValueStore<String>> {
    let (store, ttl) = (f.text(), short(f));
    let items = keys.iter().map(|key| (key, "expired"));
    let write = store.set_many(items, SetOptions::new().ttl(ttl));
    let (lease, ()) = Lease::start(f, ttl, write).await?;
    lease.end().await;
    Ok(store)
}

pub(crate) async fn t2_an_expired_key_is_missing_to_reads(f: Fixture) -> Checked {
    if f.capabilities().expiry.is_none() {
        return no_expiry(&f.text()).await;
    }
    let keys = ["get", "get_or", "has", "get_entry", "get_many", "lasting"];
    let store = expired(&f, &keys).await?;
    store.set("lasting", "value").await?;
    // The other client has met no expiry before.
    for store in [f.other_text(), store] {
        ensure_eq!(store.get("get").await?, None, "get");
        let default = store.get_or("get_or", "default".to_owned()).await?;
        ensure_eq!(default, "default", "get_or");
        ensure!(!store.has("has").await?, "has is true");
        ensure!(
            store.get_entry("get_entry").await?.is_none(),
            "get_entry is not None"
        );
        let found = store.get_many(["get_many", "lasting", "get_many"]).await?;
        ensure_eq!(found, [None, Some("value".to_owned()), None], "get_many");
    }
    Ok(())
}

pub(crate) async fn t2_an_expired_key_is_missing_to_take(f: Fixture) -> Checked {
    if f.capabilities().expiry.is_none() {
        return no_expiry(&f.text()).await;
    }
    let store = expired(&f, &["key"]).await?;
    if f.capabilities().take {
        ensure_eq!(store.take("key").await?, None, "take");
    } else {
        ensure_eq!(store.get("key").await?, None, "get");
    }
    Ok(())
}

pub(crate) async fn t2_an_expired_key_is_missing_to_conditions(f: Fixture) -> Checked {
    let capabilities = f.capabilities();
    if capabilities.expiry.is_none() {
        return no_expiry(&f.text()).await;
    }
    let (store, ttl) = (f.text(), 4 * short(&f));
    let keys = ["absent", "present", "version", "delete_if"];
    let items = keys.map(|key| (key, "expired"));
    let write = store.set_many(items, SetOptions::new().ttl(ttl));
    let (lease, ()) = Lease::start(&f, ttl, write).await?;
    let mut versions = Vec::new();
    for key in ["version", "delete_if"] {
        let entry = store.get_entry(key).await?;
        versions.push(entry.and_then(|entry| entry.version));
    }
    lease.end().await;
    let set = |key: &'static str, condition| store.set_if(key, "new", condition, SetOptions::new());
    if capabilities.if_absent {
        ensure!(
            set("absent", Condition::Absent).await?.is_applied(),
            "`absent` does not hold"
        );
        let found = store.get("absent").await?;
        ensure_eq!(
            found.as_deref(),
            Some("new"),
            "the key created over an expired one"
        );
    }
    if capabilities.if_present {
        let outcome = set("present", Condition::Present).await?;
        unmet(&store, outcome, "present").await?;
    }
    if let [Some(set_if), Some(delete_if)] = &versions[..] {
        let outcome = set("version", Condition::Version(set_if.clone())).await?;
        unmet(&store, outcome, "version").await?;
        let outcome = store.delete_if("delete_if", delete_if.clone()).await?;
        unmet(&store, outcome, "delete_if").await?;
    }
    ensure_eq!(store.get("present").await?, None, "get of an expired key");
    Ok(())
}

async fn unmet(store: &KeyValueStore<String>, outcome: Outcome, key: &str) -> Checked {
    ensure!(
        !outcome.is_applied(),
        "the condition `{key}` holds for an expired key"
    );
    ensure!(
        !store.has(key).await?,
        "a write that was not applied left the key `{key}`"
    );
    Ok(())
}

pub(crate) async fn t2_an_expired_key_is_missing_to_touch(f: Fixture) -> Checked {
    if f.capabilities().expiry.is_none() {
        return no_expiry(&f.text()).await;
    }
    let store = expired(&f, &["touch", "persist"]).await?;
    if f.capabilities().touch {
        ensure!(!store.touch("touch", HOUR).await?, "touch is true");
        ensure!(!store.persist("persist").await?, "persist is true");
    }
    for key in ["touch", "persist"] {
        ensure_eq!(store.get(key).await?, None, "get after {key}");
    }
    Ok(())
}

pub(crate) async fn t2_an_expired_key_is_missing_to_keeping(f: Fixture) -> Checked {
    if f.capabilities().expiry.is_none() {
        return no_expiry(&f.text()).await;
    }
    let store = expired(&f, &["one", "many"]).await?;
    let keep = SetOptions::new().keep_expiry();
    store.set_with("one", "new", keep).await?;
    store.set_many([("many", "new")], keep).await?;
    for key in ["one", "many"] {
        let entry = store.get_entry(key).await?;
        let left: Option<Option<Duration>> = entry.map(|entry| entry.expires_in);
        ensure_eq!(
            left,
            Some(None),
            "the time left of a key set anew to keep what it had"
        );
    }
    Ok(())
}

pub(crate) async fn t2_an_expired_key_is_missing_in_listings(f: Fixture) -> Checked {
    if f.capabilities().expiry.is_none() {
        return no_expiry(&f.text()).await;
    }
    let store = expired(&f, &["a", "b/1", "b/2", "c"]).await?;
    store
        .set_many([("b/0", "value"), ("b/3", "value")], SetOptions::new())
        .await?;
    if f.capabilities().keys.is_some() {
        ensure_eq!(
            listed(&store, "").await?,
            ["b/0", "b/3"],
            "the keys that have not expired"
        );
        ensure_eq!(
            listed(&store, "b/").await?,
            ["b/0", "b/3"],
            "those with a prefix"
        );
    } else {
        ensure_eq!(
            store.get_many(["a", "b/1"]).await?,
            [None, None],
            "expired keys"
        );
    }
    Ok(())
}
