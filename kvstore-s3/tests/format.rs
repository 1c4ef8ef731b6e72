//! What is in the bucket: the form of hexkit's S3 provider, read and written by the driver's own client.

mod common;

use std::borrow::Cow;
use std::time::Duration;

use common::{driver, fails, plain};
use kvstore_core::{Bytes, Condition, ErrorKind, KeyValueStore, SetOptions};
use kvstore_s3::S3Provider;
use kvstore_testsuite::servers::S3;
use kvstore_testsuite::unique_root;
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::{
    Attribute, AttributeValue, Attributes, ObjectStore as _, ObjectStoreExt as _, PutOptions,
};
use serde_json::{Value, json};

const HOUR: Duration = Duration::from_secs(3600);
const EXPIRES_AT: Attribute = Attribute::Metadata(Cow::Borrowed("expires_at"));

/// A prefix that nobody else uses, with what is in the bucket below it.
struct Place {
    prefix: String,
    driver: AmazonS3,
    provider: S3Provider,
}

impl Place {
    async fn new() -> Self {
        let (s3, prefix) = (S3::shared(), format!("{}/", unique_root()));
        let provider = S3Provider::connect(plain(s3, &prefix)).await.unwrap();
        Self {
            driver: driver(s3),
            prefix,
            provider,
        }
    }

    fn text(&self) -> KeyValueStore<String> {
        KeyValueStore::text(self.provider.clone())
    }

    fn path(&self, name: &str) -> Path {
        Path::parse(format!("{}{name}", self.prefix)).unwrap()
    }

