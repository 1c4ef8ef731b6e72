//! Two stores by one URL, while a service moves.

mod common;

use common::{Folder, Place, kvstore};
use kvstore_testsuite::servers::RedisServer;
use serde_json::json;

#[test]
fn two_stores_by_one_url_while_a_service_moves() {
    let (new, old) = (Place::mongodb(), Place::vault());
    let both = Place::at("fallback", format!("fallback:{} {}", new.url, old.url));
    for key in ["old", "moves"] {
        old.set(key, "v");
    }
    both.set("moves", "w");
    both.set("new", "v");
    let mut get = |key: &str| both.run(&["get", key]).ends(0).stdout;
    assert_eq!(["old", "moves", "new"].map(&mut get), [b"v", b"w", b"v"]);
    assert_eq!(both.keys(), ["moves", "new", "old"]);
    assert_eq!(
        (new.keys(), old.keys()),
        (
            vec!["moves".to_owned(), "new".to_owned()],
            vec!["old".to_owned()]
        )
    );
    let ping = both.run(&["ping", "--json"]).ends(0).json();
    assert_eq!(ping["capabilities"]["take"], json!(true));
    // The password of each is where its own URL says.
    let (locked, folder) = (
        RedisServer::start_with(&["--requirepass", "p w"]),
        Folder::new(),
    );
    let file = folder.file("password");
    std::fs::write(&file, "p w\n").unwrap();
    let host = locked.address();
    let with = |file: &str| {
        format!(
            "fallback:?tombstones=5s redis://{host}?password_file={file} {}",
            old.url
        )
    };
    assert_eq!(
        kvstore(["get", "old", "--store", &with(&file)])
            .ends(0)
            .text(),
        "v"
    );
    kvstore(["get", "old", "--store", &with("/dev/null")]).ends(2);
    let ran = kvstore(["get", "old", "--store", "fallback:memory: secret"]).ends(2);
    assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
}

#[test]
fn what_moves_a_key_wants_its_type() {
    let place = Place::fallback();
    place.set("k", "v");
    for args in [
        &["take", "k"][..],
        &["touch", "k", "--ttl", "1h"],
        &["touch", "k", "--persist"],
        &["set", "k", "w", "--if-absent"],
        &["set", "k", "w", "--if-present"],
        &["set", "k", "w", "--if-version", "1"],
        &["set", "k", "w", "--keep-ttl"],
    ] {
        let ran = kvstore(args.iter().chain(&["--store", &place.url])).ends(2);
        assert!(ran.stderr.contains("--as"), "{}", ran.stderr);
    }
    let old = place.old.as_ref().unwrap();
    assert_eq!(old.run(&["get", "k"]).ends(0).text(), "v");
    kvstore(["set", "k", "w", "--store", &place.url]).ends(0);
    kvstore(["has", "k", "--store", &old.url]).ends(1);
}

/// What only looks at two stores moves nothing, and deletes nothing.
#[test]
fn looking_at_two_stores_leaves_them_as_they_are() {
    let (place, target) = (Place::fallback(), Place::redis());
    let old = place.old.as_ref().unwrap();
    place
        .run_reading(&["set", "a", "-", "--as", "bytes"], b"\xff")
        .ends(0);
    place
        .run_reading(&["set", "b", "-", "--as", "bytes", "--ttl", "1h"], b"aGk=")
        .ends(0);
    let before = old.run(&["export", "--as", "bytes"]).ends(0);
    place.run(&["get", "a", "--as", "bytes"]).ends(0);
    place.run(&["entry", "a", "--as", "bytes"]).ends(0);
    place.run(&["entry", "b"]).ends(0);
    place.run(&["has", "a"]).ends(0);
    place.run(&["export", "--as", "bytes"]).ends(0);
    place.run(&["ping"]).ends(0);
    assert_eq!(place.keys(), ["a", "b"]);
    for args in [
        &[
            "copy",
            &place.url,
            &target.url,
            "--as",
            "bytes",
            "--dry-run",
        ][..],
        &["copy", &old.url, &place.url, "--as", "bytes", "--dry-run"],
        &["copy", &place.url, &target.url, "--as", "bytes", "--verify"],
        &["diff", &place.url, &target.url, "--as", "bytes"],
        &["diff", &target.url, &place.url, "--as", "bytes"],
    ] {
        kvstore(args).ends(0);
    }
    let (new, _) = place
        .url
        .strip_prefix("fallback:")
        .unwrap()
        .split_once(' ')
        .unwrap();
    assert_eq!(kvstore(["keys", "--store", new]).ends(0).text(), "");
    let lines = |ran: &common::Ran| {
        let mut lines = ran.jsons();
        // Written anew at each time, to the millisecond.
        lines
            .iter_mut()
            .for_each(|line| drop(line.as_object_mut().unwrap().remove("expires_at")));
        lines.sort_by_key(|line| line["key"].to_string());
        lines
    };
    let after = old.run(&["export", "--as", "bytes"]).ends(0);
    assert_eq!(lines(&after), lines(&before));
    let taken = kvstore(["take", "a", "--as", "bytes", "--store", &place.url]).ends(0);
    assert_eq!(taken.stdout, b"\xff");
    assert_eq!(
        (place.keys(), old.keys()),
        (vec!["b".to_owned()], vec!["b".to_owned()])
    );
}

/// Under two spellings, which no URL tells.
#[test]
fn one_store_twice_loses_nothing() {
    let (mongodb, file) = (Place::mongodb(), Place::file());
    for (place, more) in [(&mongodb, "&timeout=9s"), (&file, "?timeout=9s")] {
        place.set("k", "v");
        let both = format!("fallback:{} {}{more}", place.url, place.url);
        for args in [&["set", "k", "w"][..], &["take", "k", "--as", "text"]] {
            let ran = kvstore(args.iter().chain(&["--store", &both]));
            assert!(matches!(ran.code, Some(2 | 3)), "{ran:?}");
            if place.name == "mongodb" {
                assert!(ran.stderr.contains("the same place"), "{}", ran.stderr);
            }
        }
        assert_eq!(place.run(&["get", "k"]).ends(0).text(), "v");
        assert_eq!(place.keys(), ["k"]);
    }
}
