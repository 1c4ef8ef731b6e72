//! What becomes of versions: those of deleted secrets, of expired ones, and the limits of their count.

mod common;

use std::time::Duration;

use common::Place;
use kvstore_core::{Condition, ErrorKind, KeyValueStore, SetOptions};
use serde_json::{Value, json};

/// What the server says of each version, by its number.
fn versions(place: &Place, name: &str) -> Value {
    let (status, metadata) = place.ask("GET", "metadata", name, Value::Null);
    assert_eq!(status, 200, "{metadata}");
    metadata["data"]["versions"].clone()
}

fn is_gone(place: &Place, name: &str) -> bool {
    place.ask("GET", "metadata", name, Value::Null).0 == 404
}

#[tokio::test]
async fn a_delete_removes_all_versions() {
    let place = Place::new();
    let store = place.text("").await;
    store.set("key", "one").await.unwrap();
    store.set("key", "two").await.unwrap();
    store.delete("key").await.unwrap();
    assert!(is_gone(&place, "key"));
}

#[tokio::test]
async fn a_delete_that_keeps_the_counter_can_be_undone_by_vault() {
    let place = Place::new();
    let store = place.text("&keep_counter=true").await;
    store.delete("never").await.unwrap();
    assert!(is_gone(&place, "never"), "there was nothing to delete");
    store.set("key", "one").await.unwrap();
    store.delete("key").await.unwrap();
    assert_eq!(store.get("key").await.unwrap(), None);
    let found = versions(&place, "key");
    assert_eq!(found["1"]["destroyed"], json!(false));
    assert_ne!(found["2"]["deletion_time"], json!(""));
    store.delete("key").await.unwrap();
    assert_eq!(versions(&place, "key").as_object().unwrap().len(), 2);
    let set = store
        .set_if("key", "two", Condition::Absent, SetOptions::new())
        .await
        .unwrap();
    assert!(set.is_applied());
    let version = store
        .get_entry("key")
        .await
        .unwrap()
        .unwrap()
        .version
        .unwrap();
    assert_eq!(version.as_u64(), Some(3));
}

#[tokio::test]
async fn what_is_taken_or_deleted_by_version_is_gone_when_purged() {
    let place = Place::new();
    let provider = place.provider("").await;
    let store = KeyValueStore::text(provider.clone());
    for key in ["taken", "deleted"] {
        for value in ["one", "two", "three"] {
            store.set(key, value).await.unwrap();
        }
    }
    assert_eq!(store.take("taken").await.unwrap().as_deref(), Some("three"));
    let entry = store.get_entry("deleted").await.unwrap().unwrap();
    let deleted = store.delete_if("deleted", entry.version.unwrap()).await;
    assert!(deleted.unwrap().is_applied());
    for key in ["taken", "deleted"] {
        assert_eq!(place.members(key), json!({ "value": null }), "{key}");
    }
    assert_eq!(provider.purge_expired().await.unwrap(), 2);
    for key in ["taken", "deleted"] {
        let found = versions(&place, key);
        for version in ["1", "2", "3", "4"] {
            assert_eq!(found[version]["destroyed"], json!(true), "{key} {version}");
        }
    }
}

/// Then what was taken can be read no more when its tombstone is there.
#[tokio::test]
async fn take_hands_out_each_value_once_where_one_version_is_kept() {
    let takes = |case: &&kvstore_testsuite::Case| case.name.starts_with("c5_");
    let cases: Vec<_> = kvstore_testsuite::cases().iter().filter(takes).collect();
    assert_eq!(cases.len(), 4);
    for case in cases {
        let place = Place::new();
        let provider = place.provider("&max_versions=1").await;
        let other = place.provider("&max_versions=1").await;
        let run = case.run(kvstore_testsuite::Fixture::new(provider).with_other(other));
        run.await.unwrap_or_else(|e| panic!("{}: {e}", case.name));
    }
}

