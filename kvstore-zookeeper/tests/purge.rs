//! Expired nodes, which stay until they are purged.

use std::time::Duration;

use kvstore_core::SetOptions;
use kvstore_testsuite::servers::ZooKeeper;
use kvstore_zookeeper::ZooKeeperProvider;

mod common;
use common::{both, config};

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
