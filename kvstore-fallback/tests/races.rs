//! Calls at the same time: random interleavings of the single calls to the two, each judged by whether some order of
//! the whole calls explains what they answered.

mod typed;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kvstore_core::{
    BoxError, BoxStream, Bytes, Capabilities, Codec, Condition, DeleteRequest, Entry, Format,
    GetRequest, Input, KeyValueStore, KeysRequest, Outcome, Provider, Result, ServerInfo,
    SetOptions, SetRequest, TouchRequest, async_trait,
};
use kvstore_fallback::FallbackProvider;
use kvstore_memory::MemoryProvider;
use tokio::task::{JoinSet, yield_now};
use typed::Typed;

/// A random number generator (xorshift), so that a run that fails can be made again.
#[derive(Clone)]
struct Dice(Arc<Mutex<u64>>);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(
            seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        )))
    }

    fn roll(&self, sides: u64) -> u64 {
        let mut state = self.0.lock().unwrap();
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 11) % sides
    }

    /// Lets others go on, for some turns.
    async fn wait(&self) {
        for _ in 0..self.roll(4) {
            yield_now().await;
        }
    }
}

/// A provider whose calls begin and end when the dice say.
#[derive(Clone)]
struct Diced {
    inner: Arc<dyn Provider>,
    dice: Dice,
}

