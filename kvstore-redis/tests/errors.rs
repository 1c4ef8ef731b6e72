//! What the server refuses, each on a real one: the right kind, nothing secret, never a miss.

use kvstore_core::{ErrorKind, Result};
use kvstore_testsuite::servers::{Redis, RedisServer, Reply};

mod common;
use common::{
    SECRET, ends, failed, not_connected, printed, recovers, refused, texts, write_refused,
};

#[tokio::test]
async fn memory() {
    let server = RedisServer::start_with(&["--maxmemory", "1mb"]);
    let filled = server.try_command(&["SET", "filler", &"x".repeat(1 << 20)]);
    let texts = texts(server.url(), "").await;
    write_refused(&texts, ErrorKind::StorageFull, "OOM").await;
    assert!(matches!(filled, Reply::Data(_) | Reply::Error(_)));
    assert_eq!(texts.get("key").await.unwrap(), None, "reading goes on");
    texts.delete("filler").await.unwrap();
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    texts.set("key", "v").await.unwrap();
}

#[tokio::test]
async fn replicas() {
    let server = RedisServer::start();
    let texts = texts(server.url(), "").await;
    texts.set("key", "v").await.unwrap();
    server.command(&["REPLICAOF", "127.0.0.1", "1"]);
    write_refused(&texts, ErrorKind::Unavailable, "READONLY").await;
    assert_eq!(
        texts.get("key").await.unwrap().as_deref(),
        Some("v"),
        "reading goes on"
    );
    not_connected(
        server.url().parse().unwrap(),
        ErrorKind::Unavailable,
        "read-only replica",
    )
    .await;
    assert!(
        texts
            .ping()
            .await
            .unwrap()
            .warnings
            .iter()
            .any(|warning| warning.contains("replica"))
    );
    server.command(&["CONFIG", "SET", "replica-serve-stale-data", "no"]);
    refused(&texts, ErrorKind::Unavailable, "MASTERDOWN").await;
    server.command(&["REPLICAOF", "NO", "ONE"]);
    server.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    write_refused(&texts, ErrorKind::Unavailable, "NOREPLICAS").await;
    server.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    texts.set("key", "w").await.unwrap();
}

#[tokio::test]
async fn no_disk() {
    let server = RedisServer::start_with(&["--save", "3600 1"]);
    let texts = texts(server.url(), "").await;
    texts.set("key", "v").await.unwrap();
    server.command(&["CONFIG", "SET", "rdbcompression", "no"]);
    // A folder of this name is in the way of the file.
    let Reply::List(dir) = server.command(&["CONFIG", "GET", "dir"]) else {
        panic!("no folder")
    };
    std::fs::create_dir(std::path::Path::new(&dir[1].text()).join("dump.rdb")).unwrap();
    let _ = server.try_command(&["BGSAVE"]);
    let failing = || {
        server
            .command(&["INFO", "persistence"])
            .text()
            .contains("rdb_last_bgsave_status:err")
    };
    recovers("saving to fail", async || {
        if failing() {
            Ok(())
        } else {
            Err(ErrorKind::Busy.into())
        }
    })
    .await;
    write_refused(&texts, ErrorKind::Unavailable, "MISCONF").await;
    assert_eq!(
        texts.get("key").await.unwrap().as_deref(),
        Some("v"),
        "reading goes on"
    );
}

#[tokio::test]
async fn loading() {
    let server = RedisServer::start();
    let texts = texts(server.url(), "").await;
    for key in 0..1000 {
        texts.set(&format!("{key}"), "v".repeat(100)).await.unwrap();
    }
    server.command(&[
        "CONFIG",
        "SET",
        "key-load-delay",
        "10000",
        "loading-process-events-interval-bytes",
        "1024",
    ]);
    let redis = (*server).clone();
    let reload = std::thread::spawn(move || redis.try_command(&["DEBUG", "RELOAD"]));
    let is_loading =
        || matches!(server.try_command(&["GET", "k"]), Reply::Error(e) if e.starts_with("LOADING"));
    recovers("loading to begin", async || {
        if is_loading() {
            Ok(())
        } else {
            Err(ErrorKind::Busy.into())
        }
    })
    .await;
    refused(&texts, ErrorKind::Unavailable, "LOADING").await;
    not_connected(
        server.url().parse().unwrap(),
        ErrorKind::Unavailable,
        "loading",
    )
    .await;
    server.command(&["CONFIG", "SET", "key-load-delay", "0"]);
    let found = recovers("get", || texts.get("7")).await;
    assert_eq!(found.unwrap().len(), 100);
    drop(reload.join());
}

