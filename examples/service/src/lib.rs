//! What the example services have in common: the store by URL, the answers to failures, the server.

mod failure;
mod random;
mod say;
mod serve;
mod store;
#[cfg(feature = "testing")]
pub mod testing;

pub use failure::{Answer, Failure};
pub use random::{hashed, random};
pub use say::{say, say_out};
pub use serve::{serve, serve_until, variable};
pub use store::{open, require};
