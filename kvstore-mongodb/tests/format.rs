//! The form of the documents, which other programs share: hexkit for one.

use std::time::Duration;

use kvstore_core::{Bytes, Condition, Error, ErrorKind, KeyValueStore, SetOptions};
use kvstore_testsuite::servers::MongoDb;
use mongodb::Collection;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Document, RawDocumentBuf, Uuid, doc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

mod common;
use common::{failed, pair};

const HOUR: Duration = Duration::from_secs(3600);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct User {
    name: String,
    age: u64,
    weight: f64,
    tags: Vec<String>,
    friend: Option<Box<Self>>,
}

fn user() -> User {
    let friend = User {
        name: "bob".into(),
        age: u64::MAX,
        weight: -0.5,
        tags: vec![],
        friend: None,
    };
    User {
        name: "ada".into(),
        age: 7,
        weight: 1.0,
        tags: vec!["a.b".into()],
        friend: Some(Box::new(friend)),
    }
}

#[tokio::test]
async fn what_is_written_has_hexkits_shape() {
    let (provider, raw) = pair(MongoDb::shared(), "").await;
    let (bytes, text) = (
        KeyValueStore::bytes(provider.clone()),
        KeyValueStore::text(provider.clone()),
    );
    let json = KeyValueStore::json(provider.clone());
    let users: KeyValueStore<User> = KeyValueStore::model(provider.clone());
    let numbers: KeyValueStore<Vec<f64>> = KeyValueStore::model(provider);
    bytes.set("bytes", b"\0\xff").await.unwrap();
    text.set("text", "grüße\0").await.unwrap();
    let data = json!({"$oid": "x", "a.b": {"": null}, "n": [1, 1.0, 1_u64 << 40, true]});
    let data: Map<String, Value> = serde_json::from_value(data).unwrap();
    json.set("json", data).await.unwrap();
    users.set("model", user()).await.unwrap();
    numbers.set("numbers", vec![1.0, 2.0]).await.unwrap();
    let decimal = |text: &str| Bson::Decimal128(text.parse().unwrap());
    for (key, value) in [
        ("bytes", Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: vec![0, 0xff] })),
        ("text", Bson::String("grüße\0".into())),
        ("json", doc! {"$oid": "x", "a.b": {"": null}, "n": [1, 1.0, 1_i64 << 40, true]}.into()),
        ("model", doc! {
            "name": "ada", "age": 7, "weight": 1.0, "tags": ["a.b"], "friend": {
                "name": "bob", "age": decimal("18446744073709551615"), "weight": -0.5, "tags": [], "friend": null,
            },
        }.into()),
        ("numbers", vec![1.0, 2.0].into()),
    ] {
        // The driver's own way to a `Document` takes `{"$oid": …}` for an ObjectId.
        let raw: Collection<RawDocumentBuf> = raw.clone_with_type();
        let found = raw.find_one(doc! {"_id": key}).await.unwrap();
        let mut document = Document::try_from(found.expect(key)).unwrap();
        // Beside what hexkit has there is a version alone; hexkit ignores it.
        assert!(matches!(document.remove("version"), Some(Bson::ObjectId(_))), "{key}");
        let names: Vec<_> = document.keys().collect();
        assert_eq!(names, ["_id", "value"], "{key}");
        assert_eq!(document.get_str("_id").unwrap(), key);
        // The order of members is no part of a value.
        let sorted = |value: &Bson| {
            let mut members: Vec<_> = value.as_document().into_iter().flatten().collect();
            members.sort_by_key(|(name, _)| *name);
            format!("{members:?}")
        };
        let found = document.get("value").unwrap();
        match value.as_document() {
            Some(_) => assert_eq!(sorted(found), sorted(&value), "{key}"),
            None => assert_eq!(found, &value, "{key}"),
        }
    }
}

