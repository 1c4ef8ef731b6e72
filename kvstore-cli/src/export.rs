//! `export`: every key of a store, as JSON Lines.

use std::future::ready;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::time::Instant;

use crate::Context;
use crate::args;
use crate::failure::{End, Failure};
use crate::line::Line;
use crate::output::{self, Lines, number, shown};
use crate::progress;
use crate::source::{Found, Source};

pub(crate) async fn run(context: &Context<'_>, args: args::Export) -> Result<End, Failure> {
    let source = Source::new(context.listed(&context.url()?, args.kind).await?);
    let (printed, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    let read = async |key: kvstore_core::Result<String>| {
        // A listing that fails is not complete.
        let key = key?;
        let room = source.reserve().await;
        let failure = match source.read(&key, room).await {
            Ok(Some(found)) => match line(&args, &key, &found) {
                // The room is given back when the line is written.
                Ok(line) => return Ok(Some((line, found.room))),
                Err(failure) => failure,
            },
            Ok(None) => return Ok(None),
            Err(error) => Failure::from(error),
        };
        if failure.is_general() {
            return Err(failure);
        }
        failed.fetch_add(1, Ordering::Relaxed);
        context.messages.problem(None, &failure);
        Ok(None)
    };
    let mut lines = Lines::new();
    let exported = source
        .keys(&args.which.prefix)
        .map(read)
        .buffer_unordered(args.which.jobs.jobs)
        .try_for_each(|line| {
            let written = match line {
                Some((line, _room)) => {
                    printed.fetch_add(1, Ordering::Relaxed);
                    lines.write(&line, b'\n')
                }
                None => Ok(()),
            };
            ready(written)
        });
    let done = match output::stdout_is_terminal() {
        true => exported.await,
        false => {
            let count = || printed.load(Ordering::Relaxed);
            progress::during(context.messages, count, exported).await
        }
    };
    // What came before a failure is right; the exit code says that it is not all.
    let done = done.and(lines.end());
    let failed = failed.into_inner();
    if failed == 0 {
        done?;
    } else if let Err(failure) = done {
        // Some keys failed, which counts more than that nobody reads the others.
        return failure.unless_pipe(End::Incomplete);
    }
    if !output::stdout_is_terminal() {
        let failed = match failed {
            0 => String::new(),
            failed => format!(", {} failed", number(failed)),
        };
        let printed = number(printed.into_inner());
        context
            .messages
            .note(&format!("{printed} exported{failed}"));
    }
    Ok(if failed == 0 {
        End::Done
    } else {
        End::Incomplete
    })
}

fn line(args: &args::Export, key: &str, found: &Found) -> Result<Vec<u8>, Failure> {
    let left = |at: Instant| at.saturating_duration_since(Instant::now());
    let line = Line {
        key: key.to_owned(),
        kind: args.kind,
        value: found.value.clone(),
        expires_at: found.expires.map(|at| SystemTime::now() + left(at)),
    };
    line.to_json().map_err(|error| {
        Failure::Data(
            format!("key {} cannot be exported", shown(key)),
            error.to_string(),
        )
    })
}
