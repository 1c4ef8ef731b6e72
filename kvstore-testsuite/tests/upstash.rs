//! Upstash's front: what Upstash's documentation says.

mod http;

use http::{Http, post, start};
use kvstore_testsuite::servers::{Reply, UpstashFront};

#[test]
fn the_documentation_s_examples() {
    let (redis, front) = start();
    let get = |path: &str| Http::get(path).to(&front);
    assert_eq!(get("/set/foo/bar").ok(), r#"{"result":"OK"}"#);
    assert_eq!(get("/get/foo").ok(), r#"{"result":"bar"}"#);
    assert_eq!(get("/GET/none").ok(), r#"{"result":null}"#);
    assert_eq!(get("/set/foo/bar/EX/100").ok(), r#"{"result":"OK"}"#);
    assert_eq!(redis.command(&["TTL", "foo"]), Reply::Integer(100));
    assert_eq!(
        get("/mget/foo/none/foo").ok(),
        r#"{"result":["bar",null,"bar"]}"#
    );
    assert_eq!(
        get("/zadd/teams/100/team-x/90/team-y").ok(),
        r#"{"result":2}"#
    );
    assert_eq!(
        post(&front, "/set/foo?EX=200", "$VALUE").ok(),
        r#"{"result":"OK"}"#
    );
    assert_eq!(redis.command(&["GET", "foo"]).text(), "$VALUE");
    assert_eq!(redis.command(&["TTL", "foo"]), Reply::Integer(200));
    let set = r#"["SET", "foo", "bar", "EX", 100]"#;
    assert_eq!(post(&front, "/", set).ok(), r#"{"result":"OK"}"#);
    let wrong = r#"{"error":"ERR wrong number of arguments for 'get' command"}"#;
    assert_eq!(get("/get").refused(400), wrong);
    let sent = get("/get/foo");
    assert_eq!(sent.header("content-type"), "application/json");
}

#[test]
fn keys_and_values_are_any_bytes() {
    let (redis, front) = start();
    let (key, value) = (b"a/../b\0\xff ?&%".as_slice(), b"\0\xff\r\n[]\"".as_slice());
    let path = "/set/a%2F..%2Fb%00%FF%20%3F%26%25?PX=60000";
    assert_eq!(
        Http::post(path, value).to(&front).ok(),
        r#"{"result":"OK"}"#
    );
    assert_eq!(redis.command(&[b"GET", key]), Reply::Data(value.to_vec()));
    assert!(matches!(
        redis.command(&[b"PTTL", key]),
        Reply::Integer(1..=60_000)
    ));
    let get = Http::get("/get/a%2F..%2Fb%00%FF%20%3F%26%25");
    assert_eq!(
        get.to(&front).ok(),
        "{\"result\":\"\\u0000\u{fffd}\\r\\n[]\\\"\"}"
    );
    let get = get.with("Upstash-Encoding", "base64");
    assert_eq!(get.to(&front).ok(), r#"{"result":"AP8NCltdIg=="}"#);
    // Not looked at: it is what curl says of a body.
    let form = "application/x-www-form-urlencoded";
    Http::post("/set/form", b"a=1&b=2")
        .with("content-type", form)
        .to(&front)
        .ok();
    assert_eq!(redis.command(&["GET", "form"]).text(), "a=1&b=2");
}

#[test]
fn a_token_is_needed() {
    let (redis, front) = start();
    let refused = r#"{"error":"WRONGPASS invalid or missing auth token"}"#;
    let encoded = front.token().replace('=', "%3D");
    let set = Http::get("/set/a/1").without_token();
    assert_eq!(set.to(&front).refused(401), refused);
    for wrong in ["Bearer", "Bearer ", "Bearer x", "Basic x", front.token()] {
        let set = set.clone().with("authorization", wrong);
        assert_eq!(set.to(&front).refused(401), refused, "{wrong}");
    }
    for path in ["/set/a/1?_token=x", "/set/a/1?_token", "/set/a/1?EX=1"] {
        assert_eq!(
            Http::get(path).without_token().to(&front).refused(401),
            refused
        );
    }
    assert_eq!(redis.command(&["DBSIZE"]), Reply::Integer(0));
    let path = format!("/set/a/1?_token={encoded}");
    assert_eq!(
        Http::get(&path).without_token().to(&front).ok(),
        r#"{"result":"OK"}"#
    );
    assert_eq!(redis.command(&["GET", "a"]).text(), "1");
    // The header says who it is, if there is one.
    let both = Http::get(&path)
        .without_token()
        .with("authorization", "Bearer x");
    assert_eq!(both.to(&front).refused(401), refused);
    assert_ne!(UpstashFront::start(&redis).token(), front.token());
    assert!(!format!("{front:?}").contains(front.token()));
}

#[test]
fn the_other_token_reads() {
    let (redis, front) = start();
    redis.command(&["SET", "a", "1"]);
    let ask = |path: &str| {
        let token = format!("Bearer {}", front.read_only_token());
        Http::get(path)
            .without_token()
            .with("authorization", &token)
            .to(&front)
    };
    assert_eq!(ask("/get/a").ok(), r#"{"result":"1"}"#);
    for (path, name) in [
        ("/set/a/2", "set"),
        ("/scan/0", "scan"),
        ("/EVAL/return 1/0", "eval"),
    ] {
        let refused = ask(&path.replace(' ', "%20")).refused(400);
        let words = format!(
            "NOPERM this user has no permissions to run the '{name}' command or its subcommand"
        );
        assert_eq!(refused, format!(r#"{{"error":"{words}"}}"#));
    }
    assert_eq!(redis.command(&["GET", "a"]).text(), "1");
}

#[test]
fn base64_encodes_all_strings_but_ok() {
    let (_redis, front) = start();
    let ask = |path: &str, body: &str| {
        let request = Http::post(path, body.as_bytes()).with("upstash-encoding", "base64");
        request.to(&front)
    };
    assert_eq!(ask("/", r#"["SET", "a", "OK"]"#).ok(), r#"{"result":"OK"}"#);
    assert_eq!(ask("/", r#"["GET", "a"]"#).ok(), r#"{"result":"T0s="}"#);
    assert_eq!(
        ask("/", r#"["TYPE", "a"]"#).ok(),
        r#"{"result":"c3RyaW5n"}"#
    );
    assert_eq!(ask("/", r#"["STRLEN", "a"]"#).ok(), r#"{"result":2}"#);
    let nested = r#"["EVAL", "return {'a', 1, false, {'b', {'', 2}}}", 0]"#;
    assert_eq!(
        ask("/", nested).ok(),
        r#"{"result":["YQ==",1,null,["Yg==",["",2]]]}"#
    );
    let both = r#"[["GET", "a"], ["LPUSH", "a", "x"], ["GET", "none"], ["SET", "a", "é"], ["MGET", "a", "none"]]"#;
    for path in ["/pipeline", "/multi-exec"] {
        ask("/", r#"["SET", "a", "b"]"#).ok();
        let wrong = "WRONGTYPE Operation against a key holding the wrong kind of value";
        let results = r#"{"result":null},{"result":"OK"},{"result":["w6k=",null]}"#;
        let expected = format!(r#"[{{"result":"Yg=="}},{{"error":"{wrong}"}},{results}]"#);
        assert_eq!(ask(path, both).ok(), expected);
    }
    let refused = ask("/", r#"["LPUSH", "a", "x"]"#).refused(400);
    assert!(refused.starts_with(r#"{"error":"WRONGTYPE "#), "{refused}");
}

#[test]
fn resp2_is_as_redis_sends_it() {
    let (_redis, front) = start();
    let ask = |path: &str, body: &str| {
        let request = Http::post(path, body.as_bytes()).with("Upstash-Response-Format", "resp2");
        request.to(&front)
    };
    let sent = ask("/", r#"["SET", "foo", "bar"]"#);
    assert_eq!(sent.header("content-type"), "application/octet-stream");
    assert_eq!(sent.ok(), "+OK\r\n");
    assert_eq!(ask("/get/foo", "").ok(), "$3\r\nbar\r\n");
    assert_eq!(
        ask("/", r#"["MGET", "foo", "x"]"#).ok(),
        "*2\r\n$3\r\nbar\r\n$-1\r\n"
    );
    assert!(
        ask("/", r#"["LPUSH", "foo", "x"]"#)
            .refused(400)
            .starts_with("-WRONGTYPE ")
    );
    let several = r#"[["DEL", "foo"], ["GET"], ["PING"]]"#;
    let wrong = "-ERR wrong number of arguments for 'get' command";
    assert_eq!(
        ask("/pipeline", several).ok(),
        format!(":1\r\n{wrong}\r\n+PONG\r\n")
    );
    assert_eq!(
        ask("/multi-exec", r#"[["PING"]]"#).ok(),
        r#"[{"result":"PONG"}]"#
    );
    let refuse = |name, value| {
        let refused = Http::get("/get/foo").with(name, value);
        refused
            .with("Upstash-Encoding", "base64")
            .to(&front)
            .refused(400)
    };
    refuse("Upstash-Response-Format", "resp2");
    refuse("Upstash-Response-Format", "resp3");
}

#[test]
fn a_pipeline_goes_on_after_an_error() {
    let (redis, front) = start();
    let body = r#"[["SET", "key1", "valuex"], ["SETEX", "key2", 13, "valuez"], ["INCR", "key1"],
        ["ZADD", "myset", 11, "item1", 22, "item2"], [], ["MULTI"], ["SORT", "a"]]"#;
    let sent = post(&front, "/pipeline", body).ok();
    let expected = concat!(
        r#"[{"result":"OK"},{"result":"OK"},{"error":"ERR value is not an integer or out of range"},"#,
        r#"{"result":2},{"error":"ERR empty command"},"#,
        r#"{"error":"ERR Command \"MULTI\" is not allowed in REST or it has a special context path"},"#,
        r#"{"error":"ERR Command is not available: 'SORT'. "#,
        r#"See https://upstash.com/docs/redis/overall/rediscompatibility for details"}]"#,
    );
    assert_eq!(sent, expected);
    assert_eq!(redis.command(&["TTL", "key2"]), Reply::Integer(13));
    for body in [
        "[]",
        "",
        "[1]",
        r#"["GET", "a"]"#,
        r#"[["SET", "key1", null]]"#,
    ] {
        post(&front, "/pipeline", body).refused(400);
    }
    assert_eq!(redis.command(&["GET", "key1"]).text(), "valuex");
}

#[test]
fn a_transaction_is_done_or_discarded() {
    let (redis, front) = start();
    let body = r#"[["SET", "a", "x"], ["INCR", "a"], ["COMMAND"], ["MGET", "a", "b"]]"#;
    let expected = concat!(
        r#"[{"result":"OK"},{"error":"ERR value is not an integer or out of range"},"#,
        r#"{"result":[]},{"result":["x",null]}]"#,
    );
    assert_eq!(post(&front, "/multi-exec", body).ok(), expected);
    for second in [
        r#"["SET"]"#,
        r#"["SELECT", 1]"#,
        r#"["OBJECT", "ENCODING", "a"]"#,
        "[]",
        "[{}]",
    ] {
        let body = format!(r#"[["SET", "a", "y"], {second}]"#);
        let refused = post(&front, "/multi-exec", &body).refused(400);
        assert!(refused.starts_with(r#"{"error":""#), "{refused}");
    }
    // The connection is as before: what comes is not queued.
    assert_eq!(
        post(&front, "/", r#"["GET", "a"]"#).ok(),
        r#"{"result":"x"}"#
    );
    assert_eq!(redis.command(&["GET", "a"]).text(), "x");
}

#[test]
fn methods_are_those_that_are_documented() {
    let (redis, front) = start();
    assert_eq!(
        Http::new("PUT", "/set/a", b"1").to(&front).ok(),
        r#"{"result":"OK"}"#
    );
    assert_eq!(Http::new("HEAD", "/incr/a", b"").to(&front).ok(), "");
    assert_eq!(redis.command(&["GET", "a"]).text(), "2");
    for method in ["DELETE", "PATCH", "OPTIONS"] {
        let sent = Http::new(method, "/incr/a", b"").to(&front);
        assert_eq!(sent.header("allow"), "HEAD, GET, POST, PUT");
        sent.refused(405);
    }
    assert_eq!(redis.command(&["GET", "a"]).text(), "2");
    Http::get("/").to(&front).refused(400);
    Http::get("/pipeline").to(&front).refused(400);
}