#[tokio::test]
async fn an_expiry_is_a_date_beside_the_value_by_the_servers_clock() {
    let (provider, raw) = pair(MongoDb::shared(), "").await;
    let texts = KeyValueStore::text(provider);
    let admin = raw.client().database("admin");
    let hello = admin.run_command(doc! {"hello": 1}).await.unwrap();
    let before = hello.get_datetime("localTime").unwrap().timestamp_millis();
    texts
        .set_with("k", "v", SetOptions::new().ttl(HOUR))
        .await
        .unwrap();
    let document = raw.find_one(doc! {"_id": "k"}).await.unwrap().unwrap();
    let left = document
        .get_datetime("expires_at")
        .unwrap()
        .timestamp_millis()
        - before;
    assert!((3_600_000..3_660_000).contains(&left), "{left} ms");
    texts.persist("k").await.unwrap();
    let document = raw.find_one(doc! {"_id": "k"}).await.unwrap().unwrap();
    assert!(!document.contains_key("expires_at"));
    assert_eq!(document.get_str("value").unwrap(), "v");
}

/// Each of hexkit's four kinds of values, as its driver writes them.
#[tokio::test]
async fn what_hexkit_writes_is_read() {
    let (provider, raw) = pair(MongoDb::shared(), "").await;
    let binary = Binary {
        subtype: BinarySubtype::Generic,
        bytes: vec![1, 2],
    };
    raw.insert_one(doc! {"_id": "bytes", "value": binary})
        .await
        .unwrap();
    raw.insert_one(doc! {"_id": "text", "value": "plain"})
        .await
        .unwrap();
    raw.insert_one(doc! {"_id": "json", "value": {"a": [1, 2_i64, 0.5, null], "": {}}})
        .await
        .unwrap();
    let uuid = Uuid::parse_str("936da01f-9abd-4d9d-80c7-02af85c822a8").unwrap();
    let model = doc! {
        "at": DateTime::from_millis(1_700_000_000_123),
        "id": ObjectId::from_bytes([0xab; 12]),
        "price": Bson::Decimal128("12.50".parse().unwrap()),
        "uuid": uuid,
        "extra": {"left": "alone"},
    };
    raw.insert_one(doc! {"_id": "model", "value": model, "other": "field"})
        .await
        .unwrap();
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Model {
        at: String,
        id: String,
        price: String,
        uuid: String,
    }
    let expected = Model {
        at: "2023-11-14T22:13:20.123Z".into(),
        id: "abababababababababababab".into(),
        price: "12.50".into(),
        uuid: "936da01f-9abd-4d9d-80c7-02af85c822a8".into(),
    };
    let bytes = KeyValueStore::bytes(provider.clone());
    assert_eq!(
        bytes.get("bytes").await.unwrap(),
        Some(Bytes::from_static(&[1, 2]))
    );
    let text = KeyValueStore::text(provider.clone());
    assert_eq!(text.get("text").await.unwrap().as_deref(), Some("plain"));
    let json = KeyValueStore::json(provider.clone());
    let found = json.get("json").await.unwrap().map(Value::Object);
    assert_eq!(found, Some(json!({"a": [1, 2, 0.5, null], "": {}})));
    let models: KeyValueStore<Model> = KeyValueStore::model(provider);
    assert_eq!(models.get("model").await.unwrap().as_ref(), Some(&expected));
    assert_eq!(
        models.get_many(["model"]).await.unwrap()[0].as_ref(),
        Some(&expected)
    );
    assert_eq!(
        models.get_entry("model").await.unwrap().unwrap().value,
        expected
    );
    assert_eq!(
        models.take("model").await.unwrap().as_ref(),
        Some(&expected)
    );
    assert_eq!(models.get("model").await.unwrap(), None);
}

