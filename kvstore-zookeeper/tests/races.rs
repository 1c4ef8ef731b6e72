//! A key is deleted and set again between the look and the write of another client: its node's version is the
//! same as before, and it is another node.

use std::future::Future;
use std::time::Duration;

use kvstore_core::{Condition, KeyValueStore, SetOptions, Version};
use kvstore_testsuite::servers::ZooKeeper;
use tokio::time::sleep;

mod common;
use common::{HANGS, behind, ends};

type Store = KeyValueStore<String>;

const HOUR: Duration = Duration::from_secs(3600);

/// Calls a slow store, and in the middle deletes the key and sets it again.
async fn meanwhile<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    call: impl FnOnce(Store, Version) -> F,
) -> (T, Store) {
    let (proxy, slow, direct) = behind(ZooKeeper::shared(), |config| config.timeout(HANGS)).await;
    let hour = SetOptions::new().ttl(HOUR);
    direct.set_with("key", "old", hour).await.unwrap();
    let entry = slow.get_entry("key").await.unwrap().unwrap();
    proxy.reset();
    proxy.delay(Duration::from_secs(1));
    let called = tokio::spawn(call(slow, entry.version.unwrap()));
    while proxy.round_trips() == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    // It is with the server now, and the answer is on its way.
    sleep(Duration::from_millis(50)).await;
    direct.delete("key").await.unwrap();
    direct.set("key", "again").await.unwrap();
    assert_eq!(proxy.round_trips(), 1, "it is in the middle");
    (ends("the call", called).await.unwrap(), direct)
}

#[tokio::test]
async fn a_write_or_delete_of_the_version_before_is_unmet() {
    let (set, direct) = meanwhile(|slow, version| async move {
        let (version, options) = (Condition::Version(version), SetOptions::new());
        slow.set_if("key", "new", version, options).await
    })
    .await;
    assert!(!set.unwrap().is_applied());
    assert_eq!(direct.get("key").await.unwrap().as_deref(), Some("again"));

    let delete = |slow: Store, version| async move { slow.delete_if("key", version).await };
    let (deleted, direct) = meanwhile(delete).await;
    assert!(!deleted.unwrap().is_applied());
    assert_eq!(direct.get("key").await.unwrap().as_deref(), Some("again"));
}

#[tokio::test]
async fn what_looks_first_looks_again() {
    let (touched, direct) = meanwhile(|slow, _| async move { slow.touch("key", HOUR).await }).await;
    assert!(touched.unwrap());
    let entry = direct.get_entry("key").await.unwrap().unwrap();
    assert_eq!(entry.value, "again", "the old value does not come back");
    assert!(entry.expires_in.is_some());

    let (taken, direct) = meanwhile(|slow, _| async move { slow.take("key").await }).await;
    assert_eq!(taken.unwrap().as_deref(), Some("again"));
    assert!(!direct.has("key").await.unwrap());

    let keep = SetOptions::new().keep_expiry();
    let (set, direct) =
        meanwhile(move |slow, _| async move { slow.set_with("key", "new", keep).await }).await;
    set.unwrap();
    let entry = direct.get_entry("key").await.unwrap().unwrap();
    assert_eq!((entry.value.as_str(), entry.expires_in), ("new", None));

    let present = Condition::Present;
    let hour = SetOptions::new().ttl(HOUR);
    let (set, direct) =
        meanwhile(move |slow, _| async move { slow.set_if("key", "new", present, hour).await })
            .await;
    assert!(set.unwrap().is_applied());
    assert_eq!(direct.get("key").await.unwrap().as_deref(), Some("new"));
}
