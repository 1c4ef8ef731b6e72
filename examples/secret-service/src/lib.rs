#![doc = include_str!("../README.md")]

mod audit;
mod callers;
mod http;
mod secrets;

pub use audit::Audit;
pub use callers::Callers;
pub use http::{LARGEST, app};
pub use secrets::Secrets;
