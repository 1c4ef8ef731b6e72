//! Connecting: what is checked, and what is said when it fails.

use std::time::{Duration, Instant};

use kvstore_core::{Connect as _, ErrorKind, KeyValueStore, Registry};
use kvstore_redis::{RedisConfig, RedisProvider};
use kvstore_testsuite::servers::RedisServer;

mod common;
use common::{HANGS, SECRET, failed, not_connected, recovers, refused};

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
    let start = Instant::now();
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
