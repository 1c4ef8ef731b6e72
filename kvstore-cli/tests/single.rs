//! The commands on one key, on every server.

mod common;

use std::time::Duration;

use common::{Folder, Place, kvstore, kvstore_reading};
use kvstore_testsuite::servers::RedisServer;
use serde_json::json;

#[test]
fn what_is_set_comes_back_as_it_was() {
    let every_byte: Vec<u8> = (0..=255).chain([b'\n']).collect();
    for place in Place::all() {
        let name = place.name;
        let get = |key: &str, kind: &str| place.run(&["get", key, "--as", kind]).ends(0).stdout;
        for (kind, value) in [
            ("bytes", &every_byte[..]),
            ("bytes", b""),
            ("text", "grüße\0\n".as_bytes()),
            ("text", b""),
            (
                "json",
                br#"{"a":[1,1.0,18446744073709551615,-0.5,null,"\n"],"b":{}}"#,
            ),
            ("json", b"[true]"),
            ("json", b"1.0"),
        ] {
            place
                .run_reading(&["set", "k", "-", "--as", kind], value)
                .ends(0);
            let found = get("k", kind);
            match kind {
                "json" => {
                    let parse =
                        |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).unwrap();
                    assert_eq!(parse(&found), parse(value), "{name}");
                }
                _ => assert_eq!(found, value, "{name} {kind}: not a byte more"),
            }
        }
        let folder = Folder::new();
        let file = folder.file("value");
        std::fs::write(&file, &every_byte).unwrap();
        place
            .run(&["set", "k", &format!("@{file}"), "--as", "bytes"])
            .ends(0);
        assert_eq!(get("k", "bytes"), every_byte);
        for literal in ["-", "@x", "--ttl", ""] {
            place.set("k", literal);
            assert_eq!(get("k", "text"), literal.as_bytes());
        }
    }
}

#[test]
fn a_missing_key_is_one_and_a_wrong_value_is_three() {
    for place in Place::all() {
        let ran = place.run(&["get", "k"]).ends(1);
        assert_eq!((ran.text(), &ran.stderr[..]), ("", "the key is missing\n"));
        assert_eq!(place.run(&["get", "k", "--json"]).ends(1).text(), "null\n");
        assert_eq!(place.run(&["has", "k"]).ends(1).text(), "false\n");
        place.run(&["take", "k"]).ends(1);
        place.run(&["touch", "k", "--ttl", "1h"]).ends(1);
        place.run(&["touch", "k", "--persist"]).ends(1);
        place.run(&["entry", "k"]).ends(1);
        place.run(&["delete", "k"]).ends(0);
        place.set("k", "hunter2");
        assert_eq!(place.run(&["has", "k"]).ends(0).text(), "true\n");
        // MongoDB and Vault tell types apart, but a string is JSON too; elsewhere what decodes as a type is of it.
        let other = match place.name {
            "mongodb" | "vault" | "fallback" => "bytes",
            _ => "json",
        };
        let ran = place.run(&["take", "k", "--as", other]).ends(3);
        assert_eq!(
            ran.text(),
            "",
            "{}: what cannot be printed stays",
            place.name
        );
        let ran = place.run(&["get", "k", "--as", other]).ends(3);
        assert_eq!(ran.text(), "");
        assert!(ran.stderr.contains("get: "), "{}", ran.stderr);
        assert!(
            !ran.stderr.contains("hunter2") && !ran.stderr.contains("::"),
            "{}",
            ran.stderr
        );
        for value in ["{", "null", "18446744073709551616"] {
            let ran = place.run(&["set", "k", value, "--as", "json"]).ends(3);
            assert!(
                ran.stderr.contains("cannot be stored exactly as the type"),
                "{}",
                ran.stderr
            );
        }
        assert_eq!(
            place.run(&["get", "k"]).ends(0).text(),
            "hunter2",
            "nothing was written"
        );
    }
}

