//! What one of the two cannot do or hold, and what is claimed of both.

mod minimal;
mod short;
mod stores;

use std::time::Duration;

use kvstore_core::{
    Condition, Connect, ErrorKind, Format, GetRequest, Key, KeyValueStore, Provider, Registry,
    Result, SetOptions, Versions,
};
use kvstore_fallback::FallbackProvider;
use kvstore_memory::MemoryProvider;
use kvstore_mongodb::MongoDbProvider;
use kvstore_redis::RedisProvider;
use kvstore_testsuite::servers::{MongoDb, Redis};
use kvstore_testsuite::unique_root;
use minimal::Minimal;
use short::Short;
use stores::{Stores, listed};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn what_the_new_one_cannot_hold_stays_and_is_told() -> Result<()> {
    let Stores {
        both,
        old,
        provider,
        ..
    } = Stores::of(
        MemoryProvider::with_max_value_len(100),
        MemoryProvider::new(),
    );
    let long = "x".repeat(101);
    old.set("long", &long).await?;
    assert_eq!(both.get("long").await?, Some(long.clone()));
    assert!(both.has("long").await?);
    let error = provider.copy(Format::Text).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.key()),
        (ErrorKind::ValueTooLarge, Some("long"))
    );
    assert_eq!(error.operation(), Some("copy"));
    for failed in [
        both.set("long", "short").await,
        both.touch("long", HOUR).await.map(drop),
        both.take("long").await.map(drop),
        both.set_many([("long", "short")], SetOptions::new())
            .await
            .map_err(Into::into),
    ] {
        let error = failed.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ValueTooLarge, "{error}");
        assert!(!error.outcome_unknown());
    }
    assert_eq!(both.get_entry("long").await?.unwrap().value, long);
    assert_eq!(both.get("long").await?, Some(long));
    both.delete("long").await?;
    both.set("long", "short").await?;
    Ok(())
}

