//! Calls at the same time: random interleavings of the single calls to the two, each judged by whether some order of
//! the whole calls explains what they answered.

mod content;
mod diced;
mod order;
mod typed;

use std::sync::Arc;
use std::time::Duration;

use content::ByContent;
use diced::{Dice, Diced};
use kvstore_core::{
    BoxError, Bytes, Codec, Condition, Format, Input, KeyValueStore, Provider, Result, SetOptions,
    Versions,
};
use kvstore_fallback::FallbackProvider;
use kvstore_memory::MemoryProvider;
use order::{Call, Clock, Did, Seen, explained};
use tokio::task::JoinSet;
use typed::Typed;

type Store = KeyValueStore<String>;

fn number(value: Option<String>) -> Option<u64> {
    value.map(|value| value.parse().unwrap())
}

/// Does something at random.
async fn act(store: &Store, dice: &Dice, clock: &Clock, new: u64) -> Result<Call> {
    let (value, plain) = (new.to_string(), SetOptions::new());
    let entry = match dice.roll(4) {
        0 => store.get_entry("key").await?,
        _ => None,
    };
    let from = clock.tick();
    let did = if let Some(entry) = entry {
        let old = Seen {
            value: entry.value.parse().unwrap(),
            only: store.capabilities().versions == Some(Versions::Content),
        };
        let version = entry.version.unwrap();
        match dice.roll(2) {
            0 => {
                let condition = Condition::Version(version);
                let set = store.set_if("key", value, condition, plain).await?;
                Did::SetVersion(old, new, set.is_applied())
            }
            _ => Did::DeleteVersion(old, store.delete_if("key", version).await?.is_applied()),
        }
    } else {
        match dice.roll(16) {
            0 => Did::Read(number(store.get("key").await?)),
            1 => Did::Read(number(store.get_many(["key"]).await?.remove(0))),
            2 => Did::Read(number(store.get_entry("key").await?.map(|e| e.value))),
            3 => Did::Has(store.has("key").await?),
            4 => {
                store.set("key", value).await?;
                Did::Set(new)
            }
            5 => {
                store.set_many([("key", value)], plain).await?;
                Did::Set(new)
            }
            6 => {
                store.set_with("key", value, plain.keep_expiry()).await?;
                Did::Set(new)
            }
            7 | 8 => {
                let set = store.set_if("key", value, Condition::Absent, plain).await?;
                Did::SetAbsent(new, set.is_applied())
            }
            9 => {
                let set = store
                    .set_if("key", value, Condition::Present, plain)
                    .await?;
                Did::SetPresent(new, set.is_applied())
            }
            10 | 11 => Did::Touch(store.touch("key", Duration::from_secs(3600)).await?),
            12 | 13 => Did::Take(number(store.take("key").await?)),
            14 => {
                store.delete("key").await?;
                Did::Delete
            }
            _ => {
                store.delete_many(["key"]).await?;
                Did::DeleteMany
            }
        }
    };
    let to = clock.tick();
    Ok(Call { from, to, did })
}

/// Text that is kept as bytes, which a tombstone is not.
struct AsBytes;

impl Codec<String> for AsBytes {
    fn format(&self) -> Format {
        Format::Binary
    }

    fn encode(&self, value: Input<'_, String>) -> Result<Bytes, BoxError> {
        Ok(Bytes::copy_from_slice(value.as_bytes()))
    }

    fn decode(&self, stored: Bytes) -> Result<String, BoxError> {
        Ok(String::from_utf8(stored.into())?)
    }
}

/// What the two are made of.
#[derive(Clone, Copy)]
enum Kind {
    /// They keep bare bytes.
    Bare,
    /// They tell formats apart.
    Typed,
    /// Their versions are the content.
    ByContent,
}

