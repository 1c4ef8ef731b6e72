//! What becomes of keys that are in the old provider, in the new one, in both, and in neither.

mod stores;
mod typed;

use std::time::Duration;

use kvstore_core::{
    Condition, DeleteRequest, Expiry, Format, Key, KeyValueStore, Provider as _, Result,
    SetOptions, SetRequest,
};
use kvstore_fallback::FallbackProvider;
use kvstore_memory::MemoryProvider;
use stores::{Stores, listed};
use typed::Typed;

const HOUR: Duration = Duration::from_secs(3600);

const KEYS: [&str; 4] = ["old", "new", "both", "none"];

fn value(key: &str) -> Option<String> {
    (key != "none").then(|| format!("from {key}"))
}

#[tokio::test]
async fn a_key_is_read_wherever_it_is() -> Result<()> {
    let Stores { both, old, new, .. } = Stores::filled().await?;
    for key in KEYS {
        assert_eq!(both.get(key).await?, value(key), "{key}");
        assert_eq!(both.has(key).await?, value(key).is_some(), "{key}");
    }
    assert_eq!(both.get_many(KEYS).await?, KEYS.map(value));
    assert_eq!(both.get_many(["old"; 3]).await?, vec![value("old"); 3]);
    assert_eq!(listed(&both).await?, ["both", "new", "old"]);
    for key in KEYS {
        let entry = both.get_entry(key).await?;
        assert_eq!(entry.map(|entry| entry.value), value(key), "{key}");
    }
    assert!(old.has("old").await?, "reading moves nothing");
    assert_eq!(listed(&new).await?, ["both", "new"], "nor does it write");
    Ok(())
}