#[tokio::test]
async fn a_script_that_does_not_end() {
    let server = RedisServer::start_with(&["--busy-reply-threshold", "50"]);
    let texts = texts(server.url(), "").await;
    let redis = (*server).clone();
    let script = std::thread::spawn(move || redis.try_command(&["EVAL", "while true do end", "0"]));
    let is_busy =
        || matches!(server.try_command(&["GET", "k"]), Reply::Error(e) if e.starts_with("BUSY"));
    recovers("the script to run", async || {
        if is_busy() {
            Ok(())
        } else {
            Err(ErrorKind::Timeout.into())
        }
    })
    .await;
    refused(&texts, ErrorKind::Busy, "BUSY").await;
    server.command(&["SCRIPT", "KILL"]);
    assert!(matches!(script.join().unwrap(), Reply::Error(_)));
    recovers("set", || texts.set("key", "v")).await;
}

#[tokio::test]
async fn more_calls_than_are_allowed() {
    let mut server = RedisServer::start();
    let texts = texts(server.url(), "max_pending=2&timeout=1s").await;
    server.pause();
    let (one, two, three) = tokio::join!(texts.get("a"), texts.set("b", "v"), async {
        tokio::task::yield_now().await;
        texts.set("c", SECRET).await
    });
    failed(one, ErrorKind::Timeout, "a read that waits");
    assert!(failed(two, ErrorKind::Timeout, "a write that waits").outcome_unknown());
    let error = failed(three, ErrorKind::Busy, "a third call");
    assert!(error.is_retryable() && !error.outcome_unknown());
    server.resume();
    recovers("get", || texts.get("a")).await;
    assert_eq!(texts.get("c").await.unwrap(), None);
}

#[tokio::test]
async fn a_value_beyond_the_limits() {
    let server = RedisServer::start();
    let texts = texts(server.url(), "max_value_len=10").await;
    texts.set("key", "0123456789").await.unwrap();
    failed(
        texts.set("key", "0123456789a").await,
        ErrorKind::ValueTooLarge,
        "over our own limit",
    );
    assert_eq!(
        texts.get("key").await.unwrap().as_deref(),
        Some("0123456789")
    );
    // Over the server's, it closes the connection; what it said before may or may not arrive.
    server.command(&["CONFIG", "SET", "proto-max-bulk-len", "1mb"]);
    let texts = self::texts(server.url(), "").await;
    let error = ends("set", texts.set("key", SECRET.repeat(1 << 20)))
        .await
        .unwrap_err();
    assert!(
        error.kind() == ErrorKind::ValueTooLarge || error.outcome_unknown(),
        "{error:?}"
    );
    assert!(!printed(&error).contains(SECRET));
    assert_eq!(
        recovers("get", || texts.get("key")).await.as_deref(),
        Some("0123456789")
    );
}

#[tokio::test]
async fn ping_tells_valkey_from_redis() -> Result<()> {
    let valkey = Redis::valkey();
    let info = texts(valkey.url(), "").await.ping().await?;
    assert_eq!(info.product, "valkey");
    // Not that of the Redis it is compatible with, which stands beside it.
    let reply = valkey.command(&["INFO", "server"]).text();
    let version = reply
        .lines()
        .find_map(|line| line.strip_prefix("valkey_version:"));
    assert_eq!(info.version.as_deref(), version.map(str::trim));
    Ok(())
}

#[tokio::test]
async fn ping_tells_what_may_bite() -> Result<()> {
    let server = RedisServer::start_with(&["--appendonly", "yes"]);
    let texts = texts(server.url(), "").await;
    let info = texts.ping().await?;
    assert_eq!(info.product, "redis");
    assert!(
        info.version
            .unwrap()
            .starts_with(|first: char| first.is_ascii_digit())
    );
    assert_eq!(info.warnings, Vec::<String>::new());
    server.command(&[
        "CONFIG",
        "SET",
        "appendonly",
        "no",
        "maxmemory",
        "100mb",
        "maxmemory-policy",
        "allkeys-lru",
    ]);
    let warnings = texts.ping().await?.warnings.join("\n");
    assert!(
        warnings.contains("append-only") && warnings.contains("allkeys-lru"),
        "{warnings}"
    );
    Ok(())
}