/// Four at a time, and a copy.
async fn run(seed: u64, kind: Kind) -> Result<()> {
    let dice = Dice::new(seed);
    let diced = || Diced {
        inner: match kind {
            Kind::Bare => Arc::new(MemoryProvider::new()),
            Kind::Typed => Arc::new(Typed::default()),
            Kind::ByContent => Arc::new(ByContent::default()),
        },
        dice: dice.clone(),
    };
    let typed = matches!(kind, Kind::Typed);
    let format = if typed { Format::Binary } else { Format::Text };
    let store = |provider: Arc<dyn Provider>| match typed {
        true => KeyValueStore::with_codec(provider, AsBytes),
        false => KeyValueStore::text(provider),
    };
    let (new, old) = (diced(), diced());
    let clock = Arc::new(Clock::default());
    let first = (dice.roll(8) > 0).then_some(1);
    if let Some(value) = first {
        store(Arc::new(old.clone()))
            .set("key", value.to_string())
            .await?;
    }
    // Each an instance of its own.
    let provider = || FallbackProvider::new(new.clone(), old.clone()).unwrap();
    let mut tasks = JoinSet::new();
    for task in 1..=4 {
        let (before, store) = (store(Arc::new(old.clone())), store(Arc::new(provider())));
        let (dice, clock) = (dice.clone(), Arc::clone(&clock));
        tasks.spawn(async move {
            // An instance that has moved a key before makes fewer calls for the next one.
            if dice.roll(2) == 0 {
                let moved = format!("moved by {task}");
                before.set(&moved, "value".to_owned()).await?;
                store.take(&moved).await?;
            }
            let mut calls = Vec::new();
            for index in 0..1 + dice.roll(3) {
                dice.wait().await;
                calls.push(act(&store, &dice, &clock, 10 * task + index).await?);
            }
            Ok(calls)
        });
    }
    let copying = provider();
    tasks.spawn(async move {
        copying.copy(format).await?;
        copying.copy(format).await?;
        Ok::<_, kvstore_core::Error>(Vec::new())
    });
    let mut calls = Vec::new();
    for done in tasks.join_all().await {
        calls.extend(done?);
    }
    let store = store(Arc::new(provider()));
    let from = clock.tick();
    let read = number(store.get("key").await?);
    calls.push(Call {
        from,
        to: clock.tick(),
        did: Did::Read(read),
    });
    let listed = store.keys("").next().await.transpose()?.is_some();
    assert_eq!(
        listed,
        read.is_some(),
        "the listing, seed {seed}: {calls:#?}"
    );
    // As it would be if the old one were gone.
    provider().copy(format).await?;
    assert_eq!(
        number(store.get("key").await?),
        read,
        "after copying, seed {seed}: {calls:#?}"
    );
    assert!(
        explained(&calls, first),
        "no order explains seed {seed}, which began with {first:?}: {calls:#?}"
    );
    Ok(())
}

#[tokio::test]
async fn calls_at_the_same_time_are_as_in_some_order() -> Result<()> {
    for seed in 0..5000 {
        run(seed, Kind::Bare).await?;
    }
    Ok(())
}

/// Where a tombstone does not read as what is asked for, and may be replaced before it is known for one.
#[tokio::test]
async fn calls_at_the_same_time_where_formats_are_told_apart() -> Result<()> {
    for seed in 0..5000 {
        run(seed, Kind::Typed).await?;
    }
    Ok(())
}

/// Where a key that moves keeps its version, so that a write under it is refused only where the value is another.
#[tokio::test]
async fn calls_at_the_same_time_where_versions_are_the_content() -> Result<()> {
    for seed in 0..5000 {
        run(seed, Kind::ByContent).await?;
    }
    Ok(())
}

/// The value that is set just after a tombstone was read is not taken for one of another type.
#[tokio::test]
async fn a_tombstone_that_is_replaced_between_two_looks() -> Result<()> {
    for how in ["get", "get_many", "get_entry", "take", "touch"] {
        let (new, old) = (Typed::default(), MemoryProvider::new());
        let both = KeyValueStore::bytes(FallbackProvider::new(new.clone(), old)?);
        both.delete("key").await?;
        new.after_a_decode_error("key", b"fresh");
        let value = match how {
            "get" => both.get("key").await?,
            "get_many" => both.get_many(["key"]).await?.remove(0),
            "get_entry" => both.get_entry("key").await?.map(|entry| entry.value),
            "take" => both.take("key").await?,
            _ => {
                assert!(both.touch("key", Duration::from_secs(3600)).await?);
                both.get("key").await?
            }
        };
        assert_eq!(value.as_deref(), Some(&b"fresh"[..]), "{how}");
        assert_eq!(both.has("key").await?, how != "take", "{how}");
    }
    Ok(())
}

/// Every key that is there throughout is named, and once, while it moves.
#[tokio::test]
async fn a_listing_names_each_key_once_while_keys_move() -> Result<()> {
    for seed in 0..30 {
        let dice = Dice::new(seed);
        let diced = || Diced {
            inner: Arc::new(MemoryProvider::new()),
            dice: dice.clone(),
        };
        let (new, old) = (diced(), diced());
        let before = KeyValueStore::text(old.clone());
        let mut all: Vec<String> = (0..600).map(|index| format!("key {index}")).collect();
        for key in &all {
            before.set(key, "value").await?;
        }
        let provider = FallbackProvider::new(new, old)?;
        let store = KeyValueStore::text(provider.clone());
        let moving = {
            let (store, dice) = (store.clone(), dice.clone());
            tokio::spawn(async move {
                for _ in 0..600 {
                    let key = format!("key {}", dice.roll(600));
                    store.touch(&key, Duration::from_secs(3600)).await?;
                }
                Ok::<_, kvstore_core::Error>(())
            })
        };
        let copying = tokio::spawn(async move { provider.copy(Format::Text).await });
        let (mut keys, mut named) = (store.keys(""), Vec::new());
        while let Some(key) = keys.next().await {
            named.push(key?);
            dice.wait().await;
        }
        named.sort();
        all.sort();
        assert_eq!(named, all, "seed {seed}");
        moving.await.unwrap()?;
        copying.await.unwrap()?;
    }
    Ok(())
}
