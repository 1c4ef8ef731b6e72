//! `diff`: in which keys two stores differ.

use std::future::ready;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::json;
use tokio::time::Instant;

use crate::Context;
use crate::args;
use crate::failure::{End, Failure};
use crate::output::{self, GREEN, RED, YELLOW, number, plain};
use crate::progress;
use crate::source::{Found, Source, patiently};
use crate::transfer::{SLACK, same_expiry};
use crate::value::Kind;

/// How a key differs.
#[derive(Clone, Copy, Debug)]
enum Difference {
    OnlyInA,
    OnlyInB,
    Value,
    Expiry,
}

struct Diff<'a> {
    context: &'a Context<'a>,
    kind: Kind,
    a: Source,
    b: Source,
    compared: AtomicU64,
    differing: AtomicU64,
    failed: AtomicU64,
}

pub(crate) async fn run(context: &Context<'_>, args: args::Diff) -> Result<End, Failure> {
    let diff = Diff {
        context,
        kind: args.kind,
        a: Source::new(context.listed(&args.a, args.kind).await?),
        b: Source::new(context.listed(&args.b, args.kind).await?),
        compared: AtomicU64::new(0),
        differing: AtomicU64::new(0),
        failed: AtomicU64::new(0),
    };
    let (prefix, jobs) = (&args.which.prefix, args.which.jobs.jobs);
    let all = async {
        // Neither listing need be in order, so each key is asked for: those of A in both, then those of B in A.
        let in_a = diff.a.keys(prefix).map(|key| diff.compare(key));
        let in_b = diff.b.keys(prefix).map(|key| diff.only_in_b(key));
        let tell = |found| ready(diff.tell(found));
        in_a.buffer_unordered(jobs).try_for_each(tell).await?;
        in_b.buffer_unordered(jobs).try_for_each(tell).await
    };
    let count = || diff.compared.load(Ordering::Relaxed);
    let done = match output::stdout_is_terminal() {
        true => all.await,
        false => progress::during(context.messages, count, all).await,
    };
    if let Err(failure) = done {
        // That some keys failed counts more than that nobody reads of the others.
        return match diff.failed.load(Ordering::Relaxed) {
            0 => Err(failure),
            _ => failure.unless_pipe(End::Incomplete),
        };
    }
    let [compared, differing, failed] =
        [&diff.compared, &diff.differing, &diff.failed].map(|count| count.load(Ordering::Relaxed));
    let failures = match failed {
        0 => String::new(),
        failed => format!(", {} failed", number(failed)),
    };
    let (shown, keys) = (number(differing), number(compared));
    context
        .messages
        .note(&format!("{shown} of {keys} keys differ{failures}"));
    Ok(match (failed, differing) {
        (0, 0) => End::Done,
        (0, _) => End::No,
        _ => End::Incomplete,
    })
}

type Compared = Result<Option<(String, Difference)>, Failure>;

impl Diff<'_> {
    /// Compares a key of A.
    async fn compare(&self, key: kvstore_core::Result<String>) -> Compared {
        let key = key?;
        // In this order everywhere, so that no two wait for each other.
        let (room_a, room_b) = (self.a.reserve().await, self.b.reserve().await);
        let (a, b) = tokio::join!(self.a.read(&key, room_a), self.b.read(&key, room_b));
        self.compared.fetch_add(1, Ordering::Relaxed);
        let (a, b) = match (a, b) {
            (Ok(a), Ok(b)) => (a, b),
            (Err(error), _) | (_, Err(error)) => return self.failed(error.into()),
        };
        match self.difference(a, b) {
            Some(Difference::OnlyInA) => self.only_in(&self.a, key, Difference::OnlyInA).await,
            difference => Ok(difference.map(|difference| (key, difference))),
        }
    }

    /// A key that one store has and the other has not, unless it is gone meanwhile, or as good as gone.
    async fn only_in(&self, source: &Source, key: String, difference: Difference) -> Compared {
        let room = source.reserve().await;
        match source.read(&key, room).await {
            Ok(found) => Ok(found
                .filter(|found| !self.ends(found.expires))
                .map(|_| (key, difference))),
            Err(error) => self.failed(error.into()),
        }
    }

    /// Whether it may be over by now, by the clock of either store.
    fn ends(&self, expires: Option<Instant>) -> bool {
        expires.is_some_and(|at| at <= Instant::now() + self.slack())
    }

    fn slack(&self) -> Duration {
        let unit = |source: &Source| source.store.capabilities().expiry.unwrap_or_default();
        SLACK + 2 * unit(&self.a) + 2 * unit(&self.b)
    }

    fn difference(&self, a: Option<Found>, b: Option<Found>) -> Option<Difference> {
        match (a, b) {
            // Deleted, or expired, since it was listed.
            (None, _) => None,
            (Some(_), None) => Some(Difference::OnlyInA),
            (Some(a), Some(b)) if !self.kind.same(&a.value, &b.value) => Some(Difference::Value),
            (Some(a), Some(b)) if !same_expiry(a.expires, b.expires, self.slack()) => {
                Some(Difference::Expiry)
            }
            _ => None,
        }
    }

    /// Whether A lacks a key of B.
    async fn only_in_b(&self, key: kvstore_core::Result<String>) -> Compared {
        let key = key?;
        match patiently(async || self.a.store.has(&key).await).await {
            Ok(true) => Ok(None),
            Ok(false) => {
                self.compared.fetch_add(1, Ordering::Relaxed);
                self.only_in(&self.b, key, Difference::OnlyInB).await
            }
            Err(error) => self.failed(error.into()),
        }
    }

    fn failed(&self, failure: Failure) -> Compared {
        if failure.is_general() {
            return Err(failure);
        }
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.context.messages.problem(None, &failure);
        Ok(None)
    }

    fn tell(&self, found: Option<(String, Difference)>) -> Result<(), Failure> {
        let Some((key, difference)) = found else {
            return Ok(());
        };
        self.differing.fetch_add(1, Ordering::Relaxed);
        let (style, sign, name) = match difference {
            Difference::OnlyInA => (RED, "-", "only in A"),
            Difference::OnlyInB => (GREEN, "+", "only in B"),
            Difference::Value => (YELLOW, "~", "value"),
            Difference::Expiry => (YELLOW, "~", "expiry"),
        };
        if self.context.json {
            return output::json(&json!({ "key": key, "differs": name }));
        }
        let what = match difference {
            Difference::Expiry => "  (expiry)",
            _ => "",
        };
        output::line(&format!("{style}{sign}{style:#} {}{what}", plain(&key)))
    }
}
