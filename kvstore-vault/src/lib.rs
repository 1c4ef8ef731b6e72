#![doc = include_str!("../README.md")]

mod api;
mod auth;
mod client;
mod config;
mod credential;
mod error;
mod http;
mod json;
mod login;
mod mount;
mod path;
mod provider;
mod secret;
mod server;
mod time;
mod tls;
mod transport;
mod url;
mod walk;
mod write;

pub use config::{IntoConfig, VaultConfig};
pub use credential::Credential;
pub use provider::VaultProvider;
