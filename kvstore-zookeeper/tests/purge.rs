//! Expired nodes, which stay until they are purged.

use std::time::Duration;

use kvstore_core::{ErrorKind, SetOptions};
use kvstore_testsuite::servers::ZooKeeper;
use kvstore_zookeeper::ZooKeeperProvider;
use zookeeper_client::{Acls, Client, CreateMode};

mod common;
use common::{both, config, create};

#[tokio::test]
async fn expired_nodes_stay_until_they_are_purged() {
    let (root, store, other) = both().await;
    let zookeeper = ZooKeeper::shared();
    let provider = ZooKeeperProvider::connect(config(zookeeper).root(&root))
        .await
        .unwrap();
    let moment = SetOptions::new().ttl(Duration::from_millis(1));
    let keys: Vec<_> = (0..300).map(|n| format!("key {n}")).collect();
    let items = keys.iter().map(|key| (key, "value"));
    store.set_many(items, moment).await.unwrap();
    store.set("stays", "value").await.unwrap();
    let hour = SetOptions::new().ttl(Duration::from_secs(3600));
    store.set_with("stays too", "value", hour).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let nodes = async || {
        let mut nodes = 0;
        for bucket in other.list_children(&root).await.unwrap() {
            let path = format!("{root}/{bucket}");
            nodes += other.list_children(&path).await.unwrap().len();
        }
        nodes
    };
    assert_eq!(nodes().await, 302);
    assert_eq!(provider.purge_expired().await.unwrap(), 300);
    assert_eq!(nodes().await, 2);
    assert_eq!(provider.purge_expired().await.unwrap(), 0);
    assert!(store.has("stays").await.unwrap() && store.has("stays too").await.unwrap());
}

/// What is set between the look and the delete stays.
#[tokio::test(flavor = "multi_thread")]
async fn purging_harms_nothing_that_is_set_meanwhile() {
    let (root, store, _other) = both().await;
    let provider = ZooKeeperProvider::connect(config(ZooKeeper::shared()).root(&root))
        .await
        .unwrap();
    let purging = tokio::spawn(async move {
        let mut purged = 0;
        while purged < 20 {
            purged += provider.purge_expired().await.unwrap();
        }
    });
    let moment = SetOptions::new().ttl(Duration::from_millis(1));
    for n in 0.. {
        store.set_with("key", "gone", moment).await.unwrap();
        tokio::time::sleep(Duration::from_millis(n % 4)).await;
        store.set("key", "value").await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(store.get("key").await.unwrap().as_deref(), Some("value"));
        if purging.is_finished() {
            break;
        }
        store.delete("key").await.unwrap();
        store.set_with("key", "gone", moment).await.unwrap();
        tokio::time::sleep(Duration::from_millis(n % 7)).await;
    }
    purging.await.unwrap();
}

/// Nodes that cannot be read or deleted are told, when all others were.
#[tokio::test]
async fn what_cannot_be_purged_keeps_nothing_else() {
    let (root, store, other) = both().await;
    let zookeeper = ZooKeeper::shared();
    let provider = ZooKeeperProvider::connect(config(zookeeper).root(&root))
        .await
        .unwrap();
    let moment = SetOptions::new().ttl(Duration::from_millis(1));
    let keys: Vec<_> = (0..3000).map(|n| format!("key {n}")).collect();
    let items = keys.iter().map(|key| (key, "value"));
    store.set_many(items, moment).await.unwrap();
    let mut buckets = other.list_children(&root).await.unwrap();
    buckets.sort();
    let names = async |bucket: &str| {
        let path = format!("{root}/{bucket}");
        other.list_children(&path).await.unwrap()
    };
    let mut nodes = Vec::new();
    for bucket in &buckets {
        let first = names(bucket).await.swap_remove(0);
        nodes.push(format!("{root}/{bucket}/{first}"));
    }
    // With children, cut off, and not to be read.
    let [parent, cut, closed, ..] = &nodes[..] else {
        panic!("there are buckets enough")
    };
    create(&other, &format!("{parent}/below"), b"theirs").await;
    other.set_data(cut, b"\xffkv\x01", None).await.unwrap();
    let bob = Client::connector().with_auth("digest", b"bob:word");
    let bob = bob.connect(&zookeeper.address().to_string()).await.unwrap();
    let options = CreateMode::Persistent.with_acls(Acls::creator_all());
    other.delete(closed, None).await.unwrap();
    bob.create(closed, b"theirs", &options).await.unwrap();
    // A bucket whose keys are not to be listed.
    let hidden = buckets.pop().unwrap();
    let path = format!("{root}/{hidden}");
    for name in names(&hidden).await {
        other.delete(&format!("{path}/{name}"), None).await.unwrap();
    }
    other.delete(&path, None).await.unwrap();
    bob.create(&path, b"", &options).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    for _ in 0..2 {
        let error = provider.purge_expired().await.unwrap_err();
        let kinds = [
            ErrorKind::Other,
            ErrorKind::Decode,
            ErrorKind::PermissionDenied,
        ];
        assert!(kinds.contains(&error.kind()), "{error:?}");
        let mut left = Vec::new();
        for bucket in &buckets {
            let names = names(bucket).await.into_iter();
            left.extend(names.map(|name| format!("{root}/{bucket}/{name}")));
        }
        assert_eq!(left.len(), 3, "nodes are left");
        left.sort();
        let mut theirs = [parent, cut, closed].map(String::as_str);
        theirs.sort_unstable();
        assert_eq!(left, theirs);
    }
}