/// Wherever it passes, as the answers to commands that the driver reads into documents.
#[tokio::test]
async fn what_looks_like_extended_json_is_data_on_every_way() {
    let (provider, raw) = pair(MongoDb::shared(), "").await;
    let json = KeyValueStore::json(provider);
    for value in [
        json!({"$oid": "507f1f77bcf86cd799439011"}),
        json!({"a": {"$date": {"$numberLong": "5"}}}),
        json!({"a": [{"$numberDecimal": "x"}, {"$binary": {"base64": "", "subType": "04"}}, {"$numberLong": "1"}]}),
    ] {
        let object: Map<String, Value> = serde_json::from_value(value).unwrap();
        json.set_many([("k", &object)], SetOptions::new())
            .await
            .unwrap();
        assert_eq!(json.get("k").await.unwrap().as_ref(), Some(&object));
        // Another program's write drops the version, so that reading gives a new one.
        raw.update_one(doc! {"_id": "k"}, doc! {"$unset": {"version": 1}})
            .await
            .unwrap();
        assert_eq!(json.get_entry("k").await.unwrap().unwrap().value, object);
        assert_eq!(json.get_many(["k"]).await.unwrap(), [Some(object.clone())]);
        assert_eq!(json.take("k").await.unwrap(), Some(object));
    }
}

/// hexkit writes no version and drops ours, so a version that was seen is not the one of what hexkit wrote.
#[tokio::test]
async fn hexkits_documents_get_versions_and_its_writes_end_them() {
    let (provider, raw) = pair(MongoDb::shared(), "").await;
    let texts = KeyValueStore::text(provider);
    let hexkit_sets = async |value: &str| {
        let document = doc! {"_id": "k", "value": value};
        raw.replace_one(doc! {"_id": "k"}, document)
            .upsert(true)
            .await
            .unwrap();
    };
    hexkit_sets("one").await;
    let first = texts.get_entry("k").await.unwrap().unwrap();
    let again = texts.get_entry("k").await.unwrap().unwrap();
    assert_eq!((&*first.value, first.expires_in), ("one", None));
    assert!(
        first.version.is_some() && first.version == again.version,
        "it keeps the version it got"
    );
    // The same value written again is another state.
    hexkit_sets("one").await;
    let stale = first.version.unwrap();
    let condition = Condition::Version(stale.clone());
    assert!(
        !texts
            .set_if("k", "mine", condition, SetOptions::new())
            .await
            .unwrap()
            .is_applied()
    );
    assert!(
        !texts
            .delete_if("k", stale.clone())
            .await
            .unwrap()
            .is_applied()
    );
    let now = texts
        .get_entry("k")
        .await
        .unwrap()
        .unwrap()
        .version
        .unwrap();
    assert_ne!(now, stale);
    assert!(
        texts
            .set_if("k", "mine", Condition::Version(now), SetOptions::new())
            .await
            .unwrap()
            .is_applied()
    );
    assert_eq!(
        raw.find_one(doc! {"_id": "k"})
            .await
            .unwrap()
            .unwrap()
            .get_str("value")
            .unwrap(),
        "mine"
    );
    // A version that another kind of program keeps in the field is none of ours.
    raw.replace_one(
        doc! {"_id": "k"},
        doc! {"_id": "k", "value": "theirs", "version": 3},
    )
    .await
    .unwrap();
    let entry = texts.get_entry("k").await.unwrap().unwrap();
    assert!(
        entry
            .version
            .is_some_and(|version| version.as_u64().is_none())
    );
    hexkit_sets("expired").await;
    let expired = doc! {"$set": {"expires_at": DateTime::from_millis(0)}};
    raw.update_one(doc! {"_id": "k"}, expired).await.unwrap();
    assert!(texts.get_entry("k").await.unwrap().is_none());
}

/// One that knows of no expiry yet does not ask for the server's clock.
#[tokio::test]
async fn who_never_met_an_expiry_misses_none() {
    for read in ["get", "get_entry", "get_many"] {
        let (provider, raw) = pair(MongoDb::shared(), "").await;
        let text = KeyValueStore::text(provider);
        text.set("live", "1").await.unwrap();
        let past = DateTime::from_millis(DateTime::now().timestamp_millis() - 1000);
        raw.insert_one(doc! {"_id": "expired", "value": "secret", "expires_at": past})
            .await
            .unwrap();
        let found = match read {
            "get" => text.get("expired").await.unwrap(),
            "get_entry" => text
                .get_entry("expired")
                .await
                .unwrap()
                .map(|entry| entry.value),
            _ => {
                let mut found = text.get_many(["live", "expired"]).await.unwrap();
                assert_eq!(found[0].as_deref(), Some("1"));
                found.remove(1)
            }
        };
        assert_eq!(found, None, "{read}");
        assert_eq!(text.get("live").await.unwrap().as_deref(), Some("1"));
    }
}

