//! The contract, on files.

use kvstore_file::{FileConfig, FileProvider};
use kvstore_testsuite::{Fixture, unique_root};

/// A file of its own. It loses its name at once, so that nothing is left however the test ends.
async fn fixture(set: impl Fn(FileConfig) -> FileConfig) -> Fixture {
    let path = format!("{}/{}.redb", env!("CARGO_TARGET_TMPDIR"), unique_root());
    let file = FileProvider::connect(set(FileConfig::new(&path))).await;
    let file = file.unwrap();
    std::fs::remove_file(path).unwrap();
    // A file has one owner: others are its clones.
    Fixture::new(file.clone()).with_other(file)
}

mod as_it_comes {
    kvstore_testsuite::conformance!(|| super::fixture(|config| config));
}

/// Everything is read from the file each time.
mod without_a_cache {
    kvstore_testsuite::conformance!(|| super::fixture(|config| config.cache_size(0)));
}
