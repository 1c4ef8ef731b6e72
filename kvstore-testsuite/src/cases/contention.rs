//! Many at once: C2 and C5.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kvstore_core::{Condition, KeyValueStore, SetOptions};
use tokio::sync::Barrier;
use tokio::task::{JoinSet, yield_now};
use tokio::time::sleep;

use super::conditions::version;
use crate::check::{Checked, ensure, ensure_eq, unsupported};
use crate::{Failure, Fixture};

const TASKS: usize = 10;
/// The least that a timer waits.
const TICK: Duration = Duration::from_millis(1);

type Store = KeyValueStore<String>;

/// Runs a task on each of many stores, which begin together, and gives their answers in order.
async fn at_once<T: Send + 'static, R: Future<Output = Checked<T>> + Send + 'static>(
    f: &Fixture,
    task: impl Fn(usize, Store) -> R,
) -> Checked<Vec<T>> {
    let begin = Arc::new(Barrier::new(TASKS));
    let mut tasks = JoinSet::new();
    for (index, store) in f.texts(TASKS).into_iter().enumerate() {
        let (begin, work) = (Arc::clone(&begin), task(index, store));
        tasks.spawn(async move {
            begin.wait().await;
            (index, work.await)
        });
    }
    let mut answers = tasks.join_all().await;
    answers.sort_by_key(|(index, _)| *index);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// The one task that has something.
fn winner(applied: &[bool], what: &str) -> Checked<usize> {
    let winners: Vec<usize> = (0..applied.len()).filter(|index| applied[*index]).collect();
    match winners[..] {
        [winner] => Ok(winner),
        _ => Err(Failure::new(format!(
            "{what}: exactly one of {} applies; of these did: {winners:?}",
            applied.len()
        ))),
    }
}

pub(crate) async fn c2_one_of_many_creates(f: Fixture) -> Checked {
    let store = f.text();
    for round in 0..10 {
        let key = format!("key {round}");
        if !f.capabilities().if_absent {
            let created = store
                .set_if(&key, "value", Condition::Absent, SetOptions::new())
                .await;
            unsupported(created, "the condition `absent`")?;
            ensure!(!store.has(&key).await?, "a refused write was done");
            continue;
        }
        let applied = at_once(&f, |index, store| {
            let key = key.clone();
            async move {
                let set = store.set_if(
                    &key,
                    index.to_string(),
                    Condition::Absent,
                    SetOptions::new(),
                );
                Ok(set.await?.is_applied())
            }
        });
        let winner = winner(&applied.await?, "create")?;
        let found = store.get(&key).await?;
        ensure_eq!(
            found,
            Some(winner.to_string()),
            "the value of who created the key"
        );
    }
    Ok(())
}

pub(crate) async fn c2_one_of_many_writes_at_a_version(f: Fixture) -> Checked {
    let store = f.text();
    for round in 0..10 {
        let key = format!("key {round}");
        store.set(&key, "first").await?;
        if f.capabilities().versions.is_none() {
            let set = store.set_if(&key, "new", Condition::Version(1.into()), SetOptions::new());
            unsupported(set.await, "the condition `this version`")?;
            ensure_eq!(
                store.get(&key).await?.as_deref(),
                Some("first"),
                "a refused write"
            );
            continue;
        }
        let seen = version(&store, &key).await?;
        let applied = at_once(&f, |index, store| {
            let (key, condition) = (key.clone(), Condition::Version(seen.clone()));
            async move {
                let set = store.set_if(&key, index.to_string(), condition, SetOptions::new());
                Ok(set.await?.is_applied())
            }
        });
        let winner = winner(&applied.await?, "write at a version")?;
        let found = store.get(&key).await?;
        ensure_eq!(
            found,
            Some(winner.to_string()),
            "the value of whose write applied"
        );
    }
    Ok(())
}

pub(crate) async fn c2_one_of_many_deletes_a_version(f: Fixture) -> Checked {
    let store = f.text();
    for round in 0..10 {
        let key = format!("key {round}");
        store.set(&key, "first").await?;
        if f.capabilities().versions.is_none() {
            unsupported(store.delete_if(&key, 1.into()).await, "delete_if")?;
            ensure!(store.has(&key).await?, "a refused delete was done");
            continue;
        }
        let seen = version(&store, &key).await?;
        let applied = at_once(&f, |_, store| {
            let (key, seen) = (key.clone(), seen.clone());
            async move { Ok(store.delete_if(&key, seen).await?.is_applied()) }
        });
        winner(&applied.await?, "delete a version")?;
        ensure!(
            !store.has(&key).await?,
            "the key is there after it was deleted"
        );
    }
    Ok(())
}

pub(crate) async fn c2_a_hundred_increments(f: Fixture) -> Checked {
    let store = f.text();
    store.set("counter", "0").await?;
    if f.capabilities().versions.is_none() {
        let set = store.set_if(
            "counter",
            "1",
            Condition::Version(1.into()),
            SetOptions::new(),
        );
        unsupported(set.await, "the condition `this version`")?;
        ensure_eq!(
            store.get("counter").await?.as_deref(),
            Some("0"),
            "a refused write"
        );
        return Ok(());
    }
    at_once(&f, |_, store| async move {
        for _ in 0..10 {
            increment(&store).await?;
        }
        Ok(())
    })
    .await?;
    let count = store.get("counter").await?;
    ensure_eq!(
        count.as_deref(),
        Some("100"),
        "ten writers, ten increments each"
    );
    Ok(())
}

async fn increment(store: &Store) -> Checked {
    // Who fails has lost against one of the 99 others: each try but 99 must succeed.
    for _ in 0..1000 {
        let Some(entry) = store.get_entry("counter").await? else {
            return Err(Failure::new("the counter is missing"));
        };
        let count: u32 = entry.value.parse().unwrap_or_default();
        let Some(version) = entry.version else {
            return Err(Failure::new("get_entry gives no version"));
        };
        let condition = Condition::Version(version);
        let set = store.set_if(
            "counter",
            (count + 1).to_string(),
            condition,
            SetOptions::new(),
        );
        if set.await?.is_applied() {
            return Ok(());
        }
    }
    Err(Failure::new(
        "of 1000 writes at the version just read none was applied",
    ))
}

pub(crate) async fn c5_take_gets_and_deletes(f: Fixture) -> Checked {
    let store = f.text();
    store.set("key", "value").await?;
    let taken = store.take("key").await;
    if !f.capabilities().take {
        unsupported(taken, "take")?;
        ensure!(store.has("key").await?, "a refused take deleted the key");
        return Ok(());
    }
    ensure_eq!(
        taken?.as_deref(),
        Some("value"),
        "take of a key that is there"
    );
    ensure!(!store.has("key").await?, "a taken key is still there");
    ensure_eq!(
        store.take("key").await?,
        None,
        "take of a key that was taken"
    );
    ensure_eq!(store.take("missing").await?, None, "take of a missing key");
    store.set("key", "").await?;
    ensure_eq!(
        store.take("key").await?.as_deref(),
        Some(""),
        "take of an empty value"
    );
    Ok(())
}

pub(crate) async fn c5_one_of_many_takes(f: Fixture) -> Checked {
    let store = f.text();
    for round in 0..10 {
        let key = format!("key {round}");
        store.set(&key, "value").await?;
        if !f.capabilities().take {
            unsupported(store.take(&key).await, "take")?;
            ensure!(store.has(&key).await?, "a refused take deleted the key");
            continue;
        }
        let taken = at_once(&f, |_, store| {
            let key = key.clone();
            async move { Ok(store.take(&key).await?.as_deref() == Some("value")) }
        });
        winner(&taken.await?, "take")?;
        ensure!(!store.has(&key).await?, "a taken key is still there");
    }
    Ok(())
}

/// Counts what nine takers are handed while the last task writes.
async fn taken_while<R: Future<Output = Checked> + Send + 'static>(
    f: &Fixture,
    write: impl Fn(Store) -> R,
) -> Checked<HashMap<String, usize>> {
    let done = Arc::new(AtomicBool::new(false));
    let taken = at_once(f, |index, store| {
        let (done, writing) = (
            Arc::clone(&done),
            (index == TASKS - 1).then(|| write(store.clone())),
        );
        async move {
            if let Some(writing) = writing {
                let written = writing.await;
                done.store(true, Ordering::Release);
                return written.map(|()| Vec::new());
            }
            let mut taken = Vec::new();
            while taken.len() < 1000 {
                let last = done.load(Ordering::Acquire);
                match store.take("key").await? {
                    Some(value) => taken.push(value),
                    None if last => return Ok(taken),
                    // All wake up together, with the writer.
                    None => sleep(TICK).await,
                }
            }
            Err(Failure::new("take hands out values without end"))
        }
    });
    let mut counts = HashMap::new();
    for value in taken.await?.into_iter().flatten() {
        *counts.entry(value).or_default() += 1;
    }
    Ok(counts)
}

