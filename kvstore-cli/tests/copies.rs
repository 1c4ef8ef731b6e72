//! `copy` and `diff` between real servers.

mod common;

use common::values::{TYPES, diff, fill};
use common::{Place, kvstore};
use kvstore_testsuite::servers::Reply;
use serde_json::{Value, json};

/// A copy, and what it counted.
#[track_caller]
fn copy(from: &Place, to: &Place, kind: &str, more: &[&str], code: i32) -> Value {
    let args = [&["copy", &from.url, &to.url, "--as", kind, "--json"], more].concat();
    let mut counts = kvstore(args).ends(code).json();
    counts.as_object_mut().unwrap().remove("seconds").unwrap();
    counts
}

/// Around all servers and back: exactly what it began with.
#[test]
fn a_round_of_migrations_changes_nothing() {
    for (type_, kind) in TYPES {
        let places = [
            Place::fallback(),
            Place::zookeeper(),
            Place::fallback(),
            Place::vault(),
            Place::mongodb(),
            Place::s3(),
            Place::file(),
            Place::redis(),
            Place::redis_cluster(),
            Place::upstash(),
            Place::redis_sentinel(),
            Place::vault(),
        ];
        let count = fill(&places[0], (type_, kind));
        for pair in places.windows(2) {
            let counts = copy(&pair[0], &pair[1], kind, &["--verify"], 0);
            assert_eq!(counts["written"], json!(count), "{counts}");
            assert_eq!(diff(&pair[0], &pair[1], kind, 0), []);
        }
        let [first, .., last] = &places;
        assert_eq!(diff(first, last, kind, 0), []);
        let exported = |place: &Place| {
            let lines = place.run(&["export", "--as", kind]).ends(0).jsons();
            let text = |mut line: Value| {
                // Written anew at each step, to the millisecond.
                line.as_object_mut().unwrap().remove("expires_at");
                line.to_string()
            };
            let mut lines: Vec<_> = lines.into_iter().map(text).collect();
            lines.sort();
            lines
        };
        assert_eq!(exported(last), exported(first), "{type_}");
        let left = last
            .run(&["entry", "expiring", "--as", kind, "--json"])
            .ends(0)
            .json();
        assert!(
            (3_000_000..=3_600_000).contains(&left["expires_in_ms"].as_u64().unwrap()),
            "{left}"
        );
        for source in [first, first.old.as_ref().unwrap()] {
            assert_eq!(source.keys().len(), count, "nothing is deleted or moved");
        }
    }
}

/// What is read must not keep the connections that what is written needs.
#[test]
fn a_copy_gets_by_with_few_connections() {
    for mut to in [Place::vault(), Place::s3()] {
        let (from, keys) = (Place::redis(), 300);
        let mut lines = Vec::new();
        for key in 0..keys {
            let line = json!({"key": format!("key {key}"), "type": "text", "value": "value"});
            lines.extend_from_slice(format!("{line}\n").as_bytes());
        }
        from.run_reading(&["import", "--quiet"], &lines).ends(0);
        to.url.push_str("&max_connections=2");
        let counts = copy(&from, &to, "text", &["--jobs", "64"], 0);
        assert_eq!(counts["written"], json!(keys), "{counts}");
    }
}

/// It cannot be a source.
#[test]
fn a_store_that_cannot_list_can_be_a_target() {
    for (type_, kind) in TYPES {
        let (from, to) = (Place::redis(), Place::memcached());
        let count = fill(&from, (type_, kind));
        let dry = copy(&from, &to, kind, &["--dry-run"], 0);
        assert_eq!(dry["written"], json!(count), "{dry}");
        let counts = copy(&from, &to, kind, &["--verify"], 0);
        assert_eq!(counts["written"], json!(count), "{counts}");
        let counts = copy(&from, &to, kind, &["--if-absent"], 0);
        assert_eq!(counts["present"], json!(count), "{counts}");
        for key in from.keys() {
            let get = |place: &Place| place.run(&["get", &key, "--as", kind]).ends(0).stdout;
            assert_eq!(get(&to), get(&from), "{type_} {key}");
        }
        let left = |place: &Place| {
            let entry = ["entry", "expiring", "--as", kind, "--json"];
            place.run(&entry).ends(0).json()["expires_in_ms"].as_u64()
        };
        assert!(left(&to).unwrap().abs_diff(left(&from).unwrap()) < 60_000);
        let exported = from.run(&["export", "--as", kind]).ends(0);
        let ran = to.run_reading(&["import", "--json"], &exported.stdout);
        assert_eq!(ran.ends(0).json()["equal"], json!(count));
    }
}

#[test]
fn what_is_equal_already_is_skipped_and_what_differs_is_overwritten() {
    let (from, to) = (Place::redis(), Place::mongodb());
    for key in ["same", "other", "missing", "type"] {
        from.set(key, "v");
    }
    from.run(&["set", "expires", "v", "--ttl", "1h"]).ends(0);
    to.set("same", "v");
    to.set("other", "w");
    to.run(&["set", "type", "[1]", "--as", "json"]).ends(0);
    to.set("expires", "v");
    to.set("extra", "v");
    let counts = copy(&from, &to, "text", &["--dry-run"], 0);
    assert_eq!(
        (&counts["written"], &counts["equal"]),
        (&json!(4), &json!(1)),
        "{counts}"
    );
    assert_eq!(
        to.run(&["get", "other"]).ends(0).text(),
        "w",
        "nothing was written"
    );
    let counts = copy(&from, &to, "text", &[], 0);
    let expected = json!({
        "read": 5, "written": 4, "equal": 1, "present": 0, "expired": 0, "failed": 0, "dry_run": false,
    });
    assert_eq!(counts, expected);
    assert_eq!(
        diff(&from, &to, "text", 1),
        [("extra".to_owned(), "only in B".to_owned())]
    );
    let counts = copy(&from, &to, "text", &[], 0);
    assert_eq!(
        (&counts["written"], &counts["equal"]),
        (&json!(0), &json!(5)),
        "{counts}"
    );
}

