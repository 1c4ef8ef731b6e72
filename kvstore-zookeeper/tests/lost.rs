//! Answers that are lost: reads are asked again, and a write that may have been done says so.

use std::future::Future;
use std::time::Duration;

use kvstore_core::{Condition, Error, ErrorKind, KeyValueStore, SetOptions, Version};
use kvstore_testsuite::servers::ZooKeeper;
use tokio::time::sleep;

mod common;
use common::{HANGS, behind, ends, failed, recovers};

type Store = KeyValueStore<String>;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn an_answer_that_is_cut_off() {
    let server = ZooKeeper::shared();
    let (proxy, texts, direct) = behind(server, |config| config).await;
    let options = SetOptions::new();
    recovers("set", || texts.set("there", "v")).await;
    for cut in [0, 10] {
        texts.set("key", "old").await.unwrap();
        let before = writes(&direct).await;
        proxy.cut_mid_reply(cut);
        let set = ends("set", texts.set("key", "v")).await;
        let error = failed(set, ErrorKind::Unavailable, "set");
        assert!(error.outcome_unknown());
        assert_eq!(direct.get("key").await.unwrap().as_deref(), Some("v"));
        assert!(writes(&direct).await > before, "it was applied");

        recovers("get", || texts.get("there")).await;
        let items = [("a", "v"), ("b", "v")];
        proxy.cut_mid_reply(cut);
        let batch = ends("set_many", texts.set_many(items, options)).await;
        assert!(Error::from(batch.unwrap_err()).outcome_unknown());
        recovers("get", || texts.get("there")).await;
        proxy.cut_mid_reply(cut);
        let batch = ends("delete_many", texts.delete_many(["a", "b"])).await;
        assert!(Error::from(batch.unwrap_err()).outcome_unknown());
        recovers("get", || texts.get("there")).await;
        proxy.cut_mid_reply(cut);
        let delete = ends("delete", texts.delete("key")).await;
        assert!(failed(delete, ErrorKind::Unavailable, "delete").outcome_unknown());
        assert_eq!(direct.get("key").await.unwrap(), None);
        recovers("get", || texts.get("there")).await;
    }
    // Reads are asked again on a new connection.
    for bytes in [0, 1, 5, 40] {
        proxy.cut_mid_reply(bytes);
        let found = ends("get", texts.get("there")).await.unwrap();
        assert_eq!(found.as_deref(), Some("v"), "cut after {bytes}");
    }
    proxy.cut_after_request();
    let many = ends("get_many", texts.get_many(["there", "missing"])).await;
    assert_eq!(many.unwrap(), [Some("v".to_owned()), None]);
}

/// The transaction that wrote the key last.
async fn writes(store: &Store) -> u64 {
    let entry = store.get_entry("key").await.unwrap().unwrap();
    entry.version.unwrap().as_u64().unwrap()
}

/// Cuts off the answer to the second request of a call, the first being its look.
async fn second_is_cut<T: Send + 'static, F: Future<Output = Result<T, Error>> + Send + 'static>(
    what: &str,
    call: impl FnOnce(Store, Version) -> F,
) -> Store {
    let (proxy, slow, direct) = behind(ZooKeeper::shared(), |config| config.timeout(HANGS)).await;
    direct.set("key", "old").await.unwrap();
    let entry = slow.get_entry("key").await.unwrap().unwrap();
    proxy.reset();
    proxy.delay(Duration::from_millis(500));
    let called = tokio::spawn(call(slow, entry.version.unwrap()));
    while proxy.round_trips() == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    // The look is with the server now, all of it.
    sleep(Duration::from_millis(50)).await;
    proxy.cut_after_request();
    let error = failed(
        ends(what, called).await.unwrap(),
        ErrorKind::Unavailable,
        what,
    );
    assert!(error.outcome_unknown(), "{what}");
    assert_eq!(proxy.round_trips(), 2, "{what}: it is not sent again");
    direct
}

#[tokio::test]
async fn a_write_under_a_condition() {
    let options = SetOptions::new();
    let (proxy, texts, direct) = behind(ZooKeeper::shared(), |config| config).await;
    // So that what is above the keys is there.
    texts.set("key", "v").await.unwrap();
    texts.delete("key").await.unwrap();
    proxy.cut_after_request();
    let set = texts.set_if("key", "v", Condition::Absent, options).await;
    assert!(failed(set, ErrorKind::Unavailable, "set_if").outcome_unknown());
    let get = async || direct.get("key").await.unwrap();
    assert_eq!(get().await.as_deref(), Some("v"), "it was applied");
    // Asked again, it is unmet, by the caller's own value.
    let set = || texts.set_if("key", "w", Condition::Absent, options);
    assert!(!recovers("set_if", set).await.is_applied());

    let take = |slow: Store, _| async move { slow.take("key").await };
    let direct = second_is_cut("take", take).await;
    assert_eq!(direct.get("key").await.unwrap(), None);

    let delete = |slow: Store, version| async move { slow.delete_if("key", version).await };
    let direct = second_is_cut("delete_if", delete).await;
    assert_eq!(direct.get("key").await.unwrap(), None);

    for version_wanted in [true, false] {
        let set = move |slow: Store, version| async move {
            let condition = match version_wanted {
                true => Condition::Version(version),
                false => Condition::Present,
            };
            slow.set_if("key", "new", condition, options).await
        };
        let direct = second_is_cut("set_if", set).await;
        assert_eq!(direct.get("key").await.unwrap().as_deref(), Some("new"));
    }

    let keep = options.keep_expiry();
    let set = move |slow: Store, _| async move { slow.set_with("key", "new", keep).await };
    let direct = second_is_cut("set_with", set).await;
    assert_eq!(direct.get("key").await.unwrap().as_deref(), Some("new"));

    let touch = |slow: Store, _| async move { slow.touch("key", HOUR).await };
    let direct = second_is_cut("touch", touch).await;
    let entry = direct.get_entry("key").await.unwrap().unwrap();
    assert_eq!(entry.value, "old");
    assert!(entry.expires_in.is_some());
}