#[tokio::test]
async fn what_is_written_moves() -> Result<()> {
    for key in KEYS {
        let stores = Stores::filled().await?;
        stores.both.set(key, "written").await?;
        assert_eq!(
            stores.new.get(key).await?.as_deref(),
            Some("written"),
            "{key}"
        );
        assert_eq!(stores.old.get(key).await?, None, "{key}");
        stores.late_copy(key, "from old").await?;

        let stores = Stores::filled().await?;
        let all = SetOptions::new();
        stores
            .both
            .set_many(KEYS.map(|key| (key, "written")), all)
            .await?;
        for key in KEYS {
            assert_eq!(
                stores.new.get(key).await?.as_deref(),
                Some("written"),
                "{key}"
            );
            assert_eq!(stores.old.get(key).await?, None, "{key}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn conditions_are_of_the_key_wherever_it_is() -> Result<()> {
    for key in KEYS {
        let there = value(key).is_some();
        for (condition, holds) in [(Condition::Absent, !there), (Condition::Present, there)] {
            let Stores { both, .. } = Stores::filled().await?;
            let written = both
                .set_if(key, "written", condition, SetOptions::new())
                .await?;
            assert_eq!(written.is_applied(), holds, "{key}");
            let expected = if holds {
                Some("written".to_owned())
            } else {
                value(key)
            };
            assert_eq!(both.get(key).await?, expected, "{key}");
        }
        let Stores { both, .. } = Stores::filled().await?;
        if let Some(entry) = both.get_entry(key).await? {
            let version = entry.version.unwrap();
            let condition = Condition::Version(version.clone());
            let written = both.set_if(key, "written", condition.clone(), SetOptions::new());
            assert!(written.await?.is_applied(), "{key}");
            let again = both.set_if(key, "again", condition, SetOptions::new());
            assert!(!again.await?.is_applied(), "{key}");
            assert!(!both.delete_if(key, version).await?.is_applied(), "{key}");
            let version = both.get_entry(key).await?.unwrap().version.unwrap();
            assert!(both.delete_if(key, version).await?.is_applied(), "{key}");
            assert_eq!(both.get(key).await?, None, "{key}");
        }
    }
    Ok(())
}

/// On the way back the old one has the tombstones that it got as the new one.
#[tokio::test]
async fn a_tombstone_in_the_old_one_is_a_missing_key() -> Result<()> {
    let (there, here) = (Typed::default(), Typed::default());
    let forth = KeyValueStore::bytes(FallbackProvider::new(there.clone(), here.clone())?);
    for key in ["a", "b", "c", "d"] {
        forth.set(key, b"value").await?;
        forth.delete(key).await?;
    }
    let back = FallbackProvider::new(here.clone(), there)?;
    let both = KeyValueStore::bytes(back.clone());
    assert_eq!(both.get("a").await?, None);
    assert_eq!(both.get_many(["a", "b"]).await?, [None, None]);
    assert!(!both.has("a").await?);
    assert!(both.get_entry("a").await?.is_none());
    assert!(both.keys("").next().await.is_none());
    assert_eq!(both.take("a").await?, None);
    assert!(!both.touch("a", HOUR).await?);
    assert_eq!(back.copy(Format::Binary).await?, 0);
    assert!(KeyValueStore::bytes(here).keys("").next().await.is_none());
    let plain = SetOptions::new();
    let set = both.set_if("b", b"new", Condition::Absent, plain);
    assert!(set.await?.is_applied());
    let set = both.set_if("c", b"new", Condition::Present, plain);
    assert!(!set.await?.is_applied());
    both.set_many([("d", b"new")], plain).await?;
    assert_eq!(both.get("d").await?.as_deref(), Some(&b"new"[..]));
    Ok(())
}

/// Checks that a key is missing by every way to ask, and that it can be created.
async fn is_gone(stores: &Stores, key: &str) -> Result<()> {
    let both = &stores.both;
    assert_eq!(both.get(key).await?, None, "{key}");
    assert!(!both.has(key).await?, "{key}");
    assert!(both.get_entry(key).await?.is_none(), "{key}");
    assert_eq!(both.get_many([key]).await?, [None], "{key}");
    assert!(!listed(both).await?.contains(&key.to_owned()), "{key}");
    assert_eq!(both.take(key).await?, None, "{key}");
    assert!(!both.touch(key, HOUR).await?, "{key}");
    assert!(!both.persist(key).await?, "{key}");
    let written = both.set_if(key, "x", Condition::Present, SetOptions::new());
    assert!(!written.await?.is_applied(), "{key}");
    // As JSON and as bytes a tombstone is none either.
    let json = KeyValueStore::<String>::model(stores.provider.clone());
    assert_eq!(json.get(key).await?, None, "{key}");
    let bytes = KeyValueStore::bytes(stores.provider.clone());
    assert_eq!(bytes.get_many([key]).await?, [None], "{key}");

    assert_eq!(stores.old.get(key).await?, None, "{key}");
    stores.late_copy(key, "from old").await?;
    assert_eq!(both.get(key).await?, None, "{key}");

    // Not with the time that the tombstone has left.
    both.set_with(key, "kept", SetOptions::new().keep_expiry())
        .await?;
    assert_eq!(
        both.get_entry(key).await?.unwrap().expires_in,
        None,
        "{key}"
    );
    both.delete(key).await?;
    let created = both.set_if(key, "new", Condition::Absent, SetOptions::new());
    assert!(created.await?.is_applied(), "{key}");
    assert_eq!(both.get(key).await?.as_deref(), Some("new"), "{key}");
    assert_eq!(
        both.get_entry(key).await?.unwrap().expires_in,
        None,
        "{key}"
    );
    Ok(())
}

#[tokio::test]
async fn a_deleted_key_never_comes_back() -> Result<()> {
    for key in KEYS {
        let stores = Stores::filled().await?;
        stores.both.delete(key).await?;
        is_gone(&stores, key).await?;

        let stores = Stores::filled().await?;
        stores.both.delete_many([key, key]).await?;
        is_gone(&stores, key).await?;

        let stores = Stores::filled().await?;
        assert_eq!(stores.both.take(key).await?, value(key));
        if key != "none" {
            is_gone(&stores, key).await?;
        }

        let stores = Stores::filled().await?;
        if let Some(entry) = stores.both.get_entry(key).await? {
            let deleted = stores.both.delete_if(key, entry.version.unwrap()).await?;
            assert!(deleted.is_applied());
            is_gone(&stores, key).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn tombstones_go_by_themselves() -> Result<()> {
    let (new, old) = (MemoryProvider::new(), MemoryProvider::new());
    let kept = Duration::from_millis(50);
    let provider = FallbackProvider::with_tombstones(new.clone(), old, kept)?;
    let (both, new) = (KeyValueStore::text(provider), KeyValueStore::text(new));
    both.set("taken", "value").await?;
    both.set("deleted", "value").await?;
    assert_eq!(both.take("taken").await?.as_deref(), Some("value"));
    both.delete("deleted").await?;
    both.delete_many(["one", "other"]).await?;
    tokio::time::sleep(kept).await;
    assert_eq!(listed(&new).await?, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn the_time_left_moves_too() -> Result<()> {
    let options = SetOptions::new().ttl(HOUR);
    for how in ["keep", "copy"] {
        let stores = Stores::new();
        stores.old.set_with("key", "value", options).await?;
        let left = stores.both.get_entry("key").await?.unwrap().expires_in;
        assert!(left.is_some_and(|left| left > HOUR / 2), "{left:?}");
        match how {
            "keep" => {
                let keep = SetOptions::new().keep_expiry();
                stores.both.set_with("key", "value", keep).await?;
            }
            _ => assert_eq!(stores.provider.copy(Format::Text).await?, 1),
        }
        let entry = stores.new.get_entry("key").await?.unwrap();
        assert_eq!(entry.value, "value");
        let left = entry.expires_in.unwrap();
        assert!(left <= HOUR && left > HOUR / 2, "{how}: {left:?}");
    }

    let stores = Stores::new();
    stores.old.set_with("key", "value", options).await?;
    assert!(stores.both.touch("key", 2 * HOUR).await?);
    let left = stores.both.get_entry("key").await?.unwrap().expires_in;
    assert!(left.unwrap() > HOUR, "{left:?}");
    assert!(stores.both.persist("key").await?);
    assert_eq!(stores.new.get_entry("key").await?.unwrap().expires_in, None);
    assert_eq!(stores.old.get("key").await?, None);
    Ok(())
}

#[tokio::test]
async fn what_has_expired_does_not_give_way_to_what_was_before() -> Result<()> {
    let soon = Duration::from_millis(50);
    for how in ["set", "set_many", "set_if", "touch"] {
        let Stores { both, .. } = Stores::filled().await?;
        let options = SetOptions::new().ttl(soon);
        for key in ["old", "both"] {
            match how {
                "set" => both.set_with(key, "short", options).await?,
                "set_many" => both.set_many([(key, "short")], options).await?,
                "touch" => assert!(both.touch(key, soon).await?),
                _ => {
                    let set = both.set_if(key, "short", Condition::Present, options);
                    assert!(set.await?.is_applied());
                }
            }
        }
        tokio::time::sleep(soon).await;
        assert_eq!(both.get_many(["old", "both"]).await?, [None, None], "{how}");
        assert_eq!(listed(&both).await?, ["new"], "{how}");
    }
    Ok(())
}

#[tokio::test]
async fn items_of_a_batch_stand_for_themselves() -> Result<()> {
    let Stores {
        provider, new, old, ..
    } = Stores::filled().await?;
    let request = |key, condition| {
        let mut request =
            kvstore_core::SetRequest::new(Key::new(key).unwrap(), Format::Text, "written".into());
        request.condition = condition;
        request
    };
    let requests = [
        request("old", None),
        request("new", Some(Condition::Absent)),
        request("both", Some(Condition::Present)),
        request("none", None).with_expiry(Expiry::After(HOUR)),
    ];
    let mut applied = Vec::new();
    for written in provider.set_many(&requests).await {
        applied.push(written?.is_applied());
    }
    assert_eq!(applied, [true, false, true, true]);
    assert_eq!(new.get("new").await?.as_deref(), Some("from new"));
    for key in ["old", "both", "none"] {
        assert_eq!(new.get(key).await?.as_deref(), Some("written"), "{key}");
        assert_eq!(old.get(key).await?, None, "{key}");
    }
    assert!(new.get_entry("none").await?.unwrap().expires_in.is_some());
    Ok(())
}

/// Not one after the other.
#[tokio::test]
async fn items_under_a_condition_are_under_way_together() -> Result<()> {
    let new = Typed::default();
    let provider = FallbackProvider::new(new.clone().in_pairs(), MemoryProvider::new())?;
    let sound = KeyValueStore::text(new);
    let keys = ["a", "b"].map(|key| Key::new(key).unwrap());
    let creating = keys.map(|key| {
        SetRequest::new(key, Format::Text, "value".into()).with_condition(Condition::Absent)
    });
    let limit = Duration::from_secs(60);
    let created = tokio::time::timeout(limit, provider.set_many(&creating)).await;
    assert!(
        created
            .unwrap()
            .into_iter()
            .all(|set| set.unwrap().is_applied())
    );
    let mut writing = Vec::new();
    let mut deleting = Vec::new();
    for key in keys {
        let version = sound
            .get_entry(key.as_str())
            .await?
            .unwrap()
            .version
            .unwrap();
        let write = SetRequest::new(key, Format::Text, "other".into());
        writing.push(write.with_condition(Condition::Version(version)));
    }
    let written = tokio::time::timeout(limit, provider.set_many(&writing)).await;
    for (key, written) in keys.into_iter().zip(written.unwrap()) {
        let kvstore_core::Outcome::Applied(Some(version)) = written? else {
            panic!("it has a version");
        };
        deleting.push(DeleteRequest::new(key).with_version(version));
    }
    let deleted = tokio::time::timeout(limit, provider.delete_many(&deleting)).await;
    assert!(
        deleted
            .unwrap()
            .into_iter()
            .all(|deleted| deleted.unwrap().is_applied())
    );
    Ok(())
}

#[tokio::test]
async fn copying_brings_what_is_missing_and_no_more() -> Result<()> {
    let stores = Stores::filled().await?;
    for index in 0..1000 {
        stores
            .old
            .set(&format!("key {index}"), index.to_string())
            .await?;
    }
    stores.both.set("key 7", "rotated").await?;
    stores.both.delete("key 8").await?;
    assert_eq!(stores.provider.copy(Format::Text).await?, 999);
    assert_eq!(stores.provider.copy(Format::Text).await?, 0);
    assert_eq!(stores.new.get("key 7").await?.as_deref(), Some("rotated"));
    assert_eq!(stores.new.get("key 9").await?.as_deref(), Some("9"));
    assert_eq!(stores.both.get("key 8").await?, None);
    assert!(stores.old.has("key 9").await?, "nothing is deleted there");
    // What both have is named once.
    let keys = listed(&stores.both).await?;
    assert_eq!(keys.len(), 3 + 999);
    // Deleted and written again.
    stores.both.delete("key 9").await?;
    assert_eq!(stores.provider.copy(Format::Text).await?, 0);
    assert_eq!(stores.both.get("key 9").await?, None);
    Ok(())
}
