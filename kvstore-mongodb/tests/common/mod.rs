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
use kvstore_mongodb::MongoDbProvider;
use kvstore_testsuite::proxy::Proxy;
use kvstore_testsuite::servers::MongoDb;
use kvstore_testsuite::unique_root;
use mongodb::bson::Document;
use mongodb::{Client, Collection};

/// Far beyond every deadline in these tests: what takes longer hangs.
pub const HANGS: Duration = Duration::from_secs(30);

/// What no error may show.
pub const SECRET: &str = "hunter2";

/// Waits, and fails the test when it takes so long that it must hang.
pub async fn ends<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(answer) = tokio::time::timeout(HANGS, future).await else {
        panic!("{what} hangs");
    };
    answer
}

/// Asks again until it succeeds, as a caller does who is told that an error is retryable.
pub async fn recovers<T, F: Future<Output = Result<T, Error>>>(
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let start = Instant::now();
    loop {
        match ends(what, ask()).await {
            Ok(answer) => return answer,
            Err(error) if error.is_retryable() && start.elapsed() < HANGS => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(error) => panic!("{what} does not succeed again: {}", printed(&error)),
        }
    }
}

/// Fails unless it is an error of this kind, which shows no secret; gives the error.
#[track_caller]
pub fn failed<T>(result: Result<T, impl Into<Error>>, kind: ErrorKind, what: &str) -> Error {
    let Err(error) = result.map_err(Into::into) else {
        panic!("{what} succeeds; it must fail as {kind:?}")
    };
    let shown = printed(&error);
    assert_eq!(error.kind(), kind, "{what}: {shown}");
    assert!(!shown.contains(SECRET), "{what}: {shown}");
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

pub fn gone(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout)
}

pub async fn connect(url: &str) -> MongoDbProvider {
    let connected = MongoDbProvider::connect(url).await;
    connected.unwrap_or_else(|error| panic!("{}", printed(&error)))
}

/// A provider on a collection of its own, and that collection by the driver alone.
pub async fn pair(mongodb: &MongoDb, parameters: &str) -> (MongoDbProvider, Collection<Document>) {
    let collection = unique_root();
    let url = mongodb.url(&format!("collection={collection}&{parameters}"));
    let provider = connect(&url).await;
    (provider, raw(mongodb, &collection).await)
}

pub async fn raw(mongodb: &MongoDb, collection: &str) -> Collection<Document> {
    let client = Client::with_uri_str(mongodb.url("")).await.unwrap();
    client.default_database().unwrap().collection(collection)
}

/// A store of texts behind a proxy, which is the only way that it knows to the server.
pub async fn behind(mongodb: &MongoDb, parameters: &str) -> (Proxy, KeyValueStore<String>) {
    let proxy = Proxy::start(mongodb.address()).await.unwrap();
    let (address, collection) = (proxy.address(), unique_root());
    let url = format!(
        "mongodb://{address}/kvstore_test?directConnection=true&collection={collection}&{parameters}"
    );
    (proxy, KeyValueStore::text(connect(&url).await))
}
