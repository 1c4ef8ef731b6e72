//! `ping`: what a server is, and what it can do.

use std::time::Duration;

use kvstore_core::{Capabilities, Listing, Versions};
use serde_json::json;
use tokio::time::Instant;

use crate::Context;
use crate::failure::{End, Failure};
use crate::output::{self, BOLD, YELLOW, number};
use crate::value::Kind;

/// How many reads are made to know how long one takes.
const READS: usize = 9;

pub(crate) async fn run(context: &Context<'_>) -> Result<End, Failure> {
    let begin = Instant::now();
    let store = context.store(Kind::Bytes).await?;
    let connected = begin.elapsed();
    let server = store.ping().await?;
    let mut reads = Vec::with_capacity(READS);
    for _ in 0..READS {
        let begin = Instant::now();
        store.has("kvstore-ping").await?;
        reads.push(begin.elapsed());
    }
    reads.sort();
    let latency = reads[READS / 2];
    let capabilities = store.capabilities();
    if context.json {
        output::json(&json!({
            "provider": capabilities.provider,
            "product": server.product,
            "version": server.version,
            "connect_ms": millis(connected),
            "latency_ms": millis(latency),
            "capabilities": for_programs(capabilities),
            "warnings": server.warnings,
        }))?;
        return Ok(End::Done);
    }
    let version = server.version.unwrap_or_default();
    output::line(&format!("{BOLD}{} {version}{BOLD:#}", server.product))?;
    let (latency, connected) = (millis(latency), millis(connected));
    let answers =
        format!("in {latency} ms, the median of {READS} reads; connected in {connected} ms");
    let rows = [("answers", answers)]
        .into_iter()
        .chain(for_people(capabilities));
    for (name, value) in rows {
        output::line(&format!("{name:<14}{value}"))?;
    }
    for warning in &server.warnings {
        output::line(&format!("{YELLOW}{:<14}{YELLOW:#}{warning}", "warning"))?;
    }
    Ok(End::Done)
}

/// In milliseconds, to the hundredth.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 100_000.0).round() / 100.0
}

fn for_programs(capabilities: &Capabilities) -> serde_json::Value {
    json!({
        "max_key_len": capabilities.max_key_len,
        "max_value_len": capabilities.max_value_len,
        "expiry_ms": capabilities.expiry.map(|unit| unit.as_millis()),
        "touch": capabilities.touch,
        "if_absent": capabilities.if_absent,
        "if_present": capabilities.if_present,
        "versions": capabilities.versions.map(versions),
        "take": capabilities.take,
        "keys": capabilities.keys.map(listing),
        "strong_reads": capabilities.strong_reads,
        "retains": capabilities.retains,
    })
}

fn for_people(capabilities: &Capabilities) -> [(&'static str, String); 10] {
    let yes = |claimed: bool| if claimed { "yes" } else { "no" }.to_owned();
    let bytes = |limit: usize| format!("up to {} bytes", number(limit as u64));
    let conditions = [
        (capabilities.if_absent, "absent"),
        (capabilities.if_present, "present"),
        (capabilities.versions.is_some(), "version"),
    ];
    let conditions = conditions.iter().filter(|(claimed, _)| *claimed);
    let conditions: Vec<_> = conditions.map(|(_, name)| *name).collect();
    let unit = |unit| format!("in units of {}", humantime::format_duration(unit));
    [
        ("keys", bytes(capabilities.max_key_len)),
        (
            "values",
            capabilities
                .max_value_len
                .map_or("of any size".to_owned(), bytes),
        ),
        ("expiry", capabilities.expiry.map_or("no".to_owned(), unit)),
        ("touch", yes(capabilities.touch)),
        (
            "conditions",
            match conditions.is_empty() {
                true => "no".to_owned(),
                false => conditions.join(", "),
            },
        ),
        (
            "versions",
            capabilities.versions.map_or("no", versions).to_owned(),
        ),
        ("take", yes(capabilities.take)),
        (
            "listing",
            capabilities.keys.map_or("no", listing).to_owned(),
        ),
        ("strong reads", yes(capabilities.strong_reads)),
        ("never evicts", yes(capabilities.retains)),
    ]
}

fn versions(versions: Versions) -> &'static str {
    match versions {
        Versions::Unique => "unique",
        Versions::Counter => "counter",
        Versions::Content => "content",
        _ => "others",
    }
}

fn listing(listing: Listing) -> &'static str {
    match listing {
        Listing::Once => "once",
        Listing::AtLeastOnce => "at least once",
        _ => "others",
    }
}