#[test]
fn if_absent_overwrites_nothing() {
    let (from, to) = (Place::redis(), Place::vault());
    from.set("there", "new");
    from.set("missing", "new");
    to.set("there", "old");
    let dry = copy(&from, &to, "text", &["--if-absent", "--dry-run"], 0);
    let counts = copy(&from, &to, "text", &["--if-absent", "--verify"], 0);
    for counts in [dry, counts] {
        assert_eq!(
            (&counts["written"], &counts["present"]),
            (&json!(1), &json!(1)),
            "{counts}"
        );
    }
    assert_eq!(to.run(&["get", "there"]).ends(0).text(), "old");
    assert_eq!(to.run(&["get", "missing"]).ends(0).text(), "new");
}

#[test]
fn what_cannot_be_copied_is_reported_and_the_rest_goes_on() {
    let (from, to) = (Place::redis(), Place::vault());
    for key in ["a", "b", "c"] {
        from.set(key, "text");
    }
    from.run_reading(&["set", "no text", "-", "--as", "bytes"], b"\xff hunter2")
        .ends(0);
    let large = "x".repeat(2 << 20);
    from.run_reading(&["set", "too large", "-"], large.as_bytes())
        .ends(0);
    let ran = kvstore(["copy", &from.url, &to.url, "--as", "text"]).ends(3);
    for text in ["`no text`", "`too large`", "3 written, 2 failed"] {
        assert!(ran.stderr.contains(text), "{}", ran.stderr);
    }
    assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
    assert_eq!(to.keys(), ["a", "b", "c"]);
    let dry = copy(&from, &to, "text", &["--dry-run"], 3);
    assert_eq!(
        (&dry["equal"], &dry["failed"]),
        (&json!(3), &json!(2)),
        "{dry}"
    );
}

#[test]
fn a_prefix_or_a_namespace_is_copied_alone() {
    let (from, to) = (Place::redis(), Place::mongodb());
    for key in ["a/1", "a/2", "b", "n:1"] {
        from.set(key, key);
    }
    copy(&from, &to, "text", &["--prefix", "a/"], 0);
    assert_eq!(to.keys(), ["a/1", "a/2"]);
    copy(&from, &to, "text", &["--namespace", "n"], 0);
    assert_eq!(to.keys(), ["a/1", "a/2", "n:1"]);
}

#[test]
fn a_server_that_is_not_there_ends_a_copy_at_once() {
    let from = Place::redis();
    from.set("k", "v");
    let ran = kvstore([
        "copy",
        &from.url,
        "redis://127.0.0.1:1?timeout=500ms",
        "--as",
        "text",
    ])
    .ends(3);
    assert!(ran.stderr.contains("redis connect"), "{}", ran.stderr);
}

#[test]
fn differences_of_all_kinds_are_shown() {
    let (a, b) = (Place::mongodb(), Place::redis());
    for place in [&a, &b] {
        place
            .run(&["set", "same", r#"{"a":1,"b":[2]}"#, "--as", "json"])
            .ends(0);
    }
    let redis = common::redis();
    let root = b.url.split("prefix=").nth(1).unwrap();
    let reordered = redis.command(&["SET", &format!("{root}same"), r#"{"b": [2], "a": 1}"#]);
    assert_eq!(reordered, Reply::Data(b"OK".to_vec()));
    a.run(&["set", "in a", "1", "--as", "json"]).ends(0);
    b.run(&["set", "in b", "1", "--as", "json"]).ends(0);
    a.run(&["set", "value", "1", "--as", "json"]).ends(0);
    b.run(&["set", "value", "1.0", "--as", "json"]).ends(0);
    a.run(&["set", "expiry", "1", "--as", "json", "--ttl", "1h"])
        .ends(0);
    b.run(&["set", "expiry", "1", "--as", "json", "--ttl", "2h"])
        .ends(0);
    let pair = |key: &str, how: &str| (key.to_owned(), how.to_owned());
    let expected = [
        pair("expiry", "expiry"),
        pair("in a", "only in A"),
        pair("in b", "only in B"),
        pair("value", "value"),
    ];
    assert_eq!(diff(&a, &b, "json", 1), expected);
    let ran = kvstore(["diff", &a.url, &b.url, "--as", "json"]).ends(1);
    let mut lines: Vec<_> = ran.text().lines().collect();
    lines.sort();
    assert_eq!(lines, ["+ in b", "- in a", "~ expiry  (expiry)", "~ value"]);
    assert_eq!(ran.stderr, "4 of 5 keys differ\n");
    redis.command(&["SET", &format!("{root}same"), "no json"]);
    let ran = kvstore(["diff", &a.url, &b.url, "--as", "json"]).ends(3);
    assert!(ran.stderr.contains("`same`"), "{}", ran.stderr);
}

/// Which of two clocks is right, nobody knows.
#[test]
fn a_key_that_is_about_to_expire_is_no_difference() {
    let (a, b) = (Place::mongodb(), Place::redis());
    for place in [&a, &b] {
        place
            .run(&["set", place.name, "v", "--ttl", "2500ms"])
            .ends(0);
    }
    assert_eq!(diff(&a, &b, "text", 0), []);
    b.run(&["set", "longer", "v", "--ttl", "1h"]).ends(0);
    let expected = ("longer".to_owned(), "only in B".to_owned());
    assert_eq!(diff(&a, &b, "text", 1), [expected]);
}
