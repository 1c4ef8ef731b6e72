//! Upstash's REST API when it fails: an error of the right kind, and of a write whether it may have been applied.

use std::time::Duration;

use kvstore_core::{Error, ErrorKind, KeyValueStore, SetOptions};
use kvstore_redis::RedisProvider;
use kvstore_testsuite::servers::{RedisServer, UpstashFront};

mod common;
use common::{SECRET, ends, failed, printed, recovers, rest};

struct Own {
    front: UpstashFront,
    server: RedisServer,
}

fn own() -> Own {
    let server = RedisServer::start();
    let front = UpstashFront::start(&server);
    Own { front, server }
}

#[tokio::test]
async fn what_the_server_answers_in_place_of_an_answer() {
    let Own { front, server } = own();
    let store = KeyValueStore::text(RedisProvider::connect(rest(&front)).await.unwrap());
    store.set("key", "v").await.unwrap();
    let quota = r#"{"error":"ERR max daily request limit exceeded. Limit: 1, Usage: 1"}"#;
    for (status, body, kind, unknown) in [
        (
            500,
            r#"{"error":"ERR secret"}"#,
            ErrorKind::Unavailable,
            true,
        ),
        (502, "<html>secret</html>", ErrorKind::Unavailable, true),
        (503, "", ErrorKind::Unavailable, true),
        (200, "<html>secret</html>", ErrorKind::Other, true),
        (
            200,
            r#"{"error":"OOM secret"}"#,
            ErrorKind::StorageFull,
            false,
        ),
        (301, "", ErrorKind::Other, true),
        (400, r#"{"error":"ERR secret"}"#, ErrorKind::Other, false),
        (401, "", ErrorKind::Unauthenticated, false),
        (
            403,
            "<html>secret</html>",
            ErrorKind::PermissionDenied,
            false,
        ),
        (413, "", ErrorKind::ValueTooLarge, false),
        (429, "", ErrorKind::Busy, false),
        (429, quota, ErrorKind::Busy, false),
        (400, quota, ErrorKind::Busy, false),
        (200, quota, ErrorKind::Busy, false),
    ] {
        let what = format!("{status} {body}");
        front.fail_next(status, body);
        let error = failed(store.set("key", SECRET).await, kind, &what);
        assert_eq!(error.outcome_unknown(), unknown, "{what}");
        assert!(!printed(&error).contains("<html>"), "{}", printed(&error));
        front.fail_next(status, body);
        let error = failed(store.get("key").await, kind, &what);
        assert!(!error.outcome_unknown(), "{what}");
        // Where it may be for one of them, each is tried by itself.
        (0..4).for_each(|_| front.fail_next(status, body));
        let items = [("key", SECRET), ("other", SECRET)];
        let set = store.set_many(items, SetOptions::new()).await.unwrap_err();
        assert!(
            set.failed().all(|(_, error)| error.kind() == kind),
            "{what}: {set:?}"
        );
        front.heal();
        front.fail_next(status, body);
        failed(
            ends("keys", store.keys("").next()).await.unwrap(),
            kind,
            &what,
        );
        front.heal();
    }
    assert_eq!(
        server.command(&["GET", "key"]).text(),
        "v",
        "nothing was carried out"
    );
    front.set_quota(0);
    failed(
        store.get("key").await,
        ErrorKind::Busy,
        "the month's requests",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_lost() {
    let Own { front, server } = own();
    let config = rest(&front).timeout(Duration::from_millis(500));
    let store = KeyValueStore::text(RedisProvider::connect(config).await.unwrap());
    front.cut_after_request();
    let error = failed(store.set("key", "v").await, ErrorKind::Unavailable, "set");
    assert!(error.outcome_unknown());
    assert_eq!(
        server.command(&["GET", "key"]).text(),
        "v",
        "it was carried out"
    );
    front.cut_after_request();
    assert_eq!(
        store.get("key").await.unwrap().as_deref(),
        Some("v"),
        "asked again"
    );
    front.cut_after_request();
    let error = failed(store.take("key").await, ErrorKind::Unavailable, "take");
    assert!(error.outcome_unknown());
    front.cut_after_request();
    let items = [("a", "v"), ("b", "v")];
    let error = store.set_many(items, SetOptions::new()).await.unwrap_err();
    assert!(Error::from(error).outcome_unknown());
    front.stall();
    failed(ends("get", store.get("a")).await, ErrorKind::Timeout, "get");
    let error = failed(
        ends("set", store.set("a", "w")).await,
        ErrorKind::Timeout,
        "set",
    );
    assert!(error.outcome_unknown());
    front.heal();
    recovers("set", || store.set("a", "w")).await;
    drop(front);
    let error = ends("set", store.set("a", "x")).await;
    failed(error, ErrorKind::Unavailable, "set");
    failed(
        ends("ping", store.ping()).await,
        ErrorKind::Unavailable,
        "ping",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_sent_is_not_unknown() {
    let Own {
        front,
        server: _server,
    } = own();
    let config = rest(&front).timeout(Duration::from_millis(500));
    let redis = RedisProvider::connect(config.max_connections(1))
        .await
        .unwrap();
    let store = KeyValueStore::text(redis);
    front.stall();
    let (first, second) = tokio::join!(store.set("a", "v"), store.set("b", "v"));
    let error = failed(first, ErrorKind::Timeout, "the one that was sent");
    assert!(error.outcome_unknown());
    let error = failed(second, ErrorKind::Timeout, "the one that waited");
    assert!(
        !error.outcome_unknown() && error.to_string().contains("max_connections"),
        "{error}"
    );
}