#[tokio::test]
async fn what_has_expired_or_was_left_marked_is_purged_and_nothing_else() {
    let place = Place::new();
    let provider = place.provider("").await;
    let store = KeyValueStore::text(provider.clone());
    let soon = SetOptions::new().ttl(Duration::from_millis(1));
    for key in ["expired", "deep/er/expired", "../expired"] {
        store.set(key, "old").await.unwrap();
        store.set_with(key, "secret", soon).await.unwrap();
    }
    store
        .set_with(
            "later",
            "secret",
            SetOptions::new().ttl(Duration::from_secs(3600)),
        )
        .await
        .unwrap();
    store.set("live", "secret").await.unwrap();
    place.write("marked", json!({ "value": null }));
    place.write(
        "foreign~",
        json!({ "value": "x", "expires_at": "2020-01-01T00:00:00Z" }),
    );
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(provider.purge_expired().await.unwrap(), 4);
    for name in ["expired", "deep/er/expired", "~2E~2E/expired", "marked"] {
        let found = versions(&place, name);
        let all = found.as_object().unwrap().values();
        assert!(
            all.into_iter()
                .all(|version| version["destroyed"] == json!(true)),
            "{name}: {found}"
        );
    }
    assert_eq!(place.members("later")["value"], json!("secret"));
    assert_eq!(place.members("live"), json!({ "value": "secret" }));
    assert_eq!(place.members("foreign~")["value"], json!("x"));
    assert_eq!(provider.purge_expired().await.unwrap(), 0);
}

#[tokio::test]
async fn purging_spares_what_is_created_meanwhile() {
    let place = Place::new();
    let (provider, store) = (place.provider("").await, place.text("").await);
    let keys: Vec<_> = (0..200).map(|n| format!("key {n}")).collect();
    let soon = SetOptions::new().ttl(Duration::from_millis(1));
    store
        .set_many(keys.iter().map(|key| (key, "old")), soon)
        .await
        .unwrap();
    let create = async {
        for key in keys.iter().rev() {
            let set = store
                .set_if(key, "new", Condition::Absent, SetOptions::new())
                .await;
            assert!(set.unwrap().is_applied(), "{key}");
        }
    };
    let (purged, ()) = tokio::join!(provider.purge_expired(), create);
    purged.unwrap();
    let found = store.get_many(&keys).await.unwrap();
    assert!(
        found.iter().all(|found| found.as_deref() == Some("new")),
        "{found:?}"
    );
}

#[tokio::test]
async fn the_number_of_versions_can_be_limited() {
    let place = Place::new();
    let store = place.text("&max_versions=2").await;
    for value in ["one", "two", "three", "four"] {
        store.set("key", value).await.unwrap();
    }
    let found = versions(&place, "key");
    assert_eq!(
        found.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["3", "4"]
    );
}

#[tokio::test]
async fn a_mount_that_wants_a_version_with_every_write_gets_one() {
    let place = Place::new();
    let store = place.text("").await;
    let strict = json!({ "cas_required": true });
    assert!(place.ask("POST", "metadata", "key", strict).0 < 300);
    assert_ne!(
        place.ask("POST", "data", "key", json!({ "data": {} })).0,
        200
    );
    for value in ["one", "two"] {
        store.set("key", value).await.unwrap();
        assert_eq!(store.get("key").await.unwrap().as_deref(), Some(value));
    }
}

#[tokio::test]
async fn values_are_measured_as_vault_keeps_them() {
    let place = Place::new();
    let provider = place.provider("&max_value_len=1000").await;
    let (text, bytes) = (
        KeyValueStore::text(provider.clone()),
        KeyValueStore::bytes(provider.clone()),
    );
    let model = KeyValueStore::model(provider);
    // {"value":"…"}
    text.set("text", "x".repeat(988)).await.unwrap();
    text.set("text", "<".repeat(164)).await.unwrap();
    bytes.set("bytes", vec![0; 741]).await.unwrap();
    model.set("model", vec![1.5; 246]).await.unwrap();
    let large = [
        text.set("text", "x".repeat(989)).await,
        text.set("text", "<".repeat(165)).await,
        text.set("text", "\u{2028}".repeat(165)).await,
        bytes.set("bytes", vec![0; 742]).await,
        model.set("model", vec![1.5; 248]).await,
        // These are there twice.
        model.set("model", vec![1.0; 130]).await,
    ];
    for set in large {
        assert_eq!(set.unwrap_err().kind(), ErrorKind::ValueTooLarge);
    }
    assert_eq!(text.get("text").await.unwrap(), Some("<".repeat(164)));
    let many: Vec<String> = (0..1100).map(|n| n.to_string()).collect();
    let place = Place::new();
    let models = KeyValueStore::model(place.provider("").await);
    let error = models.set("many", many).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ValueTooLarge, "{error:?}");
    assert!(!error.outcome_unknown());
}
