//! The `kvstore` command: gets, sets, lists, copies, compares, checks and measures any key-value store that
//! kvstore has a provider for, by its URL. The README has the commands and their output.

mod args;
mod bench;
mod budget;
mod conform;
mod copy;
mod counts;
mod diff;
mod dry;
mod export;
mod failure;
mod home;
mod import;
mod line;
mod misuse;
mod output;
mod ping;
mod progress;
mod providers;
mod recorder;
mod scratch;
mod shell;
mod signals;
mod single;
mod source;
mod stores;
mod times;
mod transfer;
mod turns;
mod url;
mod value;

use std::process::ExitCode;
use std::time::Duration;

use crate::args::{Arguments, Command};
use crate::failure::{End, Failure};
use crate::output::Messages;
use crate::signals::Signals;
use crate::stores::Opened;

fn main() -> ExitCode {
    let arguments = match args::parse(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(error) => return misuse::end(&error),
    };
    let messages = Messages::new(arguments.json, arguments.quiet);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return messages.failure(&Failure::io("starting threads", error)),
    };
    let end = runtime.block_on(run(arguments, &messages));
    // What waits for standard input cannot be stopped, and nobody waits for it.
    runtime.shutdown_timeout(Duration::from_millis(100));
    match end {
        Ok(end) => end.code(),
        Err(failure) => messages.failure(&failure),
    }
}

async fn run(arguments: Arguments, messages: &Messages) -> Result<End, Failure> {
    let signals = Signals::listen()?;
    let Arguments {
        command,
        store,
        namespace,
        json,
        ..
    } = arguments;
    let context = Context {
        store,
        namespace,
        json,
        messages,
        signals: &signals,
        opened: Opened::default(),
    };
    let end = run_command(&context, command).await;
    context.opened.close().await;
    end
}

async fn run_command(context: &Context<'_>, command: Command) -> Result<End, Failure> {
    match command {
        // These say how far they came, or clean up, when they are interrupted.
        Command::Copy(args) => copy::run(context, args).await,
        Command::Import(args) => import::run(context, args).await,
        Command::Conform(args) => conform::run(context, args).await,
        Command::Bench(args) => bench::run(context, args).await,
        other => {
            let command = async {
                match other {
                    Command::Get(args) => single::get(context, args).await,
                    Command::Set(args) => single::set(context, args).await,
                    Command::Delete(args) => single::delete(context, args).await,
                    Command::Has(args) => single::has(context, args).await,
                    Command::Take(args) => single::take(context, args).await,
                    Command::Touch(args) => single::touch(context, args).await,
                    Command::Entry(args) => single::entry(context, args).await,
                    Command::Keys(args) => single::keys(context, args).await,
                    Command::Diff(args) => diff::run(context, args).await,
                    Command::Export(args) => export::run(context, args).await,
                    Command::Ping => ping::run(context).await,
                    Command::Completions { shell } => shell::completions(shell),
                    Command::Man { folder } => shell::man(folder.as_deref()),
                    Command::Copy(_)
                    | Command::Import(_)
                    | Command::Conform(_)
                    | Command::Bench(_) => unreachable!("they are above"),
                }
            };
            tokio::select! {
                end = command => end,
                () = context.signals.interrupted() => Err(Failure::Interrupted),
            }
        }
    }
}

/// What all commands are given.
struct Context<'a> {
    /// The URL of the store, where the command works on one.
    store: Option<String>,
    /// The namespaces, `:` between them.
    namespace: Option<String>,
    json: bool,
    messages: &'a Messages,
    signals: &'a Signals,
    opened: Opened,
}
