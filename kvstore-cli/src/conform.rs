//! `conform`: the contract's cases against a live server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt as _;
use futures_util::stream::{StreamExt as _, iter};
use kvstore_core::Provider;
use kvstore_testsuite::{Case, Fixture, cases};
use serde_json::json;

use crate::Context;
use crate::args;
use crate::failure::{End, Failure};
use crate::output::{self, BOLD, DIM, GREEN, RED, shown};
use crate::recorder::{Recorder, Written};
use crate::scratch::Scratch;
use crate::stores;
use crate::url;

pub(crate) async fn run(context: &Context<'_>, args: args::Conform) -> Result<End, Failure> {
    let only = args.only.as_deref().unwrap_or_default();
    let chosen: Vec<&Case> = cases()
        .iter()
        .filter(|case| case.name.contains(only))
        .collect();
    if chosen.is_empty() {
        return Err(Failure::usage("no case has this in its name"));
    }
    // A panic in a case is its result, which is printed like any other.
    std::panic::set_hook(Box::new(|_| {}));
    let connecting = async {
        let url = url::with_password(&args.url).await?;
        // What the URL itself names need not be there, and is not made here.
        let scratch = Scratch::new(&url, "conform")?;
        let provider = context.open(&scratch.url).await?;
        let server = provider.ping().await?;
        provider.close().await?;
        scratch.remove().await?;
        Ok::<_, Failure>((url, server))
    };
    let (url, server) = tokio::select! {
        connected = connecting => connected?,
        () = context.signals.interrupted() => return Err(Failure::Interrupted),
    };
    let version = server.version.unwrap_or_default();
    let (product, count) = (server.product, chosen.len());
    context
        .messages
        .note(&format!("{BOLD}{product} {version}{BOLD:#}, {count} cases"));

    let mut rules: BTreeMap<&str, bool> = BTreeMap::new();
    let mut failed = None;
    let stop = AtomicBool::new(false);
    let mut results = iter(chosen)
        .map(|case| run_case(context, &url, case, &stop))
        .buffered(args.jobs);
    // Those that are under way end and clean up, whatever fails.
    while let Some((case, result)) = results.next().await {
        let told = match result {
            Ok(_) if failed.is_some() => Ok(()),
            Ok(result) => {
                for rule in case.rules {
                    *rules.entry(rule).or_insert(true) &= result.is_ok();
                }
                tell(
                    context,
                    case,
                    result.as_ref().err().map(|failure| &failure[..]),
                )
            }
            Err(failure) => Err(failure),
        };
        if let Err(failure) = told {
            stop.store(true, Ordering::Relaxed);
            failed.get_or_insert(failure);
        }
    }
    if let Some(failure) = failed {
        return Err(failure);
    }
    let named = |holds: bool| {
        let names = rules.iter().filter(|(_, kept)| **kept == holds);
        names.map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
    };
    let (kept, broken) = (named(true), named(false));
    if !context.json {
        output::line(&format!("{GREEN}hold{GREEN:#}    {kept}"))?;
    }
    if broken.is_empty() {
        return Ok(End::Done);
    }
    if !context.json {
        output::line(&format!("{RED}broken{RED:#}  {broken}"))?;
    }
    Ok(End::No)
}

fn tell(context: &Context<'_>, case: &Case, failure: Option<&str>) -> Result<(), Failure> {
    if context.json {
        return output::json(&json!({
            "case": case.name,
            "rules": case.rules,
            "promise": case.sentence,
            "holds": failure.is_none(),
            "failure": failure,
        }));
    }
    let (name, rules) = (case.name, case.rules.join(" "));
    match failure {
        None => output::line(&format!("{GREEN}ok{GREEN:#}      {name}")),
        Some(failure) => output::line(&format!(
            "{RED}BROKEN{RED:#}  {name}\n        {rules}: {}\n        {DIM}{failure}{DIM:#}",
            case.sentence
        )),
    }
}

/// Whether a case holds, or how it is broken; a failure where that is not known.
type Outcome = Result<Result<(), String>, Failure>;

/// Runs a case on a root of its own. Nothing of it is left, also where it was interrupted.
async fn run_case<'a>(
    context: &Context<'_>,
    url: &str,
    case: &'a Case,
    stop: &AtomicBool,
) -> (&'a Case, Outcome) {
    let interrupted = context.signals.interrupted();
    tokio::pin!(interrupted);
    // After an interruption none is begun, nor after a failure.
    if stop.load(Ordering::Relaxed) || interrupted.as_mut().now_or_never().is_some() {
        return (case, Err(Failure::Interrupted));
    }
    let opened = async {
        let scratch = Scratch::new(url, "conform")?;
        let clients = clients(&scratch).await?;
        Ok::<_, Failure>((scratch, clients))
    };
    let (scratch, clients) = match opened.await {
        Ok(opened) => opened,
        Err(failure) => return (case, Err(failure)),
    };
    let written = Written::default();
    let result = tokio::select! {
        result = case.run(fixture(&clients, &written)) => Ok(result.map_err(|failure| failure.to_string())),
        () = interrupted => Err(Failure::Interrupted),
    };
    // A server that is away breaks no rule.
    let result = match result {
        Ok(Err(broken)) => match answers(&scratch).await {
            Ok(()) => Ok(Err(broken)),
            Err(failure) => Err(failure),
        },
        result => result,
    };
    // The case's own tasks may still go on: what they write from now on nobody would delete.
    for client in &clients {
        // Where it fails, so will the next.
        let _ = client.close().await;
    }
    if let Err(failure) = scratch.clean(&written.take()).await {
        let root = shown(&scratch.name);
        let place = format!("some of what {} wrote is left under {root}", case.name);
        context.messages.problem(Some(&place), &failure);
    }
    (case, result)
}

/// Asks the server whether it is there.
async fn answers(scratch: &Scratch) -> Result<(), Failure> {
    if !scratch.is_shared() {
        return Ok(());
    }
    let provider = stores::open(&scratch.url).await?;
    provider.ping().await?;
    Ok(provider.close().await?)
}

/// Two clients of a root, or one where it cannot be opened twice.
async fn clients(scratch: &Scratch) -> Result<Vec<Arc<dyn Provider>>, Failure> {
    let first = stores::open(&scratch.url).await?;
    Ok(match scratch.is_shared() {
        true => vec![first, stores::open(&scratch.url).await?],
        false => vec![first],
    })
}

fn fixture(clients: &[Arc<dyn Provider>], written: &Written) -> Fixture {
    let recorder = |inner: &Arc<dyn Provider>| Recorder {
        inner: Arc::clone(inner),
        written: written.clone(),
    };
    let fixture = Fixture::new(recorder(&clients[0]));
    match clients.get(1) {
        Some(other) => fixture.with_other(recorder(other)),
        None => fixture,
    }
}
