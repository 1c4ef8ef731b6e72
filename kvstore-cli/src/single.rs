//! The commands on one key, and the listing.

use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

use kvstore_core::{Bytes, Condition, Entry, Outcome, SetOptions};
use serde_json::json;
use tokio::task::spawn_blocking;

use crate::Context;
use crate::args;
use crate::failure::{End, Failure};
use crate::line;
use crate::output::{self, Lines, plain};
use crate::stores::Store;
use crate::value::Kind;

pub(crate) async fn get(context: &Context<'_>, args: args::Key) -> Result<End, Failure> {
    let found = context.store(args.kind).await?.get(&args.key).await?;
    print_value(context, args.kind, found)
}

pub(crate) async fn take(context: &Context<'_>, args: args::Take) -> Result<End, Failure> {
    let store = context.moving(args.kind, Kind::Text).await?;
    let found = take_whole(&store, &args.key).await?;
    print_value(context, args.kind.unwrap_or(Kind::Text), found)
}

/// Takes a value that is of the type. Where it is not, the store's own `take` has removed it before that is known.
async fn take_whole(store: &Store, key: &str) -> Result<Option<Bytes>, Failure> {
    if store.capabilities().versions.is_none() {
        return Ok(store.take(key).await?);
    }
    while let Some(entry) = store.get_entry(key).await? {
        let Some(version) = entry.version else {
            return Ok(store.take(key).await?);
        };
        if store.delete_if(key, version).await?.is_applied() {
            return Ok(Some(entry.value));
        }
    }
    Ok(None)
}

fn print_value(context: &Context<'_>, kind: Kind, found: Option<Bytes>) -> Result<End, Failure> {
    if context.json {
        let value = found.as_ref().map(|value| line::value_to_json(kind, value));
        let value = value.transpose().map_err(|error| {
            Failure::Data(
                "the value cannot be printed as JSON".to_owned(),
                error.to_string(),
            )
        })?;
        let value = value.as_ref().map_or("null", |value| value.get());
        output::write(format!("{value}\n").as_bytes())?;
    } else if let Some(value) = &found {
        output::write(value)?;
        // Else the prompt would stand behind the value; what reads a pipe gets the value alone.
        if output::stdout_is_terminal() && !value.ends_with(b"\n") {
            output::write(b"\n")?;
        }
    }
    Ok(found_or_no(context, found.is_some()))
}

fn found_or_no(context: &Context<'_>, found: bool) -> End {
    if found {
        return End::Done;
    }
    context.messages.note("the key is missing");
    End::No
}

pub(crate) async fn set(context: &Context<'_>, args: args::Set) -> Result<End, Failure> {
    let value = value(context, args.value, args.literal).await?;
    let options = match args.ttl {
        Some(ttl) => SetOptions::new().ttl(ttl),
        None if args.keep_ttl => SetOptions::new().keep_expiry(),
        None => SetOptions::new(),
    };
    let args::Condition {
        if_absent,
        if_present,
        if_version,
    } = args.condition;
    let condition = match if_version {
        Some(version) => Some(Condition::Version(version)),
        None if if_absent => Some(Condition::Absent),
        None if if_present => Some(Condition::Present),
        None => None,
    };
    let store = match condition.is_some() || args.keep_ttl {
        true => context.moving(args.kind, Kind::Text).await?,
        false => context.store(args.kind.unwrap_or(Kind::Text)).await?,
    };
    let outcome = match condition {
        Some(condition) => store.set_if(&args.key, value, condition, options).await?,
        None => {
            store.set_with(&args.key, value, options).await?;
            Outcome::Applied(None)
        }
    };
    print_outcome(context, outcome)
}

/// The value that VALUE says, or that is where it says.
async fn value(context: &Context<'_>, text: String, literal: bool) -> Result<Bytes, Failure> {
    let is_stdin = text == "-";
    if literal || !(is_stdin || text.starts_with('@')) {
        return Ok(text.into());
    }
    let limit = context.max_value_len().await?.unwrap_or_default();
    let limit = limit.max(LIMIT);
    // Either may be a pipe, which is waited for.
    let read = spawn_blocking(move || match is_stdin {
        true => read_value(Ok(io::stdin()), limit, "standard input cannot be read"),
        // The path is not shown: it may be a password that begins with `@`.
        false => read_value(
            File::open(&text[1..]),
            limit,
            "the file of VALUE cannot be read",
        ),
    });
    read.await
        .map_err(|error| Failure::io("reading the value", error.into()))?
}

/// How many bytes are read of a value, where the store takes no more: those of JSON may be fewer when stored.
const LIMIT: usize = 700 << 20;

