//! Versions, and what is absent: C3 and C4.

use kvstore_core::{Condition, KeyValueStore, SetOptions, Version, Versions};

use super::conditions::{check, version};
use crate::check::{Checked, ensure, ensure_eq, unsupported};
use crate::{Failure, Fixture};

pub(crate) async fn c3_a_version_never_creates(f: Fixture) -> Checked {
    let store = f.text();
    if f.capabilities().versions.is_none() {
        return version_is_unsupported(&store).await;
    }
    let set = |version| store.set_if("key", "new", Condition::Version(version), SetOptions::new());
    let longest = "~".repeat(128);
    // `0` is what some servers call the version of a missing key.
    let foreign = [
        "0",
        "1",
        "18446744073709551615",
        "abc",
        "W/x",
        "*",
        "(nil)",
        &longest,
    ];
    for version in foreign {
        check(
            &store,
            set(version.parse()?).await,
            false,
            None,
            "a version, of a missing key",
        )
        .await?;
    }
    store.set("key", "one").await?;
    let last = version(&store, "key").await?;
    store.delete("key").await?;
    check(
        &store,
        set(last).await,
        false,
        None,
        "the last version of a deleted key",
    )
    .await?;
    store.set("key", "two").await?;
    let now = version(&store, "key").await?;
    for version in foreign.map(str::parse::<Version>) {
        let version = version?;
        if version != now {
            check(
                &store,
                set(version.clone()).await,
                false,
                Some("two"),
                "a version of another server",
            )
            .await?;
            let deleted = store.delete_if("key", version).await;
            check(
                &store,
                deleted,
                false,
                Some("two"),
                "delete_if at a version of another server",
            )
            .await?;
        }
    }
    Ok(())
}

async fn version_is_unsupported(store: &KeyValueStore<String>) -> Checked {
    let written = store.set_if(
        "key",
        "new",
        Condition::Version(1.into()),
        SetOptions::new(),
    );
    unsupported(written.await, "the condition `this version`")?;
    ensure!(!store.has("key").await?, "a refused write was done");
    Ok(())
}

pub(crate) async fn c3_a_deleted_key_is_absent(f: Fixture) -> Checked {
    let store = f.text();
    store.set("key", "old").await?;
    store.delete("key").await?;
    if f.capabilities().if_present {
        let replaced = store
            .set_if("key", "new", Condition::Present, SetOptions::new())
            .await;
        check(&store, replaced, false, None, "present, of a deleted key").await?;
    }
    let created = store
        .set_if("key", "new", Condition::Absent, SetOptions::new())
        .await;
    if !f.capabilities().if_absent {
        unsupported(created, "the condition `absent`")?;
        ensure!(!store.has("key").await?, "a refused write was done");
        return Ok(());
    }
    check(
        &store,
        created,
        true,
        Some("new"),
        "absent, of a deleted key",
    )
    .await
}

pub(crate) async fn c3_a_stale_version_never_applies(f: Fixture) -> Checked {
    let (store, other) = (f.text(), f.other_text());
    if f.capabilities().versions.is_none() {
        return version_is_unsupported(&store).await;
    }
    let mut seen = Vec::new();
    for round in 0..10 {
        let value = round.to_string();
        store.set("key", &value).await?;
        for stale in &seen {
            let set = other.set_if(
                "key",
                "stale",
                Condition::Version(Version::clone(stale)),
                SetOptions::new(),
            );
            check(&store, set.await, false, Some(&value), "a stale version").await?;
            let deleted = other.delete_if("key", stale.clone()).await;
            check(
                &store,
                deleted,
                false,
                Some(&value),
                "delete_if at a stale version",
            )
            .await?;
        }
        seen.push(version(&other, "key").await?);
    }
    Ok(())
}

pub(crate) async fn c4_versions_are_of_their_class(f: Fixture) -> Checked {
    let store = f.text();
    let Some(class) = f.capabilities().versions else {
        return version_is_unsupported(&store).await;
    };
    let mut seen = Vec::new();
    for value in ["secret", "secret", "other", "secret"] {
        store.set("key", value).await?;
        seen.push(version(&store, "key").await?);
    }
    store.delete("key").await?;
    store.set("key", "secret").await?;
    seen.push(version(&store, "key").await?);
    let told = seen
        .iter()
        .any(|version| version.to_string().contains("secret"));
    ensure!(!told, "the version shows the value");
    let same = |a: usize, b: usize| seen[a] == seen[b];
    let expected: &[(usize, usize, bool)] = match class {
        Versions::Unique => &[
            (0, 1, false),
            (0, 2, false),
            (0, 3, false),
            (1, 3, false),
            (0, 4, false),
            (1, 4, false),
            (3, 4, false),
        ],
        Versions::Counter => &[(0, 1, false), (0, 2, false), (0, 3, false), (1, 3, false)],
        Versions::Content => &[(0, 1, true), (0, 2, false), (0, 3, true), (0, 4, true)],
        class => return Err(Failure::new(format!("the suite does not know {class:?}"))),
    };
    let written = [
        "`secret`",
        "`secret` again",
        "`other`",
        "`secret` after it",
        "`secret` after a delete",
    ];
    for (a, b, expected) in expected {
        let (first, then) = (written[*a], written[*b]);
        ensure_eq!(
            same(*a, *b),
            *expected,
            "{class:?}: {first} and {then} have the same version"
        );
    }
    Ok(())
}

pub(crate) async fn c4_a_version_travels_as_text(f: Fixture) -> Checked {
    let (store, other) = (f.text(), f.other_text());
    if f.capabilities().versions.is_none() {
        return version_is_unsupported(&store).await;
    }
    store.set("key", "one").await?;
    let text = version(&store, "key").await?.to_string();
    let parsed: Version = text.parse()?;
    ensure_eq!(
        parsed.to_string(),
        text,
        "a version parsed and displayed again"
    );
    ensure!(
        parsed == version(&other, "key").await?,
        "two clients see different versions"
    );
    let set = other.set_if("key", "two", Condition::Version(parsed), SetOptions::new());
    check(
        &store,
        set.await,
        true,
        Some("two"),
        "a version parsed from its text",
    )
    .await?;
    let parsed = version(&store, "key").await?.to_string().parse()?;
    let deleted = other.delete_if("key", parsed).await;
    check(
        &store,
        deleted,
        true,
        None,
        "delete_if at a version parsed from its text",
    )
    .await
}
