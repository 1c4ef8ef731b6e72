//! A cluster: each key at its node, batches by node, slots that move.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use kvstore_core::{Condition, Error, ErrorKind, KeyValueStore, SetOptions};
use kvstore_redis::{RedisConfig, RedisProvider};
use kvstore_testsuite::servers::{RedisCluster, RedisServer, Reply};
use kvstore_testsuite::unique_root;

mod common;
use common::{RIGHTS, SECRET, ends, failed, key_on, not_connected, recovers, texts};

fn shared() -> (&'static RedisCluster, String) {
    let cluster = RedisCluster::shared();
    (cluster, format!("prefix={}", unique_root()))
}

/// How many times each primary has read from its clients.
fn reads(cluster: &RedisCluster) -> BTreeMap<usize, u64> {
    let read = |node| {
        let info = cluster.command(node, &["INFO", "stats"]).text();
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix("total_reads_processed:"));
        line.and_then(|number| number.trim().parse().ok())
            .expect("a number")
    };
    let primaries = cluster.primaries().into_iter();
    primaries.map(|node| (node, read(node))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_come_back_in_order_and_each_nodes_part_goes_at_once() {
    let cluster = RedisCluster::start();
    let texts = texts(&cluster.url(""), "").await;
    let keys: Vec<_> = (0..300).map(|key| format!("{key}")).collect();
    let items = || keys.iter().map(|key| (key, format!("v{key}")));
    // Its connections are there, and the nodes know its scripts.
    texts.set_many(items(), SetOptions::new()).await.unwrap();
    let minute = SetOptions::new().ttl(Duration::from_secs(60));
    let before = reads(&cluster);
    texts.set_many(items(), SetOptions::new()).await.unwrap();
    texts.set_many(items(), minute).await.unwrap();
    let found = texts.get_many(&keys).await.unwrap();
    let after = reads(&cluster);
    let expected: Vec<_> = keys.iter().map(|key| Some(format!("v{key}"))).collect();
    assert_eq!(found, expected);
    assert_eq!(before.len(), 3);
    for (node, before) in before {
        let reads = after[&node] - before;
        // Three parts of a hundred keys, of some kilobytes each; the suite asks as well, and replicas acknowledge.
        assert!(reads < 30, "node {node} was written to {reads} times");
    }
    let mixed = ["7", "missing", "7", "11"];
    let found = texts.get_many(mixed).await.unwrap();
    let found: Vec<_> = found.iter().map(Option::as_deref).collect();
    assert_eq!(found, [Some("v7"), None, Some("v7"), Some("v11")]);
    let twice = [("7", "old"), ("8", "other"), ("7", "new")];
    texts.set_many(twice, SetOptions::new()).await.unwrap();
    assert_eq!(texts.get("7").await.unwrap().as_deref(), Some("new"));
    let mut listed: Vec<_> = texts.keys("").map(Result::unwrap).collect().await;
    listed.sort();
    listed.dedup();
    assert_eq!(listed.len(), keys.len());
    texts.delete_many(&keys).await.unwrap();
    assert!(texts.keys("").next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_where_redis_looks_for_them() {
    let (cluster, prefix) = shared();
    let root = prefix.trim_start_matches("prefix=");
    let texts = texts(&cluster.url(""), &prefix).await;
    for key in [
        "plain", "a{tag}b", "{}", "{open", "}{", "ümläut", "{{x}}", " ", "a{}b{c}",
    ] {
        texts.set(key, key).await.unwrap();
        let full = format!("{root}{key}");
        let there = cluster.command_for(&full, &["GET", &full]);
        assert_eq!(there.text(), key, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_nodes_failure_fails_its_items_alone() {
    let mut cluster = RedisCluster::start_with(&["--cluster-require-full-coverage", "no"]);
    let texts = texts(&cluster.url(""), "timeout=2s").await;
    let keys = [0, 1, 2].map(|node| key_on(&cluster, node));
    let items = || keys.iter().map(|key| (key, "v"));
    texts.set_many(items(), SetOptions::new()).await.unwrap();
    let replica = cluster.replica_of(1);
    cluster.stop(replica);
    cluster.stop(1);
    let only_the_second = |results: Vec<Result<(), Error>>| {
        let kinds = results.iter().map(|result| match result {
            Ok(()) => None,
            Err(error) => Some(error.is_retryable()),
        });
        assert_eq!(kinds.collect::<Vec<_>>(), [None, Some(true), None]);
    };
    let found = ends("get_many", texts.get_many(&keys)).await.unwrap_err();
    let found = found.into_results();
    assert_eq!(found[2].as_ref().unwrap().as_deref(), Some("v"));
    only_the_second(found.into_iter().map(|result| result.map(drop)).collect());
    for options in [SetOptions::new(), SetOptions::new().keep_expiry()] {
        let set = ends("set_many", texts.set_many(items(), options)).await;
        only_the_second(set.unwrap_err().into_results());
    }
    let deleted = ends("delete_many", texts.delete_many(&keys)).await;
    only_the_second(deleted.unwrap_err().into_results());
    assert_eq!(
        cluster.command_for(&keys[0], &["EXISTS", &keys[0]]),
        Reply::Integer(0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_moves_is_followed() {
    let mut cluster = RedisCluster::start();
    let texts = texts(&cluster.url(""), "").await;
    let key = key_on(&cluster, 0);
    // In the slot of the key, whatever they are else.
    let [there, moved, new] = ["there", "moved", "new"].map(|name| format!("{{{key}}}{name}"));
    for key in [&there, &moved] {
        texts.set(key, "v").await.unwrap();
    }
    let slot = cluster.slot(&key);
    cluster.begin_migration(slot, 1);
    cluster.migrate_key(&moved, 1);
    let found = texts.get_many([&there, &moved, &new]).await.unwrap();
    assert_eq!(found, [Some("v".to_owned()), Some("v".to_owned()), None]);
    assert!(texts.has(&moved).await.unwrap() && texts.has(&there).await.unwrap());
    let options = SetOptions::new();
    let created = texts
        .set_if(&new, "n", Condition::Absent, options)
        .await
        .unwrap();
    assert!(created.is_applied(), "where the slot goes to");
    assert!(
        cluster
            .keys_in_slot(1, slot)
            .contains(&new.clone().into_bytes())
    );
    for key in [&there, &moved, &new] {
        let version = texts
            .get_entry(key)
            .await
            .unwrap()
            .unwrap()
            .version
            .unwrap();
        let set = texts
            .set_if(key, "w", Condition::Version(version), options)
            .await
            .unwrap();
        assert!(set.is_applied(), "{key}");
    }
    let minute = options.ttl(Duration::from_secs(60));
    let items = [(&there, "x"), (&moved, "x"), (&new, "x")];
    texts.set_many(items, minute).await.unwrap();
    assert_eq!(texts.take(&new).await.unwrap().as_deref(), Some("x"));
    cluster.migrate_key(&there, 1);
    cluster.end_migration(slot, 1);
    // With the map of before: each is sent where the slot is now.
    for key in [&there, &moved] {
        assert_eq!(texts.get(key).await.unwrap().as_deref(), Some("x"), "{key}");
    }
    texts.set(&new, "n").await.unwrap();
    let back = key_on(&cluster, 0);
    cluster.migrate_slot(slot, 2);
    texts
        .set_many([(&there, "y"), (&back, "y"), (&new, "y")], options)
        .await
        .unwrap();
    texts.delete_many([&there, &moved]).await.unwrap();
    let left: Vec<_> = texts.keys("").map(Result::unwrap).collect().await;
    assert!(
        left.contains(&new) && left.contains(&back) && !left.contains(&there),
        "{left:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_cluster_and_what_is_one() {
    let server = RedisServer::start();
    let port = server.address().port();
    let config = RedisConfig::cluster([("127.0.0.1", port)]);
    not_connected(config, ErrorKind::InvalidConfig, "use `redis://`").await;
    let (cluster, _) = shared();
    for node in 0..3 {
        let config = RedisConfig::new("127.0.0.1").port(cluster.address(node).port());
        not_connected(config, ErrorKind::InvalidConfig, "use `redis-cluster://`").await;
    }
    let nobody = RedisConfig::cluster([("127.0.0.1", 1)]).connect_timeout(Duration::from_secs(1));
    not_connected(nobody, ErrorKind::Unavailable, "127.0.0.1:1").await;
    // One that is there is enough, and it may be a replica.
    for node in [0, 5] {
        let port = cluster.address(node).port();
        let seeds = [
            ("127.0.0.1", 1),
            ("no-such-host.invalid", 1),
            ("127.0.0.1", port),
        ];
        let redis = RedisProvider::connect(RedisConfig::cluster(seeds))
            .await
            .unwrap();
        let info = KeyValueStore::text(redis).ping().await.unwrap();
        assert_eq!(info.product, "redis");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_and_rights_of_each_node() {
    let cluster = RedisCluster::start_with(&["--requirepass", SECRET, "--masterauth", SECRET]);
    let config: RedisConfig = cluster.url("").parse().unwrap();
    not_connected(
        config.clone(),
        ErrorKind::Unauthenticated,
        "wants a password",
    )
    .await;
    let wrong = config.clone().password("hunter22");
    not_connected(wrong, ErrorKind::Unauthenticated, "refused").await;
    let redis = RedisProvider::connect(config.clone().password(SECRET))
        .await
        .unwrap();
    assert!(!format!("{redis:?}").contains(SECRET));
    let rights = format!("{RIGHTS} +scan +cluster|slots +cluster|nodes");
    let allow = |node: usize, rights: &str| {
        let mut command = vec!["ACL", "SETUSER", "someone", "reset", "on", ">secret", "~*"];
        command.extend(rights.split(' '));
        cluster.command(node, &command);
    };
    (0..6).for_each(|node| allow(node, &rights));
    let config = config.username("someone").password("secret");
    let redis = RedisProvider::connect(config.clone()).await.unwrap();
    let texts = KeyValueStore::text(redis);
    texts.set("key", "v").await.unwrap();
    let listed: Vec<_> = texts.keys("").map(Result::unwrap).collect().await;
    assert_eq!(listed, ["key"]);
    for right in ["+getdel", "+cluster|nodes"] {
        allow(2, &rights.replace(&format!(" {right}"), ""));
        let error = failed(
            RedisProvider::connect(config.clone()).await,
            ErrorKind::PermissionDenied,
            right,
        );
        assert!(
            error.to_string().ends_with(&format!("allow {right}")),
            "{error}"
        );
        allow(2, &rights);
    }
    let replicas = config.clone().read_from_replicas();
    // A new cluster's nodes do not name their replicas at once.
    let start = std::time::Instant::now();
    let error = loop {
        match RedisProvider::connect(replicas.clone()).await {
            Err(error) => break error,
            Ok(_) => assert!(start.elapsed() < common::HANGS, "it may read from replicas"),
        }
    };
    let error = failed(Err::<(), _>(error), ErrorKind::PermissionDenied, "replicas");
    assert!(error.to_string().contains("+readonly"), "{error}");
    (0..6).for_each(|node| allow(node, &format!("{rights} +readonly")));
    RedisProvider::connect(replicas).await.unwrap();
    (0..6).for_each(|node| allow(node, &rights.replace(" +cluster|slots", "")));
    let error = failed(
        RedisProvider::connect(config).await,
        ErrorKind::PermissionDenied,
        "slots",
    );
    assert!(error.to_string().contains("+cluster|slots"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls() {
    let cluster = RedisCluster::start_tls(&[]);
    let config: RedisConfig = cluster.url("").parse().unwrap();
    let whole = config
        .clone()
        .ca(cluster.ca_path())
        .client_cert(cluster.client_cert_path(), cluster.client_key_path());
    let texts = KeyValueStore::text(RedisProvider::connect(whole).await.unwrap());
    let keys: Vec<_> = (0..50).map(|key| format!("{key}")).collect();
    let items = keys.iter().map(|key| (key, "v"));
    texts.set_many(items, SetOptions::new()).await.unwrap();
    assert!(
        texts
            .get_many(&keys)
            .await
            .unwrap()
            .iter()
            .all(Option::is_some)
    );
    not_connected(config, ErrorKind::InvalidConfig, "certificate").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn made_while_the_cluster_is_down() {
    let mut cluster = RedisCluster::start_with(&["--appendonly", "yes"]);
    (0..6).for_each(|node| cluster.stop(node));
    let url = cluster.url("?timeout=400ms");
    let texts = KeyValueStore::text(RedisProvider::lazy(&url).unwrap());
    for key in ["a", "b"] {
        failed(
            ends("get", texts.get(key)).await,
            ErrorKind::Unavailable,
            "get",
        );
        let error = failed(
            ends("set", texts.set(key, "v")).await,
            ErrorKind::Unavailable,
            "set",
        );
        assert!(!error.outcome_unknown(), "nothing was sent");
    }
    failed(
        ends("ping", texts.ping()).await,
        ErrorKind::Unavailable,
        "ping",
    );
    let listed = ends("keys", texts.keys("").next()).await.unwrap();
    failed(listed, ErrorKind::Unavailable, "keys");
    (0..6).for_each(|node| cluster.restart(node));
    recovers("set", || texts.set("a", "v")).await;
    assert_eq!(
        recovers("get", || texts.get("a")).await.as_deref(),
        Some("v")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_from_replicas() {
    let mut cluster = RedisCluster::start();
    let config: RedisConfig = cluster.url("?read_from=replica").parse().unwrap();
    let texts = KeyValueStore::text(RedisProvider::connect(config).await.unwrap());
    assert!(!texts.capabilities().strong_reads);
    let key = key_on(&cluster, 0);
    texts.set(&key, "v").await.unwrap();
    cluster.command_for(&key, &["WAIT", "1", "5000"]);
    let gets = |cluster: &RedisCluster, node: usize| {
        let info = cluster.command(node, &["INFO", "commandstats"]).text();
        let calls = info
            .lines()
            .find_map(|line| line.strip_prefix("cmdstat_get:calls="));
        calls.map_or(0, |calls| {
            calls.split(',').next().unwrap().parse::<u64>().unwrap()
        })
    };
    let replica = cluster.replica_of(0);
    // As soon as it is connected.
    let start = std::time::Instant::now();
    while gets(&cluster, replica) == 0 {
        assert!(start.elapsed() < common::HANGS, "the replica is not asked");
        assert_eq!(texts.get(&key).await.unwrap().as_deref(), Some("v"));
    }
    let before = gets(&cluster, 0);
    for _ in 0..20 {
        assert_eq!(texts.get(&key).await.unwrap().as_deref(), Some("v"));
    }
    let missing = format!("{{{key}}}missing");
    let found = texts.get_many([&key, &missing]).await.unwrap();
    assert_eq!(found, [Some("v".to_owned()), None]);
    assert!(texts.has(&key).await.unwrap());
    assert_eq!(gets(&cluster, 0), before, "the primary is not asked");
    texts.get_entry(&key).await.unwrap().unwrap();
    // It becomes the primary, and the primary its replica.
    cluster.failover(replica);
    for value in ["w", "x"] {
        recovers("set", || texts.set(&key, value)).await;
        cluster.command_for(&key, &["WAIT", "1", "5000"]);
        assert_eq!(
            recovers("get", || texts.get(&key)).await.as_deref(),
            Some(value)
        );
    }
    // And nobody is left to ask but the primary.
    cluster.stop(0);
    for _ in 0..20 {
        assert_eq!(
            recovers("get", || texts.get(&key)).await.as_deref(),
            Some("x")
        );
    }
}
