//! What is this provider's own, beyond the contract.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kvstore_core::{
    Bytes, Condition, Connect, DeleteRequest, Error, ErrorKind, Expiry, Format, GetRequest, Key,
    KeyValueStore, Outcome, Provider, Registry, Result, SetOptions, SetRequest, TouchRequest,
};
use kvstore_memory::MemoryProvider;

fn request<'a>(key: &'a str, value: &'static [u8]) -> SetRequest<'a> {
    let key = Key::new(key).unwrap();
    SetRequest::new(key, Format::Binary, Bytes::from_static(value))
}

#[tokio::test]
async fn clones_share_the_data_and_others_do_not() -> Result<()> {
    let memory = MemoryProvider::default();
    let store = KeyValueStore::text(memory.clone());
    let clone = KeyValueStore::text(memory);
    let other = KeyValueStore::text(MemoryProvider::new());
    store.set("key", "value").await?;
    assert_eq!(clone.get("key").await?.as_deref(), Some("value"));
    assert_eq!(other.get("key").await?, None);
    Ok(())
}

#[tokio::test]
async fn a_registry_opens_it_by_its_scheme_alone() -> Result<()> {
    let registry = Registry::new().with::<MemoryProvider>();
    for url in ["memory:", "memory://", "MEMORY:"] {
        let store = KeyValueStore::text(registry.open(url).await?);
        assert!(!store.has("key").await?, "each opening has its own data");
        store.set("key", "value").await?;
        assert!(store.has("key").await?);
    }
    let error = registry.open("memory://secret").await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert_eq!(
        error.to_string(),
        "memory connect: the URL has a host, which means nothing here; write `memory:`"
    );
    assert!(registry.open_lazy("memory:?secret=1").is_err());
    assert!(MemoryProvider::lazy("memory:").is_ok());
    Ok(())
}

#[tokio::test]
async fn close_ends_all_clones_and_listings_under_way() -> Result<()> {
    let memory = MemoryProvider::new();
    let store = KeyValueStore::text(memory.clone());
    for key in 0..100 {
        store.set(&key.to_string(), "value").await?;
    }
    let mut keys = store.keys("");
    assert!(keys.next().await.unwrap().is_ok());
    // By a store of its own, so that it is the provider that knows.
    KeyValueStore::text(memory.clone()).close().await?;
    let end = keys.next().await.unwrap().unwrap_err();
    assert_eq!(end.kind(), ErrorKind::Closed);
    assert!(keys.next().await.is_none(), "an error ends a listing");

    let key = Key::new("1")?;
    let get = GetRequest::new(key, Format::Text);
    let closed = [
        memory.get(get).await.err(),
        memory.has(get).await.err(),
        memory.get_entry(get).await.err(),
        memory.take(get).await.err(),
        memory.set(request("1", b"")).await.err(),
        memory.delete(DeleteRequest::new(key)).await.err(),
        memory
            .touch(TouchRequest::new(key, Format::Text, Expiry::Never))
            .await
            .err(),
        memory.get_many(&[get]).await.pop().unwrap().err(),
        memory
            .set_many(&[request("1", b"")])
            .await
            .pop()
            .unwrap()
            .err(),
        memory
            .delete_many(&[DeleteRequest::new(key)])
            .await
            .pop()
            .unwrap()
            .err(),
        memory.ping().await.err(),
        store.keys("").next().await.unwrap().err(),
    ];
    for (place, error) in closed.into_iter().enumerate() {
        let kind = error.map(|error| error.kind());
        assert_eq!(kind, Some(ErrorKind::Closed), "{place}");
    }
    memory.close().await
}

#[tokio::test]
async fn a_value_given_away_is_kept_and_a_lent_one_is_copied() -> Result<()> {
    let store = KeyValueStore::bytes(MemoryProvider::new());
    let given = Bytes::from(vec![7; 1000]);
    let place = given.as_ptr();
    store.set("given", given).await?;
    let first = store.get("given").await?.unwrap();
    let second = store.get("given").await?.unwrap();
    assert_eq!([first.as_ptr(), second.as_ptr()], [place; 2]);

    let buffer = Bytes::from(vec![7; 1 << 20]);
    let part = buffer.slice(10..20);
    store.set("part", &part).await?;
    store.set("part too", part.clone()).await?;
    drop(part);
    assert!(buffer.is_unique(), "a part of a buffer keeps the whole");
    assert_eq!(store.get("part").await?.unwrap(), &[7; 10][..]);
    Ok(())
}

