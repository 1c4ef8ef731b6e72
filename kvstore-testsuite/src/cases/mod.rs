//! The cases: plain functions, named after the contract's rules, listed in `list.rs`.

pub(crate) mod keys;
pub(crate) mod operations;