#[test]
fn conditions_versions_expiry_and_take() {
    for place in Place::all() {
        let name = place.name;
        place.run(&["set", "k", "1", "--if-present"]).ends(1);
        place.run(&["set", "k", "1", "--if-absent"]).ends(0);
        let ran = place.run(&["set", "k", "2", "--if-absent"]).ends(1);
        assert!(ran.stderr.contains("nothing was changed"), "{}", ran.stderr);
        assert_eq!(place.run(&["get", "k"]).ends(0).text(), "1", "{name}");

        let entry = place.run(&["entry", "k", "--json"]).ends(0).json();
        assert_eq!(
            (&entry["size"], &entry["type"]),
            (&json!(1), &json!("text"))
        );
        assert_eq!(entry["expires_in_ms"], json!(null));
        let version = entry["version"].as_str().unwrap();
        let ran = place
            .run(&["set", "k", "3", "--if-version", version, "--json"])
            .ends(0);
        assert_eq!(ran.json()["applied"], json!(true));
        place
            .run(&["set", "k", "4", "--if-version", version])
            .ends(1);
        place.run(&["delete", "k", "--if-version", version]).ends(1);

        place.run(&["set", "k", "5", "--ttl", "1h"]).ends(0);
        place.run(&["set", "k", "6", "--keep-ttl"]).ends(0);
        // Memcached counts seconds, and may keep a key two of them too long.
        let unit = if name == "memcached" { 1000 } else { 1 };
        let left = || place.run(&["entry", "k", "--json"]).ends(0).json()["expires_in_ms"].as_u64();
        let range = 3_500_000..=3_600_000 + 2 * unit;
        assert!(range.contains(&left().unwrap()), "{name}");
        place.run(&["touch", "k", "--ttl", "2h"]).ends(0);
        assert!(left().unwrap() > 7_100_000, "{name}");
        let shown = place.run(&["entry", "k"]).ends(0);
        let expires = ["expires  in 1h 59m", "expires  in 2h"];
        assert!(
            expires.iter().any(|text| shown.text().contains(text)),
            "{}",
            shown.text()
        );
        place.run(&["touch", "k", "--persist"]).ends(0);
        assert_eq!(left(), None, "{name}");

        assert_eq!(place.run(&["take", "k"]).ends(0).text(), "6");
        place.run(&["has", "k"]).ends(1);
        place.run(&["set", "k", "7", "--ttl", "300ms"]).ends(0);
        std::thread::sleep(Duration::from_millis(400 + 2 * unit));
        place.run(&["get", "k"]).ends(1);
    }
}

#[test]
fn values_as_json() {
    let place = Place::redis();
    place.set("text", "a\n\"b");
    assert_eq!(
        place.run(&["get", "text", "--json"]).ends(0).json(),
        json!("a\n\"b")
    );
    let bytes = place
        .run(&["get", "text", "--json", "--as", "bytes"])
        .ends(0)
        .json();
    assert_eq!(bytes, json!("YQoiYg=="));
    place
        .run(&["set", "j", "{ \"a\": [1.0] }", "--as", "json"])
        .ends(0);
    let ran = place.run(&["get", "j", "--json", "--as", "json"]).ends(0);
    assert_eq!(ran.text(), "{\"a\":[1.0]}\n");
}

#[test]
fn listings_and_namespaces() {
    for place in Place::listing() {
        for key in ["a/1", "a/2", "*", "b", "line\nbreak"] {
            place.set(key, "v");
        }
        let inner = ["--namespace", "n:m"];
        place
            .run(&[&["set", "inner", "v"], &inner[..]].concat())
            .ends(0);
        let sorted = |ran: common::Ran, end: char| {
            let mut keys: Vec<_> = ran
                .text()
                .split_terminator(end)
                .map(str::to_owned)
                .collect();
            keys.sort();
            keys
        };
        assert_eq!(
            sorted(place.run(&["keys", "a/"]).ends(0), '\n'),
            ["a/1", "a/2"]
        );
        assert_eq!(
            sorted(place.run(&["keys", "*"]).ends(0), '\n'),
            ["*"],
            "it is a star"
        );
        let all = sorted(place.run(&["keys", "-0"]).ends(0), '\0');
        assert_eq!(all, ["*", "a/1", "a/2", "b", "line\nbreak", "n:m:inner"]);
        assert_eq!(place.keys(), all);
        let ran = place.run(&[&["keys"], &inner[..]].concat()).ends(0);
        assert_eq!(ran.text(), "inner\n");
        assert_eq!(place.run(&["ls", "nothing"]).ends(0).text(), "");
    }
}

/// There is nothing at that address, which nobody finds out.
#[test]
fn what_cannot_list_its_keys_says_so_before_any_server_is_asked() {
    let (cache, other) = ("memcached://127.0.0.1:1", "redis://127.0.0.1:1");
    for args in [
        &["keys", "--store", cache][..],
        &["export", "--as", "text", "--store", cache],
        &["copy", cache, other, "--as", "text"],
        &["diff", cache, other, "--as", "text"],
    ] {
        let ran = kvstore(args).ends(3);
        assert_eq!(ran.text(), "", "{args:?}");
        assert!(
            ran.stderr.starts_with("kvstore: memcached keys: "),
            "{}",
            ran.stderr
        );
        let ran = kvstore(args.iter().chain(&["--json"])).ends(3);
        let error: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
        assert_eq!(error["error"]["kind"], json!("Unsupported"), "{args:?}");
    }
    let place = Place::redis();
    let ran = kvstore(["diff", &place.url, cache, "--as", "text"]).ends(3);
    assert!(ran.stderr.contains("memcached keys: "), "{}", ran.stderr);
}

