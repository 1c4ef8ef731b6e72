#![doc = include_str!("../README.md")]

mod api;
mod client;
mod conditions;
mod config;
mod credential;
mod error;
mod http;
mod joint;
mod login;
mod name;
mod object;
mod profile;
mod provider;
mod role;
mod server;
mod time;
mod tls;
mod url;
mod walk;
mod write;

pub use config::{IntoConfig, S3Config};
pub use credential::Credential;
pub use provider::S3Provider;
