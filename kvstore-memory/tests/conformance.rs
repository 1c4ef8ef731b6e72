//! The contract, as `kvstore-testsuite` has it.

use kvstore_memory::MemoryProvider;
use kvstore_testsuite::Fixture;

async fn setup() -> Fixture {
    let memory = MemoryProvider::new();
    Fixture::new(memory.clone()).with_other(memory)
}

kvstore_testsuite::conformance!(setup);

/// With the limit that a server would have, for the promises about it.
mod limited {
    use super::{Fixture, MemoryProvider};

    async fn setup() -> Fixture {
        Fixture::new(MemoryProvider::with_max_value_len(1 << 20))
    }

    kvstore_testsuite::conformance!(setup);
}
