//! Upstash by its REST API.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use kvstore_core::{Bytes, Condition, Error, ErrorKind, KeyValueStore, SetOptions};
use kvstore_redis::{RedisConfig, RedisProvider};
use kvstore_testsuite::servers::{Redis, RedisServer, Reply, UpstashFront};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

mod common;
use common::{HANGS, SECRET, failed, not_connected, rest};

struct Own {
    front: UpstashFront,
    server: RedisServer,
}

fn own() -> Own {
    let server = RedisServer::start();
    let front = UpstashFront::start(&server);
    Own { front, server }
}

async fn store(config: RedisConfig) -> KeyValueStore<Bytes> {
    KeyValueStore::bytes(RedisProvider::connect(config).await.unwrap())
}

fn got(server: &RedisServer, key: &str) -> Vec<u8> {
    match server.command(&["GET", key]) {
        Reply::Data(data) => data,
        other => panic!("{other:?}"),
    }
}

/// All bytes, twice: as text, and as what is none.
fn values() -> Vec<Vec<u8>> {
    let every: Vec<u8> = (0..=255).collect();
    let text = (0..0x300).filter_map(char::from_u32).collect::<String>();
    let mut values = vec![
        every.repeat(3),
        text.into_bytes(),
        Vec::new(),
        b"OK".to_vec(),
    ];
    values.extend([
        vec![0; 100],
        vec![0xc2, 0x80],
        vec![0xff],
        b"\"\\\n{}".to_vec(),
    ]);
    values
}

#[tokio::test]
async fn values_are_on_the_server_as_they_are() {
    let Own { front, server } = own();
    let store = store(rest(&front).prefix("p:")).await;
    for value in values() {
        store.set("key", &value).await.unwrap();
        assert_eq!(got(&server, "p:key"), value);
        assert_eq!(store.get("key").await.unwrap().as_deref(), Some(&value[..]));
        let there = store.get_many(["key", "missing"]).await.unwrap();
        assert_eq!(there[0].as_deref(), Some(&value[..]));
        let entry = store.get_entry("key").await.unwrap().unwrap();
        assert_eq!(entry.value, value);
        let condition = Condition::Version(entry.version.unwrap());
        let options = SetOptions::new().ttl(Duration::from_secs(60));
        let set = store
            .set_if("key", [&value[..], &[0xfe]].concat(), condition, options)
            .await;
        assert!(set.unwrap().is_applied());
        assert_eq!(got(&server, "p:key"), [&value[..], &[0xfe]].concat());
        let created = store
            .set_if("key", &value, Condition::Absent, SetOptions::new())
            .await;
        assert!(!created.unwrap().is_applied());
        store
            .set_with("key", &value, SetOptions::new().keep_expiry())
            .await
            .unwrap();
        let entry = store.get_entry("key").await.unwrap().unwrap();
        assert!(entry.value == value && entry.expires_in.is_some());
        // What others have written.
        server.command(&[b"SET", &b"p:other"[..], &value]);
        assert_eq!(
            store.take("other").await.unwrap().as_deref(),
            Some(&value[..])
        );
    }
}

#[tokio::test]
async fn batches_are_one_request_or_two() {
    let Own { front, server } = own();
    let store = store(rest(&front)).await;
    let keys: Vec<_> = (0..100).map(|key| format!("{key}")).collect();
    // Text and what is none in turns.
    let value = |key: &String| [key.as_bytes(), if key.len() > 1 { b"\xff" } else { b"" }].concat();
    let items = || keys.iter().map(|key| (key, value(key)));
    let requests = |what: &str, expected: usize| {
        assert_eq!(front.requests(), expected, "{what}");
        front.reset();
    };
    front.reset();
    store.set_many(items(), SetOptions::new()).await.unwrap();
    requests("set_many", 1);
    let minute = SetOptions::new().ttl(Duration::from_secs(60));
    store.set_many(items(), minute).await.unwrap();
    requests("set_many with an expiry", 1);
    let found = store.get_many(&keys).await.unwrap();
    assert!(
        found
            .iter()
            .zip(&keys)
            .all(|(found, key)| found.as_deref() == Some(&value(key)[..]))
    );
    requests("get_many", 1);
    server.command(&["LPUSH", "list", "x"]);
    front.reset();
    let results = store
        .get_many(["1", "list", "missing", "11"])
        .await
        .unwrap_err()
        .into_results();
    let kinds: Vec<_> = results
        .iter()
        .map(|result| result.as_ref().err().map(Error::kind))
        .collect();
    assert_eq!(kinds, [None, Some(ErrorKind::Decode), None, None]);
    assert_eq!(
        results[3].as_ref().unwrap().as_deref(),
        Some(&b"11\xff"[..])
    );
    requests("get_many with what is missing", 2);
    store.delete_many(&keys).await.unwrap();
    requests("delete_many", 1);
    store.get_many::<&str>([]).await.unwrap();
    store
        .set_many::<&str, &[u8]>([], SetOptions::new())
        .await
        .unwrap();
    requests("empty batches", 0);
    store.set("key", b"v").await.unwrap();
    let version = store
        .get_entry("key")
        .await
        .unwrap()
        .unwrap()
        .version
        .unwrap();
    server.command(&["SCRIPT", "FLUSH"]);
    let set = store
        .set_if("key", b"w", Condition::Version(version), SetOptions::new())
        .await;
    assert!(
        set.unwrap().is_applied(),
        "a script that the server has forgotten"
    );
}

