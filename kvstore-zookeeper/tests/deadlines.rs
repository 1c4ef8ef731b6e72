//! Deadlines: of calls, of each part of a batch, and of the keys themselves.

use std::time::Duration;

use kvstore_core::{Condition, ErrorKind, SetOptions};
use kvstore_testsuite::servers::ZooKeeper;
use tokio::time::sleep;

mod common;
use common::{HANGS, behind, ends, recovers};

/// What has no time left is not sent, and says so.
#[tokio::test]
async fn after_its_deadline_a_batch_sends_nothing_more() {
    let short = Duration::from_millis(700);
    let (proxy, texts, direct) = behind(ZooKeeper::shared(), |config| config.timeout(short)).await;
    recovers("set", || texts.set("there", "v")).await;
    proxy.stall();
    let keys: Vec<_> = (0..600).map(|n| format!("late:{n:03}")).collect();
    let items = keys.iter().map(|key| (key, "v"));
    let set = ends("set_many", texts.set_many(items, SetOptions::new())).await;
    for (at, error) in set.unwrap_err().failed() {
        assert_eq!(error.kind(), ErrorKind::Timeout, "{at}: {error:?}");
        assert_eq!(error.outcome_unknown(), at < 256, "{at}: {error:?}");
    }
    proxy.heal();
    recovers("get", || texts.get("there")).await;
    for at in [256, 599] {
        assert!(!direct.has(&keys[at]).await.unwrap());
    }
}

/// A part that fails, and after which the server answers again, leaves the others their time.
#[tokio::test]
async fn each_part_of_a_batch_has_a_deadline_of_its_own() {
    let limit = Duration::from_secs(2);
    let (proxy, texts, _) = behind(ZooKeeper::shared(), |config| config.timeout(limit)).await;
    let keys: Vec<_> = (0..8).map(|n| n.to_string()).collect();
    for key in &keys {
        recovers("set", || texts.set(key, "v")).await;
    }
    // Each is a part.
    let value = "x".repeat(600_000);
    proxy.delay(Duration::from_millis(350));
    proxy.cut_after_request();
    let items = keys.iter().map(|key| (key, &value));
    let set = ends("set_many", texts.set_many(items, SetOptions::new())).await;
    let failed: Vec<_> = set.unwrap_err().failed().map(|(at, _)| at).collect();
    assert_eq!(failed, [0]);
}

/// A key's time begins when it is sent, and not when its caller begins to wait for a connection.
#[tokio::test]
async fn waiting_takes_nothing_from_a_keys_time() {
    let minute = SetOptions::new().ttl(Duration::from_secs(60));
    let (proxy, texts, direct) = behind(ZooKeeper::shared(), |config| config.timeout(HANGS)).await;
    for key in ["set", "many", "if"] {
        // So that what is above is there, and no first request fails.
        texts.set(key, "v").await.unwrap();
    }
    texts.delete("if").await.unwrap();
    proxy.refuse();
    sleep(Duration::from_millis(200)).await;
    let waiting = async {
        let set = texts.set_with("set", "w", minute);
        let set_if = texts.set_if("if", "w", Condition::Absent, minute);
        let set_many = texts.set_many([("many", "w"), ("many:2", "w")], minute);
        let (set, set_if, set_many) = tokio::join!(set, set_if, set_many);
        set.unwrap();
        assert!(set_if.unwrap().is_applied());
        set_many.unwrap();
    };
    let healing = async {
        sleep(Duration::from_secs(5)).await;
        proxy.heal();
    };
    ends("waiting", async { tokio::join!(waiting, healing) }).await;
    for key in ["set", "if", "many", "many:2"] {
        let entry = direct.get_entry(key).await.unwrap().unwrap();
        let left = entry.expires_in.unwrap();
        assert!(left > Duration::from_secs(57), "{key}: {left:?}");
    }
}
