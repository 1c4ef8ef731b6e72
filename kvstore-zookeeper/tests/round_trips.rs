//! How many requests there are: as few as the README says.

use std::time::Duration;

use kvstore_core::SetOptions;
use kvstore_testsuite::servers::ZooKeeper;

mod common;
use common::behind;

/// One after the other would be as many round trips as there are keys.
#[tokio::test]
async fn round_trips() {
    let zookeeper = ZooKeeper::shared();
    let (proxy, texts, _) = behind(zookeeper, |config| config).await;
    let keys: Vec<_> = (0..100).map(|n| format!("key {n}")).collect();
    let items = || keys.iter().map(|key| (key, "v"));
    // The nodes above the keys are made at first.
    texts.set_many(items(), SetOptions::new()).await.unwrap();
    texts.set("key", "v").await.unwrap();
    proxy.delay(Duration::from_millis(20));
    let trips = |expected: usize, what: &str| {
        assert_eq!(proxy.round_trips(), expected, "{what}");
        proxy.reset();
    };
    proxy.reset();
    texts.get("key").await.unwrap().unwrap();
    trips(1, "get");
    texts.get_entry("key").await.unwrap().unwrap();
    trips(1, "get_entry");
    texts.set("key", "w").await.unwrap();
    trips(1, "set");
    texts.touch("key", Duration::from_secs(60)).await.unwrap();
    trips(2, "touch");
    texts.take("key").await.unwrap().unwrap();
    trips(2, "take");
    texts.set("key", "w").await.unwrap();
    trips(2, "set of a new key");
    texts.delete("key").await.unwrap();
    trips(1, "delete");
    assert!(
        texts
            .get_many(&keys)
            .await
            .unwrap()
            .iter()
            .all(Option::is_some)
    );
    trips(1, "get_many");
    texts.set_many(items(), SetOptions::new()).await.unwrap();
    trips(1, "set_many");
    texts.delete_many(&keys).await.unwrap();
    trips(1, "delete_many");
    texts.set_many(items(), SetOptions::new()).await.unwrap();
    trips(2, "set_many of new keys");
    // Every second is there.
    let odd: Vec<_> = keys.iter().step_by(2).collect();
    texts.delete_many(&odd).await.unwrap();
    proxy.reset();
    texts.set_many(items(), SetOptions::new()).await.unwrap();
    trips(4, "set_many of keys of which some are new");
    texts.delete_many(&odd).await.unwrap();
    proxy.reset();
    texts.delete_many(&keys).await.unwrap();
    trips(3, "delete_many of keys of which some are missing");
    texts.delete_many(&keys).await.unwrap();
    trips(2, "delete_many of missing keys");
    texts.set_many(items(), SetOptions::new()).await.unwrap();
    proxy.reset();
    texts.delete_many(keys.iter().chain(&keys)).await.unwrap();
    trips(1, "delete_many of each key twice");
    texts.set_many(items(), SetOptions::new()).await.unwrap();
    proxy.reset();
    let hour = SetOptions::new().keep_expiry();
    texts.set_many(items(), hour).await.unwrap();
    assert!(
        proxy.round_trips() <= 20,
        "set_many under a condition: {}",
        proxy.round_trips()
    );
}
