//! Ping and close: E6.

use std::sync::Arc;
use std::time::Duration;

use kvstore_core::{Condition, Error, ErrorKind, KeyValueStore, SetOptions};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::check::{Checked, ensure, fails};
use crate::lease::HOUR;
use crate::{Failure, Fixture};

pub(crate) async fn e6_ping_names_the_server(f: Fixture) -> Checked {
    let (store, other) = (f.text(), f.other_text());
    for store in [store, other] {
        let info = store.ping().await?;
        ensure!(!info.product.trim().is_empty(), "ping names no product");
        ensure!(
            info.version
                .is_none_or(|version| !version.trim().is_empty()),
            "the version that ping names is empty"
        );
        ensure!(
            info.warnings
                .iter()
                .all(|warning| !warning.trim().is_empty()),
            "a warning of ping is empty"
        );
    }
    Ok(())
}

/// Checks that each method answers `Closed`.
async fn all_closed(f: &Fixture, store: &KeyValueStore<String>, whose: &str) -> Checked {
    let (closed, capabilities) = (ErrorKind::Closed, f.capabilities());
    fails(store.get("key").await, closed, format!("get of {whose}"))?;
    fails(
        store.get_or("key", String::new()).await,
        closed,
        format!("get_or of {whose}"),
    )?;
    fails(
        store.get_entry("key").await,
        closed,
        format!("get_entry of {whose}"),
    )?;
    fails(store.has("key").await, closed, format!("has of {whose}"))?;
    fails(
        store.set("key", "new").await,
        closed,
        format!("set of {whose}"),
    )?;
    fails(
        store.delete("key").await,
        closed,
        format!("delete of {whose}"),
    )?;
    fails(
        store.get_many(["key"]).await,
        closed,
        format!("get_many of {whose}"),
    )?;
    fails(
        store.set_many([("key", "new")], SetOptions::new()).await,
        closed,
        format!("set_many of {whose}"),
    )?;
    fails(
        store.delete_many(["key"]).await,
        closed,
        format!("delete_many of {whose}"),
    )?;
    fails(store.ping().await, closed, format!("ping of {whose}"))?;
    if capabilities.keys.is_some() {
        fails(
            store.keys("").next().await.transpose(),
            closed,
            format!("keys of {whose}"),
        )?;
    }
    if capabilities.take {
        fails(store.take("key").await, closed, format!("take of {whose}"))?;
    }
    if capabilities.touch {
        fails(
            store.touch("key", HOUR).await,
            closed,
            format!("touch of {whose}"),
        )?;
    }
    if capabilities.if_absent {
        let set = store.set_if("key", "new", Condition::Absent, SetOptions::new());
        fails(set.await, closed, format!("set_if of {whose}"))?;
    }
    Ok(())
}

pub(crate) async fn e6_after_close_calls_are_closed(f: Fixture) -> Checked {
    let store = f.text();
    let (clone, namespace) = (store.clone(), store.namespace("name")?);
    store.set("key", "value").await?;
    store.close().await?;
    all_closed(&f, &store, "the store").await?;
    all_closed(&f, &clone, "a clone").await?;
    all_closed(&f, &namespace, "a namespace").await?;
    let made_later = store.namespace("later").unwrap_or(namespace);
    all_closed(&f, &made_later, "a namespace made later").await?;
    store.close().await?;
    clone.close().await?;
    Ok(())
}

pub(crate) async fn e6_close_ends_all_stores_of_the_provider(f: Fixture) -> Checked {
    let (store, second, bytes) = (f.text(), f.text(), f.bytes());
    store.set("key", "value").await?;
    // What is there is not missing afterwards: it cannot be asked for.
    let mut listing = store.keys("");
    store.close().await?;
    all_closed(&f, &second, "a second store on the provider").await?;
    fails(
        bytes.get("key").await,
        ErrorKind::Closed,
        "get of a store of another type on the provider",
    )?;
    while let Some(Ok(_)) = listing.next().await {}
    Ok(())
}

pub(crate) async fn e6_calls_under_way_end(f: Fixture) -> Checked {
    let store = f.text();
    let rounds = Arc::new(Semaphore::new(0));
    let mut tasks = JoinSet::new();
    for index in 0..20 {
        let (store, rounds, key) = (store.clone(), Arc::clone(&rounds), format!("key {index}"));
        tasks.spawn(async move {
            loop {
                let done = set_and_get(&store, &key).await;
                rounds.add_permits(1);
                if let Err(error) = done {
                    return error;
                }
            }
        });
    }
    drop(rounds.acquire_many(100).await);
    store.close().await?;
    let (ended, limit) = (tasks.join_all(), Duration::from_secs(60));
    let Ok(errors) = tokio::time::timeout(limit, ended).await else {
        return Err(Failure::new(
            "calls under way have not ended a minute after close",
        ));
    };
    for error in errors {
        let kind = error.kind();
        let ended = kind == ErrorKind::Closed || error.is_retryable();
        ensure!(
            ended,
            "a call under way ended with {kind:?}, not with Closed or something retryable"
        );
    }
    Ok(())
}

async fn set_and_get(store: &KeyValueStore<String>, key: &str) -> Result<(), Error> {
    store.set(key, "value").await?;
    store.get(key).await?;
    store.get_many(["a", key]).await?;
    Ok(())
}
