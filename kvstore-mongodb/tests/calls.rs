//! Calls: how many requests they make, and what batches and pings answer.

use std::sync::Arc;
use std::time::Duration;

use kvstore_core::{
    Bytes, Condition, DeleteRequest, ErrorKind, Expiry, Format, GetRequest, Key, KeyValueStore,
    Outcome, Provider as _, SetOptions, SetRequest, Version,
};
use kvstore_mongodb::MongoDbProvider;
use kvstore_testsuite::proxy::Proxy;
use kvstore_testsuite::servers::MongoDb;
use kvstore_testsuite::unique_root;
use mongodb::bson::doc;
use tokio::task::JoinSet;

mod common;
use common::{behind, connect, pair, raw};

/// How many requests a call makes. The driver asks by itself too whether the server is there, on connections
/// of its own: at most twice in the meantime.
async fn requests<T>(proxy: &Proxy, call: impl Future<Output = T>) -> (T, usize) {
    proxy.reset();
    let answer = call.await;
    (answer, proxy.round_trips())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_one_request_and_a_batch_is_one_for_a_thousand_keys() {
    let (proxy, texts) = behind(MongoDb::shared(), "maxPoolSize=1&timeout=20s").await;
    let keys: Vec<String> = (0..2000).map(|index| format!("key {index}")).collect();
    let items = || keys.iter().map(|key| (key, "v".repeat(100)));
    let options = SetOptions::new().ttl(Duration::from_secs(3600));
    texts.set_with("k", "v", options).await.unwrap();
    let few = |what: &str, made: usize, expected: usize| {
        assert!(
            (expected..=expected + 2).contains(&made),
            "{what}: {made} requests, {expected} expected"
        );
    };
    let (entry, made) = requests(&proxy, texts.get_entry("k")).await;
    few("get_entry", made, 1);
    let version = entry.unwrap().unwrap().version.unwrap();
    let set_if = texts.set_if("k", "w", Condition::Version(version), options);
    few("set_if", requests(&proxy, set_if).await.1, 1);
    few("get", requests(&proxy, texts.get("k")).await.1, 1);
    few(
        "touch",
        requests(&proxy, texts.touch("k", Duration::from_secs(60)))
            .await
            .1,
        1,
    );
    few("take", requests(&proxy, texts.take("k")).await.1, 1);
    let (set, made) = requests(&proxy, texts.set_many(items(), options)).await;
    set.unwrap();
    few("set_many", made, 2);
    let (found, made) = requests(&proxy, texts.get_many(&keys)).await;
    assert!(found.unwrap().iter().all(Option::is_some));
    few("get_many", made, 2);
    let mut listing = texts.keys("");
    let (named, made) = requests(&proxy, async {
        let mut named = 0;
        while let Some(key) = listing.next().await {
            key.unwrap();
            named += 1;
        }
        named
    })
    .await;
    assert_eq!(named, 2000);
    // The last page may be full.
    few("keys", made, 3);
    let (deleted, made) = requests(&proxy, texts.delete_many(&keys)).await;
    deleted.unwrap();
    few("delete_many", made, 2);
    assert!(texts.keys("").next().await.is_none());
    let (none, made) = requests(&proxy, texts.get_many(Vec::<String>::new())).await;
    assert!(none.unwrap().is_empty());
    few("an empty batch", made, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn has_and_keys_move_no_value() {
    let (proxy, texts) = behind(MongoDb::shared(), "maxPoolSize=1").await;
    texts.set("k", "v".repeat(1 << 20)).await.unwrap();
    proxy.reset();
    assert!(texts.has("k").await.unwrap());
    assert_eq!(texts.keys("k").next().await.unwrap().unwrap(), "k");
    let absent = texts
        .set_if("k", "w", Condition::Absent, SetOptions::new())
        .await
        .unwrap();
    assert!(!absent.is_applied());
    assert!(
        proxy.bytes_received() < 20_000,
        "{} bytes",
        proxy.bytes_received()
    );
}

/// A wrapper may send conditions in batches; each item has its own answer.
#[tokio::test(flavor = "multi_thread")]
async fn items_of_a_batch_have_conditions_and_expiries_of_their_own() {
    let (provider, raw) = pair(MongoDb::shared(), "").await;
    let key = |name: &'static str| Key::new(name).unwrap();
    let text =
        |name, value: &'static str| SetRequest::new(key(name), Format::Text, Bytes::from(value));
    let made = provider
        .set_many(&[text("old", "1"), text("versioned", "1"), text("stale", "1")])
        .await;
    let version = |outcome: &Outcome| match outcome {
        Outcome::Applied(version) => version.clone().unwrap(),
        Outcome::Unmet => panic!("it was not applied"),
    };
    let versions: Vec<_> = made
        .iter()
        .map(|made| version(made.as_ref().unwrap()))
        .collect();
    let hour = Expiry::After(Duration::from_secs(3600));
    let answers = provider
        .set_many(&[
            text("old", "2").with_condition(Condition::Absent),
            text("new", "2")
                .with_condition(Condition::Absent)
                .with_expiry(hour),
            text("missing", "2").with_condition(Condition::Present),
            text("versioned", "2")
                .with_condition(Condition::Version(versions[1].clone()))
                .with_expiry(Expiry::Keep),
            text("stale", "2").with_condition(Condition::Version(versions[1].clone())),
            SetRequest::new(key("bad"), Format::Text, Bytes::from_static(b"\xff")),
            text("strange", "2").with_condition(Condition::Version(Version::from(7))),
            text("plain", "2"),
        ])
        .await;
    let told: Vec<_> = answers
        .iter()
        .map(|answer| {
            answer
                .as_ref()
                .map(Outcome::is_applied)
                .map_err(|e| e.kind())
        })
        .collect();
    let refused = Err(ErrorKind::InvalidValue);
    assert_eq!(
        told,
        [
            Ok(false),
            Ok(true),
            Ok(false),
            Ok(true),
            Ok(false),
            refused,
            Ok(false),
            Ok(true)
        ]
    );
    let request = |name| GetRequest::new(key(name), Format::Text);
    let names = [
        "old",
        "new",
        "missing",
        "versioned",
        "stale",
        "bad",
        "strange",
        "plain",
    ];
    let found = provider.get_many(&names.map(request)).await;
    let found: Vec<_> = found
        .into_iter()
        .map(|found| found.unwrap().map(|value| value.to_vec()))
        .collect();
    let expected = [
        Some("1"),
        Some("2"),
        None,
        Some("2"),
        Some("1"),
        None,
        None,
        Some("2"),
    ];
    assert_eq!(
        found,
        expected.map(|value| value.map(|value| value.as_bytes().to_vec()))
    );
    assert_eq!(
        raw.count_documents(doc! {"expires_at": {"$exists": true}})
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        raw.count_documents(doc! {}).await.unwrap(),
        5,
        "nothing else was inserted"
    );
    let entry = provider
        .get_entry(request("versioned"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        entry.version,
        Some(version(answers[3].as_ref().unwrap())),
        "the version told is the one stored"
    );
    let deletes = [
        DeleteRequest::new(key("old")),
        DeleteRequest::new(key("stale")).with_version(versions[1].clone()),
        DeleteRequest::new(key("versioned")).with_version(entry.version.unwrap()),
        DeleteRequest::new(key("missing")),
        DeleteRequest::new(key("plain")).with_version(Version::from(7)),
        DeleteRequest::new(key("new")),
    ];
    let answers = provider.delete_many(&deletes).await;
    let told: Vec<_> = answers
        .iter()
        .map(|answer| answer.as_ref().unwrap().is_applied())
        .collect();
    assert_eq!(told, [true, false, true, true, false, true]);
    assert_eq!(raw.count_documents(doc! {}).await.unwrap(), 2);
}

/// Upserts of a key that is not there meet in its index; one of them is told of a duplicate.
#[tokio::test(flavor = "multi_thread")]
async fn the_race_of_two_inserts_is_not_shown() {
    let server = MongoDb::shared();
    let url = server.url(&format!("collection={}", unique_root()));
    let (first, second) = (
        KeyValueStore::text(connect(&url).await),
        KeyValueStore::text(connect(&url).await),
    );
    for round in 0..30 {
        let mut calls = JoinSet::new();
        for call in 0..16 {
            let texts = if call % 2 == 0 {
                first.clone()
            } else {
                second.clone()
            };
            calls.spawn(async move {
                let key = format!("k{round}");
                let items = [
                    (key.as_str(), "v"),
                    ("there", "w"),
                    (&format!("{key}b"), "x"),
                ];
                texts
                    .set_many(items, SetOptions::new())
                    .await
                    .map_err(kvstore_core::Error::from)?;
                texts.set(&format!("s{round}"), "v").await
            });
        }
        for result in calls.join_all().await {
            result.unwrap();
        }
    }
}

/// A batch that is too large for one command, by bytes.
#[tokio::test(flavor = "multi_thread")]
async fn large_batches_are_split() {
    let (provider, _) = pair(MongoDb::shared(), "timeout=60s").await;
    let bytes = KeyValueStore::bytes(provider);
    let keys: Vec<String> = (0..40).map(|index| format!("k{index}")).collect();
    let value = |index: usize| Bytes::from(vec![u8::try_from(index).unwrap(); 1 << 20]);
    bytes
        .set_many(
            keys.iter()
                .enumerate()
                .map(|(index, key)| (key, value(index))),
            SetOptions::new(),
        )
        .await
        .unwrap();
    // The answer is over 16 MiB too, so that it comes in parts.
    let found = bytes.get_many(&keys).await.unwrap();
    for (index, found) in found.into_iter().enumerate() {
        assert!(found == Some(value(index)), "{index}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ping_says_what_could_bite() {
    let ping = async |url: String| {
        let info = connect(&url).await.ping().await.unwrap();
        assert_eq!(info.product, "mongodb");
        assert!(
            info.version
                .is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit()))
        );
        info.warnings
    };
    let set = MongoDb::shared();
    let collection = || format!("collection={}", unique_root());
    assert_eq!(ping(set.url(&collection())).await, [""; 0]);
    let [warning] = &ping(set.url(&format!("{}&w=1", collection()))).await[..] else {
        panic!("one warning is due");
    };
    assert!(warning.contains("`w`"), "{warning}");
    let single = MongoDb::start_standalone(&[]);
    let [warning] = &ping(single.url(&collection())).await[..] else {
        panic!("one warning is due");
    };
    assert!(warning.contains("standalone"), "{warning}");
    assert_eq!(
        ping(single.url(&format!("{}&journal=true", collection()))).await,
        [""; 0]
    );
    // Another index has the name.
    let name = unique_root();
    let index =
        doc! {"createIndexes": &name, "indexes": [{"key": {"a": 1}, "name": "kvstore_expires_at"}]};
    let database = raw(set, &name).await.client().default_database().unwrap();
    database.run_command(index).await.unwrap();
    let [warning] = &ping(set.url(&format!("collection={name}"))).await[..] else {
        panic!("one warning is due");
    };
    assert!(warning.contains("TTL index"), "{warning}");
}

/// The index removes what has expired, and nothing else; the server looks once a minute.
#[tokio::test(flavor = "multi_thread")]
async fn the_index_is_one_by_which_the_server_removes_what_has_expired() {
    let (provider, raw) = pair(MongoDb::shared(), "").await;
    let texts = KeyValueStore::text(Arc::new(provider) as Arc<dyn kvstore_core::Provider>);
    texts.set("k", "v").await.unwrap();
    let indexes = doc! {"listIndexes": raw.name()};
    let answer = raw
        .client()
        .default_database()
        .unwrap()
        .run_command(indexes)
        .await
        .unwrap();
    let indexes = answer
        .get_document("cursor")
        .unwrap()
        .get_array("firstBatch")
        .unwrap()
        .clone();
    let [_, index] = &indexes[..] else {
        panic!("there are {} indexes", indexes.len());
    };
    let index = index.as_document().unwrap();
    assert_eq!(index.get_document("key").unwrap(), &doc! {"expires_at": 1});
    assert_eq!(index.get_i32("expireAfterSeconds").unwrap(), 0);
}

#[tokio::test]
async fn debug_shows_no_password() {
    let provider = MongoDbProvider::lazy("mongodb://user:hunter2@127.0.0.1/d").unwrap();
    let shown = format!("{provider:?} {provider:#?}");
    assert!(
        shown.contains("user") && !shown.contains("hunter2"),
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_collection_is_gone_and_another_can_be_made() {
    let (provider, raw) = pair(MongoDb::shared(), "").await;
    let texts = KeyValueStore::text(provider.clone());
    texts.set("k", "v").await.unwrap();
    let names = || async {
        let database = raw.client().default_database().unwrap();
        database.list_collection_names().await.unwrap()
    };
    assert!(names().await.iter().any(|name| name == raw.name()));
    provider.drop_collection().await.unwrap();
    assert!(!names().await.iter().any(|name| name == raw.name()));
    provider.drop_collection().await.unwrap();
    assert_eq!(texts.get("k").await.unwrap(), None);
    texts.set("k", "w").await.unwrap();
    assert_eq!(texts.get("k").await.unwrap().as_deref(), Some("w"));
}
