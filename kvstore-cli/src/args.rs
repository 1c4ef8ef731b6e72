//! The command line.

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use kvstore_core::Version;

use crate::value::Kind;

/// Get, set, list, copy, compare, check and measure any key-value store, by URL.
///
/// A store is named by its URL, as redis://localhost or mongodb://localhost/shop?collection=carts. Values go to
/// standard output as they are, messages to standard error.
#[derive(Debug, Parser)]
#[command(name = "kvstore", version, after_long_help = ENDS)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// The store, by its URL; a file in the user's data folder unless one is given.
    #[arg(
        long,
        short,
        global = true,
        value_name = "URL",
        env = "KVSTORE_URL",
        hide_env_values = true,
        value_hint = ValueHint::Url
    )]
    pub(crate) store: Option<String>,
    /// Work in this namespace of the store, or of both: on the keys that begin with NAME and a colon. With a
    /// colon between them namespaces nest.
    #[arg(long, short, global = true, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// Print for programs: JSON, a line each; errors too.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print no progress and no summary.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

const ENDS: &str = "\
Passwords need not stand in a URL, where the list of processes shows them: with `password_file=PATH` or \
`password_env=NAME` among its parameters the password is taken from there.

Exit codes:
  0    done, or yes
  1    no: the key is missing, a condition did not hold, the stores differ, a rule is broken
  2    the command line is wrong
  3    a server failed, or some of the data
  130  interrupted
  141  nobody reads the output any more";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print a value, as it is.
    Get(Key),
    /// Store a value.
    Set(Set),
    /// Delete a key; a missing one is no error.
    #[command(visible_alias = "rm")]
    Delete(Delete),
    /// Say whether a key is there.
    Has(HasArgs),
    /// Print a value and delete it, in one step: one of many callers has it.
    Take(Take),
    /// Change when a key expires.
    Touch(Touch),
    /// List keys, a line each.
    #[command(visible_alias = "ls")]
    Keys(Keys),
    /// Print what is known of a key beside its value: version, expiry, size.
    Entry(Key),
    /// Copy every key of a store into another. What the target already holds equal is skipped, so a copy that
    /// was interrupted goes on where it was. Nothing is deleted.
    Copy(Copy),
    /// Print in which keys two stores differ.
    Diff(Diff),
    /// Print every key of a store as JSON Lines.
    Export(Export),
    /// Store what `export` printed. What the store already holds equal is skipped.
    Import(Import),
    /// Ask a server what it is, how long it takes to answer, what it can do, and what could bite.
    Ping,
    /// Find out whether a server keeps the contract of kvstore, on a scratch root that is removed again.
    Conform(Conform),
    /// Measure a server: calls a second, and how long they take. What is written is deleted again.
    Bench(Bench),
    /// Print what makes a shell complete this command.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the manual page, or write one for each command.
    Man {
        /// Write kvstore.1, kvstore-get.1 and so on into this folder.
        #[arg(value_hint = ValueHint::DirPath)]
        folder: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Key {
    /// The key.
    pub(crate) key: String,
    /// The type of the value.
    #[arg(long = "as", value_name = "TYPE", default_value = "text")]
    pub(crate) kind: Kind,
}

#[derive(Debug, Args)]
pub(crate) struct Take {
    /// The key.
    pub(crate) key: String,
    /// The type of the value: text unless told, and to be told of a store of two, which moves keys.
    #[arg(long = "as", value_name = "TYPE")]
    pub(crate) kind: Option<Kind>,
}

#[derive(Debug, Args)]
pub(crate) struct HasArgs {
    /// The key.
    pub(crate) key: String,
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    /// The key.
    pub(crate) key: String,
    /// The value; `-` takes it from standard input, `@FILE` from a file, as it is there. One that begins
    /// with a dash follows `--`.
    #[arg(allow_negative_numbers = true, value_hint = ValueHint::AnyPath)]
    pub(crate) value: String,
    /// Take VALUE itself, also where it is `-` or begins with `@`.
    #[arg(long)]
    pub(crate) literal: bool,
    /// The type of the value: text unless told. It is to be told under a condition, and with `--keep-ttl`, of a
    /// store of two, which moves keys.
    #[arg(long = "as", value_name = "TYPE")]
    pub(crate) kind: Option<Kind>,
    /// Let the key expire after this time, as 30m, 12h or `1day 6h`.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) ttl: Option<Duration>,
    /// Let the key expire when it would have.
    #[arg(long, conflicts_with = "ttl")]
    pub(crate) keep_ttl: bool,
    #[command(flatten)]
    pub(crate) condition: Condition,
}

#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct Condition {
    /// Store only if the key is missing.
    #[arg(long)]
    pub(crate) if_absent: bool,
    /// Store only if the key is there.
    #[arg(long)]
    pub(crate) if_present: bool,
    /// Store only if the key is at this version, which `entry` prints.
    #[arg(long, value_name = "VERSION")]
    pub(crate) if_version: Option<Version>,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// The key.
    pub(crate) key: String,
    /// Delete only if the key is at this version.
    #[arg(long, value_name = "VERSION")]
    pub(crate) if_version: Option<Version>,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("expiry").required(true))]
pub(crate) struct Touch {
    /// The key.
    pub(crate) key: String,
    /// Let it expire after this time from now, as 30m.
    #[arg(long, value_name = "TIME", value_parser = time, group = "expiry")]
    pub(crate) ttl: Option<Duration>,
    /// Let it never expire.
    #[arg(long, group = "expiry")]
    pub(crate) persist: bool,
    /// The type of the value, which is to be told of a store of two, since it moves keys.
    #[arg(long = "as", value_name = "TYPE")]
    pub(crate) kind: Option<Kind>,
}

