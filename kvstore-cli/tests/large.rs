//! Copies of many keys and of much, in little memory.

mod common;

use std::fmt::Write as _;
use std::process::Stdio;
use std::time::Duration;

use common::{Place, Ran, command, kvstore};
use kvstore_testsuite::servers::{RedisServer, Reply};
use serde_json::json;

/// Runs the command, and how many MiB it had at most, as Linux counts them.
fn peak(args: &[&str]) -> (Ran, u64) {
    let mut child = command(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let status = std::fs::read_to_string(&status).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        peak = peak.max(kib.unwrap_or(0) >> 10);
        std::thread::sleep(Duration::from_millis(5));
    }
    (Ran::from(child.wait_with_output().unwrap()), peak)
}

#[test]
fn a_hundred_thousand_keys_from_redis_to_mongodb() {
    let (from, to, keys) = (Place::redis(), Place::mongodb(), 100_000);
    let mut lines = String::new();
    for key in 0..keys {
        let value = format!("{key:0256}");
        writeln!(
            lines,
            r#"{{"key":"key {key}","type":"text","value":"{value}"}}"#
        )
        .unwrap();
    }
    from.run_reading(&["import", "--if-absent", "--quiet"], lines.as_bytes())
        .ends(0);
    let args = [
        "copy",
        &from.url,
        &to.url,
        "--as",
        "text",
        "--if-absent",
        "--json",
    ];
    let (ran, peak) = peak(&args);
    let counts = ran.ends(0).json();
    assert_eq!(counts["read"], json!(keys));
    assert_eq!(counts["written"], json!(keys));
    assert!(peak < 200, "{peak} MiB");
    let exported = kvstore(["export", "--as", "text", "--quiet", "--store", &to.url]).ends(0);
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert!(sorted(exported.text()) == sorted(&lines));
}

#[test]
fn large_values_are_under_way_few_at_once() {
    let (from, to) = (RedisServer::start(), RedisServer::start());
    let value = "x".repeat(4 << 20);
    for key in 0..120 {
        let answer = from.command(&["SET", &format!("key {key}"), &value]);
        assert_eq!(answer, Reply::Data(b"OK".to_vec()));
    }
    for verify in [false, true] {
        let more = if verify { &["--verify"][..] } else { &[] };
        let args = ["copy", from.url(), to.url(), "--as", "bytes", "--json"];
        let (ran, peak) = peak(&[&args, more].concat());
        assert_eq!(ran.ends(0).json()["written"], json!(120));
        assert!(peak < 400, "{peak} MiB of 480");
        to.command(&["FLUSHALL"]);
    }
}
