//! Batches: an item that fails does so alone, and many large values are read without harm to the server.

use kvstore_core::{ErrorKind, KeyValueStore, SetOptions};
use kvstore_testsuite::servers::ZooKeeper;
use kvstore_zookeeper::ZooKeeperProvider;
use zookeeper_client::{Acl, AuthId, Permission};

mod common;
use common::{HANGS, both, config, ends, texts};

/// Where nobody may create more buckets, what has one is written all the same.
#[tokio::test]
async fn a_bucket_that_cannot_be_made() {
    let (root, owner, other) = both().await;
    owner.set("a", "old").await.unwrap();
    owner.delete("a").await.unwrap();
    let acl = [Acl::new(Permission::READ, AuthId::anyone())];
    other.set_acl(&root, &acl, None).await.unwrap();
    let config = config(ZooKeeper::shared()).root(&root);
    let store = KeyValueStore::text(ZooKeeperProvider::lazy(config).unwrap());
    let items = [("b", "1"), ("a", "2"), ("c", "3")];
    let set = store.set_many(items, SetOptions::new()).await.unwrap_err();
    let failures: Vec<_> = set.failed().map(|(at, error)| (at, error.kind())).collect();
    let denied = ErrorKind::PermissionDenied;
    assert_eq!(failures, [(0, denied), (2, denied)]);
    assert_eq!(store.get("a").await.unwrap().as_deref(), Some("2"));
}

/// One answer with all of them would be more than the server's memory holds.
#[tokio::test]
async fn many_of_the_largest_values() {
    let server = ZooKeeper::start();
    let store = texts(config(&server).timeout(HANGS / 2)).await;
    let largest = "x".repeat(1_000_000);
    store.set("key", &largest).await.unwrap();
    let found = ends("get_many", store.get_many(vec!["key"; 255])).await;
    let found = found.unwrap();
    assert_eq!(found.len(), 255);
    assert!(
        found
            .iter()
            .all(|found| found.as_deref() == Some(&*largest))
    );
}
