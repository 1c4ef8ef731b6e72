//! What is on the server: the form of hexkit's Vault provider, read and written.

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{Place, fails};
use kvstore_core::{Bytes, Condition, ErrorKind, KeyValueStore, SetOptions};
use serde_json::{Map, Value, json};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn what_hexkit_writes_is_read() {
    let place = Place::new();
    let provider = place.provider("").await;
    place.write("text", json!({ "value": "grüße, \u{2028}<&>\u{0}" }));
    let text = KeyValueStore::text(provider.clone());
    let found = text.get("text").await.unwrap().unwrap();
    assert_eq!(found, "grüße, \u{2028}<&>\u{0}");
    place.write("bytes", json!({ "value": "//4AK+8=" }));
    let bytes = KeyValueStore::bytes(provider.clone());
    let found = bytes.get("bytes").await.unwrap().unwrap();
    assert_eq!(&found[..], b"\xff\xfe\x00+\xef");
    let object = json!({ "b": [1, -2.5, null, "<x>"], "a": { "": {} } });
    place.write("object", json!({ "value": object }));
    let objects = KeyValueStore::json(provider.clone());
    let found = objects.get("object").await.unwrap().unwrap();
    assert_eq!(Value::Object(found), object);
    let models: KeyValueStore<BTreeMap<String, Value>> = KeyValueStore::model(provider);
    let found = models.get("object").await.unwrap().unwrap();
    assert_eq!(found["b"], object["b"]);
}

#[tokio::test]
async fn what_is_written_is_what_hexkit_writes() {
    let place = Place::new();
    let provider = place.provider("").await;
    let text = KeyValueStore::text(provider.clone());
    text.set("text", "a\"\\\n\u{1}é").await.unwrap();
    assert_eq!(place.members("text"), json!({ "value": "a\"\\\n\u{1}é" }));
    let bytes = KeyValueStore::bytes(provider.clone());
    for (value, kept) in [
        (&b""[..], ""),
        (b"\xff\xfe\x00+\xef", "//4AK+8="),
        (b"a", "YQ=="),
    ] {
        bytes.set("bytes", value).await.unwrap();
        assert_eq!(place.members("bytes"), json!({ "value": kept }));
    }
    let object =
        json!({ "a": [1, -2.5, null, "x"], "b": { "": {} }, "big": 9_007_199_254_740_992_u64 });
    let objects = KeyValueStore::json(provider.clone());
    objects
        .set("object", object.as_object().unwrap())
        .await
        .unwrap();
    assert_eq!(place.members("object"), json!({ "value": object }));
    let models = KeyValueStore::model(provider);
    models.set("model", vec![1, 2]).await.unwrap();
    assert_eq!(place.members("model"), json!({ "value": [1, 2] }));
}

#[tokio::test]
async fn numbers_that_vault_changes_have_their_text_beside_them() {
    let place = Place::new();
    let models: KeyValueStore<Value> = KeyValueStore::model(place.provider("").await);
    let exact =
        json!({ "u": u64::MAX, "i": i64::MIN, "f": [1.0, -0.0, 1e300, 9_007_199_254_740_993_u64] });
    models.set("exact", &exact).await.unwrap();
    assert_eq!(models.get("exact").await.unwrap(), Some(exact.clone()));
    let members = place.members("exact");
    assert_eq!(
        members["json"],
        json!(serde_json::to_string(&exact).unwrap())
    );
    assert_eq!(
        members["value"]["u"].as_f64(),
        Some(18_446_744_073_709_552_000.0)
    );
    assert_eq!(members.as_object().unwrap().len(), 2);
    // Another program changes the value and leaves the text where it is.
    let changed = json!({ "value": { "u": 7 }, "json": members["json"] });
    place.write("exact", changed);
    assert_eq!(models.get("exact").await.unwrap(), Some(json!({ "u": 7 })));
    place.write(
        "other",
        json!({ "value": { "u": 7 }, "json": { "not": "text" } }),
    );
    assert_eq!(models.get("other").await.unwrap(), Some(json!({ "u": 7 })));
}

#[tokio::test]
async fn the_expiry_stands_beside_the_value() {
    let place = Place::new();
    let store = place.text("").await;
    let options = SetOptions::new().ttl(HOUR);
    store.set_with("key", "value", options).await.unwrap();
    let members = place.members("key");
    assert_eq!(members["value"], json!("value"));
    let expires_at = members["expires_at"].as_str().unwrap();
    // 2026-11-23T20:31:02.123Z
    assert_eq!(expires_at.len(), 24, "{expires_at}");
    assert!(
        expires_at.ends_with('Z') && expires_at.as_bytes()[19] == b'.',
        "{expires_at}"
    );
    place.write(
        "other",
        json!({ "value": "x", "expires_at": "2999-01-01T01:00:00+01:00" }),
    );
    let entry = store.get_entry("other").await.unwrap().unwrap();
    assert!(entry.expires_in.unwrap() > HOUR);
    place.write("odd", json!({ "value": "x", "expires_at": "tomorrow" }));
    fails(store.get("odd").await, ErrorKind::Decode, "`expires_at`");
    place.write("none", json!({ "value": "x", "expires_at": null }));
    assert_eq!(
        store.get_entry("none").await.unwrap().unwrap().expires_in,
        None
    );
}

