//! Connecting: what is checked, and what is said when it fails.

use std::time::Duration;

use kvstore_core::{Connect as _, ErrorKind, KeyValueStore, Registry};
use kvstore_memcached::{MemcachedConfig, MemcachedProvider};
use kvstore_testsuite::servers::{MemcachedServer, RedisServer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

mod common;
use common::{SECRET, config, connect, failed, not_connected, printed, refused};

const USER: &str = MemcachedServer::USER;

#[tokio::test]
async fn credentials() {
    let server = MemcachedServer::start_with_login();
    let config = config(&server);
    let texts = KeyValueStore::text(connect(config.clone().credentials(USER, SECRET)).await);
    texts.set("key", "v").await.unwrap();
    assert_eq!(texts.get("key").await.unwrap().as_deref(), Some("v"));
    texts.ping().await.unwrap();
    let unauthenticated = ErrorKind::Unauthenticated;
    not_connected(config.clone(), unauthenticated, "wants a user").await;
    for (user, password) in [(USER, "hunter22"), ("bob", SECRET), (USER, "hunter")] {
        let config = config.clone().credentials(user, password);
        not_connected(config, unauthenticated, "refused the user").await;
    }
    let broken = config.clone().credentials(USER, "hunter2\r\nflush_all");
    not_connected(
        broken,
        ErrorKind::InvalidConfig,
        "the user and the password",
    )
    .await;

    // Lazily: told at once, and not only when the deadline has passed.
    let config = config
        .credentials(USER, "hunter22")
        .timeout(Duration::from_secs(3600));
    let lazy = KeyValueStore::text(MemcachedProvider::lazy(config).unwrap());
    refused(&lazy, unauthenticated, "lazily with a wrong password").await;
}

#[tokio::test]
async fn credentials_are_not_sent_to_a_server_that_would_store_them() {
    let server = MemcachedServer::start();
    let with_login = config(&server).credentials(USER, SECRET);
    not_connected(with_login, ErrorKind::InvalidConfig, "`-Y`").await;
    assert_eq!(server.stat("cmd_set"), 0);
}

#[tokio::test]
async fn servers_that_cannot_do_what_is_promised() {
    let server = MemcachedServer::start_with(&["-C"]);
    not_connected(config(&server), ErrorKind::InvalidConfig, "`-C`").await;
    let lazy = KeyValueStore::text(MemcachedProvider::lazy(config(&server)).unwrap());
    refused(&lazy, ErrorKind::InvalidConfig, "lazily without CAS").await;
    let small = MemcachedServer::start_with(&["-I", "8k", "-o", "slab_chunk_max=4"]);
    not_connected(config(&small), ErrorKind::InvalidConfig, "`-I`").await;
    // One of two is enough.
    let fine = MemcachedServer::start();
    let both = config(&fine).server("127.0.0.1", server.address().port());
    not_connected(both, ErrorKind::InvalidConfig, "`-C`").await;
}

/// Answers the same to each line.
async fn answering(answer: &'static str) -> MemcachedConfig {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 1024];
                while let Ok(length @ 1..) = client.read(&mut buffer).await {
                    for _ in buffer[..length].iter().filter(|byte| **byte == b'\n') {
                        client.write_all(answer.as_bytes()).await.unwrap();
                    }
                }
            });
        }
    });
    MemcachedConfig::new("127.0.0.1", port)
}

#[tokio::test]
async fn what_is_no_memcached_of_today() {
    let invalid = ErrorKind::InvalidConfig;
    let redis = RedisServer::start();
    let redis = MemcachedConfig::new("127.0.0.1", redis.address().port());
    not_connected(redis, invalid, "is it Memcached?").await;
    let http = answering("HTTP/1.1 400 Bad Request\r\n").await;
    not_connected(http, invalid, "is it Memcached?").await;
    for version in [
        "VERSION 1.6.12\r\n",
        "VERSION 1.4.39\r\n",
        "VERSION moxi\r\n",
    ] {
        let old = answering(version).await;
        not_connected(old, invalid, "older than Memcached 1.6.13").await;
    }
    let strange = answering("VERSION 1.6.18\r\n").await;
    not_connected(strange, invalid, "is it Memcached?").await;
    let full = answering("ERROR Too many open connections\r\n").await;
    not_connected(full, ErrorKind::Busy, "as many connections").await;
}

#[tokio::test]
async fn a_server_that_takes_no_more_connections() {
    let server = MemcachedServer::start_with(&["-c", "64"]);
    let mut held = Vec::new();
    let error = loop {
        match MemcachedProvider::connect(config(&server)).await {
            Ok(provider) => held.push(provider),
            Err(error) => break error,
        }
        assert!(held.len() < 100, "64 are not reached");
    };
    assert!(error.is_retryable(), "{error:?}");
    let texts = KeyValueStore::text(held[0].clone());
    texts.set("key", "v").await.unwrap();
}

