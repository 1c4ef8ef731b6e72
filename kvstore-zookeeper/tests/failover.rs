//! What is promised of conditions and batches while the leader is killed, and of a write that is overtaken.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use kvstore_core::{Condition, Error, KeyValueStore, SetOptions};
use kvstore_testsuite::proxy::Proxy;
use kvstore_testsuite::servers::ZooKeeperEnsemble;
use kvstore_testsuite::unique_root;
use kvstore_zookeeper::ZooKeeperConfig;
use tokio::task::JoinSet;
use tokio::time::sleep;

mod common;
use common::{all, ends, gone, one, recovers, texts};

type Store = KeyValueStore<String>;

/// What has become of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Applied,
    Unmet,
    Unknown,
    Failed,
}

fn fate(result: Result<bool, Error>) -> Fate {
    match result {
        Ok(true) => Fate::Applied,
        Ok(false) => Fate::Unmet,
        Err(error) => {
            assert!(gone(&error), "{error:?}");
            match error.outcome_unknown() {
                true => Fate::Unknown,
                false => Fate::Failed,
            }
        }
    }
}

fn count(fates: &[Fate], fate: Fate) -> usize {
    fates.iter().filter(|found| **found == fate).count()
}

/// Adds one by compare-and-set until it is told to stop; how often it did for sure, and perhaps.
async fn increment(store: &Store, done: &AtomicBool, progress: &AtomicU64) -> [u64; 2] {
    let [mut applied, mut unknown] = [0, 0];
    while !done.load(Ordering::Acquire) {
        let Ok(entry) = ends("get_entry", store.get_entry("counter")).await else {
            continue;
        };
        let entry = entry.expect("the counter is there");
        let next = (entry.value.parse::<u64>().unwrap() + 1).to_string();
        let version = Condition::Version(entry.version.unwrap());
        let set = store.set_if("counter", &next, version, SetOptions::new());
        match fate(ends("set_if", set).await.map(|set| set.is_applied())) {
            Fate::Applied => applied += 1,
            Fate::Unknown => unknown += 1,
            Fate::Unmet | Fate::Failed => {}
        }
        progress.fetch_add(1, Ordering::Relaxed);
    }
    [applied, unknown]
}

/// Creates a key by several clients at once, and has it taken by all of them.
async fn create_and_take(stores: &[Store], n: u64) {
    let key = format!("job:{n}");
    let create = stores.iter().enumerate().map(|(by, store)| {
        let (key, by) = (&key, by.to_string());
        async move {
            let set = store.set_if(key, &by, Condition::Absent, SetOptions::new());
            fate(ends("set_if", set).await.map(|set| set.is_applied()))
        }
    });
    let created = join_all(create).await;
    assert!(count(&created, Fate::Applied) <= 1, "{created:?}");
    let found = recovers("get", || stores[0].get(&key)).await;
    match &found {
        Some(by) => {
            let fate = created[by.parse::<usize>().unwrap()];
            let known = count(&created, Fate::Applied) == 1;
            let expected = if known { Fate::Applied } else { Fate::Unknown };
            assert_eq!(fate, expected, "{by} of {created:?}");
        }
        None => {
            let lost = [Fate::Applied, Fate::Unmet].map(|fate| count(&created, fate));
            assert_eq!(lost, [0, 0], "{created:?}");
        }
    }
    // What is under way may still come.
    if found.is_none() || count(&created, Fate::Unknown) > 0 {
        return;
    }
    let take = stores.iter().map(|store| async {
        let taken = ends("take", store.take(&key)).await;
        let taken = taken.map(|taken| {
            assert!(taken.is_none() || taken == found, "{taken:?} and {found:?}");
            taken.is_some()
        });
        fate(taken)
    });
    let taken = join_all(take).await;
    let [by, unknown, missing] =
        [Fate::Applied, Fate::Unknown, Fate::Unmet].map(|fate| count(&taken, fate));
    assert!(by <= 1, "{key} was taken twice: {taken:?}");
    assert!(by + unknown > 0 || missing == 0, "{key} is lost: {taken:?}");
    let left = recovers("get", || stores[0].get(&key)).await;
    if by == 1 || missing > 0 {
        assert_eq!(left, None, "{key}: {taken:?}");
    } else if unknown == 0 {
        assert_eq!(left, found, "{key}: {taken:?}");
    }
}

