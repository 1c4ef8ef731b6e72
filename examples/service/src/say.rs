use std::io::{self, Write as _};

/// Says something on standard error. That nobody reads it is no reason to end, as `eprintln!` would.
pub fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Says something on standard output, in the same way.
pub fn say_out(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}