#[tokio::test]
async fn an_expiry_that_is_no_date_is_none() {
    let (provider, raw) = pair(MongoDb::shared(), "").await;
    let texts = KeyValueStore::text(provider);
    for (key, expires_at) in [
        ("null", Bson::Null),
        ("text", "soon".into()),
        ("number", 1.into()),
        ("none", Bson::Undefined),
    ] {
        let document = doc! {"_id": key, "value": "v", "expires_at": expires_at};
        raw.insert_one(document).await.unwrap();
        assert_eq!(texts.get(key).await.unwrap().as_deref(), Some("v"), "{key}");
        assert!(texts.has(key).await.unwrap(), "{key}");
        assert!(
            texts
                .get_entry(key)
                .await
                .unwrap()
                .unwrap()
                .expires_in
                .is_none(),
            "{key}"
        );
        let absent = texts
            .set_if(key, "w", Condition::Absent, SetOptions::new())
            .await
            .unwrap();
        assert!(!absent.is_applied(), "{key}");
        assert_eq!(texts.keys(key).next().await.unwrap().unwrap(), key);
        assert_eq!(
            texts.take(key).await.unwrap().as_deref(),
            Some("v"),
            "{key}"
        );
    }
}

#[tokio::test]
async fn another_bson_type_is_an_error_for_each_kind_of_store() {
    let (provider, raw) = pair(MongoDb::shared(), "").await;
    let uuid = Binary {
        subtype: BinarySubtype::Uuid,
        bytes: vec![0; 16],
    };
    let old = Binary {
        subtype: BinarySubtype::Generic,
        bytes: b"hunter2".to_vec(),
    };
    for (key, document) in [
        ("bytes", doc! {"value": old}),
        ("uuid", doc! {"value": uuid}),
        ("text", doc! {"value": "hunter2"}),
        ("number", doc! {"value": 5}),
        ("null", doc! {"value": null}),
        ("object", doc! {"value": {"hunter2": 1}}),
        ("nan", doc! {"value": {"a": f64::NAN}}),
        (
            "regex",
            doc! {"value": {"a": {"b": Bson::Symbol("hunter2".into())}}},
        ),
        ("none", doc! {}),
        ("elsewhere", doc! {"hunter2": 1}),
    ] {
        let mut document = document;
        document.insert("_id", key);
        raw.insert_one(document).await.unwrap();
        let (bytes, text) = (
            KeyValueStore::bytes(provider.clone()),
            KeyValueStore::text(provider.clone()),
        );
        let json = KeyValueStore::json(provider.clone());
        if key != "bytes" {
            failed(bytes.get(key).await, ErrorKind::Decode, key);
            failed(bytes.get_many([key]).await, ErrorKind::Decode, key);
        }
        if key != "text" {
            failed(text.get(key).await, ErrorKind::Decode, key);
            failed(text.get_entry(key).await, ErrorKind::Decode, key);
        }
        if key != "object" {
            failed(json.get(key).await, ErrorKind::Decode, key);
        }
        assert!(text.has(key).await.unwrap(), "{key}");
        let absent = text
            .set_if(key, "mine", Condition::Absent, SetOptions::new())
            .await
            .unwrap();
        assert!(
            !absent.is_applied(),
            "what another program keeps there is not overwritten: {key}"
        );
    }
    // One that does not decode does not spoil its neighbours.
    let text = KeyValueStore::text(provider);
    let results = text
        .get_many(["text", "nan", "missing", "text"])
        .await
        .unwrap_err()
        .into_results();
    assert_eq!(results[0].as_ref().unwrap().as_deref(), Some("hunter2"));
    assert_eq!(
        results[1].as_ref().map_err(Error::kind),
        Err(ErrorKind::Decode)
    );
    assert_eq!(results[2].as_ref().unwrap().as_deref(), None);
    assert_eq!(results[3].as_ref().unwrap().as_deref(), Some("hunter2"));
}

