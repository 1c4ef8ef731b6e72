//! What several of these tests use.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test program uses some of it"
)]

use std::error::Error as _;
use std::future::Future;
use std::time::{Duration, Instant};

use kvstore_core::{Error, ErrorKind, KeyValueStore, SetOptions};
use kvstore_memcached::{MemcachedConfig, MemcachedProvider};
use kvstore_testsuite::proxy::Proxy;
use kvstore_testsuite::servers::{Memcached, MemcachedServer};

/// What must not be printed: a password, and a value.
pub const SECRET: &str = MemcachedServer::PASSWORD;

/// Far beyond every deadline in these tests: what takes longer hangs.
pub const HANGS: Duration = Duration::from_secs(30);

/// Waits, and fails the test when it takes so long that it must hang.
pub async fn ends<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(answer) = tokio::time::timeout(HANGS, future).await else {
        panic!("{what} hangs");
    };
    answer
}

/// Asks again until it succeeds, as a caller does who is told that an error is retryable.
#[track_caller]
pub fn recovers<T, F: Future<Output = Result<T, Error>>>(
    what: &'static str,
    mut ask: impl FnMut() -> F,
) -> impl Future<Output = T> {
    let start = Instant::now();
    async move {
        loop {
            match ends(what, ask()).await {
                Ok(answer) => return answer,
                Err(error) if error.is_retryable() && start.elapsed() < HANGS => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) => panic!(
                    "{what} does not succeed again: {error:?}, {:?}",
                    error.source()
                ),
            }
        }
    }
}

/// Fails unless it is an error of this kind; gives the error.
#[track_caller]
pub fn failed<T>(result: Result<T, Error>, kind: ErrorKind, what: &str) -> Error {
    let Err(error) = result else {
        panic!("{what} succeeds; it must fail as {kind:?}")
    };
    assert_eq!(error.kind(), kind, "{what}: {error:?}");
    error
}

/// Whether an error says that the server is not to be had now.
pub fn gone(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout)
}

/// Everything that a program may log of an error.
pub fn printed(error: &Error) -> String {
    let mut all = format!("{error} {error:?} {error:#?}");
    let mut source = error.source();
    while let Some(error) = source {
        all += &format!(" {error} {error:?}");
        source = error.source();
    }
    all
}

pub async fn not_connected(config: MemcachedConfig, kind: ErrorKind, says: &str) {
    let connecting = MemcachedProvider::connect(config);
    let error = failed(ends(says, connecting).await, kind, says);
    assert!(
        error.to_string().starts_with("memcached connect: ") && error.to_string().contains(says),
        "{error}"
    );
    assert!(!printed(&error).contains(SECRET), "{}", printed(&error));
}

/// Fails unless reading and writing both fail as this kind, and the writes were certainly not applied.
pub async fn refused(texts: &KeyValueStore<String>, kind: ErrorKind, what: &str) {
    let keys = ["key", "other"];
    let results = [
        ends(what, texts.get("key")).await.map(drop),
        ends(what, texts.has("key")).await.map(drop),
        ends(what, texts.take("key")).await.map(drop),
        ends(what, texts.get_entry("key")).await.map(drop),
        ends(what, texts.get_many(keys))
            .await
            .map(drop)
            .map_err(Error::from),
        ends(what, texts.set("key", SECRET)).await,
        ends(what, texts.delete("key")).await,
        ends(what, texts.touch("key", HANGS)).await.map(drop),
        ends(what, texts.ping()).await.map(drop),
        ends(
            what,
            texts.set_many(keys.map(|key| (key, SECRET)), SetOptions::new()),
        )
        .await
        .map_err(Error::from),
        ends(what, texts.delete_many(keys))
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

pub fn config(server: &Memcached) -> MemcachedConfig {
    format!("{}?{PATIENT}", server.url()).parse().unwrap()
}

pub async fn connect(config: MemcachedConfig) -> MemcachedProvider {
    MemcachedProvider::connect(config).await.unwrap()
}

/// Long enough on a machine under load, where a test is not about deadlines.
pub const PATIENT: &str = "timeout=20s&connect_timeout=20s";

/// A store of texts at a server.
pub async fn texts(url: &str, parameters: &str) -> KeyValueStore<String> {
    let url = match parameters {
        "" => format!("{url}?{PATIENT}"),
        _ if parameters.contains("timeout") => format!("{url}?{parameters}"),
        _ => format!("{url}?{PATIENT}&{parameters}"),
    };
    let connected = MemcachedProvider::connect(url).await;
    KeyValueStore::text(connected.unwrap())
}

/// A store of texts behind a proxy.
pub async fn behind(server: &Memcached, parameters: &str) -> (Proxy, KeyValueStore<String>) {
    let proxy = Proxy::start(server.address()).await.unwrap();
    let texts = texts(&format!("memcached://{}", proxy.address()), parameters).await;
    (proxy, texts)
}
