//! The cases: plain functions, named after the contract's rules, listed in `list.rs`.

pub(crate) mod batches;
pub(crate) mod closing;
pub(crate) mod conditions;
pub(crate) mod contention;
pub(crate) mod errors;
pub(crate) mod expired;
pub(crate) mod expiry;
pub(crate) mod keys;
pub(crate) mod listing;
pub(crate) mod models;
pub(crate) mod namespaces;
pub(crate) mod operations;
pub(crate) mod overwriting;
pub(crate) mod refusals;
pub(crate) mod values;
pub(crate) mod versions;
