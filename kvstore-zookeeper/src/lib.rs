#![doc = include_str!("../README.md")]

mod acl;
mod batch;
mod client;
mod config;
mod connection;
mod data;
mod error;
mod handshake;
mod place;
mod provider;
mod read;
mod server;
mod status;
mod url;
mod walk;
mod wire;
mod write;

pub use acl::{Acl, Rights};
pub use config::{IntoConfig, ZooKeeperConfig};
pub use provider::ZooKeeperProvider;
