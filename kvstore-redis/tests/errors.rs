//! What the server refuses, each on a real one: the right kind, nothing secret, never a miss.

use std::time::Duration;

use kvstore_core::{Connect as _, Error, ErrorKind, KeyValueStore, Registry, Result, SetOptions};
use kvstore_redis::{RedisConfig, RedisProvider};
use kvstore_testsuite::servers::{RedisServer, Reply};

mod common;
use common::{HANGS, ends, failed, printed, recovers};

const SECRET: &str = "hunter2";

async fn texts(server: &RedisServer) -> KeyValueStore<String> {
    KeyValueStore::text(RedisProvider::connect(server.url()).await.unwrap())
}

/// Fails unless reading and writing both fail as this kind, and the write was certainly not applied.
async fn refused(texts: &KeyValueStore<String>, kind: ErrorKind, what: &str) {
    let results = [
        ends(what, texts.get("key")).await.map(drop),
        ends(what, texts.get_many(["key"]))
            .await
            .map(drop)
            .map_err(Error::from),
        ends(what, texts.get_entry("key")).await.map(drop),
    ];
    for result in results {
        failed(result, kind, what);
    }
    write_refused(texts, kind, what).await;
}

async fn write_refused(texts: &KeyValueStore<String>, kind: ErrorKind, what: &str) {
    let results = [
        ends(what, texts.set("key", SECRET)).await,
        ends(
            what,
            texts.set_many([("key", SECRET), ("other", SECRET)], SetOptions::new()),
        )
        .await
        .map_err(Error::from),
    ];
    for result in results {
        let error = failed(result, kind, what);
        assert!(!error.outcome_unknown(), "{what}");
        assert!(
            !printed(&error).contains(SECRET),
            "{what}: {}",
            printed(&error)
        );
    }
}

async fn not_connected(config: RedisConfig, kind: ErrorKind, says: &str) {
    let error = failed(ends(says, RedisProvider::connect(config)).await, kind, says);
    assert!(
        error.to_string().starts_with("redis connect: ") && error.to_string().contains(says),
        "{error}"
    );
    assert!(!printed(&error).contains(SECRET), "{}", printed(&error));
}

