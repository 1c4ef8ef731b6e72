//! `export` and `import`: JSON Lines.

mod common;

use std::fmt::Write as _;

use common::values::{TYPES, diff, fill};
use common::{Folder, Place, kvstore_reading};
use serde_json::json;

#[test]
fn an_export_comes_back_exactly() {
    for (type_, kind) in TYPES {
        for (from, to) in [
            (Place::mongodb(), Place::redis()),
            (Place::vault(), Place::mongodb()),
            (Place::zookeeper(), Place::file()),
            (Place::file(), Place::s3()),
            (Place::redis(), Place::vault()),
            (Place::s3(), Place::zookeeper()),
            (Place::mongodb(), Place::fallback()),
        ] {
            let count = fill(&from, (type_, kind));
            let exported = from.run(&["export", "--as", kind]).ends(0);
            assert_eq!(exported.text().lines().count(), count);
            assert_eq!(exported.stderr, format!("{count} exported\n"));
            let ran = to
                .run_reading(&["import", "--verify", "--json"], &exported.stdout)
                .ends(0);
            assert_eq!(ran.json()["written"], json!(count));
            assert_eq!(diff(&from, &to, kind, 0), []);
            let again = to
                .run_reading(&["import", "--json"], &exported.stdout)
                .ends(0)
                .json();
            assert_eq!(
                (&again["equal"], &again["written"]),
                (&json!(count), &json!(0)),
                "{again}"
            );
            let sorted = |text: &str| {
                let mut lines: Vec<_> = text
                    .lines()
                    .filter(|line| !line.contains("expiring"))
                    .map(str::to_owned)
                    .collect();
                lines.sort();
                lines
            };
            let back = to.run(&["export", "--as", kind]).ends(0);
            assert_eq!(
                sorted(back.text()),
                sorted(exported.text()),
                "text for text"
            );
        }
    }
}

#[test]
fn an_import_reports_the_lines_that_it_cannot_use() {
    let to = Place::redis();
    let folder = Folder::new();
    let file = folder.file("lines");
    let lines = [
        r#"{"key":"a","type":"text","value":"1"}"#,
        r#"{"key":"b","type":"text","value":"hunter2""#,
        "",
        r#"{"key":"","type":"text","value":"1"}"#,
        r#"{"key":"c","type":"json","value":null}"#,
        r#"{"key":"d","type":"bytes","value":"AP8="}"#,
        r#"{"key":"e","type":"json","value":{"a":1.0}}"#,
        r#"{"key":"f","type":"text","value":"1","expires_at":"2001-01-01T00:00:00.000Z"}"#,
    ];
    std::fs::write(&file, lines.join("\r\n")).unwrap();
    let ran = to.run(&["import", &file]).ends(3);
    for text in [
        "line 2",
        "the key is empty",
        "key `c`",
        "3 written",
        "1 gone meanwhile",
        "3 failed",
    ] {
        assert!(ran.stderr.contains(text), "{text}: {}", ran.stderr);
    }
    assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
    assert_eq!(to.keys(), ["a", "d", "e"]);
    assert_eq!(
        to.run(&["get", "d", "--as", "bytes"]).ends(0).stdout,
        b"\0\xff"
    );
    to.run(&["import", &folder.file("none")]).ends(3);
}

/// Each key twice, far apart and side by side: the later line is what stays.
#[test]
fn of_two_lines_with_one_key_the_later_wins() {
    let to = Place::redis();
    let mut lines = String::new();
    let mut line = |key: u32, value: &str| {
        writeln!(
            lines,
            r#"{{"key":"{key:03}","type":"text","value":"{value}"}}"#
        )
        .unwrap();
    };
    for key in 0..300 {
        line(key, "old");
        if key % 2 == 0 {
            line(key, "new");
        }
    }
    (0..300)
        .filter(|key| key % 2 == 1)
        .for_each(|key| line(key, "new"));
    // On what is there already, the first line is written, and the second is not equal to what was there then.
    for _ in 0..2 {
        let ran = to.run_reading(&["import", "--json"], lines.as_bytes());
        assert_eq!(ran.ends(0).json()["read"], json!(600));
        let exported = to.run(&["export", "--as", "text"]).ends(0);
        let values: Vec<_> = exported
            .jsons()
            .into_iter()
            .map(|line| line["value"].clone())
            .collect();
        assert_eq!(values.len(), 300);
        let old = values.iter().filter(|value| **value == json!("old"));
        assert_eq!(old.count(), 0);
    }
}

/// What the write would refuse, a dry run refuses, and what it would take, that too.
#[test]
fn a_dry_run_promises_what_the_run_does() {
    let to = Place::redis();
    let spaces = " ".repeat(2000);
    let lines = [
        r#"{"key":"a","type":"text","value":"1"}"#.to_owned(),
        r#"{"key":"null","type":"json","value":null}"#.to_owned(),
        r#"{"key":"large","type":"json","value":18446744073709551616}"#.to_owned(),
        r#"{"key":"late","type":"text","value":"1","expires_at":"2999-01-01T00:00:00.000Z"}"#
            .to_owned(),
        r#"{"key":"","type":"text","value":"1"}"#.to_owned(),
        format!(r#"{{"key":"spaces","type":"json","value":[{spaces}]}}"#),
        format!(r#"{{"key":"long","type":"text","value":"{spaces}"}}"#),
    ]
    .join("\n");
    let url = format!("{}&max_value_len=1000", to.url);
    let import = |more: &[&str]| {
        let args = [&["import", "--json", "--store", &url], more].concat();
        let mut counts = kvstore_reading(args, lines.as_bytes()).ends(3).json();
        let counts = counts.as_object_mut().unwrap();
        for name in ["seconds", "dry_run"] {
            counts.remove(name).unwrap();
        }
        counts.clone()
    };
    let dry = import(&["--dry-run"]);
    assert_eq!(to.keys(), [""; 0], "nothing is written");
    assert_eq!((&dry["written"], &dry["failed"]), (&json!(2), &json!(5)));
    assert_eq!(dry, import(&[]));
    assert_eq!(to.keys(), ["a", "spaces"]);
}
