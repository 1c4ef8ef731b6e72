//! The cases pass with a provider that keeps the contract, whatever it claims.

#[allow(dead_code, reason = "its bugs are for another test")]
mod reference;

mod full {
    kvstore_testsuite::conformance!(async || super::reference::fixture(
        super::reference::full(),
        None
    ));
}
