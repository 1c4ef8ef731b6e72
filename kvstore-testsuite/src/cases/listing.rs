//! Listing: L1.

use std::collections::BTreeSet;

use kvstore_core::{KeyValueStore, Listing, SetOptions};

use super::keys::listing_error;
use crate::Fixture;
use crate::check::{
    Checked, ensure, ensure_eq, listed, listed_as_often_as_named, shown, unsupported,
};

type Store = KeyValueStore<String>;

async fn set_all(store: &Store, keys: &BTreeSet<String>) -> Checked {
    let items = keys.iter().map(|key| (key, "value"));
    Ok(store.set_many(items, SetOptions::new()).await?)
}

/// What is left of a case where listing is not claimed: one error, and then the end.
async fn no_listing(store: &Store) -> Checked {
    unsupported(listing_error(store).await, "keys")?;
    let mut keys = store.keys("prefix");
    unsupported(keys.next().await.transpose(), "keys")?;
    ensure!(
        keys.next().await.is_none(),
        "a listing goes on after it is not supported"
    );
    Ok(())
}

pub(crate) async fn l1_a_listing_names_all_keys(f: Fixture) -> Checked {
    let store = f.text();
    let Some(listing) = f.capabilities().keys else {
        return no_listing(&store).await;
    };
    ensure_eq!(
        listed(&store, "").await?,
        [""; 0],
        "the keys of an empty store"
    );
    let keys: BTreeSet<String> = (0..3000)
        .map(|index| format!("{}/key {index}", index % 40))
        .collect();
    set_all(&store, &keys).await?;
    let mut found = listed_as_often_as_named(&store, "").await?;
    let all = found.len();
    found.dedup();
    ensure!(
        found.iter().eq(&keys),
        "of {} keys the listing names {}",
        keys.len(),
        found.len()
    );
    if listing == Listing::Once {
        ensure_eq!(
            all,
            found.len(),
            "how many keys a listing names that names each once"
        );
    }
    let some = keys.iter().filter(|key| key.starts_with("7/"));
    let found = listed(&store, "7/").await?;
    ensure!(
        found.iter().eq(some),
        "those with the prefix `7/` are other keys"
    );
    Ok(())
}

pub(crate) async fn l1_a_prefix_is_taken_literally(f: Fixture) -> Checked {
    let store = f.text();
    if f.capabilities().keys.is_none() {
        return no_listing(&store).await;
    }
    let keys = [
        "a", "ab", "abc", "A", "a/", "a/b", "a//b", "a/.", "a/..", "a/.x", "a/./b", "/", "//",
        "/a", ".", "..", ".x", "*", "a*", "a*b", "axb", "?", "a?b", "[a]", "[ab]c", "[^a]", "a[",
        "a]", "{a}", "{a,b}", "\\", "\\*", "a\\", "a\\b", "a\\*", "%", "%2F", "~", "~2E", "~7E",
        "a~", "_", "a_b", "^a", "$", "a$", "(", "a.b", "a+", "|", "#", " ", " a", "a ", "\0",
        "a\0", "a\0b", "\n", "a\nb", "é", "e", "e\u{301}", "日本", "日", "🦀", "🦀🦀", ":", "a:",
        "a:b", "::", "-", "user:1", "user:10",
    ];
    set_all(&store, &keys.map(str::to_owned).into()).await?;
    // Each key and each of its beginnings, and some that none begins with.
    let mut prefixes: BTreeSet<&str> = keys.iter().flat_map(|key| beginnings(key)).collect();
    prefixes.extend([
        "", "a*c", "a/*", "b", "user:*", "a?", "[a", "%2f", "/a/", "ABC", "\\\\",
    ]);
    for prefix in prefixes {
        let expected: BTreeSet<&str> = keys
            .into_iter()
            .filter(|key| key.starts_with(prefix))
            .collect();
        let found = listed(&store, prefix).await?;
        ensure!(
            found.iter().eq(expected.iter()),
            "with the prefix {} expected {expected:?}, found {found:?}",
            shown(prefix)
        );
    }
    Ok(())
}

fn beginnings(key: &str) -> impl Iterator<Item = &str> {
    (1..=key.len())
        .filter(|end| key.is_char_boundary(*end))
        .map(|end| &key[..end])
}

pub(crate) async fn l1_keys_there_throughout_are_named_while_others_change(f: Fixture) -> Checked {
    let (store, other) = (f.text(), f.other_text());
    if f.capabilities().keys.is_none() {
        return no_listing(&store).await;
    }
    let some = |what: &str, count| -> BTreeSet<String> {
        (0..count).map(|index| format!("{index}/{what}")).collect()
    };
    let (staying, going, coming) = (
        some("staying", 1000),
        some("going", 500),
        some("coming", 500),
    );
    set_all(&store, &(&staying | &going)).await?;
    let mut keys = store.keys("");
    let mut found = BTreeSet::new();
    let mut read = 0;
    while let Some(key) = keys.next().await {
        found.insert(key?);
        read += 1;
        // What is gone, come or written anew moves no other key out of sight.
        match read {
            10 => other.delete_many(&going).await?,
            100 => set_all(&other, &coming).await?,
            200 => set_all(&other, &staying.iter().step_by(3).cloned().collect()).await?,
            _ => {}
        }
    }
    let missing: Vec<_> = staying.difference(&found).take(5).collect();
    ensure!(
        missing.is_empty(),
        "keys that were there throughout are not named, as {missing:?}"
    );
    let known = |key: &String| {
        [&staying, &going, &coming]
            .iter()
            .any(|keys| keys.contains(key))
    };
    let alien: Vec<_> = found.iter().filter(|key| !known(key)).take(5).collect();
    ensure!(
        alien.is_empty(),
        "keys are named that were never set: {alien:?}"
    );
    Ok(())
}

pub(crate) async fn l1_a_listing_may_be_dropped(f: Fixture) -> Checked {
    let store = f.text();
    if f.capabilities().keys.is_none() {
        return no_listing(&store).await;
    }
    let all: BTreeSet<String> = (0..500).map(|index| format!("key {index}")).collect();
    set_all(&store, &all).await?;
    let mut held = store.keys("");
    for read in [0, 1, 7, 200] {
        let mut keys = store.keys("");
        for _ in 0..read {
            let key = keys.next().await.transpose()?;
            ensure!(
                key.is_some_and(|key| all.contains(&key)),
                "a listing of 500 keys ends before the {read}th"
            );
        }
        drop(keys);
        let found = store.get("key 0").await?;
        ensure_eq!(
            found.as_deref(),
            Some("value"),
            "a value read after a listing was dropped"
        );
    }
    // One that was begun long ago, and one at the same time.
    let mut found = BTreeSet::new();
    while let Some(key) = held.next().await {
        found.insert(key?);
        if found.len() == 100 {
            ensure!(
                !listed(&store, "key 1").await?.is_empty(),
                "a listing within a listing is empty"
            );
        }
    }
    ensure_eq!(
        found.len(),
        500,
        "the keys named by a listing while there were others"
    );
    ensure!(
        held.next().await.is_none(),
        "a listing goes on after its end"
    );
    Ok(())
}