#[tokio::test]
async fn other_members_stay_when_the_expiry_changes_and_go_when_the_value_is_set() {
    let place = Place::new();
    let store = place.text("").await;
    place.write(
        "key",
        json!({ "value": "x", "owner": { "team": [1, 2.5] } }),
    );
    assert!(store.touch("key", HOUR).await.unwrap());
    let members = place.members("key");
    assert_eq!(members["owner"], json!({ "team": [1, 2.5] }));
    assert!(members["expires_at"].is_string());
    assert!(store.persist("key").await.unwrap());
    assert_eq!(
        place.members("key"),
        json!({ "value": "x", "owner": { "team": [1, 2.5] } })
    );
    store.set("key", "y").await.unwrap();
    assert_eq!(place.members("key"), json!({ "value": "y" }));
}

#[tokio::test]
async fn ordinary_keys_are_names_and_odd_ones_are_escaped_below_the_path() {
    let place = Place::new();
    let store = place.text("").await;
    for (key, name) in [
        ("user/7:a_b-c.d", "user/7:a_b-c.d"),
        ("grüße", "gr%C3%BC%C3%9Fe"),
        ("../escape", "~2E~2E/escape"),
        ("a//b", "a/~/b"),
        ("a/", "a/~"),
        ("50%", "50%25"),
        ("~", "~7E"),
        ("🦀", "~F0~9F~A6~80"),
    ] {
        store.set(key, key).await.unwrap();
        assert_eq!(place.members(name), json!({ "value": key }), "{key}");
    }
    let above = place.vault.try_request(
        place.vault.token(),
        "",
        "GET",
        "kvstore-test/data/escape",
        &Value::Null,
    );
    assert_eq!(above.0, 404);
}

#[tokio::test]
async fn what_is_deleted_destroyed_expired_or_marked_is_missing() {
    let place = Place::new();
    let store = place.text("").await;
    for name in ["deleted", "destroyed", "expired", "marked", "live"] {
        place.write(name, json!({ "value": "x" }));
    }
    assert!(place.ask("DELETE", "data", "deleted", Value::Null).0 < 300);
    assert!(
        place
            .ask("POST", "destroy", "destroyed", json!({ "versions": [1] }))
            .0
            < 300
    );
    place.write(
        "expired",
        json!({ "value": "x", "expires_at": "2020-01-01T00:00:00.000Z" }),
    );
    place.write("marked", json!({ "value": null }));
    // No key of ours has these names.
    place.write("od~d", json!({ "value": "x" }));
    place.write("folder~/a", json!({ "value": "x" }));
    let mut keys = store.keys("");
    assert_eq!(keys.next().await.unwrap().unwrap(), "live");
    assert!(keys.next().await.is_none());
    for key in ["deleted", "destroyed", "expired", "marked"] {
        assert_eq!(store.get(key).await.unwrap(), None, "{key}");
        assert!(!store.has(key).await.unwrap(), "{key}");
        assert_eq!(store.take(key).await.unwrap(), None, "{key}");
        assert!(!store.touch(key, HOUR).await.unwrap(), "{key}");
        let present = store
            .set_if(key, "y", Condition::Present, SetOptions::new())
            .await;
        assert!(!present.unwrap().is_applied(), "{key}");
        let absent = store
            .set_if(key, "y", Condition::Absent, SetOptions::new())
            .await;
        assert!(absent.unwrap().is_applied(), "{key}");
        let (_, metadata) = place.ask("GET", "metadata", key, Value::Null);
        assert!(
            metadata["data"]["current_version"].as_u64() > Some(1),
            "{key}: {metadata}"
        );
    }
}

#[tokio::test]
async fn what_is_not_of_the_form_is_an_error() {
    let place = Place::new();
    let provider = place.provider("").await;
    let text = KeyValueStore::text(provider.clone());
    let bytes: KeyValueStore<Bytes> = KeyValueStore::bytes(provider.clone());
    let objects: KeyValueStore<Map<String, Value>> = KeyValueStore::json(provider);
    place.write("none", json!({ "password": "hunter2" }));
    place.write("number", json!({ "value": 7 }));
    place.write("text", json!({ "value": "hunter2!" }));
    fails(
        text.get("none").await,
        ErrorKind::Decode,
        "no member `value`",
    );
    fails(
        bytes.get("none").await,
        ErrorKind::Decode,
        "no member `value`",
    );
    fails(text.get("number").await, ErrorKind::Decode, "not text");
    fails(bytes.get("number").await, ErrorKind::Decode, "base64");
    fails(bytes.get("text").await, ErrorKind::Decode, "base64");
    fails(objects.get("text").await, ErrorKind::Decode, "not a");
    assert!(text.has("none").await.unwrap());
}
