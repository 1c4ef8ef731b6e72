//! The contract, on a replica set and on a standalone server.

use std::sync::OnceLock;

use kvstore_mongodb::MongoDbProvider;
use kvstore_testsuite::servers::MongoDb;
use kvstore_testsuite::{Fixture, unique_root};

/// Two clients of a collection of its own.
async fn fixture(mongodb: &MongoDb) -> Fixture {
    // Unoptimised, the driver takes a second for a value of 16 MiB, and many cases run at the same time.
    let url = mongodb.url(&format!("collection={}&timeout=30s", unique_root()));
    let connect = async || {
        MongoDbProvider::connect(&url)
            .await
            .unwrap_or_else(|error| panic!("{error:?}"))
    };
    Fixture::new(connect().await).with_other(connect().await)
}

mod replica_set {
    kvstore_testsuite::conformance!(|| super::fixture(super::MongoDb::shared()));
}

mod standalone {
    use super::{MongoDb, OnceLock};

    /// Ends with the process, by its guard.
    static SERVER: OnceLock<MongoDb> = OnceLock::new();

    kvstore_testsuite::conformance!(|| super::fixture(
        SERVER.get_or_init(|| MongoDb::start_standalone(&[]))
    ));
}
