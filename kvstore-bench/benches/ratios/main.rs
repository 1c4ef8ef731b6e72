//! What a call through `KeyValueStore` costs, as a ratio to the bare map or driver below it.
//!
//! `cargo bench -p kvstore-bench` measures everything; with the name of a server, as in `-- redis`, only that, and
//! `-- redis get_many` only its rows with that in their names. It prints Markdown.

mod file;
mod measure;
mod memcached;
mod memory;
mod mongodb;
mod redis;
mod s3;
mod upstash;
mod vault;
mod zookeeper;

use std::io;

use crate::measure::Bench;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` does not say `--bench`: then everything is called, and nothing measured.
    let measure = arguments.iter().any(|argument| argument == "--bench");
    let mut asked = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'));
    let group = asked.next();
    let bench = Bench::new(measure, asked.next().cloned().unwrap_or_default())?;
    type Group = fn(&Bench);
    let groups: [(&str, Group); 9] = [
        ("memory", memory::run),
        ("file", file::run),
        ("redis", redis::run),
        ("mongodb", mongodb::run),
        ("s3", s3::run),
        ("upstash", upstash::run),
        ("vault", vault::run),
        ("memcached", memcached::run),
        ("zookeeper", zookeeper::run),
    ];
    for (name, run) in groups {
        if group.is_none_or(|group| group == name) {
            run(&bench);
        }
    }
    Ok(())
}
