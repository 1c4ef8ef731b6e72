//! What was done and how long it took.

use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

/// The steps so far, each told when it begins and when it ends.
#[derive(Debug, Default)]
pub(crate) struct Report {
    steps: Vec<(String, Duration)>,
}

impl Report {
    /// Takes a step.
    pub(crate) fn step<T>(
        &mut self,
        name: &str,
        step: impl FnOnce() -> Result<T, String>,
    ) -> Result<T, String> {
        println!("\n==> {name}");
        let start = Instant::now();
        let done = step()
            .map_err(|e| format!("\n==> {name}: FAILED after {}\n{e}", time(start.elapsed())));
        if done.is_ok() {
            println!("==> {name}: {}", time(start.elapsed()));
            self.steps.push((name.to_owned(), start.elapsed()));
        }
        done
    }

    /// The steps, what was installed, and which servers the tests told of.
    pub(crate) fn summary(&self, installed: &[String], servers: &str) -> String {
        let mut text = "\n==> Summary\n".to_owned();
        for (name, duration) in &self.steps {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{:>8}  {name}", time(*duration));
        }
        let total = self.steps.iter().map(|(_, duration)| *duration).sum();
        let _ = writeln!(
            text,
            "{:>8}  in all\n\nServers on this machine:",
            time(total)
        );
        for line in installed {
            let _ = writeln!(text, "  {line}");
        }
        let _ = writeln!(
            text,
            "\nServers that the tests used (how many started or named):"
        );
        for (line, count) in counted(servers) {
            let _ = writeln!(text, "{count:>6} x {line}");
        }
        text
    }
}

/// Runs a command to its end, its output going where ours does.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let told = format!("{command:?}");
    let status = command.status().map_err(|e| format!("{told}: {e}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{told}: {status}"))
    }
}

fn time(duration: Duration) -> String {
    format!(
        "{}:{:02} min",
        duration.as_secs() / 60,
        duration.as_secs() % 60
    )
}

/// Each line once, in the order they came, with how often it came.
fn counted(text: &str) -> Vec<(&str, usize)> {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for line in text.lines() {
        match counts.iter_mut().find(|(known, _)| *known == line) {
            Some((_, count)) => *count += 1,
            None => counts.push((line, 1)),
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_is_named_and_not_done() {
        let mut report = Report::default();
        assert_eq!(report.step("one", || Ok(1)), Ok(1));
        let error = report
            .step("two", || Err::<(), _>("why".to_owned()))
            .unwrap_err();
        assert!(
            error.contains("two: FAILED") && error.ends_with("why"),
            "{error}"
        );
        let steps: Vec<_> = report.steps.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(steps, ["one"]);
    }

    #[test]
    fn a_command_s_failure_is_an_error() {
        assert_eq!(run(&mut Command::new("true")), Ok(()));
        assert!(
            run(&mut Command::new("false"))
                .unwrap_err()
                .contains("false")
        );
        assert!(run(&mut Command::new("/nowhere/program")).is_err());
    }

    #[test]
    fn the_summary_tells_steps_and_servers() {
        let mut report = Report::default();
        report
            .steps
            .push(("tests".to_owned(), Duration::from_secs(61)));
        let text = report.summary(&["redis 7".to_owned()], "b\na\nb\n");
        for line in [
            "1:01 min  tests",
            "1:01 min  in all",
            "redis 7",
            "2 x b\n     1 x a",
        ] {
            assert!(text.contains(line), "{line:?} in {text}");
        }
    }
}
