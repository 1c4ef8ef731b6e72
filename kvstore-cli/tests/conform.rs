//! `conform` and `bench`: what they print, and that nothing of them is left on the server.

mod common;

use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use common::{Folder, Place, Ran, command, kvstore};
use kvstore_testsuite::servers::{MemcachedServer, MongoDb, RedisServer, Reply, Vault, ZooKeeper};
use kvstore_testsuite::{cases, unique_root};
use mongodb::Client;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

fn size(server: &RedisServer) -> Reply {
    server.command(&["DBSIZE"])
}

#[test]
fn all_cases_hold_on_redis_and_nothing_is_left() {
    let server = RedisServer::start();
    server.command(&["SET", "app:mine", "v"]);
    let url = format!("{}?prefix=app:", server.url());
    let ran = kvstore(["conform", &url, "--jobs", "16", "--json"]).ends(0);
    let results = ran.jsons();
    let names = |results: &[Value]| -> Vec<String> {
        results
            .iter()
            .map(|result| result["case"].as_str().unwrap().to_owned())
            .collect()
    };
    let all: Vec<_> = cases().iter().map(|case| case.name.to_owned()).collect();
    assert_eq!(names(&results), all);
    assert!(results.iter().all(|result| result["holds"] == json!(true)));
    assert_eq!(ran.stderr, "");
    assert_eq!(size(&server), Reply::Integer(1));
}

#[test]
fn what_does_not_hold_is_told_and_nothing_is_left() {
    let server = RedisServer::start();
    // Who may not list, although Redis can: so the promise is broken.
    server.command(&[
        "ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all", "-scan",
    ]);
    let host = server.address();
    let url = format!("redis://app:pw@{host}");
    let ran = kvstore(["conform", &url, "l1_", "--jobs", "16"]).ends(1);
    assert!(ran.stderr.starts_with("redis "), "{}", ran.stderr);
    for text in [
        "BROKEN  l1_a_listing_names_all_keys\n        L1: keys streams",
        "broken  L1",
    ] {
        assert!(ran.text().contains(text), "{}", ran.text());
    }
    assert!(!ran.text().contains("\nhold    L1"), "{}", ran.text());
    let ran = kvstore(["conform", &url, "c5_take_gets", "--quiet"]).ends(0);
    assert_eq!(ran.text(), "ok      c5_take_gets_and_deletes\nhold    C5\n");
    assert_eq!((&ran.stderr[..], size(&server)), ("", Reply::Integer(0)));
}

#[test]
fn an_interruption_cleans_up_as_well() {
    let server = RedisServer::start();
    for args in [
        &["conform", server.url(), "t3_", "--jobs", "16"][..],
        &["bench", server.url(), "--time", "1h"],
    ] {
        let mut child = command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        while size(&server) == Reply::Integer(0) {
            assert!(child.try_wait().unwrap().is_none(), "{args:?}");
            sleep(Duration::from_millis(10));
        }
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let ran = Ran::from(child.wait_with_output().unwrap()).ends(130);
        assert!(ran.stderr.contains("interrupted"), "{}", ran.stderr);
        assert_eq!(size(&server), Reply::Integer(0), "{args:?}");
    }
}