#[test]
fn the_memory_provider_is_there_too() {
    let ran = kvstore(["set", "k", "v", "--store", "memory:"]).ends(0);
    assert_eq!((ran.text(), &ran.stderr[..]), ("", ""));
    assert_eq!(kvstore(["keys", "--store", "memory:"]).ends(0).text(), "");
}

#[test]
fn a_server_that_is_not_there_is_three_and_for_programs_it_is_json() {
    let mut server = RedisServer::start();
    let url = format!("{}?timeout=500ms&connect_timeout=300ms", server.url());
    server.stop();
    let ran = kvstore(["get", "k", "--store", &url]).ends(3);
    assert!(
        ran.stderr.starts_with("kvstore: redis connect: "),
        "{}",
        ran.stderr
    );
    let ran = kvstore(["get", "k", "--json", "--store", &url]).ends(3);
    let error: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!(error["error"]["kind"], json!("Unavailable"));
    assert_eq!(error["error"]["retryable"], json!(true));
    kvstore(["has", "k", "--store", &url]).ends(3);
}

#[test]
fn pings_say_what_a_server_is_and_what_could_bite() {
    for place in Place::all() {
        let ran = place.run(&["ping", "--json"]).ends(0);
        let ping = ran.json();
        assert_eq!(ping["provider"], json!(place.name));
        assert!(ping["version"].is_string(), "{ping}");
        assert!(ping["latency_ms"].is_number(), "{ping}");
        assert_eq!(ping["capabilities"]["take"], json!(true));
        let shown = place.run(&["ping"]).ends(0);
        for row in [
            "answers ",
            "strong reads  yes",
            "conditions    absent, present, version",
        ] {
            assert!(shown.text().contains(row), "{}", shown.text());
        }
        if place.name != "memcached" {
            assert!(place.keys().is_empty(), "nothing is written");
        }
    }
    let ran = kvstore(["ping", "--store", "memory:"]).ends(0);
    assert!(ran.text().contains("warning"), "{}", ran.text());
}

#[test]
fn help_completions_and_manual() {
    let help = kvstore(["--help"]).ends(0);
    for text in ["copy", "Exit codes", "password_file", "KVSTORE_URL"] {
        assert!(help.text().contains(text), "{}", help.text());
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = kvstore(["completions", shell]).ends(0);
        assert!(ran.text().contains("conform"), "{shell}");
    }
    assert!(kvstore(["man"]).ends(0).text().contains(".TH kvstore 1"));
    let folder = Folder::new();
    kvstore(["man", &folder.file("man")]).ends(0);
    let page = std::fs::read_to_string(folder.file("man/kvstore-copy.1")).unwrap();
    assert!(
        page.contains("\\-\\-if\\-absent") && page.contains("\\-\\-namespace"),
        "{page}"
    );
    assert!(
        kvstore(["--version"])
            .ends(0)
            .text()
            .starts_with("kvstore ")
    );
    // Bash takes the script, and completes by it.
    let script = kvstore(["completions", "bash"]).stdout;
    let mut bash = std::process::Command::new("bash");
    let test = "source /dev/stdin; COMP_WORDS=(kvstore conf); COMP_CWORD=1; _kvstore kvstore conf kvstore; echo $COMPREPLY";
    bash.args(["-c", test])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut bash = bash.spawn().unwrap();
    std::io::Write::write_all(&mut bash.stdin.take().unwrap(), &script).unwrap();
    let output = bash.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "conform");
}

#[test]
fn values_on_standard_input_of_any_size() {
    let place = Place::redis();
    let value = vec![b'x'; 5 << 20];
    place
        .run_reading(&["set", "k", "-", "--as", "bytes"], &value)
        .ends(0);
    assert_eq!(
        place.run(&["get", "k", "--as", "bytes"]).ends(0).stdout,
        value
    );
    let ran = kvstore_reading(["set", "k", "-", "--store", "memory:"], b"\xff").ends(3);
    assert!(
        ran.stderr.contains("as the type that `--as` says"),
        "{}",
        ran.stderr
    );
}
