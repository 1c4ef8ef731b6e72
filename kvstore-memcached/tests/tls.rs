//! TLS: the same faults, large values both ways, and whose certificate it is.

use std::time::Duration;

use futures_util::future::join_all;
use kvstore_core::{Error, ErrorKind, KeyValueStore, SetOptions};
use kvstore_memcached::MemcachedConfig;
use kvstore_testsuite::proxy::Proxy;
use kvstore_testsuite::servers::MemcachedServer;
use tokio::net::{TcpListener, TcpStream};

mod common;
use common::{PATIENT, connect, ends, failed, gone, not_connected, recovers};

fn over_tls(server: &MemcachedServer, port: u16, parameters: &str) -> MemcachedConfig {
    let url = format!("memcacheds://127.0.0.1:{port}?{parameters}");
    url.parse::<MemcachedConfig>().unwrap().ca(server.ca_path())
}

async fn texts(config: MemcachedConfig) -> KeyValueStore<String> {
    KeyValueStore::text(connect(config).await)
}

#[tokio::test]
async fn a_server_that_stops_and_one_that_halts() {
    let mut server = MemcachedServer::start();
    let config = over_tls(&server, server.tls_port(), "timeout=500ms");
    let texts = texts(config).await;
    for _ in 0..2 {
        texts.set("key", "v").await.unwrap();
        server.stop();
        let error = ends("get", texts.get("key")).await.unwrap_err();
        assert!(gone(&error), "{error:?}");
        server.restart();
        recovers("set", || texts.set("key", "v")).await;
        server.pause();
        let set = ends("set", texts.set("key", "w")).await;
        let error = failed(set, ErrorKind::Timeout, "set");
        assert!(error.outcome_unknown());
        assert!(gone(&ends("get", texts.get("key")).await.unwrap_err()));
        server.resume();
        recovers("set", || texts.set("key", "v")).await;
        assert_eq!(texts.get("key").await.unwrap().as_deref(), Some("v"));
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_off() {
    let server = MemcachedServer::start();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], server.tls_port()));
    let proxy = Proxy::start(address).await.unwrap();
    let texts = texts(over_tls(&server, proxy.address().port(), PATIENT)).await;
    texts.set("there", "value").await.unwrap();
    // In the head of a record, and in its middle.
    for bytes in [0, 3, 20] {
        proxy.cut_mid_reply(bytes);
        let found = ends("get", texts.get("there")).await.unwrap();
        assert_eq!(found.as_deref(), Some("value"), "cut after {bytes}");
        proxy.cut_mid_reply(bytes);
        let set = ends("set", texts.set("key", "v")).await;
        let error = failed(set, ErrorKind::Unavailable, "set");
        assert!(error.outcome_unknown(), "cut after {bytes}");
        recovers("get", || texts.get("there")).await;
        assert!(server.get("key").is_some(), "it was applied");
        proxy.cut_mid_reply(bytes);
        let items = [("a", "v"), ("b", "v")];
        let batch = ends("set_many", texts.set_many(items, SetOptions::new())).await;
        assert!(Error::from(batch.unwrap_err()).outcome_unknown());
        recovers("get", || texts.get("there")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_large_values_both_ways() {
    let server = MemcachedServer::start();
    let config = over_tls(&server, server.tls_port(), PATIENT);
    let texts = texts(config).await;
    let value = |key: usize| format!("{key}").repeat(300_000);
    let keys: Vec<_> = (0..8).map(|key| format!("{key}")).collect();
    let items = keys.iter().enumerate().map(|(at, key)| (key, value(at)));
    texts.set_many(items, SetOptions::new()).await.unwrap();
    let calls = (0..80).map(|call| {
        let (texts, keys) = (&texts, &keys);
        async move {
            let (at, key) = (call % 8, &keys[call % 8]);
            match call % 3 {
                0 => texts.set(key, value(at)).await,
                1 => texts.get_many(keys).await.map_err(Error::from).map(|all| {
                    let whole = all.into_iter().enumerate();
                    assert!(
                        whole
                            .into_iter()
                            .all(|(at, found)| found == Some(value(at)))
                    );
                }),
                _ => texts.get(key).await.map(|found| {
                    assert!(found == Some(value(at)));
                }),
            }
        }
    });
    for done in ends("80 calls", join_all(calls)).await {
        done.unwrap();
    }
}

#[tokio::test]
async fn a_certificate_that_is_valid_for_another_host() {
    let server = MemcachedServer::start();
    let target = server.tls_port();
    // It is that of `localhost` and 127.0.0.1.
    let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = TcpStream::connect(("127.0.0.1", target)).await.unwrap();
            tokio::spawn(async move {
                // However it ends: the client is told by its stream.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    let config = MemcachedConfig::new("127.0.0.2", port).tls();
    let config = config.ca(server.ca_path()).timeout(Duration::from_secs(20));
    let says = "not valid for this host";
    not_connected(config, ErrorKind::InvalidConfig, says).await;
    texts(over_tls(&server, target, PATIENT)).await;
}
