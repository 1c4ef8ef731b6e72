//! JSON text to BSON and back, directly: `{"$oid": "…"}` is data, and no feature of `serde_json` matters.

mod read;
mod write;

#[cfg(test)]
mod tests;

pub(crate) use read::to_json;
pub(crate) use write::{Payload, to_bson};

/// How deep JSON may be nested; the server's limit is not far.
const MAX_DEPTH: usize = 100;
