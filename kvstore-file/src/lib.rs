#![doc = include_str!("../README.md")]

mod batch;
mod call;
mod change;
mod client;
mod config;
mod data;
mod disk;
mod engine;
mod error;
mod keys;
mod provider;
mod queue;
mod tables;
mod url;

pub use config::{FileConfig, IntoConfig};
pub use provider::FileProvider;
