//! `cargo xtask`: the checks of this workspace, and the servers its tests need.

mod checks;
mod python;
mod report;
mod servers;
mod workspace;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask servers   install the servers that the tests need and this machine lacks
cargo xtask test      that, and every check of the workspace";

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["servers"] => servers::install().map(|found| println!("{}", found.join("\n"))),
        ["test"] => checks::run_all(),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