/// Writes some keys together, and knows of each what it may hold.
async fn batch(store: &Store, n: u64, known: &mut HashMap<String, Vec<Option<String>>>) {
    let value = n.to_string();
    let keys: Vec<_> = (0..20).map(|key| format!("batch:{key}")).collect();
    let items = keys.iter().map(|key| (key, &value));
    let set = ends("set_many", store.set_many(items, SetOptions::new())).await;
    let mut fates = vec![Fate::Applied; keys.len()];
    if let Err(error) = set {
        for (at, error) in error.failed() {
            fates[at] = fate(Err(error.clone()));
        }
    }
    for (key, fate) in keys.iter().zip(fates) {
        let may_be = known.entry(key.clone()).or_insert_with(|| vec![None]);
        match fate {
            Fate::Applied => *may_be = vec![Some(value.clone())],
            Fate::Unknown => may_be.push(Some(value.clone())),
            Fate::Unmet | Fate::Failed => {}
        }
    }
    for found in recovers("get_many", || async {
        store.get_many(&keys).await.map_err(Error::from)
    })
    .await
    .into_iter()
    .zip(&keys)
    {
        let (found, key) = found;
        assert!(
            known[key].contains(&found),
            "{key}: {found:?}, {:?}",
            known[key]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_and_batches_while_the_leader_is_killed() {
    let mut ensemble = ZooKeeperEnsemble::start();
    let root = format!("/{}", unique_root());
    let mut stores = Vec::new();
    for _ in 0..4 {
        stores.push(texts(all(&ensemble, &root).timeout(Duration::from_secs(2))).await);
    }
    recovers("set", || stores[0].set("counter", "0")).await;
    let done = Arc::new(AtomicBool::new(false));
    let progress: [Arc<AtomicU64>; 3] = Default::default();
    let mut counting = JoinSet::new();
    for store in stores.clone() {
        let (done, progress) = (Arc::clone(&done), Arc::clone(&progress[0]));
        counting.spawn(async move { increment(&store, &done, &progress).await });
    }
    let mut load = JoinSet::new();
    let (jobs, job_progress) = (stores.clone(), Arc::clone(&progress[1]));
    let over = Arc::clone(&done);
    load.spawn(async move {
        while !over.load(Ordering::Acquire) {
            let n = job_progress.fetch_add(1, Ordering::Relaxed);
            create_and_take(&jobs, n).await;
        }
    });
    let (store, batch_progress) = (stores[1].clone(), Arc::clone(&progress[2]));
    let over = Arc::clone(&done);
    load.spawn(async move {
        let mut known = HashMap::new();
        while !over.load(Ordering::Acquire) {
            let n = batch_progress.fetch_add(1, Ordering::Relaxed);
            batch(&store, n, &mut known).await;
        }
    });
    for _ in 0..2 {
        sleep(Duration::from_millis(300)).await;
        let leader = ensemble.leader();
        ensemble.stop(leader);
        let seen = || progress.each_ref().map(|made| made.load(Ordering::Relaxed));
        let before = seen();
        let goes_on = async {
            while seen()
                .iter()
                .zip(before)
                .any(|(now, before)| now - before < 30)
            {
                sleep(Duration::from_millis(10)).await;
                assert!(load.try_join_next().is_none(), "a task has ended");
            }
        };
        ends("going on", goes_on).await;
        ensemble.restart(leader);
    }
    done.store(true, Ordering::Release);
    load.join_all().await;
    let counted = counting.join_all().await.into_iter();
    let [applied, unknown] = counted.fold([0, 0], |[a, b], [applied, unknown]| {
        [a + applied, b + unknown]
    });
    let counter = recovers("get", || stores[0].get("counter")).await.unwrap();
    let counter: u64 = counter.parse().unwrap();
    assert!(
        (applied..=applied + unknown).contains(&counter),
        "{applied} increments and perhaps {unknown} more gave {counter}"
    );
}

/// A write that halts on its way, and is given up, is not done after a later one of the same client.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_overtaken_is_not_done_later() {
    let mut ensemble = ZooKeeperEnsemble::start();
    let root = format!("/{}", unique_root());
    let leader = ensemble.leader();
    let follower = (leader + 1) % 3;
    let direct = texts(one(&ensemble, leader, &root)).await;
    let halting = Proxy::start(ensemble.address(follower)).await.unwrap();
    let going = Proxy::start(ensemble.address(leader)).await.unwrap();
    // The proxies tell where the client is.
    going.refuse();
    let [first, second] = [&halting, &going].map(Proxy::address);
    let short = Duration::from_millis(700);
    let config = ZooKeeperConfig::new(first.ip().to_string(), first.port())
        .server(second.ip().to_string(), second.port())
        .root(&root)
        .timeout(short)
        .connect_timeout(Duration::from_millis(300));
    let store = texts(config).await;
    recovers("set", || store.set("key", "first")).await;
    going.heal();
    for round in 0..4 {
        // Back to the one that halts.
        going.refuse();
        halting.reset();
        recovers("set", || store.set("key", "first")).await;
        assert!(halting.round_trips() > 0);
        going.heal();
        ensemble.pause(follower);
        let old = format!("old {round}");
        let set = ends("set", store.set("key", &old)).await.unwrap_err();
        assert!(gone(&set) && set.outcome_unknown(), "{set:?}");
        let new = format!("new {round}");
        recovers("set", || store.set("key", &new)).await;
        ensemble.resume(follower);
        for _ in 0..20 {
            let found = recovers("get", || direct.get("key")).await;
            assert_eq!(found.as_ref(), Some(&new), "round {round}");
            sleep(Duration::from_millis(50)).await;
        }
    }
}
