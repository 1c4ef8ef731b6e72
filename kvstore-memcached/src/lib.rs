#![doc = include_str!("../README.md")]

mod batch;
mod clock;
mod command;
mod config;
mod connection;
mod driver;
mod error;
mod handshake;
mod keep;
mod link;
mod names;
mod ping;
mod provider;
mod reply;
mod ring;
mod server;
mod servers;
mod tls;
mod url;

pub use config::{IntoConfig, MemcachedConfig};
pub use provider::MemcachedProvider;
