//! What a command opened is closed when it ends, however it ends.

mod common;

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use common::{Place, Ran, command, kvstore};
use rustix::process::{Pid, Signal, kill_process};

/// Whether redb has to check the file as a whole when it is opened next: a bit behind its magic number.
fn is_to_be_checked(place: &Place) -> bool {
    let file = std::fs::read(place.url.strip_prefix("file:").unwrap()).unwrap();
    assert_eq!(&file[..4], b"redb");
    file[9] & 2 != 0
}

#[track_caller]
fn is_closed(place: &Place) {
    assert!(!is_to_be_checked(place), "it was not closed");
}

#[test]
fn a_file_is_closed_when_a_command_ends() {
    let (place, other) = (Place::file(), Place::file());
    for (args, code) in [
        (&["set", "k", "v"][..], 0),
        (&["get", "k"], 0),
        (&["get", "none"], 1),
        (&["get", "k", "--as", "json"], 3),
        (&["set", "k", "w", "--if-absent"], 1),
        (&["set", "k", "w", "--namespace", "a::b"], 2),
        (&["keys"], 0),
        (&["ping"], 0),
        (&["export", "--as", "text"], 0),
        (&["import", "/dev/null"], 0),
        (&["take", "k"], 0),
    ] {
        place.run(args).ends(code);
        is_closed(&place);
    }
    place.set("k", "v");
    place.set("l", "w");
    for args in [
        &["copy", &place.url, &other.url, "--as", "text"][..],
        &["diff", &place.url, &other.url, "--as", "text"],
    ] {
        kvstore(args).ends(0);
        is_closed(&place);
        is_closed(&other);
    }
    // One that cannot be opened leaves the other closed too.
    kvstore(["copy", &place.url, "redis://127.0.0.1:1", "--as", "text"]).ends(3);
    is_closed(&place);
}

#[test]
fn a_file_is_closed_when_a_command_is_interrupted() {
    let place = Place::file();
    place.set("k", "v");
    for signal in [Signal::INT, Signal::TERM] {
        let mut child = command(["import", "--store", &place.url])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Until it has the file open.
        while place.run(&["get", "k"]).code == Some(0) {
            assert!(child.try_wait().unwrap().is_none());
        }
        let mut stdin = child.stdin.take().unwrap();
        for key in 0..1000 {
            writeln!(stdin, r#"{{"key":"{key}","type":"text","value":"v"}}"#).unwrap();
        }
        sleep(Duration::from_millis(300));
        kill_process(Pid::from_child(&child), signal).unwrap();
        Ran::from(child.wait_with_output().unwrap()).ends(130);
        drop(stdin);
        is_closed(&place);
    }
    let keys = place.keys();
    assert!(keys.len() > 1, "{keys:?}");
}

#[test]
fn a_file_is_closed_when_nobody_reads() {
    let place = Place::file();
    let mut lines = String::new();
    for key in 0..20_000 {
        lines.push_str(&format!(
            "{{\"key\":\"{key}\",\"type\":\"text\",\"value\":\"v\"}}\n"
        ));
    }
    place
        .run_reading(&["import", "--quiet"], lines.as_bytes())
        .ends(0);
    let mut child = command(["keys", "--store", &place.url])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::with_capacity(16, child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    Ran::from(child.wait_with_output().unwrap()).ends(141);
    is_closed(&place);
}
