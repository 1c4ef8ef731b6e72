#![doc = include_str!("../README.md")]

mod address;
mod batch;
mod call;
mod check;
mod client;
mod cluster;
mod command;
mod config;
mod error;
mod keys;
mod link;
mod node;
mod plan;
mod provider;
#[cfg(feature = "rest")]
mod rest;
mod script;
mod sentinel;
mod server;
mod shard;
mod slots;
mod tls;
mod url;
mod wait;

pub use config::{IntoConfig, RedisConfig};
pub use provider::RedisProvider;
