//! What is written: values and tables on standard output, messages on standard error.

use std::borrow::Cow;
use std::io::{self, BufWriter, IsTerminal as _, StdoutLock, Write};
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anstyle::{AnsiColor, Style};

use crate::failure::Failure;

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const GREEN: Style = AnsiColor::Green.on_default();
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default();
pub(crate) const RED: Style = AnsiColor::Red.on_default().bold();

/// Writes bytes to standard output as they are.
pub(crate) fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.flush());
    written.map_err(written_to_nobody)
}

/// Writes a line to standard output, with colours where a terminal shows them.
pub(crate) fn line(line: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    let written = writeln!(out, "{line}").and_then(|()| out.flush());
    written.map_err(written_to_nobody)
}

/// Writes a JSON value to standard output, in a line.
pub(crate) fn json(value: &serde_json::Value) -> Result<(), Failure> {
    write(format!("{value}\n").as_bytes())
}

fn written_to_nobody(error: io::Error) -> Failure {
    Failure::io("standard output cannot be written", error)
}

/// Many lines on standard output, soon at a terminal and in large pieces elsewhere.
pub(crate) struct Lines {
    out: BufWriter<StdoutLock<'static>>,
    is_terminal: bool,
}

impl Lines {
    pub(crate) fn new() -> Self {
        let stdout = io::stdout();
        Self {
            is_terminal: stdout.is_terminal(),
            out: BufWriter::with_capacity(64 << 10, stdout.lock()),
        }
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Writes bytes and what ends them.
    pub(crate) fn write(&mut self, bytes: &[u8], end: u8) -> Result<(), Failure> {
        let out = &mut self.out;
        let mut written = out.write_all(bytes).and_then(|()| out.write_all(&[end]));
        if self.is_terminal && written.is_ok() {
            written = out.flush();
        }
        written.map_err(written_to_nobody)
    }

    /// Writes what was held back.
    pub(crate) fn end(mut self) -> Result<(), Failure> {
        self.out.flush().map_err(written_to_nobody)
    }
}

/// Whether a person watches standard output.
pub(crate) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Messages, on standard error, and the line of progress below them.
///
/// Nothing is done about a standard error that cannot be written: there is nowhere to say so.
pub(crate) struct Messages {
    json: bool,
    quiet: bool,
    progress: Mutex<String>,
    shows_progress: bool,
}

impl Messages {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            json,
            quiet,
            progress: Mutex::default(),
            shows_progress: !quiet && !json && !is_dumb && io::stderr().is_terminal(),
        }
    }

    /// Whether a line of progress is shown at all.
    pub(crate) fn shows_progress(&self) -> bool {
        self.shows_progress
    }

    /// Says what failed, and gives its exit code.
    pub(crate) fn failure(&self, failure: &Failure) -> ExitCode {
        self.problem(None, failure);
        ExitCode::from(failure.code())
    }

    /// Says that something failed, and where, in a run that may go on.
    pub(crate) fn problem(&self, place: Option<&str>, failure: &Failure) {
        let Some(sentence) = failure.sentence() else {
            return;
        };
        if self.json {
            let mut value = failure.json();
            if let Some(place) = place {
                value["error"]["place"] = place.into();
            }
            return self.say(&value.to_string());
        }
        let place = place.map(|place| format!("{place}: ")).unwrap_or_default();
        let mut text = format!("{RED}kvstore:{RED:#} {place}{sentence}");
        for cause in failure.causes() {
            text.push_str(&format!("\n  {DIM}because:{DIM:#} {cause}"));
        }
        if let Some(hint) = failure.hint() {
            text.push_str(&format!("\n  {DIM}note:{DIM:#} {hint}"));
        }
        self.say(&text);
    }

    /// Says what the user may want to know, unless it is quiet, or for a program.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet && !self.json {
            self.say(text);
        }
    }

    fn say(&self, text: &str) {
        let progress = self.progress();
        // The cursor's movement is no colour, and is meant for this terminal whatever `NO_COLOR` says.
        let clear = if progress.is_empty() { "" } else { CLEAR };
        let _ = write!(io::stderr(), "{clear}");
        let _ = writeln!(anstream::stderr(), "{text}");
        let _ = write!(io::stderr(), "{progress}");
    }

    /// Shows another line of progress in place of the last; the empty one ends it.
    pub(crate) fn set_progress(&self, text: String) {
        if !self.shows_progress {
            return;
        }
        let mut progress = self.progress();
        let _ = write!(io::stderr(), "{CLEAR}{text}");
        *progress = text;
    }

    fn progress(&self) -> MutexGuard<'_, String> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Goes to the line's begin and clears it.
const CLEAR: &str = "\r\x1b[2K";

/// A key or other text for people: control characters, which a terminal would obey, are escaped.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return text.into();
    }
    let escape = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(escape).collect::<String>().into()
}

/// A key in a sentence.
pub(crate) fn shown(key: &str) -> String {
    format!("`{}`", plain(key))
}

/// A number with a comma between each three digits.
pub(crate) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_a_comma_between_each_three_digits() {
        let shown = [0, 12, 123, 1234, 123_456, 1_234_567].map(number);
        assert_eq!(shown, ["0", "12", "123", "1,234", "123,456", "1,234,567"]);
    }

    #[test]
    fn control_characters_are_escaped_and_letters_are_not() {
        assert_eq!(plain("ä漢🦀 \\ \""), "ä漢🦀 \\ \"");
        assert_eq!(plain("a\n\u{1b}[2Jb"), "a\\n\\u{1b}[2Jb");
    }
}
