//! Races: many tasks want the same, and a condition decides.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use kvstore_core::{Condition, Outcome, Result, SetOptions};
use tokio::sync::Barrier;
use tokio::task::yield_now;

use crate::report::{line, speed, title};
use crate::{Place, Step};

const TASKS: usize = 64;

/// The keys that these steps write, after the names of their stores.
pub(crate) const WRITTEN: [&str; 3] = ["locks:leader", "counters:visits", "tokens:one-time"];

/// Runs tasks that begin at the same moment, and collects what they answer.
async fn at_once<T, F>(tasks: usize, task: impl Fn(usize) -> F) -> Step<Vec<T>>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let start = Arc::new(Barrier::new(tasks));
    let spawn = |number| {
        let (start, task) = (Arc::clone(&start), task(number));
        tokio::spawn(async move {
            start.wait().await;
            task.await
        })
    };
    let running: Vec<_> = (0..tasks).map(spawn).collect();
    let mut answers = Vec::with_capacity(tasks);
    for task in running {
        answers.push(task.await??);
    }
    Ok(answers)
}

/// Many tasks create the same key.
pub(crate) async fn created_once(place: &Place) -> Step {
    title("Races")?;
    let locks = place.store::<String>("locks")?;
    let outcomes = at_once(TASKS, |number| {
        let locks = locks.clone();
        async move {
            let owner = format!("task {number}");
            locks
                .set_if("leader", owner, Condition::Absent, SetOptions::new())
                .await
        }
    })
    .await?;
    let winners: Vec<usize> = (0..TASKS)
        .filter(|number| outcomes[*number].is_applied())
        .collect();
    let owner = locks.get("leader").await?;
    let [winner] = winners[..] else {
        return Err(format!("{} tasks created the same key", winners.len()).into());
    };
    if owner.as_deref() != Some(&format!("task {winner}")[..]) {
        return Err("the key is not the winner's".into());
    }
    line(
        "set_if",
        &format!(
            "{TASKS} tasks create the same key at once: task {winner} did, {} were refused",
            TASKS - 1
        ),
    )?;
    Ok(())
}

/// Many tasks count in the same key, by compare-and-set.
pub(crate) async fn counted(place: &Place) -> Step {
    const COUNTERS: usize = 8;
    const EACH: usize = 25;
    let store = place.store::<usize>("counters")?;
    store.set("visits", 0).await?;
    let begin = Instant::now();
    let lost = at_once(COUNTERS, |_| {
        let store = store.clone();
        async move {
            let mut lost = 0;
            for _ in 0..EACH {
                // Read, add, write if nobody else has written; else again.
                while let Some(entry) = store.get_entry("visits").await? {
                    let Some(version) = entry.version else { break };
                    // What others do here, between reading and writing, the condition notices.
                    yield_now().await;
                    let same = Condition::Version(version);
                    let written = store.set_if("visits", entry.value + 1, same, SetOptions::new());
                    match written.await? {
                        Outcome::Applied(_) => break,
                        Outcome::Unmet => lost += 1,
                    }
                }
            }
            Ok(lost)
        }
    })
    .await?;
    let took = begin.elapsed();
    let count = store.get("visits").await?;
    let expected = EACH * COUNTERS;
    if count != Some(expected) {
        return Err(format!("the counter is {count:?} after {expected} increments").into());
    }
    let lost: usize = lost.iter().sum();
    let outcome = format!("{COUNTERS} tasks count to {expected}; {lost} attempts were refused");
    speed("set_if", COUNTERS * EACH, &outcome, took)?;
    Ok(())
}

/// Many tasks redeem the same one-time token.
pub(crate) async fn taken_once(place: &Place) -> Step {
    let tokens = place.store::<String>("tokens")?;
    tokens.set("one-time", "the way in").await?;
    let taken = at_once(TASKS, |_| {
        let tokens = tokens.clone();
        async move { tokens.take("one-time").await }
    })
    .await?;
    let taken = taken.iter().flatten().count();
    if taken != 1 {
        return Err(format!("{taken} tasks took a one-time token").into());
    }
    line(
        "take",
        &format!(
            "{TASKS} tasks redeem a one-time token: 1 has it, {} have nothing",
            TASKS - 1
        ),
    )?;
    Ok(())
}
