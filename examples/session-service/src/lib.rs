#![doc = include_str!("../README.md")]

mod http;
mod sessions;

pub use http::{LARGEST, app};
pub use sessions::{Session, Sessions, TTL};
