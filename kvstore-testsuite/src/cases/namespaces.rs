//! Namespaces: K5.

use kvstore_core::{ErrorKind, KeyValueStore, SetOptions};

use super::keys::listing_error;
use crate::Fixture;
use crate::check::{Checked, ensure, ensure_eq, fails, listed, unsupported};

/// Names that a server or its escapes may trip over.
const NAMES: &[&str] = &[
    "a", "ab", "A", "a/", "a/..", "..", "/", "*", "a*", "?", "[a]", "\\", "~", " ", "é", "\0",
    "a b",
];

pub(crate) async fn k5_a_namespace_is_a_view(f: Fixture) -> Checked {
    let parent = f.text();
    for name in NAMES {
        let (own, full) = (parent.namespace(name)?, format!("{name}:key"));
        own.set("key", "one").await?;
        let found = parent.get(&full).await?;
        ensure_eq!(
            found.as_deref(),
            Some("one"),
            "the parent's get of a key of namespace {name:?}"
        );
        parent.set(&full, "two").await?;
        let found = own.get("key").await?;
        ensure_eq!(
            found.as_deref(),
            Some("two"),
            "the get of namespace {name:?} after the parent's set"
        );
        own.delete("key").await?;
        ensure!(
            !parent.has(&full).await?,
            "the parent has a key that namespace {name:?} deleted"
        );
    }
    Ok(())
}

pub(crate) async fn k5_namespaces_never_meet(f: Fixture) -> Checked {
    let parent = f.text();
    let mut stores = vec![parent.clone()];
    for name in NAMES {
        stores.push(parent.namespace(name)?);
    }
    for (outer, inner) in [("a", "a"), ("a", "b"), ("ab", "a"), ("a", "*")] {
        stores.push(parent.namespace(outer)?.namespace(inner)?);
    }
    // The same keys in each, single and in batches: each has its own value.
    let keys = ["key", "a", "b", "*", "..", "/key"];
    for (index, store) in stores.iter().enumerate() {
        store.set("key", format!("key {index}")).await?;
        let items = keys[1..].iter().map(|key| (key, format!("{key} {index}")));
        store.set_many(items, SetOptions::new()).await?;
    }
    for (index, store) in stores.iter().enumerate() {
        let found = store.get_many(keys).await?;
        let expected = keys.map(|key| Some(format!("{key} {index}")));
        ensure_eq!(found, expected, "the values of namespace {index}");
        store.delete_many(keys).await?;
        if let Some(next) = stores.get(index + 1) {
            ensure!(
                next.has("key").await?,
                "namespace {index} deleted a key of the next"
            );
        }
    }
    Ok(())
}

pub(crate) async fn k5_a_nested_namespace_is_a_namespace_of_a_namespace(f: Fixture) -> Checked {
    let parent = f.text();
    let (outer, inner) = (
        parent.namespace("a")?,
        parent.namespace("a")?.namespace("b")?,
    );
    inner.set("c", "value").await?;
    for (store, key) in [(&outer, "b:c"), (&parent, "a:b:c")] {
        let found = store.get(key).await?;
        ensure_eq!(
            found.as_deref(),
            Some("value"),
            "the key `{key}` from further out"
        );
    }
    Ok(())
}

pub(crate) async fn k5_a_listing_stays_in_its_namespace(f: Fixture) -> Checked {
    let parent = f.text();
    if f.capabilities().keys.is_none() {
        unsupported(listing_error(&parent.namespace("a")?).await, "keys")?;
        return Ok(());
    }
    // Each names its own key; the parent also has the key that is the prefix of namespace `a` itself.
    let names = NAMES
        .iter()
        .chain(&["a:", "b"])
        .map(|name| format!("{name}:in {name}"));
    let items = names.map(|key| (key, "value"));
    parent.set_many(items, SetOptions::new()).await?;
    parent
        .set_many([("a:", "value"), ("a", "value")], SetOptions::new())
        .await?;
    for name in NAMES {
        let mut expected = vec![format!("in {name}")];
        if *name == "a" {
            // Of the key `a::in a:` this is the part within namespace `a`.
            expected.insert(0, ":in a:".to_owned());
        }
        let own = parent.namespace(name)?;
        ensure_eq!(
            listed(&own, "").await?,
            expected,
            "the keys of namespace {name:?}"
        );
        ensure_eq!(
            listed(&own, "in").await?,
            [format!("in {name}")],
            "those with a prefix, of namespace {name:?}"
        );
        ensure_eq!(
            listed(&own, "x").await?,
            [""; 0],
            "those with a prefix that none has, of namespace {name:?}"
        );
    }
    Ok(())
}

pub(crate) async fn k5_a_name_is_not_empty_and_holds_no_colon(f: Fixture) -> Checked {
    let store = f.text();
    let refused = |store: &KeyValueStore<String>, name| {
        fails(
            store.namespace(name),
            ErrorKind::InvalidKey,
            format!("the name {name:?}"),
        )
    };
    for name in ["", ":", "a:", ":a", "a:b", "a::b"] {
        refused(&store, name)?;
        refused(&store.namespace("outer")?, name)?;
    }
    Ok(())
}
