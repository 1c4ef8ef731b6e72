//! What stands on the server, by another client: written here and read there, and the other way round.

use std::time::{Duration, SystemTime};

use kvstore_core::{Condition, ErrorKind, KeyValueStore, Outcome, SetOptions};
use kvstore_testsuite::servers::ZooKeeper;
use kvstore_zookeeper::ZooKeeperProvider;
use serde_json::json;
use zookeeper_client::{Acl, Acls, AuthId, Client, CreateMode, Permission};

mod common;
use common::{both, config, create, failed, texts};

const MAGIC: &[u8] = b"\xffkv\x01";

#[tokio::test]
async fn keys_are_nodes_in_the_bucket_of_their_hash() {
    let (root, store, other) = both().await;
    // printf %s KEY | sha256sum
    for (key, node) in [
        ("a", "ca/a"),
        ("user:7", "20/user:7"),
        ("a/b", "c1/a~2Fb"),
        ("..", "5e/~2E~2E"),
        ("grüße 漢", "ad/grüße 漢"),
        ("🦀", "72/~F0~9F~A6~80"),
        ("zookeeper", "45/zookeeper"),
    ] {
        store.set(key, key).await.unwrap();
        let (data, _) = other.get_data(&format!("{root}/{node}")).await.unwrap();
        assert_eq!(data, key.as_bytes());
        other
            .set_data(&format!("{root}/{node}"), b"theirs", None)
            .await
            .unwrap();
        assert_eq!(store.get(key).await.unwrap().as_deref(), Some("theirs"));
        store.delete(key).await.unwrap();
        let left = other.check_stat(&format!("{root}/{node}")).await.unwrap();
        assert!(left.is_none());
    }
}

#[tokio::test]
async fn values_are_raw_and_have_a_header_where_they_expire() {
    let (root, texts, other) = both().await;
    let zookeeper = ZooKeeper::shared();
    let config = config(zookeeper).root(&root);
    let provider = ZooKeeperProvider::connect(config).await.unwrap();
    let bytes = KeyValueStore::bytes(provider.clone());
    let json = KeyValueStore::json(provider);
    let path = format!("{root}/ca/a");
    let data = async || other.get_data(&path).await.unwrap().0;

    texts.set("a", "grün\0").await.unwrap();
    assert_eq!(data().await, "grün\0".as_bytes());
    let object = json!({ "b": [1, null] });
    json.set("a", object.as_object().unwrap()).await.unwrap();
    assert_eq!(data().await, br#"{"b":[1,null]}"#);
    bytes.set("a", b"\xff\xd8\xff").await.unwrap();
    assert_eq!(data().await, b"\xff\xd8\xff");

    let before = SystemTime::now();
    let hour = SetOptions::new().ttl(Duration::from_secs(3600));
    texts.set_with("a", "value", hour).await.unwrap();
    let written = data().await;
    assert_eq!(&written[..4], MAGIC);
    assert_eq!(&written[12..], b"value");
    let millis = u64::from_be_bytes(written[4..12].try_into().unwrap());
    let expires_at = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
    let hours = [before, SystemTime::now()].map(|now| now + Duration::from_secs(3600));
    assert!(expires_at >= hours[0]);
    assert!(expires_at <= hours[1] + Duration::from_millis(1));
    texts.persist("a").await.unwrap();
    assert_eq!(data().await, b"value");

    // What would be taken for a header has one.
    let odd = [MAGIC, b"\0\0\0\0\0\0\0\x01x"].concat();
    bytes.set("a", &odd).await.unwrap();
    assert_eq!(data().await, [MAGIC, &[0; 8], &odd].concat());
    assert_eq!(bytes.get("a").await.unwrap().unwrap(), odd);

    // Another client's, which expires, has expired, and is cut off.
    let value = [MAGIC, &(millis + 60_000).to_be_bytes(), b"theirs"].concat();
    other.set_data(&path, &value, None).await.unwrap();
    let entry = texts.get_entry("a").await.unwrap().unwrap();
    assert_eq!(entry.value, "theirs");
    assert!(entry.expires_in.unwrap() > Duration::from_secs(3000));
    let expired = [MAGIC, &1_u64.to_be_bytes(), b"theirs"].concat();
    other.set_data(&path, &expired, None).await.unwrap();
    assert_eq!(texts.get("a").await.unwrap(), None);
    other.set_data(&path, MAGIC, None).await.unwrap();
    failed(texts.get("a").await, ErrorKind::Decode, "a cut header");
    let many = texts.get_many(["a", "b"]).await.unwrap_err().into_results();
    assert!(
        many[0]
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::Decode)
    );
    assert_eq!(many[1].as_ref().unwrap(), &None);
    let listed = texts.keys("").next().await.unwrap();
    let error = failed(listed, ErrorKind::Decode, "a listing over it");
    assert_eq!(error.key(), Some("a"));
    texts.set("a", "ours").await.unwrap();
    assert_eq!(texts.get("a").await.unwrap().as_deref(), Some("ours"));
}