#[tokio::test]
async fn the_longest_time_to_live_and_any_other_one_never_panic() -> Result<()> {
    let memory = MemoryProvider::new();
    let store = KeyValueStore::text(memory.clone());
    let century = Duration::from_secs(36_525 * 24 * 60 * 60);
    store
        .set_with("key", "value", SetOptions::new().ttl(century))
        .await?;
    let left = store.get_entry("key").await?.unwrap().expires_in.unwrap();
    assert!(left <= century && left > century / 2);
    assert!(store.touch("key", century).await?);

    // A store refuses these; a wrapper may not.
    let key = Key::new("key")?;
    let forever = Expiry::After(Duration::MAX);
    let error = memory
        .set(request("key", b"other").with_expiry(forever))
        .await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidTtl);
    let error = memory
        .touch(TouchRequest::new(key, Format::Text, forever))
        .await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidTtl);
    assert_eq!(store.get("key").await?.as_deref(), Some("value"));
    assert!(store.get_entry("key").await?.unwrap().expires_in.is_some());
    let at_once = request("key", b"other").with_expiry(Expiry::After(Duration::ZERO));
    assert!(memory.set(at_once).await?.is_applied());
    assert!(!store.has("key").await?);
    Ok(())
}

#[tokio::test]
async fn touch_keeps_the_version_and_any_write_changes_it() -> Result<()> {
    let store = KeyValueStore::text(MemoryProvider::new());
    let mut seen = Vec::new();
    for _ in 0..100 {
        store.set("key", "same").await?;
        let version = store.get_entry("key").await?.unwrap().version.unwrap();
        assert!(store.touch("key", Duration::from_secs(60)).await?);
        let touched = store.get_entry("key").await?.unwrap();
        assert_eq!(touched.version.as_ref(), Some(&version));
        store.delete("key").await?;
        assert!(!seen.contains(&version));
        let late = Condition::Version(version.clone());
        let outcome = store.set_if("key", "late", late, SetOptions::new()).await?;
        assert_eq!(outcome, Outcome::Unmet);
        seen.push(version);
    }
    Ok(())
}

#[tokio::test]
async fn a_version_of_one_store_does_not_hold_in_the_next() -> Result<()> {
    let first = KeyValueStore::text(MemoryProvider::new());
    first.set("key", "value").await?;
    let version = first.get_entry("key").await?.unwrap().version.unwrap();
    let next = KeyValueStore::text(MemoryProvider::new());
    next.set("key", "value").await?;
    assert_eq!(next.delete_if("key", version).await?, Outcome::Unmet);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_of_all_kinds_at_once_leave_what_they_should() -> Result<()> {
    let store = Arc::new(KeyValueStore::text(MemoryProvider::new()));
    let soon = SetOptions::new().ttl(Duration::from_micros(50));
    let mut tasks = Vec::new();
    for task in 0..8 {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            for i in 0..5000 {
                store.set(&format!("stays/{task}/{i}"), "value").await?;
                store
                    .set_with(&format!("goes/{}", i % 700), "value", soon)
                    .await?;
                if let Some(found) = store.take(&format!("goes/{}", i % 300)).await? {
                    assert_eq!(found, "value");
                }
                store.delete(&format!("goes/{}", i % 500)).await?;
                if i % 1000 == 0 {
                    let mut keys = store.keys(&format!("stays/{task}/"));
                    let mut found = 0;
                    while let Some(key) = keys.next().await {
                        key?;
                        found += 1;
                    }
                    assert_eq!(found, i + 1);
                }
                tokio::task::yield_now().await;
            }
            Ok::<_, Error>(())
        }));
    }
    for task in tasks {
        task.await.unwrap()?;
    }
    let mut keys = store.keys("stays/");
    let mut found = std::collections::HashSet::new();
    while let Some(key) = keys.next().await {
        assert!(found.insert(key?), "a key was named twice");
    }
    assert_eq!(found.len(), 8 * 5000);
    Ok(())
}

#[tokio::test(flavor = "current_thread")]
async fn a_task_of_nothing_but_calls_lets_others_run() -> Result<()> {
    let store = KeyValueStore::text(MemoryProvider::new());
    for key in 0..1000 {
        store.set(&key.to_string(), "value").await?;
    }
    for call in 0..8 {
        let done = Arc::new(AtomicBool::new(false));
        // On one thread: these would run for ever, were it not for the other task.
        let (store, ended) = (store.clone(), Arc::clone(&done));
        let busy = tokio::spawn(async move {
            while !ended.load(Ordering::Relaxed) {
                match call {
                    0 => drop(store.get("1").await?),
                    1 => store.set("1", "value").await?,
                    2 => store.delete("1").await?,
                    3 => drop(store.get_entry("1").await?),
                    4 => drop(store.get_many(["1", "2"]).await?),
                    5 => drop(store.take("1").await?),
                    6 => drop(store.has("1").await?),
                    _ => {
                        let mut keys = store.keys("");
                        while let Some(key) = keys.next().await {
                            if ended.load(Ordering::Relaxed) {
                                break;
                            }
                            key?;
                        }
                    }
                }
            }
            Ok::<_, Error>(())
        });
        tokio::task::yield_now().await;
        done.store(true, Ordering::Relaxed);
        busy.await.unwrap()?;
    }
    Ok(())
}

#[tokio::test]
async fn debug_prints_nothing_of_the_data() -> Result<()> {
    let memory = MemoryProvider::new();
    let store = KeyValueStore::text(memory.clone());
    store.set("secret", "secret").await?;
    assert_eq!(
        format!("{memory:?}"),
        "MemoryProvider { closed: false, .. }"
    );
    Ok(())
}
