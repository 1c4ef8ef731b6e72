//! Copies that take their time.

use std::fmt::Write as _;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::Duration;

use super::{Place, command};

/// Many keys, each with a value of its own.
pub(crate) fn fill(place: &Place, keys: usize) {
    let mut lines = String::new();
    for key in 0..keys {
        writeln!(
            lines,
            r#"{{"key":"key {key}","type":"text","value":"value {key}"}}"#
        )
        .unwrap();
    }
    place
        .run_reading(&["import", "--if-absent", "--quiet"], lines.as_bytes())
        .ends(0);
}

/// Begins a copy that takes seconds, and returns when it has written some keys and not all.
pub(crate) fn begun(from: &Place, to: &Place, keys: usize) -> Child {
    begun_with(from, to, keys, &[])
}

/// The same, of a copy that is told more.
pub(crate) fn begun_with(from: &Place, to: &Place, keys: usize, more: &[&str]) -> Child {
    let args = ["copy", &from.url, &to.url, "--as", "text", "--jobs", "2"];
    let mut child = command([&args, more].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    loop {
        let written = to.keys().len();
        assert!(
            child.try_wait().unwrap().is_none(),
            "it was too fast to be interrupted"
        );
        assert!(written < keys);
        if written > 100 {
            return child;
        }
        sleep(Duration::from_millis(20));
    }
}
