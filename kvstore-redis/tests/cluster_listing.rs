//! Listings of a cluster: all nodes, also when slots and primaries change places meanwhile.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use kvstore_core::{ErrorKind, KeyValueStore, SetOptions};
use kvstore_testsuite::servers::RedisCluster;

mod common;
use common::{HANGS, ends, failed, texts};
use tokio::time::sleep;

/// A key of each primary, and more of them all.
async fn filled(cluster: &RedisCluster, texts: &KeyValueStore<String>, more: usize) -> Vec<String> {
    let own = [0, 1, 2].map(|node| {
        let mut keys = (0..).map(|key| format!("own{key}"));
        keys.find(|key| cluster.node_of(key) == node).unwrap()
    });
    let more: Vec<_> = (0..more).map(|key| format!("more{key}")).collect();
    let items = own.iter().chain(&more).map(|key| (key, "v"));
    texts.set_many(items, SetOptions::new()).await.unwrap();
    own.to_vec()
}

/// The slot of a key that was not named yet moves to the node that was looked through first: it has no keys but
/// those that fit on one page.
async fn moves_meanwhile(whole: bool) {
    let mut cluster = RedisCluster::start();
    let texts = texts(&cluster.url(""), "").await;
    let own = filled(&cluster, &texts, 0).await;
    let mut listing = texts.keys("own");
    let first = listing.next().await.unwrap().unwrap();
    let target = cluster.node_of(&first);
    let mut named = BTreeSet::from([first]);
    for key in own.iter().filter(|key| !named.contains(*key)) {
        let slot = cluster.slot(key);
        match whole {
            true => cluster.migrate_slot(slot, target),
            false => {
                cluster.begin_migration(slot, target);
                cluster.migrate_key(key, target);
            }
        }
    }
    while let Some(key) = ends("next", listing.next()).await {
        named.insert(key.unwrap());
    }
    assert_eq!(named, own.into_iter().collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_has_moved_to_a_node_that_was_looked_through_before() {
    moves_meanwhile(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_has_moved_in_a_slot_that_is_still_moving() {
    moves_meanwhile(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_replaced_meanwhile() {
    let mut cluster = RedisCluster::start();
    let texts = texts(&cluster.url(""), "timeout=10s").await;
    let own = filled(&cluster, &texts, 9_000).await;
    for primary in 0..3 {
        cluster.command(primary, &["WAIT", "1", "5000"]);
    }
    let mut listing = texts.keys("");
    let mut named = BTreeSet::new();
    named.insert(listing.next().await.unwrap().unwrap());
    // One of them is being looked through, and the others are not yet.
    for primary in 0..3 {
        cluster.stop(primary);
        cluster.wait_until_ok();
        named.insert(ends("next", listing.next()).await.unwrap().unwrap());
        cluster.restart(primary);
        cluster.wait_until_ok();
    }
    while let Some(key) = ends("next", listing.next()).await {
        named.insert(key.unwrap());
    }
    assert_eq!(named.len(), 9_000 + own.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_whose_nodes_are_gone_are_an_error_and_not_left_out() {
    let mut cluster = RedisCluster::start_with(&["--cluster-require-full-coverage", "no"]);
    let texts = texts(&cluster.url(""), "timeout=500ms").await;
    let own = filled(&cluster, &texts, 0).await;
    let replica = cluster.replica_of(1);
    cluster.stop(replica);
    cluster.stop(1);
    let mut listing = texts.keys("own");
    let mut named = BTreeSet::new();
    let error = loop {
        match ends("next", listing.next()).await {
            Some(Ok(key)) => named.insert(key),
            Some(Err(error)) => break error,
            None => panic!("it ends without {} and without an error", own[1]),
        };
    };
    failed(Err::<(), _>(error), ErrorKind::Unavailable, "keys");
    assert!(!named.contains(&own[1]));
    assert!(
        listing.next().await.is_none(),
        "after an error it is at its end"
    );
}

/// One of whose slots nobody knows yet, since it has none.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_is_moving_to_a_new_node() {
    let mut cluster = RedisCluster::start();
    let texts = texts(&cluster.url(""), "timeout=5s").await;
    let own = filled(&cluster, &texts, 0).await;
    let new = cluster.replica_of(0);
    cluster.command(new, &["CLUSTER", "RESET", "SOFT"]);
    let is_new = |line: &str| line.contains(&format!(":{}@", cluster.address(new).port()));
    let line = |cluster: &RedisCluster| {
        let nodes = cluster.command(1, &["CLUSTER", "NODES"]).text();
        nodes
            .lines()
            .find(|line| is_new(line))
            .unwrap_or_default()
            .to_owned()
    };
    let place = line(&cluster);
    let bus = place.split(['@', ',', ' ']).nth(2).unwrap();
    let port = cluster.address(new).port().to_string();
    cluster.command(1, &["CLUSTER", "MEET", "127.0.0.1", &port, bus]);
    let start = Instant::now();
    let knows = |node| {
        cluster
            .command(node, &["CLUSTER", "NODES"])
            .text()
            .lines()
            .count()
    };
    let is_up = |node| {
        let info = cluster.command(node, &["CLUSTER", "INFO"]).text();
        info.contains("cluster_state:ok")
    };
    while !line(&cluster).contains("master") || knows(new) < 6 || !is_up(new) {
        assert!(
            start.elapsed() < HANGS,
            "it is no primary: {}",
            line(&cluster)
        );
        sleep(Duration::from_millis(50)).await;
    }
    for (node, key) in [(1, &own[1]), (2, &own[2])] {
        let slot = cluster.slot(key).to_string();
        let id = cluster.command(new, &["CLUSTER", "MYID"]).text();
        let from = cluster.command(node, &["CLUSTER", "MYID"]).text();
        cluster.command(new, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from]);
        cluster.command(node, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id]);
    }
    cluster.migrate_key(&own[1], new);
    assert_eq!(texts.get(&own[1]).await.unwrap().as_deref(), Some("v"));
    let named: BTreeSet<_> = ends("keys", texts.keys("own").map(Result::unwrap).collect()).await;
    assert_eq!(named, own.iter().cloned().collect());
    // When it is gone, its keys are not left out.
    cluster.stop(new);
    let all = texts.keys("own").collect::<Vec<_>>();
    let listed = ends("keys", all).await;
    let last = listed
        .into_iter()
        .next_back()
        .expect("an error at the least");
    failed(last, ErrorKind::Unavailable, "keys");
}