#[tokio::test]
async fn nobody_there() {
    let mut server = MemcachedServer::start();
    let fine = MemcachedServer::start();
    server.stop();
    let down = config(&server);
    let unavailable = ErrorKind::Unavailable;
    not_connected(down.clone(), unavailable, "cannot be reached").await;
    let both = config(&fine).server("127.0.0.1", server.address().port());
    not_connected(both, unavailable, &server.address().to_string()).await;
    // An address that is for documents, so that nobody answers there, if anybody says so at all.
    let nobody =
        MemcachedConfig::new("192.0.2.1", 11211).connect_timeout(Duration::from_millis(200));
    not_connected(nobody, unavailable, "192.0.2.1:11211").await;
    let unknown = MemcachedConfig::new("no-such-host.invalid", 1);
    not_connected(unknown, unavailable, "no-such-host.invalid").await;
    server.restart();
    server.pause();
    let halted = down.connect_timeout(Duration::from_millis(200));
    not_connected(halted, unavailable, "does not answer").await;
}

#[tokio::test]
async fn tls() {
    let server = MemcachedServer::start_with(&["-o", "ssl_verify_mode=2"]);
    let port = server.tls_port();
    let plain = MemcachedConfig::new("localhost", port);
    let tls = plain.clone().tls();
    let with_ca = tls.clone().ca(server.ca_path());
    let (cert, key) = (server.client_cert_path(), server.client_key_path());
    let whole = with_ca.clone().client_cert(&cert, &key);
    let texts = KeyValueStore::text(connect(whole).await);
    texts.set("key", "v").await.unwrap();
    let url = format!(
        "{}?ca={}&client_cert={}&client_key={}",
        server.tls_url(),
        server.ca_path().display(),
        cert.display(),
        key.display()
    );
    let texts = KeyValueStore::text(MemcachedProvider::connect(&url).await.unwrap());
    assert_eq!(texts.get("key").await.unwrap().as_deref(), Some("v"));

    let invalid = ErrorKind::InvalidConfig;
    let of_another = tls.clone().client_cert(&cert, &key);
    not_connected(of_another, invalid, "certificate").await;
    not_connected(with_ca.clone(), invalid, "client_cert").await;
    let no_key = with_ca.clone().client_cert(&cert, server.ca_path());
    not_connected(no_key, invalid, "`client_key`").await;
    not_connected(tls.clone().ca(&key), invalid, "`ca`").await;
    not_connected(tls.clone().ca("/no/such/file"), invalid, "`ca`").await;
    let mixed = with_ca.clone().client_cert(server.ca_path(), &key);
    not_connected(mixed, invalid, "do not go together").await;
    not_connected(plain, ErrorKind::Unavailable, "use `memcacheds://`").await;
    let plain_port = MemcachedConfig::new("127.0.0.1", server.address().port())
        .tls()
        .ca(server.ca_path())
        .connect_timeout(Duration::from_millis(500));
    let error = MemcachedProvider::connect(plain_port).await.unwrap_err();
    assert!(error.to_string().contains("TLS"), "{error}");
}

#[tokio::test]
async fn a_registry_opens_it_by_its_schemes() {
    let server = MemcachedServer::start();
    let registry = Registry::new().with::<MemcachedProvider>();
    let schemes = MemcachedProvider::SCHEMES.iter().copied();
    assert!(registry.schemes().eq(schemes));
    let url = server.url();
    let opened = KeyValueStore::text(registry.open(&url).await.unwrap());
    opened.set("key", "v").await.unwrap();
    let lazy = KeyValueStore::text(registry.open_lazy(&url).unwrap());
    assert_eq!(lazy.get("key").await.unwrap().as_deref(), Some("v"));
    let unknown = registry.open_lazy(&format!("{url}?x=1")).map(drop);
    failed(unknown, ErrorKind::InvalidConfig, "open_lazy");
}

#[tokio::test]
async fn nothing_shows_a_password_or_a_value() {
    let server = MemcachedServer::start_with_login();
    let url = format!("memcached://{USER}:{SECRET}@{}", server.address());
    let provider = MemcachedProvider::connect(&url).await.unwrap();
    let texts = KeyValueStore::text(provider.clone());
    let debug = format!("{provider:?} {provider:#?} {texts:?}");
    assert!(
        debug.contains("127.0.0.1") && !debug.contains(SECRET),
        "{debug}"
    );
    texts.set("secret key", SECRET).await.unwrap();
    let numbers = KeyValueStore::<u64>::model(provider);
    let error = failed(numbers.get("secret key").await, ErrorKind::Decode, "get");
    let printed = printed(&error);
    assert!(
        !printed.contains(SECRET) && !printed.contains("secret key"),
        "{printed}"
    );
}
