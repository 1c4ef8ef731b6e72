//! A cluster whose nodes stop, halt and change places: errors by the deadline, never a miss, and calls work again by
//! themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kvstore_core::{Condition, Error, ErrorKind, KeyValueStore, SetOptions};
use kvstore_redis::RedisConfig;
use kvstore_testsuite::servers::{RedisCluster, RedisServer};
use tokio::task::JoinSet;
use tokio::time::sleep;

mod common;
use common::{ends, failed, key_on, not_connected, recovers, texts};

fn gone(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout)
}

/// Reads `there0` to `there29`, and writes numbers, until it is told to end. Gives the last number that was written
/// for sure under each key, and how many calls failed.
struct Load {
    tasks: JoinSet<(String, u32, u32)>,
    done: Arc<AtomicBool>,
}

impl Load {
    async fn start(texts: &KeyValueStore<String>) -> Self {
        for key in 0..30 {
            texts.set(&format!("there{key}"), "v").await.unwrap();
        }
        let done = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for task in 0..12 {
            let (texts, done) = (texts.clone(), Arc::clone(&done));
            tasks.spawn(async move {
                let own = format!("own{task}");
                let (mut written, mut failures) = (0, 0);
                for number in 1.. {
                    if done.load(Ordering::Acquire) {
                        break;
                    }
                    let there = format!("there{}", number % 30);
                    match ends("get", texts.get(&there)).await {
                        Ok(found) => assert_eq!(found.as_deref(), Some("v"), "a miss that is none"),
                        Err(error) => {
                            assert!(gone(&error), "{error:?}");
                            failures += 1;
                        }
                    }
                    match ends("set", texts.set(&own, number.to_string())).await {
                        Ok(()) => written = number,
                        Err(error) => {
                            assert!(gone(&error), "{error:?}");
                            failures += 1;
                        }
                    }
                    sleep(Duration::from_millis(1)).await;
                }
                (own, written, failures)
            });
        }
        Self { tasks, done }
    }

    /// Ends it. What was acknowledged last must be there, or what was tried after it.
    async fn end(self, texts: &KeyValueStore<String>) -> u32 {
        self.done.store(true, Ordering::Release);
        let mut all = 0;
        for (own, written, failures) in self.tasks.join_all().await {
            let found = recovers("get", || texts.get(&own)).await;
            let found: u32 = found.expect("a key that was written").parse().unwrap();
            assert!(
                found >= written,
                "{own} has {found}, and {written} was acknowledged"
            );
            all += failures;
        }
        all
    }
}

