//! What a person sees: the command in a pseudo-terminal.

mod common;

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::process::{Command, Stdio};

use common::{Place, command};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// What a terminal shows of a command whose standard output and error, or only the latter, go there.
fn shown(command: Command, stdout_too: bool) -> (Option<i32>, String) {
    shown_until(command, stdout_too, None)
}

/// The same, interrupted when the terminal shows this.
fn shown_until(
    mut command: Command,
    stdout_too: bool,
    until: Option<&str>,
) -> (Option<i32>, String) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let slave = || {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(&name)
            .unwrap()
    };
    command.stdout(match stdout_too {
        true => Stdio::from(slave()),
        false => Stdio::null(),
    });
    command.stderr(slave());
    let mut child = command.spawn().unwrap();
    // So that no end of the terminal is left open here, and reading it ends with the command.
    drop(command);
    let mut master = File::from(master);
    let mut text = Vec::new();
    let mut part = [0; 4096];
    let mut until = until;
    // The end is an error, since the other side is closed.
    while let Ok(len @ 1..) = master.read(&mut part) {
        text.extend(&part[..len]);
        if until.is_some_and(|until| String::from_utf8_lossy(&text).contains(until)) {
            until = None;
            kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        }
    }
    (
        child.wait().unwrap().code(),
        String::from_utf8(text).unwrap(),
    )
}

fn in_terminal(args: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = command(args);
    command
        .env("TERM", "xterm")
        .envs(environment.iter().copied());
    shown(command, true)
}

#[test]
fn a_value_ends_with_a_newline_at_a_terminal_alone() {
    let place = Place::redis();
    place.set("k", "v");
    assert_eq!(
        in_terminal(&["get", "k", "--store", &place.url], &[]).1,
        "v\r\n"
    );
    place.set("k", "v\n");
    assert_eq!(
        in_terminal(&["get", "k", "--store", &place.url], &[]).1,
        "v\r\n"
    );
    assert_eq!(place.run(&["get", "k"]).ends(0).stdout, b"v\n");
}

#[test]
fn colours_are_for_terminals_and_no_color_is_honoured() {
    let fails = ["get", "", "--store", "memory:"];
    let (code, text) = in_terminal(&fails, &[]);
    assert_eq!(code, Some(2));
    assert!(text.contains("\x1b[1m\x1b[31mkvstore:"), "{text:?}");
    for environment in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let (_, text) = in_terminal(&fails, &[environment]);
        assert!(
            text.contains("kvstore: ") && !text.contains('\x1b'),
            "{text:?}"
        );
    }
    let ping = ["ping", "--store", "memory:"];
    assert!(in_terminal(&ping, &[]).1.contains("\x1b[1mmemory"));
    assert!(!in_terminal(&ping, &[("NO_COLOR", "1")]).1.contains('\x1b'));
    let piped = common::kvstore(ping).ends(0);
    assert!(!piped.text().contains('\x1b'), "{}", piped.text());
}

#[test]
fn keys_cannot_command_a_terminal() {
    let place = Place::redis();
    place.set("a\x1b[2Jb\n", "v");
    let (_, text) = in_terminal(&["keys", "--store", &place.url], &[]);
    assert_eq!(text, "a\\u{1b}[2Jb\\n\r\n");
    assert_eq!(
        place.run(&["keys"]).ends(0).text(),
        "a\x1b[2Jb\n\n",
        "as it is elsewhere"
    );
}

#[test]
fn progress_is_shown_to_people_alone_and_is_gone_at_the_end() {
    let (from, to) = (Place::redis(), Place::mongodb());
    let mut lines = String::new();
    for key in 0..2_000 {
        writeln!(lines, r#"{{"key":"{key}","type":"text","value":"v"}}"#).unwrap();
    }
    lines.push_str("{\"key\":\"no text\",\"type\":\"bytes\",\"value\":\"/w==\"}\n");
    from.run_reading(&["import", "--quiet"], lines.as_bytes())
        .ends(0);
    let copy = ["copy", &from.url, &to.url, "--as", "text"];
    let seen = |more: &[&str], term: &str| {
        let mut command = command([&copy[..], more].concat());
        command.env("TERM", term).env("NO_COLOR", "1");
        let (code, text) = shown(command, false);
        assert_eq!(code, Some(3), "{text}");
        assert!(text.contains("key `no text`: "), "{text:?}");
        text
    };
    let text = seen(&[], "xterm");
    assert!(
        text.contains("\r\x1b[2K[=   ] 0 keys, 0 a second"),
        "{text:?}"
    );
    let end = text.rsplit("\r\x1b[2K").next().unwrap();
    assert!(
        end.starts_with("2,000 written, 1 failed; 2,001 keys in "),
        "{text:?}"
    );
    for (more, term) in [
        (&[][..], "dumb"),
        (&["--quiet"], "xterm"),
        (&["--json"], "xterm"),
    ] {
        let text = seen(more, term);
        assert!(
            !text.contains("a second\x1b") && !text.contains("\x1b[2K"),
            "{text:?}"
        );
    }
    let piped = common::kvstore(copy).ends(3);
    assert!(!piped.stderr.contains('\x1b'), "{}", piped.stderr);
}

#[test]
fn an_interruption_ends_the_line_of_progress() {
    let (a, b) = (Place::redis(), Place::redis());
    let mut lines = String::new();
    for key in 0..20_000 {
        writeln!(lines, r#"{{"key":"{key}","type":"text","value":"v"}}"#).unwrap();
    }
    for place in [&a, &b] {
        place
            .run_reading(&["import", "--quiet"], lines.as_bytes())
            .ends(0);
    }
    for args in [
        ["diff", &a.url, &b.url, "--as", "text", "--jobs", "1"],
        ["copy", &a.url, &b.url, "--as", "text", "--jobs", "1"],
    ] {
        let mut command = command(args);
        command.env("TERM", "xterm").env("NO_COLOR", "1");
        let (code, text) = shown_until(command, false, Some("[=="));
        assert_eq!(code, Some(130), "{text:?}");
        let end = text.rsplit("\r\x1b[2K").next().unwrap();
        assert!(end.ends_with("kvstore: interrupted\r\n"), "{text:?}");
    }
}