/// V4: to who asks for text, what a server that tells types apart has as bytes, or as a document.
#[tokio::test]
async fn a_value_of_another_type_moves_as_what_it_is() -> Result<()> {
    let collection = format!("collection={}", unique_root());
    let old = MongoDbProvider::connect(&MongoDb::shared().url(&collection)).await?;
    let (bytes, json) = (
        KeyValueStore::bytes(old.clone()),
        KeyValueStore::json(old.clone()),
    );
    let document = serde_json::Map::from_iter([("a".to_owned(), 1.into())]);
    for how in ["get", "get_entry", "take", "set", "set_if", "set_many"] {
        let stores = Stores::of(MemoryProvider::new(), old.clone());
        let both = &stores.both;
        bytes.set("bytes", b"\xff\x00").await?;
        json.set("json", &document).await?;
        for key in ["bytes", "json"] {
            let plain = SetOptions::new();
            let present = Condition::Present;
            let failed = match how {
                "get" => both.get(key).await.err(),
                "get_entry" => both.get_entry(key).await.err(),
                "take" => both.take(key).await.err(),
                "set" => both.set(key, "text").await.err(),
                "set_if" => both.set_if(key, "text", present, plain).await.err(),
                _ => {
                    let set = both.set_many([(key, "text")], plain);
                    set.await.err().map(Into::into)
                }
            };
            let (kind, stays) = match how {
                "get" | "get_entry" => (Some(ErrorKind::Decode), None),
                "take" => (None, None),
                _ => (None, Some(&b"text"[..])),
            };
            // What moved is judged by the new one, which keeps bare bytes: of them a document reads as text.
            let kind = match (how, key) {
                ("take", "bytes") => Some(ErrorKind::Decode),
                _ => kind,
            };
            assert_eq!(failed.map(|e| e.kind()), kind, "{how}, {key}");
            let new = KeyValueStore::bytes(stores.new.provider().clone());
            let live = new.get(key).await?.filter(|_| how != "take");
            assert_eq!(live.as_deref(), stays, "{how}, {key}");
            let reads = ["get", "get_entry"].contains(&how);
            assert_eq!(bytes.has(key).await?, reads, "{how}, {key}");
            if how == "take" {
                assert!(!both.has(key).await?, "{key}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_old_one_may_have_four_methods_and_shorter_keys() -> Result<()> {
    let stores = Stores::of(MemoryProvider::new(), Minimal::default());
    let (both, capabilities) = (&stores.both, stores.both.capabilities());
    assert_eq!(capabilities.keys, None);
    assert!(!capabilities.strong_reads && !capabilities.retains);
    let listing = both.keys("").next().await.unwrap();
    assert_eq!(listing.unwrap_err().kind(), ErrorKind::Unsupported);
    let copied = stores.provider.copy(Format::Text).await;
    assert_eq!(copied.unwrap_err().kind(), ErrorKind::Unsupported);

    stores.old.set("key", "value").await?;
    assert_eq!(both.get("key").await?.as_deref(), Some("value"));
    assert!(both.touch("key", HOUR).await?);
    stores.old.set("taken", "value").await?;
    assert_eq!(both.take("taken").await?.as_deref(), Some("value"));
    is_gone_but_for_listing(&stores, "taken").await?;

    // Longer than the old one takes, which refuses to be asked.
    let long = "x".repeat(1000);
    both.set(&long, "value").await?;
    assert!(both.has(&long).await?);
    assert_eq!(both.get_many([long.as_str(), "key"]).await?.len(), 2);
    both.set_many([(&long, "value")], SetOptions::new()).await?;
    both.delete_many([&long]).await?;
    both.delete(&long).await?;
    assert_eq!(both.take(&long).await?, None);
    Ok(())
}

/// What the old one has under keys that are too long for the new one is listed and told, and harms no other key.
#[tokio::test]
async fn the_new_one_may_have_shorter_keys() -> Result<()> {
    let stores = Stores::of(Short::default(), MemoryProvider::new());
    let long = "x".repeat(Short::LIMIT + 1);
    for key in [&long[..], &long[1..], "key"] {
        stores.old.set(key, "value").await?;
    }
    assert_eq!(listed(&stores.both).await?, ["key", &long[1..], &long[..]]);
    let error = stores.both.get(&long).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidKey);
    let error = stores.provider.copy(Format::Text).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidKey);
    assert_eq!(error.key(), Some(&long[..]));
    stores.both.set("key", "written").await?;
    assert_eq!(stores.both.get(&long[1..]).await?.as_deref(), Some("value"));
    Ok(())
}

async fn is_gone_but_for_listing(stores: &Stores, key: &str) -> Result<()> {
    assert_eq!(stores.both.get(key).await?, None);
    assert_eq!(stores.old.get(key).await?, None);
    stores.late_copy(key, "value").await
}

#[tokio::test]
async fn what_is_claimed_is_what_both_can_do() -> Result<()> {
    let (new, old) = (
        MemoryProvider::with_max_value_len(1000),
        MemoryProvider::new(),
    );
    let provider = FallbackProvider::new(new, old)?;
    let capabilities = provider.capabilities();
    assert_eq!(capabilities.provider, "fallback");
    assert_eq!(capabilities.max_value_len, Some(1000));
    assert_eq!(capabilities.versions, Some(Versions::Unique));
    assert!(capabilities.strong_reads && capabilities.retains);

    for (new, kept) in [
        (
            Box::new(Minimal::default()) as Box<dyn FnOnceProvider>,
            HOUR,
        ),
        (Box::new(MemoryProvider::with_max_value_len(10)), HOUR),
        (Box::new(provider.clone()), HOUR),
        (Box::new(MemoryProvider::new()), Duration::ZERO),
        (Box::new(MemoryProvider::new()), Duration::MAX),
    ] {
        let error = new.before(kept).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    }
    Ok(())
}

/// A new provider of any type.
trait FnOnceProvider {
    fn before(self: Box<Self>, kept: Duration) -> Result<FallbackProvider>;
}

impl<P: Provider> FnOnceProvider for P {
    fn before(self: Box<Self>, kept: Duration) -> Result<FallbackProvider> {
        FallbackProvider::with_tombstones(*self, MemoryProvider::new(), kept)
    }
}

/// What moves would be deleted.
#[tokio::test]
async fn one_place_twice_is_refused_before_anything_is_deleted() -> Result<()> {
    let memory = MemoryProvider::new();
    let collection = format!("collection={}", unique_root());
    let [url, other] = [&collection, &format!("{collection}&timeout=9s")]
        .map(|parameters| MongoDb::shared().url(parameters));
    let root = unique_root();
    let redis = |more| format!("{}?prefix={root}:{more}", Redis::shared().url());
    for place in [
        Stores::of(memory.clone(), memory),
        Stores::of(
            MongoDbProvider::connect(&url).await?,
            MongoDbProvider::connect(&other).await?,
        ),
        Stores::of(
            RedisProvider::connect(&redis("")).await?,
            RedisProvider::connect(&redis("&timeout=9s")).await?,
        ),
    ] {
        place.new.set("key", "value").await?;
        let version = place.both.get_entry("key").await?.unwrap().version.unwrap();
        let items = [("key", "other")];
        for failed in [
            place.both.set("key", "other").await,
            place.both.take("key").await.map(drop),
            place.both.touch("key", HOUR).await.map(drop),
            place.both.delete_if("key", version).await.map(drop),
            place
                .both
                .set_many(items, SetOptions::new())
                .await
                .map_err(Into::into),
        ] {
            let error = failed.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
            let source = std::error::Error::source(&error).unwrap().to_string();
            assert!(source.contains("the same place"), "{source}");
        }
        assert_eq!(place.both.get("key").await?.as_deref(), Some("value"));
        assert_eq!(listed(&place.new).await?, ["key"], "nothing is left of it");
    }
    Ok(())
}

#[tokio::test]
async fn the_one_value_that_is_a_tombstone_is_refused() -> Result<()> {
    let stores = Stores::new();
    stores.both.delete("key").await?;
    // As who opens the new one too early sees it.
    let tombstone = stores.new.get("key").await?.unwrap();
    let quoted = format!("\"{tombstone}\"");
    for value in [&tombstone, &quoted] {
        let error = stores.both.set("other", value).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidValue);
        let items = [("other", value.as_str()), ("fine", "value")];
        let error = stores
            .both
            .set_many(items, SetOptions::new())
            .await
            .unwrap_err();
        assert_eq!(error.failed().count(), 1);
    }
    assert!(!stores.both.has("other").await?);
    assert!(stores.both.has("fine").await?);
    Ok(())
}

#[tokio::test]
async fn two_are_opened_by_one_url() -> Result<()> {
    let registry = Registry::new().with::<MemoryProvider>();
    let one = kvstore_fallback::open(&registry, "memory:").await?;
    assert_eq!(one.capabilities().provider, "memory");
    for two in [
        kvstore_fallback::open(&registry, "fallback:memory: memory:").await?,
        kvstore_fallback::open_lazy(&registry, "fallback:?tombstones=1h memory: memory:")?,
    ] {
        assert_eq!(two.capabilities().provider, "fallback");
        let info = two.ping().await?;
        assert_eq!(info.product, "memory");
        assert!(
            info.warnings
                .iter()
                .any(|w| w.starts_with("the old provider, memory: "))
        );
    }
    for url in [
        "fallback:memory: nonsense",
        "fallback:redis://u:hunter2@h memory:",
        "fallback:memory:hunter2 memory:",
        "fallback:?tombstones=0s memory: memory:",
        "nonsense",
    ] {
        for opened in [
            kvstore_fallback::open(&registry, url).await,
            kvstore_fallback::open_lazy(&registry, url),
        ] {
            let Err(error) = opened else {
                panic!("{url} is opened");
            };
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}");
            assert!(
                !format!("{error} {error:?}").contains("hunter2"),
                "{error:?}"
            );
        }
    }
    let provider = FallbackProvider::new(
        <MemoryProvider as Connect>::lazy("memory:")?,
        MemoryProvider::new(),
    )?;
    assert!(format!("{provider:?}").contains("memory"));
    let key = GetRequest::new(Key::new("key")?, Format::Text);
    provider.close().await?;
    assert_eq!(
        provider.get(key).await.unwrap_err().kind(),
        ErrorKind::Closed
    );
    Ok(())
}