#[derive(Debug, Args)]
pub(crate) struct Keys {
    /// Only keys that begin with this, taken literally.
    #[arg(default_value = "")]
    pub(crate) prefix: String,
    /// End each key with a zero byte instead of a newline, which may be part of one.
    #[arg(long, short = '0', conflicts_with = "json")]
    pub(crate) null: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Copy {
    /// The store to copy, by its URL.
    #[arg(value_hint = ValueHint::Url)]
    pub(crate) from: String,
    /// The store to copy into, by its URL.
    #[arg(value_hint = ValueHint::Url)]
    pub(crate) to: String,
    /// The type of the values.
    #[arg(long = "as", value_name = "TYPE")]
    pub(crate) kind: Kind,
    #[command(flatten)]
    pub(crate) which: Which,
    #[command(flatten)]
    pub(crate) how: How,
}

/// Which keys.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Only keys that begin with this, taken literally.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,
    #[command(flatten)]
    pub(crate) jobs: Jobs,
}

#[derive(Debug, Args)]
pub(crate) struct Jobs {
    /// How many keys are read and compared at once. They are written in up to four batches of as many.
    #[arg(long, value_name = "NUMBER", default_value_t = 64, value_parser = jobs)]
    pub(crate) jobs: usize,
}

/// How to write into the target.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct How {
    /// Write only keys that the target does not have, also while others write there.
    #[arg(long)]
    pub(crate) if_absent: bool,
    /// Write nothing, and say what would be written.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Read back what was written, and compare.
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) verify: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// One store, by its URL.
    #[arg(value_hint = ValueHint::Url)]
    pub(crate) a: String,
    /// The other store, by its URL.
    #[arg(value_hint = ValueHint::Url)]
    pub(crate) b: String,
    /// The type of the values.
    #[arg(long = "as", value_name = "TYPE")]
    pub(crate) kind: Kind,
    #[command(flatten)]
    pub(crate) which: Which,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The type of the values.
    #[arg(long = "as", value_name = "TYPE")]
    pub(crate) kind: Kind,
    #[command(flatten)]
    pub(crate) which: Which,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The file; `-` is standard input.
    #[arg(default_value = "-", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) jobs: Jobs,
    #[command(flatten)]
    pub(crate) how: How,
}

#[derive(Debug, Args)]
pub(crate) struct Conform {
    /// The server, by the URL of a store on it.
    #[arg(value_hint = ValueHint::Url)]
    pub(crate) url: String,
    /// Only the cases whose name has this in it, as `t2_` or `namespace`.
    pub(crate) only: Option<String>,
    /// How many cases run at once.
    #[arg(long, value_name = "NUMBER", default_value_t = 4, value_parser = jobs)]
    pub(crate) jobs: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// The server, by the URL of a store on it.
    #[arg(value_hint = ValueHint::Url)]
    pub(crate) url: String,
    /// How many bytes a value has.
    #[arg(long, value_name = "BYTES", default_value_t = 256, value_parser = size)]
    pub(crate) size: usize,
    /// How many callers there are at once.
    #[arg(long, value_name = "NUMBER", value_delimiter = ',', default_values_t = [1, 64], value_parser = jobs)]
    pub(crate) tasks: Vec<usize>,
    /// How long each row is measured, as 2s.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = short_time)]
    pub(crate) time: Duration,
}

/// What these say is shown, so it quotes nothing.
fn time(text: &str) -> Result<Duration, &'static str> {
    humantime::parse_duration(text).map_err(|_| "a time is wanted, as 30m, 12h or `1day 6h`")
}

fn short_time(text: &str) -> Result<Duration, &'static str> {
    match time(text)? {
        time if time <= DAY => Ok(time),
        _ => Err("a time of no more than a day is wanted"),
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn jobs(text: &str) -> Result<usize, String> {
    number(text, 1..=1000)
}

/// As many bytes as a value has anywhere that is sent as one.
fn size(text: &str) -> Result<usize, String> {
    number(text, 0..=512 << 20)
}

fn number(text: &str, range: RangeInclusive<usize>) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    let (least, most) = range.into_inner();
    number.ok_or_else(|| format!("a number from {least} to {most} is wanted"))
}

/// What the command line says.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Arguments, clap::Error> {
    let mut command = Arguments::command();
    let matches = command.try_get_matches_from_mut(words)?;
    let arguments = Arguments::from_arg_matches(&matches)?;
    let is_given = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
    let unused = match arguments.command {
        Command::Copy(_) | Command::Diff(_) => &["store"][..],
        Command::Conform(_)
        | Command::Bench(_)
        | Command::Completions { .. }
        | Command::Man { .. } => &["store", "namespace"],
        _ => &[],
    };
    let Some(unused) = unused.iter().find(|id| is_given(id)) else {
        return Ok(arguments);
    };
    let name = matches.subcommand_name().unwrap_or_default();
    let mut error = clap::Error::new(ErrorKind::ArgumentConflict).with_cmd(&command);
    for (kind, text) in [
        (ContextKind::InvalidArg, format!("--{unused}")),
        (ContextKind::PriorArg, name.to_owned()),
    ] {
        error.insert(kind, ContextValue::String(text));
    }
    Err(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
