//! `cargo xtask`: the checks of this workspace, and the servers its tests need.

fn main() {}
