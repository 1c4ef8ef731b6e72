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
use kvstore_redis::{RedisConfig, RedisProvider};
use kvstore_testsuite::proxy::Proxy;
use kvstore_testsuite::servers::{RedisCluster, RedisServer, Reply, UpstashFront};
use kvstore_testsuite::unique_root;

/// The rights that the README says are needed.
pub const RIGHTS: &str =
    "+get +set +del +exists +getdel +pexpire +persist +pttl +eval +evalsha +ping";

/// What must not be printed.
pub const SECRET: &str = "hunter2";

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

pub async fn not_connected(config: RedisConfig, kind: ErrorKind, says: &str) {
    let error = failed(ends(says, RedisProvider::connect(config)).await, kind, says);
    assert!(
        error.to_string().starts_with("redis connect: ") && error.to_string().contains(says),
        "{error}"
    );
    assert!(!printed(&error).contains(SECRET), "{}", printed(&error));
}

/// Fails unless reading and writing both fail as this kind, and the write was certainly not applied.
pub async fn refused(texts: &KeyValueStore<String>, kind: ErrorKind, what: &str) {
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

pub async fn write_refused(texts: &KeyValueStore<String>, kind: ErrorKind, what: &str) {
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

/// A store of texts at a server.
pub async fn texts(url: &str, parameters: &str) -> KeyValueStore<String> {
    let connected = RedisProvider::connect(format!("{url}?{parameters}")).await;
    KeyValueStore::text(connected.unwrap())
}

/// A store of texts behind a proxy.
pub async fn behind(server: &RedisServer, parameters: &str) -> (Proxy, KeyValueStore<String>) {
    let proxy = Proxy::start(server.address()).await.unwrap();
    let texts = texts(&format!("redis://{}", proxy.address()), parameters).await;
    (proxy, texts)
}

/// A key that a node of a cluster serves, `k0`, `k1` and so on being tried.
pub fn key_on(cluster: &RedisCluster, node: usize) -> String {
    let mut keys = (0..).map(|number| format!("k{number}"));
    keys.find(|key| cluster.node_of(key) == node)
        .unwrap_or_default()
}

/// A user with the commands that Upstash documents and no others, over TLS with a password.
pub fn upstash(server: &RedisServer) -> RedisConfig {
    let user = unique_root();
    server.command(&[
        "ACL", "SETUSER", &user, "reset", "on", ">secret", "~*", "-@all",
    ]);
    let mut known = 0;
    for command in UpstashFront::commands() {
        let allow = format!("+{}", command.to_lowercase());
        // This Redis is older than what Upstash has of it.
        if !matches!(
            server.try_command(&["ACL", "SETUSER", &user, &allow]),
            Reply::Error(_)
        ) {
            known += 1;
        }
    }
    assert!(
        known > 200,
        "only {known} of Upstash's commands are known to this Redis"
    );
    let config: RedisConfig = server.tls_url().parse().unwrap();
    let config = config.ca(server.ca_path()).upstash();
    config.username(user).password("secret")
}

/// The REST API of a front.
#[cfg(feature = "rest")]
pub fn rest(front: &UpstashFront) -> RedisConfig {
    let token = front.token().replace('%', "%25").replace('/', "%2F");
    let url = format!("upstash+http://:{token}@{}", front.address());
    url.parse().unwrap()
}
