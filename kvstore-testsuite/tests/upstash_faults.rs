//! Upstash's front: its limits, and the faults that tests make.

mod http;

use std::io::{self, Read as _};
use std::net::TcpStream;
use std::thread::{scope, sleep};
use std::time::Duration;

use http::{Http, fetch, post, start};
use kvstore_testsuite::servers::Reply;

#[test]
fn what_is_too_large_is_refused() {
    let (redis, front) = start();
    front.set_max_request_size(100);
    let (most, more) = ("x".repeat(96), "x".repeat(97));
    let set = |value: &str| post(&front, "/set/k", value);
    set(&most).ok();
    let refused = set(&more).refused(400);
    let words = "ERR max request size exceeded. Limit: 100 bytes, Actual: 101 bytes. See ";
    assert!(
        refused.starts_with(&format!(r#"{{"error":"{words}"#)),
        "{refused}"
    );
    assert_eq!(redis.command(&["GET", "k"]).text(), most);
    // Of each command, and not of all together; and of each answer.
    assert_eq!(
        post(&front, "/pipeline", r#"[["GET", "k"], ["GET", "k"]]"#)
            .ok()
            .matches(&most)
            .count(),
        2
    );
    let refused = post(&front, "/", r#"["MGET", "k", "k"]"#).refused(400);
    assert!(
        refused.contains("Limit: 100 bytes, Actual: 192 bytes"),
        "{refused}"
    );
    let both = format!(r#"[["SET", "k", "short"], ["SET", "k", "{more}"]]"#);
    post(&front, "/multi-exec", &both).refused(400);
    assert_eq!(redis.command(&["GET", "k"]).text(), most);
    let sent = post(&front, "/pipeline", &both).ok();
    assert!(
        sent.starts_with(r#"[{"result":"OK"},{"error":"ERR max request size exceeded."#),
        "{sent}"
    );
}

#[test]
fn a_quota_ends() {
    let (redis, front) = start();
    front.set_quota(3);
    post(&front, "/", r#"["INCR", "a"]"#).ok();
    let both = r#"[["INCR", "a"], ["INCR", "a"], ["INCR", "a"]]"#;
    let refused = post(&front, "/multi-exec", both).refused(400);
    let words = "ERR max requests limit exceeded. Limit: 3, Usage: ";
    assert!(
        refused.starts_with(&format!(r#"{{"error":"{words}1. See "#)),
        "{refused}"
    );
    let sent = post(&front, "/pipeline", both).ok();
    let expected = format!(r#"[{{"result":2}},{{"result":3}},{{"error":"{words}3. See "#);
    assert!(sent.starts_with(&expected), "{sent}");
    assert_eq!(redis.command(&["GET", "a"]).text(), "3");
    front.heal();
    post(&front, "/", r#"["INCR", "a"]"#).ok();
}

#[test]
fn requests_are_counted_and_their_headers_known() {
    let (_redis, front) = start();
    let first = post(&front, "/", r#"["SET", "a", "1"]"#);
    let token = first.header("upstash-sync-token");
    assert!(!token.is_empty());
    assert_eq!(front.last_header("Upstash-Sync-Token"), None);
    let second = Http::get("/get/a")
        .with("Upstash-Sync-Token", &token)
        .to(&front);
    assert_eq!(front.last_header("upstash-sync-token"), Some(token.clone()));
    assert_ne!(second.header("upstash-sync-token"), token);
    Http::get("/get/a").without_token().to(&front).refused(401);
    assert_eq!(front.requests(), 3);
    front.reset();
    assert_eq!(front.requests(), 0);
}

#[test]
fn requests_fail_as_told() {
    let (redis, front) = start();
    front.fail_next(429, r#"{"error":"ERR max daily request limit exceeded"}"#);
    front.fail_next(502, "<html>");
    let set = |value: &str| post(&front, "/set/a", value);
    assert_eq!(
        set("1").refused(429),
        r#"{"error":"ERR max daily request limit exceeded"}"#
    );
    assert_eq!(set("2").refused(502), "<html>");
    assert_eq!(redis.command(&["EXISTS", "a"]), Reply::Integer(0));
    set("3").ok();
    // One fault a request.
    front.cut_after_request();
    front.fail_next(500, "{}");
    assert_eq!(set("x").refused(500), "{}");
    assert!(fetch(&Http::get("/get/a"), &front, Duration::from_secs(60)).is_err());
    front.fail_next(500, "");
    front.heal();
    set("4").ok();
}

#[test]
fn a_cut_loses_the_answer_and_not_the_request() {
    let (redis, front) = start();
    front.cut_after_request();
    assert!(fetch(&Http::get("/incr/a"), &front, Duration::from_secs(60)).is_err());
    assert_eq!(redis.command(&["GET", "a"]).text(), "1");
    assert_eq!(Http::get("/incr/a").to(&front).ok(), r#"{"result":2}"#);
}

#[test]
fn a_stall_swallows_requests() {
    let (redis, front) = start();
    front.stall();
    let waits = |seconds| {
        fetch(
            &Http::get("/incr/a"),
            &front,
            Duration::from_secs_f32(seconds),
        )
    };
    let swallowed = waits(0.2).map(|_| ()).unwrap_err();
    let kinds = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut];
    assert!(kinds.contains(&swallowed.kind()), "{swallowed}");
    scope(|scope| {
        let waiting = scope.spawn(|| waits(60.0));
        while front.requests() < 2 {
            sleep(Duration::from_millis(5));
        }
        front.heal();
        assert!(waiting.join().unwrap().is_err());
    });
    assert_eq!(redis.command(&["EXISTS", "a"]), Reply::Integer(0));
    assert_eq!(waits(60.0).unwrap().ok(), r#"{"result":1}"#);
}

#[test]
fn a_front_outlives_its_redis() {
    let (mut redis, front) = start();
    let get = || Http::get("/get/a").to(&front);
    get().ok();
    redis.stop();
    let refused = get().refused(503);
    assert!(
        refused.starts_with(r#"{"error":"ERR the Redis behind this front: "#),
        "{refused}"
    );
    // The second time at once: the front finds that its connections are closed.
    for _ in 0..2 {
        redis.restart();
        assert_eq!(get().ok(), r#"{"result":null}"#);
    }
}

#[test]
fn requests_are_served_at_the_same_time() {
    let (redis, front) = start();
    scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..50).for_each(|_| drop(Http::get("/incr/a").to(&front).ok())));
        }
    });
    assert_eq!(redis.command(&["GET", "a"]).text(), "400");
    assert_eq!(front.requests(), 400);
}

#[test]
fn a_dropped_front_is_gone_at_once() {
    let (_redis, front) = start();
    let address = front.address();
    front.stall();
    scope(|scope| {
        let mut open = TcpStream::connect(address).unwrap();
        let closed = scope.spawn(move || open.read(&mut [0]));
        drop(front);
        assert!(matches!(closed.join().unwrap(), Ok(0) | Err(_)));
    });
    assert!(TcpStream::connect(address).is_err());
}