pub(crate) async fn c5_take_while_the_key_is_set_again(f: Fixture) -> Checked {
    let store = f.text();
    if !f.capabilities().take {
        store.set("key", "value").await?;
        unsupported(store.take("key").await, "take")?;
        ensure!(store.has("key").await?, "a refused take deleted the key");
        return Ok(());
    }
    // The one writer sets a value only when the one before it was taken: none may be lost.
    let if_absent = f.capabilities().if_absent;
    let counts = taken_while(&f, move |store| async move {
        for value in 0..100 {
            while !create(&store, value, if_absent).await? {
                sleep(TICK).await;
            }
        }
        Ok(())
    });
    let counts = counts.await?;
    for value in 0..100 {
        let times = counts.get(&value.to_string()).copied().unwrap_or_default();
        ensure_eq!(times, 1, "how many callers were handed value {value}");
    }
    Ok(())
}

/// Sets the key if it is absent; there is but one who sets it.
async fn create(store: &Store, value: usize, if_absent: bool) -> Checked<bool> {
    let value = value.to_string();
    if if_absent {
        let set = store.set_if("key", value, Condition::Absent, SetOptions::new());
        return Ok(set.await?.is_applied());
    }
    if store.has("key").await? {
        return Ok(false);
    }
    store.set("key", value).await?;
    Ok(true)
}

pub(crate) async fn c5_take_while_the_key_is_deleted_and_set_again(f: Fixture) -> Checked {
    let store = f.text();
    if !f.capabilities().take {
        store.set("key", "value").await?;
        unsupported(store.take("key").await, "take")?;
        ensure!(store.has("key").await?, "a refused take deleted the key");
        return Ok(());
    }
    let counts = taken_while(&f, |store| async move {
        for value in 0..100 {
            store.set("key", value.to_string()).await?;
            match value % 2 {
                0 => sleep(TICK).await,
                _ => yield_now().await,
            }
            store.delete("key").await?;
        }
        store.set("key", "last").await?;
        Ok(())
    });
    let counts = counts.await?;
    for (value, times) in &counts {
        ensure!(*times == 1, "value {value} was handed to {times} callers");
    }
    // Nothing deleted the last one: somebody has it.
    ensure!(
        counts.contains_key("last"),
        "the last value was handed to nobody"
    );
    Ok(())
}
