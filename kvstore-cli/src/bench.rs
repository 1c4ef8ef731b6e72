//! `bench`: how fast a server answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kvstore_core::Bytes;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Context;
use crate::args;
use crate::failure::{End, Failure};
use crate::output::{self, BOLD, DIM, number};
use crate::progress;
use crate::scratch::Scratch;
use crate::stores::{self, Store};
use crate::times::Times;
use crate::url;
use crate::value::Kind;

/// How many keys are written and read, over and over.
const KEYS: usize = 1000;
/// How many bytes their values have at most, so that large ones are fewer.
const BYTES: usize = 256 << 20;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Set,
    Get,
}

/// What was measured of an operation.
struct Row {
    operation: &'static str,
    tasks: usize,
    times: Times,
    took: Duration,
}

pub(crate) async fn run(context: &Context<'_>, args: args::Bench) -> Result<End, Failure> {
    let opening = async {
        let scratch = Scratch::new(&url::with_password(&args.url).await?, "bench")?;
        let provider = context.open(&scratch.url).await?;
        let server = provider.ping().await?;
        Ok::<_, Failure>((scratch, provider, server))
    };
    let (scratch, provider, server) = tokio::select! {
        opened = opening => opened?,
        () = context.signals.interrupted() => return Err(Failure::Interrupted),
    };
    let store = stores::on(&provider, Kind::Bytes, None)?;
    let count = (BYTES / args.size.max(1)).clamp(1, KEYS);
    let keys: Arc<[String]> = (0..count)
        .map(|number| format!("key-{number:04}"))
        .collect();
    let version = server.version.unwrap_or_default();
    let (product, size) = (server.product, number(args.size as u64));
    context.messages.note(&format!(
        "{BOLD}{product} {version}{BOLD:#}, {count} keys with values of {size} bytes"
    ));
    let stop = Arc::new(AtomicBool::new(false));
    let measured = {
        let measuring = measure_all(context, &args, &store, &keys, &stop);
        tokio::pin!(measuring);
        tokio::select! {
            measured = &mut measuring => measured,
            () = context.signals.interrupted() => {
                stop.store(true, Ordering::Relaxed);
                // A write that is dropped may still be done, after what it wrote was deleted.
                measuring.await.and(Err(Failure::Interrupted))
            }
        }
    };
    // Also after a failure, which counts more than one of cleaning up.
    let closed = store.close().await;
    let cleaned = scratch.clean(&keys.iter().cloned().collect()).await;
    measured?;
    closed?;
    cleaned?;
    Ok(End::Done)
}

async fn measure_all(
    context: &Context<'_>,
    args: &args::Bench,
    store: &Store,
    keys: &Arc<[String]>,
    stop: &Arc<AtomicBool>,
) -> Result<(), Failure> {
    if let Some(limit) = store.capabilities().max_value_len
        && args.size > limit
    {
        return Err(Failure::usage(format!(
            "a value of this server has up to {limit} bytes"
        )));
    }
    let value: Bytes = (0_u8..=255).cycle().take(args.size).collect();
    // The first row is not to be slower for what happens once.
    store
        .set_many(
            keys.iter().map(|key| (key, &value)),
            kvstore_core::SetOptions::new(),
        )
        .await
        .map_err(kvstore_core::Error::from)?;
    if !context.json {
        output::line(&format!(
            "{DIM}{:<5}{:>6}{:>12}{:>12}{:>12}{:>12}{:>12}{DIM:#}",
            "", "tasks", "calls/s", "p50", "p90", "p99", "max"
        ))?;
    }
    for &tasks in &args.tasks {
        for (operation, name) in [(Operation::Set, "set"), (Operation::Get, "get")] {
            let begin = Instant::now();
            let end = begin + args.time;
            let times = measure(store, keys, &value, tasks, end, operation, stop).await?;
            let took = begin.elapsed();
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            print(
                context,
                &Row {
                    operation: name,
                    tasks,
                    times,
                    took,
                },
            )?;
        }
    }
    Ok(())
}

/// How long calls take, of this many callers at once.
async fn measure(
    store: &Store,
    keys: &Arc<[String]>,
    value: &Bytes,
    tasks: usize,
    end: Instant,
    operation: Operation,
    stop: &Arc<AtomicBool>,
) -> Result<Times, Failure> {
    let mut callers = JoinSet::new();
    for task in 0..tasks {
        let (store, keys, value) = (store.clone(), Arc::clone(keys), value.clone());
        let stop = Arc::clone(stop);
        callers.spawn(async move {
            let mut times = Times::default();
            // Each begins elsewhere, so that they meet seldom.
            let mut at = task * keys.len() / tasks;
            loop {
                let key = &keys[at % keys.len()];
                at += 1;
                let begin = Instant::now();
                match operation {
                    Operation::Set => store.set(key, &value).await?,
                    Operation::Get => drop(store.get(key).await?),
                }
                let now = Instant::now();
                times.add(now - begin);
                if now >= end || stop.load(Ordering::Relaxed) {
                    return Ok::<_, kvstore_core::Error>(times);
                }
            }
        });
    }
    let mut times = Times::default();
    let mut failed = None;
    while let Some(done) = callers.join_next().await {
        match done.map_err(|error| Failure::io("a caller ended", error.into()))? {
            Ok(done) => times.add_all(&done),
            Err(error) => {
                stop.store(true, Ordering::Relaxed);
                failed.get_or_insert(error);
            }
        }
    }
    failed.map_or(Ok(times), |error| Err(error.into()))
}

fn print(context: &Context<'_>, row: &Row) -> Result<(), Failure> {
    let rate = progress::per_second(row.times.count, row.took);
    let spans = [50, 90, 99, 100].map(|percent| row.times.within(percent));
    if context.json {
        let [p50, p90, p99, max] = spans.map(|span| span.as_secs_f64() * 1e6);
        return output::json(&json!({
            "operation": row.operation,
            "tasks": row.tasks,
            "calls_per_second": rate,
            "p50_us": p50,
            "p90_us": p90,
            "p99_us": p99,
            "max_us": max,
        }));
    }
    let spans: String = spans.map(|span| format!("{:>12}", shown(span))).concat();
    output::line(&format!(
        "{:<5}{:>6}{:>12}{spans}",
        row.operation,
        row.tasks,
        number(rate)
    ))
}

fn shown(span: Duration) -> String {
    let micros = span.as_secs_f64() * 1e6;
    match micros {
        0.0..1.0 => format!("{} ns", span.as_nanos()),
        1.0..1000.0 => format!("{micros:.1} µs"),
        _ => format!("{:.2} ms", micros / 1000.0),
    }
}
