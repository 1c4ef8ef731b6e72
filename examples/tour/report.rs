//! How the tour prints: aligned plain text, for a terminal or a file. That nobody reads it is an error, so that what
//! was stored is deleted all the same.

use std::io::{self, Write as _};
use std::time::Duration;

/// Says what went wrong.
pub(crate) fn say(text: &str) {
    // Where nobody reads that either, there is nothing to be done.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Begins a part.
pub(crate) fn title(title: &str) -> io::Result<()> {
    writeln!(io::stdout(), "\n{}", title.trim())
}

/// Prints what was done and what came of it.
pub(crate) fn line(what: &str, outcome: &str) -> io::Result<()> {
    writeln!(io::stdout(), "  {what:<12}{outcome}")
}

/// Prints what was done to so many things in a time, and answers how many a second that is.
pub(crate) fn speed(what: &str, count: usize, outcome: &str, took: Duration) -> io::Result<f64> {
    // The clock may not have moved.
    let rate = count as f64 / took.as_secs_f64().max(1e-9);
    let rounded = grouped(rate);
    writeln!(
        io::stdout(),
        "  {what:<12}{outcome:<44}{rounded:>10} a second"
    )?;
    Ok(rate)
}

/// A number without decimals, in groups of three digits.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A text in one line of at most so many characters.
pub(crate) fn short(text: &str, most: usize) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(most) {
        None => line,
        Some(_) => line.chars().take(most - 1).chain(['…']).collect(),
    }
}
