//! Copies that are killed or interrupted, and output that nobody reads.

mod common;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use common::copying::{begun, fill};
use common::{Folder, Place, Ran, command, kvstore};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

fn finishes(from: &Place, to: &Place, keys: usize) {
    let there = to.keys().len();
    assert!(there < keys, "it was interrupted");
    let ran = kvstore(["copy", &from.url, &to.url, "--as", "text", "--json"]).ends(0);
    let counts = ran.json();
    assert_eq!(counts["read"], json!(keys));
    assert_eq!(counts["equal"], json!(there), "what was there is skipped");
    assert_eq!(counts["written"], json!(keys - there));
    kvstore(["diff", &from.url, &to.url, "--as", "text"]).ends(0);
    assert_eq!(from.keys().len(), keys);
}

#[test]
fn a_copy_that_is_killed_loses_nothing_and_the_next_one_finishes() {
    for (to, keys) in [
        (Place::mongodb(), 20_000),
        (Place::redis(), 20_000),
        (Place::s3(), 2_000),
        (Place::vault(), 5_000),
        (Place::zookeeper(), 5_000),
    ] {
        let from = Place::redis();
        fill(&from, keys);
        let mut copy = begun(&from, &to, keys);
        copy.kill().unwrap();
        copy.wait().unwrap();
        finishes(&from, &to, keys);
    }
}

/// Nobody else can look into it meanwhile.
#[test]
fn a_copy_into_a_file_that_is_killed_loses_nothing() {
    let (from, to, keys) = (Place::redis(), Place::file(), 10_000);
    fill(&from, keys);
    let path = to.url.strip_prefix("file:").unwrap();
    let mut copy = command(["copy", &from.url, &to.url, "--as", "text", "--jobs", "2"]);
    let mut copy = copy.spawn().unwrap();
    while !std::fs::exists(path).unwrap() {
        assert!(copy.try_wait().unwrap().is_none(), "it makes the file");
        sleep(Duration::from_millis(1));
    }
    sleep(Duration::from_millis(200));
    copy.kill().unwrap();
    assert!(!copy.wait().unwrap().success(), "it was killed");
    finishes(&from, &to, keys);
}

#[test]
fn a_copy_that_is_interrupted_says_how_far_it_came() {
    for signal in [Signal::INT, Signal::TERM] {
        let (from, to, keys) = (Place::redis(), Place::redis(), 20_000);
        fill(&from, keys);
        let copy = begun(&from, &to, keys);
        kill_process(Pid::from_child(&copy), signal).unwrap();
        let ran = Ran::from(copy.wait_with_output().unwrap()).ends(130);
        for text in [" written; ", "run it again", "kvstore: interrupted"] {
            assert!(ran.stderr.contains(text), "{}", ran.stderr);
        }
        finishes(&from, &to, keys);
    }
}

#[test]
fn output_that_nobody_reads_ends_a_command_without_a_word() {
    let place = Place::redis();
    fill(&place, 20_000);
    for args in [
        &["keys"][..],
        &["keys", "--json"],
        &["export", "--as", "text"],
    ] {
        let mut child = command([args, &["--store", &place.url]].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::with_capacity(16, child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert!(line.contains("key "), "{line}");
        let ran = Ran::from(child.wait_with_output().unwrap()).ends(141);
        assert_eq!(ran.stderr, "");
    }
}

#[test]
fn messages_that_nobody_can_read_are_no_failure() {
    let shell = |redirected: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!(r#""$0" get k --store memory: {redirected}"#)]);
        shell
            .arg(env!("CARGO_BIN_EXE_kvstore"))
            .env_remove("KVSTORE_URL");
        shell.output().unwrap().status.code()
    };
    assert_eq!(shell("2>&-"), Some(1));
    assert_eq!(shell("2>/dev/full"), Some(1));
    assert_eq!(shell("--json >/dev/full"), Some(3));
}

#[test]
fn waiting_for_what_is_read_can_be_interrupted() {
    let folder = Folder::new();
    let pipe = folder.file("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let (file, url) = (
        format!("@{pipe}"),
        format!("redis://localhost?password_file={pipe}"),
    );
    for args in [
        &["set", "k", "-", "--store", "memory:"][..],
        &["set", "k", &file, "--store", "memory:"],
        &["import", "--store", "memory:"],
        &["import", &pipe, "--store", "memory:"],
        &["get", "k", "--store", &url],
        &["keys", "--store", &url],
        &["copy", &url, "memory:", "--as", "text"],
        &["conform", &url],
        &["bench", &url],
    ] {
        let child = command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Until it waits. Before that it would be ended by the signal itself.
        sleep(Duration::from_millis(500));
        let stdin = child
            .stdin
            .as_ref()
            .map(std::os::fd::AsFd::as_fd)
            .map(|fd| fd.try_clone_to_owned());
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let ran = Ran::from(child.wait_with_output().unwrap()).ends(130);
        assert!(ran.stderr.contains("interrupted"), "{}", ran.stderr);
        drop(stdin);
    }
}
