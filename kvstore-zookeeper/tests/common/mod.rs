//! What several of these tests use.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test program uses some of it"
)]

use std::error::Error as _;
use std::future::Future;
use std::time::{Duration, Instant};

use kvstore_core::{Error, ErrorKind, KeyValueStore};
use kvstore_testsuite::proxy::Proxy;
use kvstore_testsuite::servers::{ZooKeeper, ZooKeeperEnsemble};
use kvstore_testsuite::unique_root;
use kvstore_zookeeper::{ZooKeeperConfig, ZooKeeperProvider};
use zookeeper_client::{Acls, Client, CreateMode};

/// Far beyond every deadline in these tests: what takes longer hangs.
pub const HANGS: Duration = Duration::from_secs(60);

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

/// Whether a server is not there, or too slow.
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

/// A configuration for one server, with a root of its own.
pub fn config(zookeeper: &ZooKeeper) -> ZooKeeperConfig {
    let address = zookeeper.address();
    ZooKeeperConfig::new(address.ip().to_string(), address.port())
        .root(format!("/{}", unique_root()))
}

/// A client of all servers.
pub fn all(ensemble: &ZooKeeperEnsemble, root: &str) -> ZooKeeperConfig {
    ensemble.url(root).parse().unwrap()
}

/// A client of one server alone, which may be any of the ensemble for all that the client knows.
pub fn one(ensemble: &ZooKeeperEnsemble, server: usize, root: &str) -> ZooKeeperConfig {
    let address = ensemble.address(server);
    ZooKeeperConfig::new(address.ip().to_string(), address.port()).root(root)
}

/// A client of one server alone, by two names: where there are several, each is taken to be that of one server.
pub fn certain(ensemble: &ZooKeeperEnsemble, server: usize, root: &str) -> ZooKeeperConfig {
    one(ensemble, server, root).server("localhost", ensemble.address(server).port())
}

/// A store of texts, for a configuration that works, however short its deadline is and busy the machine.
pub async fn texts(config: ZooKeeperConfig) -> KeyValueStore<String> {
    let connect = || ZooKeeperProvider::connect(config.clone());
    KeyValueStore::text(recovers("connect", connect).await)
}

/// A store of texts behind a proxy, and the same without.
pub async fn behind(
    zookeeper: &ZooKeeper,
    change: impl FnOnce(ZooKeeperConfig) -> ZooKeeperConfig,
) -> (Proxy, KeyValueStore<String>, KeyValueStore<String>) {
    let proxy = Proxy::start(zookeeper.address()).await.unwrap();
    let root = format!("/{}", unique_root());
    let direct = texts(config(zookeeper).root(&root)).await;
    let address = proxy.address();
    let config = ZooKeeperConfig::new(address.ip().to_string(), address.port()).root(&root);
    let proxied = texts(change(config)).await;
    (proxy, proxied, direct)
}

/// Another client, of another make.
pub async fn other(zookeeper: &ZooKeeper) -> Client {
    Client::connect(&zookeeper.address().to_string())
        .await
        .unwrap()
}

/// Creates a node by the other client.
pub async fn create(client: &Client, path: &str, data: &[u8]) {
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    client.create(path, data, &options).await.unwrap();
}

/// A root with a store on it, and the other client.
pub async fn both() -> (String, KeyValueStore<String>, Client) {
    let zookeeper = ZooKeeper::shared();
    let root = format!("/{}", unique_root());
    let store = texts(config(zookeeper).root(&root)).await;
    (root, store, other(zookeeper).await)
}