    /// Writes an object as another program would.
    async fn write(&self, name: &str, body: impl Into<Bytes>, metadata: &[(&'static str, &str)]) {
        let mut attributes = Attributes::new();
        for (name, value) in metadata {
            let value: AttributeValue = (*value).to_owned().into();
            attributes.insert(Attribute::Metadata((*name).into()), value);
        }
        let options = PutOptions {
            attributes,
            ..PutOptions::default()
        };
        let path = self.path(name);
        let put = self.driver.put_opts(&path, body.into().into(), options);
        put.await.unwrap();
    }

    /// What an object holds, and what stands beside.
    async fn read(&self, name: &str) -> (Bytes, Attributes) {
        let found = self.driver.get(&self.path(name)).await.unwrap();
        let attributes = found.attributes.clone();
        (found.bytes().await.unwrap(), attributes)
    }
}

#[tokio::test]
async fn what_hexkit_writes_is_read() {
    let place = Place::new().await;
    place.write("text", "grüße, \u{0}\n", &[]).await;
    let found = place.text().get("text").await.unwrap();
    assert_eq!(found.as_deref(), Some("grüße, \u{0}\n"));
    let bytes = KeyValueStore::bytes(place.provider.clone());
    place.write("bytes", &b"\xff\xfe\x00+"[..], &[]).await;
    let found = bytes.get("bytes").await.unwrap().unwrap();
    assert_eq!(&found[..], b"\xff\xfe\x00+");
    place.write("empty", "", &[]).await;
    assert_eq!(bytes.get("empty").await.unwrap(), Some(Bytes::new()));
    assert!(bytes.has("empty").await.unwrap());
    let object = json!({ "b": [1, -2.5, null, "<x>"], "a": { "": {} } });
    // As Python's `json.dumps` has it.
    let text = r#"{"b": [1, -2.5, null, "<x>"], "a": {"": {}}}"#;
    place.write("object", text, &[]).await;
    let objects = KeyValueStore::json(place.provider.clone());
    let found = objects.get("object").await.unwrap().unwrap();
    assert_eq!(Value::Object(found), object);
}

#[tokio::test]
async fn what_is_written_is_what_hexkit_writes_with_its_type() {
    let place = Place::new().await;
    let text = place.text();
    text.set("text", "a\"é").await.unwrap();
    let bytes = KeyValueStore::bytes(place.provider.clone());
    bytes.set("bytes", &b"\xff\x00"[..]).await.unwrap();
    let models = KeyValueStore::model(place.provider.clone());
    models.set("model", vec![1, 2]).await.unwrap();
    for (name, body, kind) in [
        ("text", "a\"é".as_bytes(), "text/plain; charset=utf-8"),
        ("bytes", b"\xff\x00", "application/octet-stream"),
        ("model", b"[1,2]", "application/json"),
    ] {
        let (found, attributes) = place.read(name).await;
        assert_eq!(found, body, "{name}");
        assert_eq!(
            attributes.get(&Attribute::ContentType).unwrap().as_ref(),
            kind
        );
        assert_eq!(attributes.len(), 1, "{name}: {attributes:?}");
    }
}

#[tokio::test]
async fn the_expiry_stands_in_the_metadata() {
    let place = Place::new().await;
    let store = place.text();
    let options = SetOptions::new().ttl(HOUR);
    store.set_with("key", "value", options).await.unwrap();
    let (body, attributes) = place.read("key").await;
    assert_eq!(body, "value");
    // 2026-11-23T20:31:02.123Z
    let expires_at = attributes.get(&EXPIRES_AT).unwrap().to_string();
    assert_eq!(expires_at.len(), 24, "{expires_at}");
    assert!(
        expires_at.ends_with('Z') && expires_at.as_bytes()[19] == b'.',
        "{expires_at}"
    );
    let far = "2999-01-01T01:00:00+01:00";
    place.write("other", "x", &[("expires_at", far)]).await;
    let entry = store.get_entry("other").await.unwrap().unwrap();
    assert!(entry.expires_in.unwrap() > HOUR);
    place.write("odd", "x", &[("expires_at", "tomorrow")]).await;
    fails(store.get("odd").await, ErrorKind::Decode, "`expires_at`");
    fails(store.has("odd").await, ErrorKind::Decode, "`expires_at`");
    store.set("key", "value").await.unwrap();
    let (_, attributes) = place.read("key").await;
    assert_eq!(attributes.get(&EXPIRES_AT), None);
}

#[tokio::test]
async fn other_metadata_stays_when_the_expiry_changes_and_goes_when_the_value_is_set() {
    let place = Place::new().await;
    let store = place.text();
    place.write("key", "x", &[("owner", "team a")]).await;
    let owner = Attribute::Metadata("owner".into());
    let kind = |attributes: &Attributes| attributes.get(&Attribute::ContentType).cloned();
    let (_, before) = place.read("key").await;
    assert!(store.touch("key", HOUR).await.unwrap());
    let (body, attributes) = place.read("key").await;
    assert_eq!(body, "x");
    assert_eq!(attributes.get(&owner).unwrap().as_ref(), "team a");
    assert_eq!(kind(&attributes), kind(&before));
    assert!(attributes.get(&EXPIRES_AT).is_some());
    assert!(store.persist("key").await.unwrap());
    let (_, attributes) = place.read("key").await;
    assert_eq!(attributes.get(&owner).unwrap().as_ref(), "team a");
    assert_eq!(attributes.get(&EXPIRES_AT), None);
    store.set("key", "y").await.unwrap();
    let (_, attributes) = place.read("key").await;
    assert_eq!(attributes.get(&owner), None);
}

#[tokio::test]
async fn ordinary_keys_are_names_and_odd_ones_are_escaped_below_the_prefix() {
    let place = Place::new().await;
    let store = place.text();
    for (key, name) in [
        ("user/7:a_b-c.d", "user/7:a_b-c.d"),
        ("grüße 🦀", "grüße 🦀"),
        ("../escape", "~2E~2E/escape"),
        ("a//b", "a/~/b"),
        ("a/", "a/~"),
        ("50%", "50%"),
        ("~", "~7E"),
        ("a\\b\n", "a~5Cb~0A"),
        ("x.versions/y", "x~2Eversions/y"),
    ] {
        store.set(key, key).await.unwrap();
        assert_eq!(place.read(name).await.0, key, "{key}");
    }
    let mut keys = store.keys("x.");
    assert_eq!(keys.next().await.unwrap().unwrap(), "x.versions/y");
    assert!(keys.next().await.is_none());
}

#[tokio::test]
async fn what_has_expired_is_missing_and_what_is_not_of_ours_is_left_out() {
    let place = Place::new().await;
    let store = place.text();
    let long_ago = [("expires_at", "2020-01-01T00:00:00.000Z")];
    for name in ["expired", "again"] {
        place.write(name, "x", &long_ago).await;
    }
    place.write("live", "x", &[]).await;
    // No key of ours has these names.
    place.write("od~d", "x", &[]).await;
    place.write("folder~/a", "x", &[]).await;
    let mut keys = store.keys("");
    assert_eq!(keys.next().await.unwrap().unwrap(), "live");
    assert!(keys.next().await.is_none());
    for key in ["expired", "again"] {
        assert_eq!(store.get(key).await.unwrap(), None);
        assert!(!store.has(key).await.unwrap());
        assert_eq!(store.take(key).await.unwrap(), None);
        assert!(!store.touch(key, HOUR).await.unwrap());
    }
    let create = |key, value| store.set_if(key, value, Condition::Absent, SetOptions::new());
    assert!(create("again", "y").await.unwrap().is_applied());
    assert!(!create("again", "z").await.unwrap().is_applied());
    // Who else creates it with these bytes could not be told apart.
    let same = create("expired", "x").await;
    fails(same, ErrorKind::Unsupported, "same value");
    assert_eq!(store.get("expired").await.unwrap(), None);
    // Without expiry it has not expired.
    let config = plain(S3::shared(), &place.prefix).without_expiry();
    let without = KeyValueStore::text(S3Provider::connect(config).await.unwrap());
    assert_eq!(without.get("expired").await.unwrap().as_deref(), Some("x"));
    // Without conditions it has, as for a service that may only read.
    let config = plain(S3::shared(), &place.prefix).without_conditions();
    let reader = KeyValueStore::text(S3Provider::connect(config).await.unwrap());
    assert_eq!(reader.get("expired").await.unwrap(), None);
    assert!(!reader.has("expired").await.unwrap());
    assert_eq!(reader.get_entry("expired").await.unwrap().map(drop), None);
    assert_eq!(
        reader
            .get_many(["expired", "live"])
            .await
            .unwrap()
            .iter()
            .flatten()
            .count(),
        1
    );
    let mut keys = reader.keys("");
    while let Some(key) = keys.next().await {
        assert_ne!(key.unwrap(), "expired");
    }
}

#[tokio::test]
async fn a_version_is_the_etag_and_none_is_taken_for_another() {
    let place = Place::new().await;
    let store = place.text();
    store.set("key", "hello").await.unwrap();
    let entry = store.get_entry("key").await.unwrap().unwrap();
    let version = entry.version.unwrap();
    let found = place.driver.head(&place.path("key")).await.unwrap();
    assert_eq!(found.e_tag.unwrap(), format!("\"{version}\""));
    for odd in ["*", "a,*", "W/x", "5d41402abc4b2a76b9719d911017c592,x"] {
        let version = odd.parse().unwrap();
        assert!(!store.delete_if("key", version).await.unwrap().is_applied());
        let condition = Condition::Version(odd.parse().unwrap());
        let set = store.set_if("key", "x", condition, SetOptions::new());
        assert!(!set.await.unwrap().is_applied(), "{odd}");
    }
    assert_eq!(store.get("key").await.unwrap().as_deref(), Some("hello"));
}

#[tokio::test]
async fn a_key_that_only_stands_above_others_is_an_error_and_not_taken() {
    let place = Place::new().await;
    let store = place.text();
    store.set("a/b", "x").await.unwrap();
    let created = store
        .set_if("a", "y", Condition::Absent, SetOptions::new())
        .await;
    match created {
        // As it should be; SeaweedFS refuses.
        Ok(outcome) => assert!(outcome.is_applied()),
        Err(error) => {
            fails(Err::<(), _>(error), ErrorKind::Other, "keys below it");
            store.set("a", "y").await.unwrap();
        }
    }
    assert_eq!(store.get("a").await.unwrap().as_deref(), Some("y"));
    assert_eq!(store.get("a/b").await.unwrap().as_deref(), Some("x"));
}

#[tokio::test]
async fn an_empty_value_above_other_keys_is_there() {
    let place = Place::new().await;
    let store = place.text();
    for (first, second) in [("a", "a/b"), ("c/d", "c")] {
        store.set(first, "").await.unwrap();
        store.set(second, "").await.unwrap();
        for key in [first, second] {
            assert_eq!(store.get(key).await.unwrap().as_deref(), Some(""), "{key}");
            assert!(store.has(key).await.unwrap(), "{key}");
            assert!(store.touch(key, HOUR).await.unwrap(), "{key}");
            assert!(store.get_entry(key).await.unwrap().is_some(), "{key}");
        }
    }
    let mut keys = store.keys("");
    let mut listed = Vec::new();
    while let Some(key) = keys.next().await {
        listed.push(key.unwrap());
    }
    listed.sort();
    assert_eq!(listed, ["a", "a/b", "c", "c/d"]);
    for key in ["a", "c"] {
        assert_eq!(store.take(key).await.unwrap().as_deref(), Some(""), "{key}");
        assert!(!store.has(key).await.unwrap(), "{key}");
    }
}