#[tokio::test]
async fn what_is_no_key_of_ours_is_left_alone() {
    let (root, store, other) = both().await;
    store.set("a", "value").await.unwrap();
    // In another bucket than its own, escaped for no reason, beside the buckets, and below a key.
    for path in ["ca/b", "ca/~62", "ca/~", "notes", "0", "ca/a/below"] {
        create(&other, &format!("{root}/{path}"), b"theirs").await;
    }
    let mut keys = store.keys("");
    assert_eq!(keys.next().await.unwrap().unwrap(), "a");
    assert!(keys.next().await.is_none());
    assert_eq!(store.get("b").await.unwrap(), None);
    let error = failed(store.delete("a").await, ErrorKind::Other, "with children");
    assert!(error.to_string().contains("children") && !error.outcome_unknown());
    failed(store.take("a").await, ErrorKind::Other, "with children");
    assert_eq!(store.get("a").await.unwrap().as_deref(), Some("value"));
}

#[tokio::test]
async fn versions_are_those_of_transactions_and_every_delete_begins_an_epoch() {
    let (root, store, other) = both().await;
    let (node, bucket) = (format!("{root}/ca/a"), format!("{root}/ca"));
    let epoch = async || other.check_stat(&bucket).await.unwrap().unwrap().version;
    store.set("a", "value").await.unwrap();
    assert_eq!(epoch().await, 0);
    let stat = other.get_data(&node).await.unwrap().1;
    let entry = store.get_entry("a").await.unwrap().unwrap();
    let version = entry.version.unwrap();
    assert_eq!(version.as_u64(), Some(stat.mzxid.unsigned_abs()));

    // Another client's write counts.
    other.set_data(&node, b"theirs", None).await.unwrap();
    let stale = Condition::Version(version.clone());
    let options = SetOptions::new();
    let set = store.set_if("a", "new", stale.clone(), options).await;
    assert!(!set.unwrap().is_applied());
    assert!(
        !store
            .delete_if("a", version.clone())
            .await
            .unwrap()
            .is_applied()
    );
    assert_eq!(epoch().await, 0);

    // A plain version would be 0 again.
    store.delete("a").await.unwrap();
    assert_eq!(epoch().await, 1);
    store.delete("a").await.unwrap();
    assert_eq!(epoch().await, 1, "nothing was deleted");
    store.set("a", "again").await.unwrap();
    assert_eq!(other.get_data(&node).await.unwrap().1.version, 0);
    let set = store.set_if("a", "new", stale, options).await;
    assert!(!set.unwrap().is_applied());
    store.take("a").await.unwrap().unwrap();
    assert_eq!(epoch().await, 2);
    store.set("a", "again").await.unwrap();
    let version = store.get_entry("a").await.unwrap().unwrap().version;
    assert!(
        store
            .delete_if("a", version.unwrap())
            .await
            .unwrap()
            .is_applied()
    );
    assert_eq!(epoch().await, 3);
    store
        .set_many([("a", "1"), ("b", "2")], options)
        .await
        .unwrap();
    store.delete_many(["a", "missing", "b"]).await.unwrap();
    assert_eq!(epoch().await, 4);

    // What is written together has one version, which each call tells.
    for _ in 0..2 {
        let items = ["a", "b"].map(|key| (key, "v", options, None));
        let set = store.set_each(items).await.unwrap();
        for (key, outcome) in ["a", "b"].into_iter().zip(set) {
            let found = store.get_entry(key).await.unwrap().unwrap();
            assert_eq!(outcome, Outcome::Applied(found.version));
        }
    }
}

