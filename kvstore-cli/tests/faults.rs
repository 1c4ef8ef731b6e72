//! Copies whose servers fail for a while, or for good.

mod common;

use std::process::Stdio;
use std::time::Duration;

use common::copying::{begun, begun_with, fill};
use common::{Place, Ran, command, kvstore};
use kvstore_testsuite::proxy::Proxy;
use kvstore_testsuite::servers::RedisServer;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_lost_do_not_end_a_copy() {
    let (from, keys) = (Place::redis(), 20_000);
    fill(&from, keys);
    let server = RedisServer::start();
    let proxy = Proxy::start(server.address()).await.unwrap();
    let to = Place::at("redis", format!("redis://{}?timeout=60s", proxy.address()));
    let mut copy = begun(&from, &to, keys);
    // No key is tried less often than that and once more.
    for _ in 0..3 {
        proxy.reset();
        proxy.cut_after_request();
        while copy.try_wait().unwrap().is_none() && proxy.round_trips() < 50 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    assert!(
        copy.try_wait().unwrap().is_none(),
        "it was too fast to lose connections"
    );
    Ran::from(copy.wait_with_output().unwrap()).ends(0);
    kvstore(["diff", &from.url, &to.url, "--as", "text"]).ends(0);
}

#[test]
fn a_server_that_is_gone_does() {
    let (from, keys) = (Place::redis(), 20_000);
    fill(&from, keys);
    let mut server = RedisServer::start();
    let to = Place::at("redis", server.url().to_owned());
    let copy = begun(&from, &to, keys);
    server.stop();
    let ran = Ran::from(copy.wait_with_output().unwrap()).ends(3);
    assert!(ran.stderr.contains("run it again"), "{}", ran.stderr);
    assert!(ran.stderr.contains("kvstore: key `key "), "{}", ran.stderr);
    assert_eq!(
        ran.stderr
            .lines()
            .filter(|line| line.contains("kvstore:"))
            .count(),
        1
    );
}

/// What a write of its own put there is no other's.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_not_taken_for_a_key_that_was_there() {
    let (from, keys) = (Place::redis(), 20_000);
    fill(&from, keys);
    let server = RedisServer::start();
    let proxy = Proxy::start(server.address()).await.unwrap();
    let to = Place::at("redis", format!("redis://{}?timeout=60s", proxy.address()));
    to.set("key 19999", "another");
    let mut copy = begun_with(&from, &to, keys, &["--if-absent", "--json"]);
    for _ in 0..3 {
        proxy.reset();
        proxy.cut_after_request();
        while copy.try_wait().unwrap().is_none() && proxy.round_trips() < 50 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    assert!(
        copy.try_wait().unwrap().is_none(),
        "it was too fast to lose connections"
    );
    let counts = Ran::from(copy.wait_with_output().unwrap()).ends(0).json();
    assert_eq!(
        (&counts["written"], &counts["present"]),
        (&json!(keys - 1), &json!(1)),
        "{counts}"
    );
}

/// Few of many keys, so that all it does meanwhile is to list them.
#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_fails_is_begun_anew() {
    let server = RedisServer::start();
    let (near, to) = (Place::at("redis", server.url().to_owned()), Place::redis());
    fill(&near, 20);
    server.command(&["DEBUG", "POPULATE", "200000", "other"]);
    let proxy = Proxy::start(server.address()).await.unwrap();
    let url = format!("redis://{}?timeout=300ms", proxy.address());
    proxy.delay(Duration::from_millis(20));
    let copy = ["copy", &url, &to.url, "--as", "text", "--prefix", "key 1"];
    let mut copy = command(copy).stderr(Stdio::piped()).spawn().unwrap();
    while proxy.round_trips() < 50 {
        assert!(copy.try_wait().unwrap().is_none());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    proxy.refuse();
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(copy.try_wait().unwrap().is_none(), "it ended");
    proxy.heal();
    Ran::from(copy.wait_with_output().unwrap()).ends(0);
    assert_eq!(to.keys().len(), 11);
}
