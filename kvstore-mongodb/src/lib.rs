#![doc = include_str!("../README.md")]

mod batch;
mod client;
mod command;
mod config;
mod error;
mod found;
mod json;
mod keys;
mod options;
mod provider;
mod raw;
mod server;
mod url;
mod value;

pub use config::{IntoConfig, MongoDbConfig};
pub use provider::MongoDbProvider;