#[tokio::test]
async fn a_root_is_removed_when_no_key_is_left() {
    let (root, store, other) = both().await;
    let connect = || ZooKeeperProvider::connect(config(ZooKeeper::shared()).root(&root));
    let provider = connect().await.unwrap();
    assert!(provider.remove_root().await.unwrap(), "it was never made");
    for key in ["a", "b"] {
        store.set(key, "value").await.unwrap();
    }
    store.delete("a").await.unwrap();
    assert!(!provider.remove_root().await.unwrap(), "there is a key");
    assert!(store.has("b").await.unwrap());
    store.delete("b").await.unwrap();
    create(&other, &format!("{root}/theirs"), b"").await;
    assert!(
        !provider.remove_root().await.unwrap(),
        "there is a node of others"
    );
    assert_eq!(other.list_children(&root).await.unwrap().len(), 3);
    other.delete(&format!("{root}/theirs"), None).await.unwrap();
    assert!(provider.remove_root().await.unwrap());
    assert!(other.check_stat(&root).await.unwrap().is_none());
    store.set("a", "again").await.unwrap();
    assert_eq!(store.get("a").await.unwrap().as_deref(), Some("again"));
}

#[tokio::test]
async fn nodes_are_created_with_the_acl_that_was_told() {
    let (root, store, other) = both().await;
    store.set("a", "value").await.unwrap();
    let anyone = vec![Acl::new(Permission::ALL, AuthId::anyone())];
    for path in [&root[..], &format!("{root}/ca"), &format!("{root}/ca/a")] {
        assert_eq!(other.get_acl(path).await.unwrap().0, anyone, "{path}");
    }
    let acl = [
        kvstore_zookeeper::Acl::creator(),
        "world:anyone:r".parse().unwrap(),
    ];
    let root = format!("/{}", kvstore_testsuite::unique_root());
    let config = config(ZooKeeper::shared()).root(&root);
    let store = texts(config.credentials("app", "secret").acl(acl)).await;
    store.set("a", "value").await.unwrap();
    let path = format!("{root}/ca/a");
    assert_eq!(other.get_data(&path).await.unwrap().0, b"value");
    let refused = other.set_data(&path, b"theirs", None).await;
    assert_eq!(refused.unwrap_err(), zookeeper_client::Error::NoAuth);
    let (acl, _) = other.get_acl(&path).await.unwrap();
    assert_eq!(acl.len(), 2);
    assert!(
        acl.iter()
            .any(|acl| acl.scheme() == "digest" && acl.id().starts_with("app:"))
    );

    // Nodes of others in the middle of ours are told, and are no misses.
    let options = CreateMode::Persistent.with_acls(Acls::creator_all());
    let owner = Client::connector().with_auth("digest", b"bob:word");
    let owner = owner
        .connect(&ZooKeeper::shared().address().to_string())
        .await
        .unwrap();
    let (root, store, _other) = both().await;
    store.set("b", "value").await.unwrap();
    store.set("a", "value").await.unwrap();
    store.delete("a").await.unwrap();
    owner
        .create(&format!("{root}/ca/a"), b"theirs", &options)
        .await
        .unwrap();
    let denied = ErrorKind::PermissionDenied;
    failed(store.get("a").await, denied, "get");
    failed(store.has("a").await, denied, "has");
    failed(store.get_entry("a").await, denied, "get_entry");
    failed(store.take("a").await, denied, "take");
    let set = failed(store.set("a", "ours").await, denied, "set");
    assert!(!set.outcome_unknown());
    let found = store.get_many(["a", "b"]).await.unwrap_err().into_results();
    assert_eq!(found[0].as_ref().unwrap_err().kind(), denied);
    assert_eq!(found[1].as_ref().unwrap().as_deref(), Some("value"));
    let items = [("b", "1"), ("a", "2"), ("c", "3")];
    let set = store.set_many(items, SetOptions::new()).await.unwrap_err();
    let failures: Vec<_> = set.failed().map(|(at, error)| (at, error.kind())).collect();
    assert_eq!(failures, [(1, denied)], "one fails alone");
    assert_eq!(store.get("c").await.unwrap().as_deref(), Some("3"));
    let mut listed = store.keys("");
    let mut keys = Vec::new();
    while let Some(key) = listed.next().await {
        keys.push(key.map_err(|error| error.kind()));
    }
    keys.sort_by_key(|key| format!("{key:?}"));
    assert_eq!(keys, [Err(denied), Ok("b".to_owned()), Ok("c".to_owned())]);
}