fn read_value(from: io::Result<impl Read>, limit: usize, failed: &str) -> Result<Bytes, Failure> {
    let mut value = Vec::new();
    let read = from.and_then(|from| from.take(limit as u64 + 1).read_to_end(&mut value));
    read.map_err(|error| Failure::io(failed, error))?;
    if value.len() > limit {
        let reason = format!("it has more than {limit} bytes");
        return Err(Failure::Data("the value is not stored".to_owned(), reason));
    }
    Ok(value.into())
}

fn print_outcome(context: &Context<'_>, outcome: Outcome) -> Result<End, Failure> {
    let applied = outcome.is_applied();
    if context.json {
        let version = match outcome {
            Outcome::Applied(version) => version.map(|version| version.to_string()),
            Outcome::Unmet => None,
        };
        output::json(&json!({ "applied": applied, "version": version }))?;
    }
    if applied {
        return Ok(End::Done);
    }
    context
        .messages
        .note("the condition does not hold; nothing was changed");
    Ok(End::No)
}

pub(crate) async fn delete(context: &Context<'_>, args: args::Delete) -> Result<End, Failure> {
    let store = context.store(Kind::Bytes).await?;
    let outcome = match args.if_version {
        Some(version) => store.delete_if(&args.key, version).await?,
        None => {
            store.delete(&args.key).await?;
            Outcome::Applied(None)
        }
    };
    print_outcome(context, outcome)
}

pub(crate) async fn has(context: &Context<'_>, args: args::HasArgs) -> Result<End, Failure> {
    let has = context.store(Kind::Bytes).await?.has(&args.key).await?;
    output::write(if has { b"true\n" } else { b"false\n" })?;
    Ok(if has { End::Done } else { End::No })
}

pub(crate) async fn touch(context: &Context<'_>, args: args::Touch) -> Result<End, Failure> {
    let store = context.moving(args.kind, Kind::Bytes).await?;
    let touched = match args.ttl {
        Some(ttl) => store.touch(&args.key, ttl).await?,
        None => store.persist(&args.key).await?,
    };
    if context.json {
        output::json(&json!({ "applied": touched }))?;
    }
    Ok(found_or_no(context, touched))
}

pub(crate) async fn entry(context: &Context<'_>, args: args::Key) -> Result<End, Failure> {
    let found = context.store(args.kind).await?.get_entry(&args.key).await?;
    let found = found.as_ref();
    if context.json {
        let entry = |entry: &Entry<Bytes>| {
            json!({
                "key": args.key,
                "type": args.kind,
                "size": entry.value.len(),
                "version": entry.version.as_ref().map(ToString::to_string),
                "expires_in_ms": entry.expires_in.map(|left| left.as_millis()),
            })
        };
        output::json(&found.map_or(serde_json::Value::Null, entry))?;
    } else if let Some(entry) = found {
        let version = entry.version.as_ref();
        let version = version.map_or("none".to_owned(), ToString::to_string);
        let expires = entry
            .expires_in
            .map_or("never".to_owned(), |left| format!("in {}", span(left)));
        output::line(&format!("version  {version}"))?;
        output::line(&format!("expires  {expires}"))?;
        output::line(&format!(
            "size     {} bytes",
            output::number(entry.value.len() as u64)
        ))?;
    }
    Ok(found_or_no(context, found.is_some()))
}

/// A time for people: what is less than a second is of interest only where there is no second.
pub(crate) fn span(time: Duration) -> String {
    let rounded = match time.as_secs() {
        0 => Duration::from_millis(u64::from(time.subsec_millis())),
        seconds => Duration::from_secs(seconds),
    };
    humantime::format_duration(rounded).to_string()
}

pub(crate) async fn keys(context: &Context<'_>, args: args::Keys) -> Result<End, Failure> {
    let store = context.listed(&context.url()?, Kind::Bytes).await?;
    let mut keys = store.keys(&args.prefix);
    let mut lines = Lines::new();
    let end = if args.null { b'\0' } else { b'\n' };
    while let Some(key) = keys.next().await {
        let key = match key {
            Ok(key) => key,
            Err(error) => {
                // What came before is right, and the exit code tells that it is not all.
                let _ = lines.end();
                return Err(error.into());
            }
        };
        if context.json {
            lines.write(json!(key).to_string().as_bytes(), end)?;
        } else if lines.is_terminal() {
            lines.write(plain(&key).as_bytes(), end)?;
        } else {
            lines.write(key.as_bytes(), end)?;
        }
    }
    lines.end()?;
    Ok(End::Done)
}
