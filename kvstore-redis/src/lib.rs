#![doc = include_str!("../README.md")]

mod batch;
mod callers;
mod client;
mod command;
mod config;
mod error;
mod keys;
mod provider;
mod script;
mod server;
mod settings;
mod tls;
mod url;

pub use config::{IntoConfig, RedisConfig};
pub use provider::RedisProvider;
