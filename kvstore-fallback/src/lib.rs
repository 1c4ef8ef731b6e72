#![doc = include_str!("../README.md")]

mod batch;
mod copy;
mod error;
mod keys;
mod old;
mod open;
mod provider;
mod single;
mod tombstone;
mod version;

pub use open::{SCHEME, open, open_lazy};
pub use provider::FallbackProvider;