/// With `wait_replicas=1`, what is acknowledged is on the replica that is promoted.
#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_killed_loses_nothing_that_a_replica_has_confirmed() {
    let mut cluster = RedisCluster::start();
    let texts = texts(&cluster.url(""), "timeout=1s&wait_replicas=1").await;
    let load = Load::start(&texts).await;
    sleep(Duration::from_millis(300)).await;
    cluster.stop(0);
    cluster.wait_until_ok();
    // Its replica has none of its own so far, which writes wait for.
    cluster.restart(0);
    cluster.wait_until_ok();
    for key in 0..30 {
        let there = format!("there{key}");
        recovers("set", || texts.set(&there, "v")).await;
    }
    let failures = load.end(&texts).await;
    assert!(failures > 0, "the load must have met the faults");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_killed_and_comes_back() {
    let mut cluster = RedisCluster::start();
    let texts = texts(&cluster.url(""), "timeout=500ms").await;
    let key = key_on(&cluster, 0);
    let other = key_on(&cluster, 1);
    for key in [&key, &other] {
        texts.set(key, "v").await.unwrap();
    }
    // The replica has it.
    cluster.command_for(&key, &["WAIT", "1", "5000"]);
    cluster.stop(0);
    let error = ends("get", texts.get(&key)).await.unwrap_err();
    assert!(gone(&error), "{error:?}");
    let error = ends("set", texts.set(&key, "w")).await.unwrap_err();
    assert!(gone(&error), "{error:?}");
    let found = recovers("get", || texts.get(&key)).await;
    assert_eq!(
        found.as_deref(),
        Some("v"),
        "from the replica that was promoted"
    );
    recovers("set", || texts.set(&key, "w")).await;
    texts.set(&other, "w").await.unwrap();
    cluster.restart(0);
    cluster.wait_until_ok();
    // It is a replica now; as primary it comes back.
    cluster.failover(0);
    recovers("set", || texts.set(&key, "x")).await;
    assert_eq!(texts.get(&key).await.unwrap().as_deref(), Some("x"));
    assert_eq!(cluster.command(0, &["GET", &key]).text(), "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn primaries_that_change_places_under_load() {
    let mut cluster = RedisCluster::start();
    let texts = texts(&cluster.url(""), "timeout=3s").await;
    let load = Load::start(&texts).await;
    for primary in 0..3 {
        let replica = cluster.replica_of(primary);
        cluster.failover(replica);
    }
    // Nothing is lost where a replica takes over in peace.
    load.end(&texts).await;
    for key in 0..30 {
        assert_eq!(
            texts.get(&format!("there{key}")).await.unwrap().as_deref(),
            Some("v")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_halts() {
    let mut cluster = RedisCluster::start();
    let texts = texts(&cluster.url(""), "timeout=400ms&connect_timeout=400ms").await;
    let key = key_on(&cluster, 2);
    texts.set(&key, "v").await.unwrap();
    cluster.command_for(&key, &["WAIT", "1", "5000"]);
    cluster.pause(2);
    let error = failed(
        ends("get", texts.get(&key)).await,
        ErrorKind::Timeout,
        "get",
    );
    assert!(!error.outcome_unknown());
    let found = recovers("get", || texts.get(&key)).await;
    assert_eq!(
        found.as_deref(),
        Some("v"),
        "from the replica that was promoted"
    );
    recovers("set", || texts.set(&key, "w")).await;
    cluster.resume(2);
    cluster.wait_until_ok();
    assert_eq!(
        recovers("get", || texts.get(&key)).await.as_deref(),
        Some("w")
    );
}

/// Neither the primary nor its replica is there: the others say `CLUSTERDOWN`.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_down() {
    let mut cluster = RedisCluster::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let texts = texts(&cluster.url(""), "timeout=500ms").await;
    let key = key_on(&cluster, 1);
    texts.set(&key, "v").await.unwrap();
    let replica = cluster.replica_of(0);
    cluster.stop(replica);
    cluster.stop(0);
    let is_down = || {
        cluster
            .command(1, &["CLUSTER", "INFO"])
            .text()
            .contains("cluster_state:fail")
    };
    while !is_down() {
        sleep(Duration::from_millis(50)).await;
    }
    let error = failed(
        ends("get", texts.get(&key)).await,
        ErrorKind::Unavailable,
        "get",
    );
    assert!(error.to_string().contains("the cluster is down"), "{error}");
    let error = failed(
        ends("set", texts.set(&key, "w")).await,
        ErrorKind::Unavailable,
        "set",
    );
    assert!(!error.outcome_unknown(), "it was refused");
    cluster.restart(0);
    cluster.restart(replica);
    assert_eq!(
        recovers("get", || texts.get(&key)).await.as_deref(),
        Some("v")
    );
    recovers("set", || texts.set(&key, "w")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_wants_a_right_and_replicas_which_connecting_finds() {
    let server = RedisServer::start();
    let rights = common::RIGHTS.split(' ');
    let user = ["ACL", "SETUSER", "someone", "on", ">secret", "~*"].into_iter();
    server.command(&user.chain(rights).collect::<Vec<_>>());
    let config: RedisConfig = server.url().parse().unwrap();
    let config = config.timeout(Duration::from_secs(2)).wait_replicas(1);
    let config = config.username("someone").password("secret");
    not_connected(config.clone(), ErrorKind::PermissionDenied, "allow +wait").await;
    server.command(&["ACL", "SETUSER", "someone", "+wait"]);
    not_connected(config, ErrorKind::Unavailable, "0 of 1 replicas").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_no_replica_confirms_are_errors_whose_outcome_is_unknown() {
    let mut cluster = RedisCluster::start();
    let texts = texts(&cluster.url(""), "timeout=2s&wait_replicas=1").await;
    let key = key_on(&cluster, 0);
    texts.set(&key, "v").await.unwrap();
    let replica = cluster.replica_of(0);
    cluster.pause(replica);
    // What waits holds no read up, which sees what was written.
    let reads = async { while texts.get(&key).await.unwrap().as_deref() != Some("w") {} };
    let mut set = std::pin::pin!(ends("set", texts.set(&key, "w")));
    tokio::select! {
        biased;
        () = reads => {}
        set = &mut set => panic!("no read came back before the write: {set:?}"),
    }
    let set = set.await;
    let error = failed(set, ErrorKind::Unavailable, "set");
    assert!(
        error.outcome_unknown() && error.to_string().contains("0 of 1 replicas"),
        "{error}"
    );
    // What wrote nothing has nothing to be confirmed.
    let created = texts.set_if(&key, "x", Condition::Absent, SetOptions::new());
    assert!(!ends("set_if", created).await.unwrap().is_applied());
    let error = failed(
        ends("delete", texts.delete(&key)).await,
        ErrorKind::Unavailable,
        "delete",
    );
    assert!(error.outcome_unknown());
    cluster.resume(replica);
    recovers("set", || texts.set(&key, "x")).await;
}
