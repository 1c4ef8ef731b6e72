//! Upstash's front, used by Upstash's own client for Python.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use kvstore_testsuite::servers::{RedisServer, Reply, UpstashFront};
use serde_json::{Value, json};

/// The folder of the client and what it needs.
fn client() -> PathBuf {
    let tools = env::var_os("KVSTORE_TOOLS").map(PathBuf::from);
    let tools = tools.unwrap_or_else(|| env::home_dir().unwrap().join(".cache/kvstore-tools"));
    let folder = tools.join("upstash-redis");
    assert!(
        folder.join("upstash_redis/__init__.py").is_file(),
        "no Upstash client in {}: `cargo xtask servers` installs it",
        folder.display()
    );
    folder
}

/// What the program printed.
fn run(front: &UpstashFront, encoding: &str) -> Value {
    let program = include_str!("upstash_client.py");
    let output = Command::new("python3")
        .args(["-B", "-c", program, &front.url(), front.token(), encoding])
        .env("PYTHONPATH", client())
        // It would ask a proxy for what is on this machine.
        .env("NO_PROXY", "127.0.0.1")
        .output();
    let output = output.unwrap_or_else(|e| {
        panic!("cannot run `python3`, 3.11 or later: {e}; `cargo xtask servers` installs it")
    });
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "the client's program, which needs Python 3.11 or later, failed: {errors}"
    );
    serde_json::from_str(&printed).unwrap_or_else(|e| panic!("{e}: {printed}{errors}"))
}

/// What is to come of it; what is not UTF-8 depends on the encoding.
fn expected(binary: &Value) -> Vec<(&'static str, Value)> {
    let upstash = |words: &str| json!(["UpstashError", words]);
    let not_an_integer = "ERR value is not an integer or out of range";
    vec![
        ("ping", json!("PONG")),
        ("get of nothing", json!(null)),
        ("set", json!(true)),
        ("get", json!("v")),
        ("type", json!("string")),
        ("exists", json!(2)),
        ("delete", json!(1)),
        ("get of what is gone", json!(null)),
        ("empty", json!([true, "", 1])),
        ("the value OK", json!([true, "OK"])),
        ("unicode", json!([true, true, 1])),
        ("numbers", json!([true, "9223372036854775807", true, "1.5"])),
        ("model", json!([true, { "a": [1, null, "x"] }])),
        ("getdel", json!([true, "v", null])),
        ("mset", json!(true)),
        ("mget", json!(["1", null, "2", "1"])),
        ("pttl", json!([-2, -1])),
        ("pexpire", json!([true, true, false])),
        ("persist", json!([true, false, -1])),
        ("px", json!([true, true])),
        ("keepttl", json!([true, true, "2"])),
        ("without", json!([true, -1])),
        ("nx", json!([true, false, "1"])),
        ("xx", json!([true, false, null])),
        ("get and set", json!("3")),
        ("eval", json!(["c", "x", 7, null, ["4"]])),
        (
            "evalsha of nothing",
            upstash("NOSCRIPT No matching script. Please use EVAL."),
        ),
        (
            "script",
            json!(["d316e91b5ed256dec95a3d6dad6b80161111bb6a", [true, false]]),
        ),
        ("evalsha", json!(["c", "y", 7, null, ["4"]])),
        ("scan", json!(26)),
        ("scan of a type", json!(["scan:list"])),
        ("scan of few", json!(["scan:20", "scan:21"])),
        ("pipeline", json!([true, "1", 2, ["2", null]])),
        ("multi", json!([true, 6, "6"])),
        (
            "pipeline with an error",
            json!([upstash(not_an_integer), "y"]),
        ),
        // The client expects an array there, and does not see the error.
        ("multi discarded", json!(["AttributeError", "y"])),
        (
            "wrong type",
            upstash("WRONGTYPE Operation against a key holding the wrong kind of value"),
        ),
        (
            "wrong number",
            upstash("ERR wrong number of arguments for 'get' command"),
        ),
        (
            "not available",
            upstash(
                "ERR Command is not available: 'OBJECT ENCODING'. \
             See https://upstash.com/docs/redis/overall/rediscompatibility for details",
            ),
        ),
        (
            "not in REST",
            upstash(
                "ERR Command \"SELECT\" is not allowed in REST or it has a special context path",
            ),
        ),
        (
            "wrong token",
            upstash("WRONGPASS invalid or missing auth token"),
        ),
        ("binary", binary.clone()),
        ("async", json!([true, "v"])),
        ("next sync token is another", json!(true)),
    ]
}

fn check(encoding: &str, header: Option<&str>, binary: &Value) {
    let redis = RedisServer::start();
    let front = UpstashFront::start(&redis);
    redis.command(&[b"SET", b"binary".as_slice(), b"\xff"]);
    let mut seen = run(&front, encoding);
    let token = seen.as_object_mut().unwrap().remove("sync token").unwrap();
    let expected = expected(binary);
    for (name, value) in &expected {
        assert_eq!(&seen[name], value, "{name}");
    }
    assert_eq!(seen.as_object().unwrap().len(), expected.len());
    // The last request said up to which write it must see.
    assert!(!token.as_str().unwrap().is_empty());
    assert_eq!(
        front.last_header("upstash-sync-token").as_deref(),
        token.as_str()
    );
    assert_eq!(front.last_header("upstash-encoding").as_deref(), header);
    // What it wrote is what stands there.
    assert_eq!(
        redis.command(&["GET", "m"]).text(),
        r#"{"a": [1, null, "x"]}"#
    );
    assert_eq!(redis.command(&["GET", "empty"]), Reply::Data(Vec::new()));
}

#[test]
fn upstash_s_client_finds_what_it_expects() {
    check("base64", Some("base64"), &json!(["UnicodeDecodeError", ""]));
}

#[test]
fn upstash_s_client_finds_it_without_base64_too() {
    check("none", None, &json!("\\ufffd"));
}