impl Diced {
    async fn at_random<T>(&self, call: impl Future<Output = T>) -> T {
        self.dice.wait().await;
        let answer = call.await;
        self.dice.wait().await;
        answer
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Provider for Diced {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    async fn get(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        self.at_random(self.inner.get(request)).await
    }

    async fn set(&self, request: SetRequest<'_>) -> Result<Outcome> {
        self.at_random(self.inner.set(request)).await
    }

    async fn delete(&self, request: DeleteRequest<'_>) -> Result<Outcome> {
        self.at_random(self.inner.delete(request)).await
    }

    async fn has(&self, request: GetRequest<'_>) -> Result<bool> {
        self.at_random(self.inner.has(request)).await
    }

    async fn get_entry(&self, request: GetRequest<'_>) -> Result<Option<Entry<Bytes>>> {
        self.at_random(self.inner.get_entry(request)).await
    }

    async fn take(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        self.at_random(self.inner.take(request)).await
    }

    async fn touch(&self, request: TouchRequest<'_>) -> Result<bool> {
        self.at_random(self.inner.touch(request)).await
    }

    async fn get_many(&self, requests: &[GetRequest<'_>]) -> Vec<Result<Option<Bytes>>> {
        self.at_random(self.inner.get_many(requests)).await
    }

    async fn set_many(&self, requests: &[SetRequest<'_>]) -> Vec<Result<Outcome>> {
        self.at_random(self.inner.set_many(requests)).await
    }

    async fn delete_many(&self, requests: &[DeleteRequest<'_>]) -> Vec<Result<Outcome>> {
        self.at_random(self.inner.delete_many(requests)).await
    }

    fn keys(&self, request: KeysRequest) -> BoxStream<'static, Result<String>> {
        self.inner.keys(request)
    }

    async fn ping(&self) -> Result<ServerInfo> {
        self.inner.ping().await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

/// What was asked of the key, and what was answered. A value is a number; each is written once.
#[derive(Clone, Debug)]
enum Did {
    Read(Option<u64>),
    Has(bool),
    Set(u64),
    SetAbsent(u64, bool),
    SetPresent(u64, bool),
    /// Of a version that had this value; another version may have it too, by touching.
    SetVersion(u64, u64, bool),
    Touch(bool),
    Take(Option<u64>),
    Delete,
    DeleteMany,
    DeleteVersion(u64, bool),
}

/// A call: from when to when, by one clock.
#[derive(Clone, Debug)]
struct Call {
    from: usize,
    to: usize,
    did: Did,
}

struct Clock(Mutex<usize>);

impl Clock {
    fn tick(&self) -> usize {
        let mut now = self.0.lock().unwrap();
        *now += 1;
        *now
    }
}

/// What a call does to the value at a step; `None` where its answer says otherwise.
///
/// A delete has three: until it has returned, a copy under way may show the value again that the first has deleted.
fn step(did: &Did, step: u8, value: Option<u64>, before: Option<u64>) -> Vec<Option<u64>> {
    let only = |holds: bool, then| if holds { vec![then] } else { Vec::new() };
    match *did {
        Did::Read(read) => only(read == value, value),
        Did::Has(has) => only(has == value.is_some(), value),
        Did::Set(new) => vec![Some(new)],
        Did::SetAbsent(new, true) => only(value.is_none(), Some(new)),
        Did::SetAbsent(_, false) => only(value.is_some(), value),
        Did::SetPresent(new, true) => only(value.is_some(), Some(new)),
        Did::SetPresent(_, false) => only(value.is_none(), value),
        Did::SetVersion(old, new, true) => only(value == Some(old), Some(new)),
        Did::DeleteVersion(old, true) => only(value == Some(old), None),
        Did::SetVersion(_, _, false) | Did::DeleteVersion(_, false) => vec![value],
        Did::Touch(there) => only(there == value.is_some(), value),
        Did::Take(taken) => only(taken == value, None),
        Did::Delete | Did::DeleteMany => match step {
            0 => vec![value, None],
            1 if value.is_none() => vec![None, before],
            1 => vec![value],
            _ => vec![None],
        },
    }
}

fn steps(did: &Did) -> u8 {
    match did {
        Did::Delete | Did::DeleteMany => 3,
        _ => 1,
    }
}

/// Whether the calls can have been in some order that keeps to the clock.
fn explained(calls: &[Call], value: Option<u64>, done: &mut Vec<(u8, Option<u64>)>) -> bool {
    let open = |at: usize, done: &[(u8, Option<u64>)]| done[at].0 < steps(&calls[at].did);
    let Some(first) = (0..calls.len())
        .filter(|&at| open(at, done))
        .map(|at| calls[at].to)
        .min()
    else {
        return true;
    };
    for at in 0..calls.len() {
        if !open(at, done) || calls[at].from > first {
            continue;
        }
        let (number, before) = done[at];
        for then in step(&calls[at].did, number, value, before) {
            let seen = if number == 0 { value } else { before };
            done[at] = (number + 1, seen);
            if explained(calls, then, done) {
                return true;
            }
        }
        done[at] = (number, before);
    }
    false
}

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
        let (old, version) = (entry.value.parse().unwrap(), entry.version.unwrap());
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

/// Four at a time, and a copy; on providers that keep bare bytes, or that tell formats apart.
async fn run(seed: u64, typed: bool) -> Result<()> {
    let dice = Dice::new(seed);
    let diced = || Diced {
        inner: match typed {
            true => Arc::new(Typed::default()),
            false => Arc::new(MemoryProvider::new()),
        },
        dice: dice.clone(),
    };
    let format = if typed { Format::Binary } else { Format::Text };
    let store = |provider: Arc<dyn Provider>| match typed {
        true => KeyValueStore::with_codec(provider, AsBytes),
        false => KeyValueStore::text(provider),
    };
    let (new, old) = (diced(), diced());
    let clock = Arc::new(Clock(Mutex::new(0)));
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
        let (store, dice, clock) = (
            store(Arc::new(provider())),
            dice.clone(),
            Arc::clone(&clock),
        );
        tasks.spawn(async move {
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
    let mut done = vec![(0, None); calls.len()];
    assert!(
        explained(&calls, first, &mut done),
        "no order explains seed {seed}, which began with {first:?}: {calls:#?}"
    );
    Ok(())
}

#[tokio::test]
async fn calls_at_the_same_time_are_as_in_some_order() -> Result<()> {
    for seed in 0..5000 {
        run(seed, false).await?;
    }
    Ok(())
}

/// Where a tombstone does not read as what is asked for, and may be replaced before it is known for one.
#[tokio::test]
async fn calls_at_the_same_time_where_formats_are_told_apart() -> Result<()> {
    for seed in 0..5000 {
        run(seed, true).await?;
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
