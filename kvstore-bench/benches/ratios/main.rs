//! What a call through `KeyValueStore` costs, as a ratio to the bare map or driver below it.
//!
//! `cargo bench -p kvstore-bench` measures everything; `-- memory` or `-- redis` only that. It prints Markdown.

mod measure;
mod memory;
mod redis;

use std::io;

use crate::measure::Bench;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` does not say `--bench`: then everything is called, and nothing measured.
    let measure = arguments.iter().any(|argument| argument == "--bench");
    let asked: Vec<_> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let bench = Bench::new(measure)?;
    let groups: [(&str, fn(&Bench)); 2] = [("memory", memory::run), ("redis", redis::run)];
    for (name, run) in groups {
        if asked.is_empty() || asked.iter().any(|asked| *asked == name) {
            run(&bench);
        }
    }
    Ok(())
}
