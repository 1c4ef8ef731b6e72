//! A command line that is not understood.
//!
//! clap's own messages quote what was given, which may be a password in the wrong place. These do not.

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::failure::Failure;
use crate::output::Messages;

/// Prints what is wrong, or the help that was asked for.
pub(crate) fn end(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // A help text that nobody reads to its end is no failure.
        let _ = error.print();
        return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
    }
    // What is not understood cannot say whether it is for programs.
    let given = std::env::args_os().take_while(|argument| argument != "--");
    let json = given.into_iter().any(|argument| argument == "--json");
    let messages = Messages::new(json, false);
    let code = messages.failure(&Failure::usage(sentence(error)));
    if let Some(ContextValue::StyledStr(usage)) = error.get(ContextKind::Usage) {
        messages.note(&format!("\n{usage}\n\nFor more information, try '--help'."));
    }
    code
}

/// What is wrong, without a word of what was given.
fn sentence(error: &clap::Error) -> String {
    // How this program declares the argument, but where none was found by what was given.
    let argument = match error.kind() {
        ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand => None,
        _ => error.get(ContextKind::InvalidArg),
    };
    let argument = match argument {
        Some(ContextValue::String(one)) => one.clone(),
        Some(ContextValue::Strings(many)) => many.join(" "),
        _ => "an argument".to_owned(),
    };
    let mut sentence = match error.kind() {
        ErrorKind::UnknownArgument => {
            "there is an argument that this command does not have (a value that begins with a dash follows `--`)"
                .to_owned()
        }
        ErrorKind::InvalidSubcommand => "there is no such command".to_owned(),
        ErrorKind::MissingSubcommand => "a command is missing".to_owned(),
        ErrorKind::MissingRequiredArgument => format!("{argument} is missing"),
        ErrorKind::ArgumentConflict => match error.get(ContextKind::PriorArg) {
            Some(ContextValue::String(prior)) if *prior != argument => {
                format!("{argument} cannot be used together with {prior}")
            }
            Some(ContextValue::Strings(prior)) => {
                format!("{argument} cannot be used together with {}", prior.join(" "))
            }
            _ => format!("{argument} cannot be used twice"),
        },
        ErrorKind::InvalidUtf8 => "an argument is not UTF-8".to_owned(),
        ErrorKind::TooManyValues => format!("{argument} takes no value, or fewer"),
        // What this program's own parsers say, which quote nothing.
        ErrorKind::ValueValidation => match std::error::Error::source(error) {
            Some(why) => format!("{argument}: {why}"),
            None => format!("{argument} does not take what was given"),
        },
        _ => format!("{argument} does not take what was given"),
    };
    let known = [
        (ContextKind::ValidValue, "it takes"),
        (ContextKind::SuggestedArg, "there is"),
        (ContextKind::SuggestedSubcommand, "there is"),
    ];
    for (kind, words) in known {
        let known = match error.get(kind) {
            Some(ContextValue::String(one)) => one.clone(),
            Some(ContextValue::Strings(many)) => many.join(", "),
            _ => continue,
        };
        sentence.push_str(&format!("; {words} {known}"));
    }
    sentence
}
