#![doc = include_str!("../README.md")]

mod keys;
mod map;
mod provider;
mod shard;
mod url;

pub use provider::MemoryProvider;