#[tokio::test]
async fn memory() {
    let server = RedisServer::start_with(&["--maxmemory", "1mb"]);
    let filled = server.try_command(&["SET", "filler", &"x".repeat(1 << 20)]);
    let texts = texts(&server).await;
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
    let texts = texts(&server).await;
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
    let texts = texts(&server).await;
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
    let texts = texts(&server).await;
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
    let texts = texts(&server).await;
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
async fn credentials() {
    let server = RedisServer::start_with(&["--requirepass", SECRET]);
    let config: RedisConfig = server.url().parse().unwrap();
    RedisProvider::connect(config.clone().password(SECRET))
        .await
        .unwrap();
    not_connected(
        config.clone(),
        ErrorKind::Unauthenticated,
        "wants a password",
    )
    .await;
    not_connected(
        config.clone().password("hunter22"),
        ErrorKind::Unauthenticated,
        "refused",
    )
    .await;
    not_connected(
        config.clone().username("bob").password(SECRET),
        ErrorKind::Unauthenticated,
        "refused",
    )
    .await;
    let database = config.clone().password(SECRET).database(99);
    not_connected(
        database,
        ErrorKind::InvalidConfig,
        "no database of that number",
    )
    .await;
    RedisProvider::connect(config.clone().password(SECRET).database(15))
        .await
        .unwrap();

    // Lazily: told at once, and not only when the deadline has passed.
    let lazy = RedisProvider::lazy(
        config
            .clone()
            .password("hunter22")
            .timeout(Duration::from_secs(3600)),
    )
    .unwrap();
    refused(
        &KeyValueStore::text(lazy),
        ErrorKind::Unauthenticated,
        "lazily with a wrong password",
    )
    .await;
}

#[tokio::test]
async fn a_password_that_is_changed_and_changed_back() {
    let server = RedisServer::start_with(&["--requirepass", SECRET]);
    let config: RedisConfig = server.url().parse().unwrap();
    let redis = RedisProvider::connect(config.password(SECRET))
        .await
        .unwrap();
    let texts = KeyValueStore::text(redis);
    texts.set("key", "v").await.unwrap();
    server.command(&["CONFIG", "SET", "requirepass", "another"]);
    server.command(&["CLIENT", "KILL", "USER", "default"]);
    let turned_away = async || match texts.get("key").await {
        Err(error) if error.kind() == ErrorKind::Unauthenticated => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(ErrorKind::Busy.into()),
    };
    recovers("being turned away", turned_away).await;
    refused(
        &texts,
        ErrorKind::Unauthenticated,
        "after the password was changed",
    )
    .await;
    server.command(&["CONFIG", "SET", "requirepass", SECRET]);
    let start = std::time::Instant::now();
    while texts.get("key").await.is_err() {
        assert!(start.elapsed() < HANGS, "the right password does not help");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn nobody_there() {
    let mut server = RedisServer::start();
    server.stop();
    let config: RedisConfig = server.url().parse().unwrap();
    not_connected(
        config.password(SECRET),
        ErrorKind::Unavailable,
        "cannot be reached",
    )
    .await;
    // An address that is for documents, so that nobody answers there, if anybody says so at all.
    let config = RedisConfig::new("192.0.2.1").connect_timeout(Duration::from_millis(200));
    not_connected(config, ErrorKind::Unavailable, "192.0.2.1:6379").await;
    not_connected(
        RedisConfig::new("no-such-host.invalid"),
        ErrorKind::Unavailable,
        "no-such-host.invalid",
    )
    .await;
    not_connected(
        RedisConfig::unix("/no/such/socket"),
        ErrorKind::Unavailable,
        "/no/such/socket",
    )
    .await;
}

#[tokio::test]
async fn tls() {
    let server = RedisServer::start_with(&["--tls-auth-clients", "yes"]);
    let port = server.tls_address().port();
    let plain = RedisConfig::new("localhost").port(port);
    let tls = plain.clone().tls();
    let with_ca = tls.clone().ca(server.ca_path());
    let (cert, key) = (server.client_cert_path(), server.client_key_path());
    let whole = with_ca.clone().client_cert(&cert, &key);
    let texts = KeyValueStore::text(RedisProvider::connect(whole).await.unwrap());
    texts.set("key", "v").await.unwrap();
    let url = format!(
        "rediss://localhost:{port}?ca={}&client_cert={}&client_key={}",
        server.ca_path().display(),
        cert.display(),
        key.display()
    );
    KeyValueStore::text(RedisProvider::connect(&url).await.unwrap())
        .get("key")
        .await
        .unwrap()
        .unwrap();

    not_connected(
        tls.clone().client_cert(&cert, &key),
        ErrorKind::InvalidConfig,
        "certificate",
    )
    .await;
    not_connected(with_ca.clone(), ErrorKind::InvalidConfig, "client_cert").await;
    not_connected(
        with_ca.clone().client_cert(&cert, server.ca_path()),
        ErrorKind::InvalidConfig,
        "`client_key`",
    )
    .await;
    not_connected(tls.clone().ca(&key), ErrorKind::InvalidConfig, "`ca`").await;
    not_connected(
        tls.clone().ca("/no/such/file"),
        ErrorKind::InvalidConfig,
        "`ca`",
    )
    .await;
    not_connected(
        with_ca.clone().client_cert(server.ca_path(), &key),
        ErrorKind::InvalidConfig,
        "do not go together",
    )
    .await;
    not_connected(plain, ErrorKind::Unavailable, "use `rediss://`").await;
    let plain_port = RedisConfig::new("127.0.0.1")
        .port(server.address().port())
        .tls()
        .ca(server.ca_path())
        .connect_timeout(Duration::from_millis(300));
    not_connected(plain_port, ErrorKind::Unavailable, "is TLS spoken").await;
}

#[tokio::test]
async fn more_calls_than_are_allowed() {
    let mut server = RedisServer::start();
    let url = format!("{}?max_pending=2&timeout=1s", server.url());
    let texts = KeyValueStore::text(RedisProvider::connect(url).await.unwrap());
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
    let url = format!("{}?max_value_len=10", server.url());
    let texts = KeyValueStore::text(RedisProvider::connect(url).await.unwrap());
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
    let texts = self::texts(&server).await;
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
async fn ping_tells_what_may_bite() -> Result<()> {
    let server = RedisServer::start_with(&["--appendonly", "yes"]);
    let texts = texts(&server).await;
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

#[test]
fn lazy_needs_a_runtime_and_says_so() {
    let error = failed(
        RedisProvider::lazy("redis://localhost"),
        ErrorKind::InvalidConfig,
        "lazy",
    );
    assert!(error.to_string().contains("tokio"), "{error}");
    failed(
        RedisProvider::lazy("redis://localhost?x=1"),
        ErrorKind::InvalidConfig,
        "lazy",
    );
}

#[tokio::test]
async fn a_registry_opens_it_by_its_schemes() {
    let server = RedisServer::start();
    let registry = Registry::new().with::<RedisProvider>();
    assert!(
        registry
            .schemes()
            .eq(RedisProvider::SCHEMES.iter().copied())
    );
    let port = server.address().port();
    for url in [
        format!("redis://127.0.0.1:{port}"),
        format!("valkey+unix://{}", server.unix_socket().display()),
    ] {
        KeyValueStore::text(registry.open(&url).await.unwrap())
            .set("key", "v")
            .await
            .unwrap();
        KeyValueStore::text(registry.open_lazy(&url).unwrap())
            .get("key")
            .await
            .unwrap()
            .unwrap();
    }
}

#[tokio::test]
async fn debug_shows_no_password() {
    let server = RedisServer::start_with(&["--requirepass", SECRET]);
    let url = format!("redis://:{SECRET}@{}", server.address());
    let provider = RedisProvider::connect(&url).await.unwrap();
    let debug = format!(
        "{provider:?} {provider:#?} {:?}",
        KeyValueStore::text(provider.clone())
    );
    assert!(
        debug.contains("127.0.0.1") && !debug.contains(SECRET),
        "{debug}"
    );
}