#[tokio::test]
async fn large_batches_and_large_answers_come_in_parts() {
    let Own {
        front,
        server: _server,
    } = own();
    front.set_max_request_size(100_000);
    let store = store(rest(&front).max_value_len(80_000)).await;
    let keys: Vec<_> = (0..20).map(|key| format!("{key}")).collect();
    let value = Bytes::from(vec![b'x'; 20_000]);
    let items = keys.iter().map(|key| (key, &value));
    store.set_many(items, SetOptions::new()).await.unwrap();
    let found = store.get_many(&keys).await.unwrap();
    assert!(found.iter().all(|found| found.as_ref() == Some(&value)));
    // The server's own limit is lower.
    front.set_max_request_size(10_000);
    let set = store.set("key", &value).await;
    let error = failed(set, ErrorKind::ValueTooLarge, "set");
    assert!(!error.outcome_unknown());
    assert_eq!(store.get("key").await.unwrap(), None);
    let small = Bytes::from_static(b"small");
    let items = [("a", &small), ("key", &value), ("b", &small)];
    let set = store.set_many(items, SetOptions::new()).await;
    let results = set.unwrap_err().into_results();
    let kinds = results
        .iter()
        .map(|result| result.as_ref().err().map(Error::kind));
    let expected = [None, Some(ErrorKind::ValueTooLarge), None];
    assert_eq!(kinds.collect::<Vec<_>>(), expected);
    // It was taken before its size was found.
    let error = failed(store.take("0").await, ErrorKind::ValueTooLarge, "take");
    assert!(error.outcome_unknown());
    // As JSON it is over what any request may have, which is found here.
    let store = self::store(rest(&front)).await;
    front.reset();
    let set = store.set("key", vec![0xff; 6_000_000]).await;
    let error = failed(set, ErrorKind::ValueTooLarge, "set");
    assert!(error.to_string().contains("JSON"), "{error}");
    assert_eq!(front.requests(), 0);
}

#[tokio::test]
async fn tokens() {
    let Own {
        front,
        server: _server,
    } = own();
    let right = rest(&front);
    not_connected(
        right.clone().password(SECRET),
        ErrorKind::Unauthenticated,
        "refused",
    )
    .await;
    let error = failed(
        RedisProvider::connect(right.clone().password(front.read_only_token())).await,
        ErrorKind::PermissionDenied,
        "a token that may only read",
    );
    assert!(error.to_string().contains("+set"), "{error}");
    let strange = right.clone().password("line\nfeed");
    not_connected(strange, ErrorKind::InvalidConfig, "token").await;
    let redis = RedisProvider::connect(right).await.unwrap();
    let debug = format!("{redis:?} {redis:#?}");
    assert!(!debug.contains(front.token()), "{debug}");
    // What was written is read: the token of the last answer comes with the next request.
    let store = KeyValueStore::text(redis);
    store.set("key", "v").await.unwrap();
    store.get("key").await.unwrap();
    let first = front.last_header("upstash-sync-token");
    store.get("key").await.unwrap();
    let second = front.last_header("upstash-sync-token");
    assert!(first.as_ref().is_some_and(|token| !token.is_empty()));
    assert_ne!(first, second, "each answer has another");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_wait_for_their_turn() {
    let front = UpstashFront::start(Redis::shared());
    let config = rest(&front).prefix(kvstore_testsuite::unique_root());
    let store = KeyValueStore::text(
        RedisProvider::connect(config.max_connections(2))
            .await
            .unwrap(),
    );
    front.reset();
    front.stall();
    let sets = (0..50).map(|key| {
        let store = store.clone();
        async move { store.set(&format!("{key}"), "v").await }
    });
    let sets = tokio::spawn(join_all(sets));
    // As many as may be, and no more, while none is answered.
    let start = Instant::now();
    while front.requests() < 2 {
        assert!(start.elapsed() < HANGS, "nothing comes");
        sleep(Duration::from_millis(5)).await;
    }
    sleep(Duration::from_millis(200)).await;
    assert_eq!(front.requests(), 2);
    front.heal();
    let sets = sets.await.unwrap();
    // Healing closes the connections of those that were stalled.
    assert_eq!(sets.iter().filter(|set| set.is_err()).count(), 2);
    store.close().await.unwrap();
    failed(store.get("1").await, ErrorKind::Closed, "get");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls() {
    let Own { front, server } = own();
    let (address, ca) = (front.address(), server.ca_path());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = acceptor(ca.parent().unwrap());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut client = acceptor.accept(client).await?;
                let mut front = TcpStream::connect(address).await?;
                tokio::io::copy_bidirectional(&mut client, &mut front).await
            });
        }
    });
    let config = RedisConfig::rest("localhost")
        .port(port)
        .password(front.token());
    not_connected(config.clone(), ErrorKind::InvalidConfig, "certificate").await;
    let store = store(config.ca(&ca)).await;
    store.set("key", &[0xff]).await.unwrap();
    assert_eq!(got(&server, "key"), [0xff]);
    // Where no TLS is spoken.
    let config = RedisConfig::rest("127.0.0.1")
        .port(address.port())
        .password(SECRET);
    not_connected(config.ca(&ca), ErrorKind::InvalidConfig, "no TLS").await;
}

fn acceptor(folder: &Path) -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(folder.join("server.pem")).unwrap();
    let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(chain, key);
    TlsAcceptor::from(Arc::new(config.unwrap()))
}
