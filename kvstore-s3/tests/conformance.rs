//! The whole contract, on a real server.

mod common;

use common::{TIMEOUT, tls};
use kvstore_s3::{S3Config, S3Provider};
use kvstore_testsuite::servers::S3;
use kvstore_testsuite::{Fixture, unique_root};

async fn two(config: S3Config) -> Fixture {
    let config = config.timeout(TIMEOUT).connect_timeout(TIMEOUT);
    let first = S3Provider::connect(config.clone()).await.unwrap();
    let second = S3Provider::connect(config).await.unwrap();
    Fixture::new(first).with_other(second)
}

async fn with(parameters: &str) -> Fixture {
    let url = S3::shared().url(&format!("prefix={}/{parameters}", unique_root()));
    two(url.parse().unwrap()).await
}

mod by_default {
    kvstore_testsuite::conformance!(|| super::with(""));
}

mod without_expiry {
    kvstore_testsuite::conformance!(|| super::with("&expiry=false"));
}

mod without_conditions {
    kvstore_testsuite::conformance!(|| super::with("&conditions=false"));
}

mod with_tls_and_a_prefix_that_is_no_folder {
    kvstore_testsuite::conformance!(|| super::two(super::tls(&super::unique_root())));
}