#[tokio::test]
async fn keys_that_are_no_text_are_not_ours() {
    let (provider, raw) = pair(MongoDb::shared(), "").await;
    let texts = KeyValueStore::text(provider);
    for id in [
        Bson::Int32(5),
        Bson::ObjectId(ObjectId::new()),
        Bson::Boolean(true),
        doc! {"a": 1}.into(),
    ] {
        raw.insert_one(doc! {"_id": id, "value": "v"})
            .await
            .unwrap();
    }
    texts.set("5", "mine").await.unwrap();
    let mut keys = texts.keys("");
    assert_eq!(keys.next().await.unwrap().unwrap(), "5");
    assert!(keys.next().await.is_none());
    assert_eq!(raw.count_documents(doc! {}).await.unwrap(), 5);
}

#[tokio::test]
async fn what_is_refused_before_it_is_sent_leaves_the_old_value() {
    let (provider, raw) = pair(MongoDb::shared(), "max_value_len=100").await;
    let json = KeyValueStore::json(provider.clone());
    let object = |value: Value| serde_json::from_value::<Map<String, Value>>(value).unwrap();
    json.set("k", object(json!({"old": 1}))).await.unwrap();
    failed(
        json.set("k", object(json!({"hunter2\0": 1}))).await,
        ErrorKind::InvalidValue,
        "a NUL in a name",
    );
    // 62 bytes of JSON text, 200 of BSON.
    let numbers =
        object(json!({"n": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]}));
    assert!(Value::from(numbers.clone()).to_string().len() < 60);
    failed(
        json.set("k", numbers).await,
        ErrorKind::ValueTooLarge,
        "large as BSON alone",
    );
    let found = raw.find_one(doc! {"_id": "k"}).await.unwrap().unwrap();
    assert_eq!(found.get_document("value").unwrap(), &doc! {"old": 1});
    // In a batch, it fails alone.
    let items = [
        ("a", object(json!({"x": 1}))),
        ("b", object(json!({"\0": 1}))),
        ("c", object(json!({"y": 1}))),
    ];
    let batch = json.set_many(items, SetOptions::new()).await.unwrap_err();
    assert_eq!(
        batch
            .failed()
            .map(|(index, error)| (index, error.kind()))
            .collect::<Vec<_>>(),
        [(1, ErrorKind::InvalidValue)]
    );
    assert_eq!(raw.count_documents(doc! {}).await.unwrap(), 3);
}

/// At the limit, with the longest key and an expiry, it is within the server's; one byte more is not sent.
#[tokio::test]
async fn the_largest_value_goes_with_the_longest_key() {
    let (provider, _) = pair(MongoDb::shared(), "timeout=60s").await;
    let bytes = KeyValueStore::bytes(provider);
    let capabilities = bytes.capabilities().clone();
    let (key, limit) = (
        "k".repeat(capabilities.max_key_len),
        capabilities.max_value_len.unwrap(),
    );
    let largest = Bytes::from(vec![7; limit]);
    let options = SetOptions::new().ttl(HOUR);
    bytes.set_with(&key, &largest, options).await.unwrap();
    assert!(bytes.get(&key).await.unwrap() == Some(largest.clone()));
    // Several of them do not go in one command.
    let items = [("a", &largest), ("b", &largest)];
    bytes.set_many(items, options).await.unwrap();
    let found = bytes.get_many([&key, "a", "b"]).await.unwrap();
    assert!(found.iter().all(|found| found.as_ref() == Some(&largest)));
    let over = Bytes::from(vec![8; limit + 1]);
    failed(
        bytes.set(&key, over).await,
        ErrorKind::ValueTooLarge,
        "over the limit",
    );
    assert!(bytes.get(&key).await.unwrap() == Some(largest));
}
