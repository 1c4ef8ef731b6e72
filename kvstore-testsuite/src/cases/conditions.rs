//! Conditions: C1.

use kvstore_core::{Condition, KeyValueStore, Outcome, Result, SetOptions, Version};
use tokio::time::Instant;

use crate::check::{Checked, ensure, ensure_eq, unsupported};
use crate::lease::{HOUR, Lease};
use crate::{Failure, Fixture};

/// The version of a key that is there.
pub(super) async fn version(store: &KeyValueStore<String>, key: &str) -> Checked<Version> {
    let entry = store.get_entry(key).await?;
    let version = entry.and_then(|entry| entry.version);
    version.ok_or_else(|| Failure::new(format!("get_entry of `{key}` gives no version")))
}

/// Checks that a write was applied, or was not, and what is there now.
pub(super) async fn check(
    store: &KeyValueStore<String>,
    written: Result<Outcome>,
    applied: bool,
    now: Option<&str>,
    what: &str,
) -> Checked {
    ensure_eq!(written?.is_applied(), applied, "{what}: applied");
    let found = store.get("key").await?;
    ensure_eq!(found.as_deref(), now, "{what}: the value then");
    Ok(())
}

pub(crate) async fn c1_an_entry_has_value_version_and_expiry(f: Fixture) -> Checked {
    let (store, capabilities) = (f.text(), f.capabilities());
    store.set("key", "value").await?;
    let Some(entry) = store.get_entry("key").await? else {
        return Err(Failure::new("get_entry misses a key that is there"));
    };
    ensure_eq!(entry.value, "value", "the value");
    ensure_eq!(
        entry.version.is_some(),
        capabilities.versions.is_some(),
        "a version is given, and claimed"
    );
    ensure_eq!(
        entry.expires_in,
        None,
        "the time left of a key without expiry"
    );
    if capabilities.expiry.is_some() {
        let write = store.set_with("key", "value", SetOptions::new().ttl(HOUR));
        let (lease, ()) = Lease::start(&f, HOUR, write).await?;
        let asked = Instant::now();
        let left = store
            .get_entry("key")
            .await?
            .and_then(|entry| entry.expires_in);
        lease.check_left(left, asked, "the time left of a key that expires")?;
    }
    Ok(())
}

pub(crate) async fn c1_set_if_absent(f: Fixture) -> Checked {
    let store = f.text();
    let create =
        |value: &'static str| store.set_if("key", value, Condition::Absent, SetOptions::new());
    if !f.capabilities().if_absent {
        unsupported(create("one").await, "the condition `absent`")?;
        ensure!(!store.has("key").await?, "a refused write was done");
        return Ok(());
    }
    check(
        &store,
        create("one").await,
        true,
        Some("one"),
        "absent, of a missing key",
    )
    .await?;
    check(
        &store,
        create("two").await,
        false,
        Some("one"),
        "absent, of a key that is there",
    )
    .await?;
    store.set("key", "").await?;
    check(
        &store,
        create("two").await,
        false,
        Some(""),
        "absent, of an empty value",
    )
    .await?;
    store.delete("key").await?;
    check(
        &store,
        create("three").await,
        true,
        Some("three"),
        "absent, of a deleted key",
    )
    .await
}

pub(crate) async fn c1_set_if_present(f: Fixture) -> Checked {
    let store = f.text();
    let replace =
        |value: &'static str| store.set_if("key", value, Condition::Present, SetOptions::new());
    if !f.capabilities().if_present {
        store.set("key", "old").await?;
        unsupported(replace("new").await, "the condition `present`")?;
        let found = store.get("key").await?;
        ensure_eq!(
            found.as_deref(),
            Some("old"),
            "the value after a refused write"
        );
        return Ok(());
    }
    check(
        &store,
        replace("one").await,
        false,
        None,
        "present, of a missing key",
    )
    .await?;
    store.set("key", "").await?;
    check(
        &store,
        replace("two").await,
        true,
        Some("two"),
        "present, of an empty value",
    )
    .await?;
    check(
        &store,
        replace("three").await,
        true,
        Some("three"),
        "present, of a key that is there",
    )
    .await?;
    store.delete("key").await?;
    check(
        &store,
        replace("four").await,
        false,
        None,
        "present, of a deleted key",
    )
    .await
}

pub(crate) async fn c1_set_if_version(f: Fixture) -> Checked {
    let store = f.text();
    let set = |value: &'static str, version| {
        store.set_if("key", value, Condition::Version(version), SetOptions::new())
    };
    store.set("key", "one").await?;
    if f.capabilities().versions.is_none() {
        unsupported(set("two", 1.into()).await, "the condition `this version`")?;
        let found = store.get("key").await?;
        ensure_eq!(
            found.as_deref(),
            Some("one"),
            "the value after a refused write"
        );
        return Ok(());
    }
    let first = version(&store, "key").await?;
    let outcome = set("two", first.clone()).await?;
    ensure!(
        outcome.is_applied(),
        "a write at the current version was not applied"
    );
    let second = version(&store, "key").await?;
    ensure!(first != second, "another value has the same version");
    if let Outcome::Applied(Some(told)) = outcome {
        ensure_eq!(
            told.to_string(),
            second.to_string(),
            "the version that the write told"
        );
    }
    check(
        &store,
        set("three", first).await,
        false,
        Some("two"),
        "a stale version",
    )
    .await?;
    check(
        &store,
        set("three", second).await,
        true,
        Some("three"),
        "the current version",
    )
    .await
}

pub(crate) async fn c1_delete_if_version(f: Fixture) -> Checked {
    let store = f.text();
    store.set("key", "one").await?;
    if f.capabilities().versions.is_none() {
        unsupported(store.delete_if("key", 1.into()).await, "delete_if")?;
        ensure!(store.has("key").await?, "a refused delete was done");
        return Ok(());
    }
    let first = version(&store, "key").await?;
    store.set("key", "two").await?;
    let stale = store.delete_if("key", first).await;
    check(
        &store,
        stale,
        false,
        Some("two"),
        "delete_if at a stale version",
    )
    .await?;
    let second = version(&store, "key").await?;
    let current = store.delete_if("key", second.clone()).await;
    check(
        &store,
        current,
        true,
        None,
        "delete_if at the current version",
    )
    .await?;
    let missing = store.delete_if("key", second).await;
    check(&store, missing, false, None, "delete_if of a missing key").await
}
