#![doc = include_str!("../README.md")]

#[macro_use]
mod list;

mod case;
mod cases;
mod check;
mod faulty;
mod fixture;
mod generate;
mod lease;
#[cfg(feature = "servers")]
pub mod proxy;
#[cfg(feature = "servers")]
pub mod servers;

#[doc(hidden)]
pub use case::run_as_test;
pub use case::{Case, Failure, cases};
pub use faulty::{Faults, Faulty};
pub use fixture::{Fixture, unique_root};

/// Makes one `#[test]` of each case, from an async function that makes a [`Fixture`].
///
/// Each test calls the function for a fixture of its own, whose keys no other test sees. The tests are named
/// as the cases, as in `cargo test k1_any_text_is_a_key`. For a second configuration put a second call into a
/// module.
///
/// ```
/// # use std::collections::HashMap;
/// # use kvstore_core::{async_trait, Bytes, Capabilities, DeleteRequest, GetRequest, Outcome, Provider, Result};
/// # use kvstore_core::SetRequest;
/// # struct MyProvider(Capabilities);
/// # impl MyProvider {
/// #     async fn connect(_: &str, _: &str) -> Result<Self> { Ok(Self(Capabilities::new("my"))) }
/// # }
/// # #[async_trait]
/// # impl Provider for MyProvider {
/// #     fn capabilities(&self) -> &Capabilities { &self.0 }
/// #     async fn get(&self, _: GetRequest<'_>) -> Result<Option<Bytes>> { Ok(None) }
/// #     async fn set(&self, _: SetRequest<'_>) -> Result<Outcome> { Ok(Outcome::Applied(None)) }
/// #     async fn delete(&self, _: DeleteRequest<'_>) -> Result<Outcome> { Ok(Outcome::Applied(None)) }
/// # }
/// use kvstore_testsuite::{Fixture, conformance, unique_root};
///
/// async fn connect(url: &str) -> Fixture {
///     let root = unique_root();
///     let first = MyProvider::connect(url, &root).await.unwrap();
///     let second = MyProvider::connect(url, &root).await.unwrap();
///     Fixture::new(first).with_other(second)
/// }
///
/// mod plain {
///     kvstore_testsuite::conformance!(|| super::connect("my://127.0.0.1"));
/// }
/// mod tls {
///     kvstore_testsuite::conformance!(|| super::connect("mys://127.0.0.1"));
/// }
/// ```
#[macro_export]
macro_rules! conformance {
    ($setup:expr) => {
        $crate::__list! { [$crate::__tests] [$setup] }
    };
}