/// Who reads the first line alone is told the rest no more, and the server is cleaned up all the same.
#[test]
fn a_closed_pipe_cleans_up_as_well() {
    use std::io::{BufRead as _, BufReader};
    let server = RedisServer::start();
    let mut child = command(["conform", server.url(), "t", "--jobs", "8"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    drop(out);
    Ran::from(child.wait_with_output().unwrap()).ends(141);
    assert!(line.starts_with("ok "), "{line}");
    assert_eq!(size(&server), Reply::Integer(0));
}

/// It breaks no rule.
#[test]
fn a_server_that_goes_away_is_a_failure() {
    let mut server = RedisServer::start();
    let url = format!("{}?timeout=500ms&connect_timeout=300ms", server.url());
    let mut child = command(["conform", &url, "t3_", "--jobs", "16"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while size(&server) == Reply::Integer(0) {
        assert!(child.try_wait().unwrap().is_none());
        sleep(Duration::from_millis(10));
    }
    server.stop();
    let ran = Ran::from(child.wait_with_output().unwrap()).ends(3);
    assert!(!ran.text().contains("BROKEN"), "{}", ran.text());
}

#[tokio::test]
async fn no_collection_is_left_on_mongodb() {
    let server = MongoDb::start();
    let url = server.url("collection=mine");
    for case in ["c1_", "k5_", "e6_"] {
        kvstore(["conform", &url, case, "--jobs", "16"]).ends(0);
    }
    let options = format!("mongodb://{}/?directConnection=true", server.address());
    let client = Client::with_uri_str(options).await.unwrap();
    for database in client.list_database_names().await.unwrap() {
        let names = client
            .database(&database)
            .list_collection_names()
            .await
            .unwrap();
        assert!(
            !names.iter().any(|name| name.contains("conform")),
            "{database}: {names:?}"
        );
    }
}

#[test]
fn no_secret_is_left_on_vault() {
    let vault = Vault::shared();
    let path = unique_root();
    for case in ["c5_", "k1_a_key", "e6_"] {
        kvstore(["conform", &vault.url(&format!("path={path}")), case]).ends(0);
    }
    let url = vault.url(&format!("path={path}"));
    kvstore(["bench", &url, "--time", "10ms", "--tasks", "1"]).ends(0);
    let metadata = format!("{}/metadata/{path}", Vault::MOUNT);
    let (status, answer) = vault.try_request(vault.token(), "", "LIST", &metadata, &Value::Null);
    assert_eq!(status, 404, "{answer}");
}

#[test]
fn no_node_is_left_on_zookeeper() {
    let (server, root) = (ZooKeeper::shared(), format!("/cli/{}", unique_root()));
    let url = server.url(&root);
    for case in ["c5_", "k1_a_key", "e6_"] {
        kvstore(["conform", &url, case]).ends(0);
    }
    kvstore(["bench", &url, "--time", "10ms"]).ends(0);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let left = runtime.block_on(async {
        let address = server.address().to_string();
        let client = zookeeper_client::Client::connect(&address).await.unwrap();
        client.list_children(&root).await.unwrap()
    });
    assert_eq!(left, [""; 0]);
}

#[test]
fn no_file_is_left() {
    let folder = Folder::new();
    let url = format!("file:{}", folder.file("store.redb"));
    for case in ["c5_", "k1_a_key", "e6_"] {
        kvstore(["conform", &url, case]).ends(0);
    }
    kvstore(["bench", &url, "--time", "10ms"]).ends(0);
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 0);
}

#[test]
fn no_object_is_left_on_s3() {
    let place = Place::s3();
    place.set("mine", "v");
    for case in ["c5_take_gets", "k1_a_key", "e6_"] {
        kvstore(["conform", &place.url, case]).ends(0);
    }
    kvstore(["bench", &place.url, "--time", "10ms"]).ends(0);
    assert_eq!(place.keys(), ["mine"]);
}

#[test]
fn no_item_is_left_on_memcached() {
    let server = MemcachedServer::start();
    for case in ["c5_", "k1_a_key", "l1_", "e6_"] {
        kvstore(["conform", &server.url(), case]).ends(0);
    }
    kvstore(["bench", &server.url(), "--time", "10ms"]).ends(0);
    assert_eq!(server.stat("curr_items"), 0);
}

/// The tombstones of deleted keys included.
#[test]
fn nothing_is_left_of_two_stores_by_one_url() {
    let server = RedisServer::start();
    let url = server.url();
    let both = format!("fallback:{url}?prefix=new: {url}?prefix=old:");
    for case in ["c5_", "k1_a_key", "e6_"] {
        kvstore(["conform", &both, case]).ends(0);
    }
    assert_eq!(size(&server), Reply::Integer(0));
    kvstore(["bench", &both, "--time", "10ms"]).ends(0);
    assert_eq!(size(&server), Reply::Integer(0));
}

#[test]
fn memory_and_passwords() {
    let ran = kvstore(["conform", "memory:", "e6_"]).ends(0);
    assert!(ran.text().ends_with("hold    E6 O1\n"), "{}", ran.text());
    let server = RedisServer::start_with(&["--requirepass", "pw"]);
    let mut conform = command([
        "conform",
        &format!("redis://{}?password_env=PW", server.address()),
        "k4_",
    ]);
    let ran = Ran::from(conform.env("PW", "pw").output().unwrap()).ends(0);
    assert!(ran.text().contains("hold    B3 K4"), "{}", ran.text());
    kvstore(["conform", "redis://127.0.0.1:1?timeout=300ms"]).ends(3);
}

#[test]
fn a_benchmark_runs_on_every_server_and_leaves_nothing() {
    for place in Place::all() {
        let bench = [
            "bench", &place.url, "--time", "50ms", "--tasks", "4", "--json",
        ];
        let rows = kvstore(bench).ends(0).jsons();
        let operations: Vec<_> = rows.iter().map(|row| &row["operation"]).collect();
        assert_eq!(operations, [&json!("set"), &json!("get")], "{}", place.name);
        if place.name != "memcached" {
            assert!(place.keys().is_empty(), "{}", place.name);
        }
    }
}

#[test]
fn a_benchmark_of_this_process_and_of_large_values() {
    let ran = kvstore(["bench", "memory:", "--time", "10ms", "--tasks", "1"]).ends(0);
    assert_eq!(ran.text().lines().count(), 3, "{}", ran.text());
    assert!(ran.stderr.starts_with("memory "), "{}", ran.stderr);
    let large = [
        "bench",
        "memory:",
        "--time",
        "10ms",
        "--size",
        "100000000",
        "--tasks",
        "3",
    ];
    let ran = kvstore(large).ends(0);
    assert!(ran.stderr.contains(" 2 keys with"), "{}", ran.stderr);
}

#[test]
fn a_benchmark_prints_a_table_and_leaves_nothing() {
    let server = RedisServer::start();
    let bench = [
        "bench",
        server.url(),
        "--time",
        "100ms",
        "--tasks",
        "1,8",
        "--size",
        "100",
    ];
    let ran = kvstore(bench).ends(0);
    let lines: Vec<Vec<&str>> = ran
        .text()
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0], ["tasks", "calls/s", "p50", "p90", "p99", "max"]);
    let begins: Vec<_> = lines[1..].iter().map(|line| (line[0], line[1])).collect();
    assert_eq!(
        begins,
        [("set", "1"), ("get", "1"), ("set", "8"), ("get", "8")]
    );
    assert!(ran.stderr.contains("values of 100 bytes"), "{}", ran.stderr);
    assert_eq!(size(&server), Reply::Integer(0));
    let rows = kvstore(bench.iter().chain(&["--json"])).ends(0).jsons();
    for row in rows {
        let time = |name: &str| row[name].as_f64().unwrap();
        assert!(
            time("p50_us") <= time("p90_us") && time("p99_us") <= time("max_us"),
            "{row}"
        );
        assert!(time("calls_per_second") > 0.0, "{row}");
    }
}
