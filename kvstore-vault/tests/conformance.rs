//! The whole contract, on a real server.

use kvstore_testsuite::servers::Vault;
use kvstore_testsuite::{Fixture, unique_root};
use kvstore_vault::VaultProvider;

async fn two(parameters: &str) -> Fixture {
    let url = Vault::shared().url(&format!("path={}{parameters}", unique_root()));
    let first = VaultProvider::connect(&url).await.unwrap();
    let second = VaultProvider::connect(&url).await.unwrap();
    Fixture::new(first).with_other(second)
}

mod deleted_for_good {
    kvstore_testsuite::conformance!(|| super::two(""));
}

mod counted_on {
    kvstore_testsuite::conformance!(|| super::two("&keep_counter=true"));
}
