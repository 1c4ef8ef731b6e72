//! What the store does before and after a provider: checks, errors, namespaces, batches.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use kvstore_core::{
    BoxStream, Bytes, BytesCodec, Capabilities, Condition, Connect, DeleteRequest, Entry, Error,
    ErrorKind, Expiry, GetRequest, KeyValueStore, KeysRequest, Outcome, Provider, Registry, Result,
    SetOptions, SetRequest, Version, Versions, async_trait,
};

/// Four methods over a map, and a list of what was asked.
#[derive(Clone)]
struct Minimal {
    capabilities: Capabilities,
    map: Arc<Mutex<BTreeMap<String, Bytes>>>,
    calls: Arc<Mutex<Vec<String>>>,
}

impl Minimal {
    fn new() -> Self {
        Self {
            capabilities: Capabilities::new("minimal"),
            map: Arc::default(),
            calls: Arc::default(),
        }
    }

    fn call(&self, operation: &str, key: &str) {
        self.calls
            .lock()
            .unwrap()
            .push(format!("{operation} {key}"));
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

#[async_trait]
impl Provider for Minimal {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn get(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        self.call("get", request.key.as_str());
        Ok(self.map.lock().unwrap().get(request.key.as_str()).cloned())
    }

    async fn set(&self, request: SetRequest<'_>) -> Result<Outcome> {
        self.call("set", request.key.as_str());
        let key = request.key.as_str().to_owned();
        self.map.lock().unwrap().insert(key, request.value);
        Ok(Outcome::Applied(None))
    }

    async fn delete(&self, request: DeleteRequest<'_>) -> Result<Outcome> {
        self.call("delete", request.key.as_str());
        self.map.lock().unwrap().remove(request.key.as_str());
        Ok(Outcome::Applied(None))
    }
}

#[tokio::test]
async fn a_provider_of_four_methods_is_asked_nothing_that_it_does_not_claim() {
    let minimal = Minimal::new();
    let store = KeyValueStore::text(minimal.clone());
    let (second, version) = (Duration::from_secs(1), Version::from(1));
    let ttl = SetOptions::new().ttl(second);
    let plain = SetOptions::new();
    let errors = [
        store.set_with("k", "v", ttl).await.unwrap_err(),
        store
            .set_with("k", "v", plain.keep_expiry())
            .await
            .unwrap_err(),
        store
            .set_if("k", "v", Condition::Absent, plain)
            .await
            .unwrap_err(),
        store
            .set_if("k", "v", Condition::Present, plain)
            .await
            .unwrap_err(),
        store
            .set_if("k", "v", Condition::Version(version.clone()), plain)
            .await
            .unwrap_err(),
        store.delete_if("k", version).await.unwrap_err(),
        store.take("k").await.unwrap_err(),
        store.touch("k", second).await.unwrap_err(),
        store.persist("k").await.unwrap_err(),
        store.keys("").next().await.unwrap().unwrap_err(),
        store.set_many([("k", "v")], ttl).await.unwrap_err().into(),
        store
            .set_each([("k", "v", ttl, None)])
            .await
            .unwrap_err()
            .into(),
        store
            .set_each([("k", "v", plain, Some(Condition::Absent))])
            .await
            .unwrap_err()
            .into(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
        assert_eq!(error.provider(), Some("minimal"));
    }
    assert_eq!(minimal.calls(), [""; 0]);
}

#[tokio::test]
async fn the_defaults_serve_what_four_methods_can() {
    let store = KeyValueStore::text(Minimal::new());
    store
        .set_many([("a", "1"), ("b", "2")], SetOptions::new())
        .await
        .unwrap();
    assert!(store.has("a").await.unwrap());
    assert_eq!(store.get_entry("a").await.unwrap().unwrap().value, "1");
    let found = store.get_many(["b", "x", "a", "b"]).await.unwrap();
    assert_eq!(
        found,
        [Some("2".into()), None, Some("1".into()), Some("2".into())]
    );
    store.delete_many(["a", "x"]).await.unwrap();
    assert!(!store.has("a").await.unwrap());
    assert_eq!(store.ping().await.unwrap().product, "minimal");
}

#[tokio::test]
async fn bad_keys_values_and_times_are_refused_before_any_io() {
    let mut minimal = Minimal::new();
    minimal.capabilities.expiry = Some(Duration::from_millis(1));
    minimal.capabilities.max_value_len = Some(10);
    let store = KeyValueStore::bytes(minimal.clone());
    let inner = store.namespace("n").unwrap();
    let (longest, century) = ("x".repeat(255), Duration::from_secs(36_525 * 86_400));
    let set = async |ttl| store.set_with("k", b"v", SetOptions::new().ttl(ttl)).await;
    let refused = [
        (store.get("").await.map(drop), ErrorKind::InvalidKey),
        (inner.get("").await.map(drop), ErrorKind::InvalidKey),
        (
            store.delete(&format!("{longest}x")).await,
            ErrorKind::InvalidKey,
        ),
        (
            inner.has(&longest[1..]).await.map(drop),
            ErrorKind::InvalidKey,
        ),
        (store.set("k", &[0; 11]).await, ErrorKind::ValueTooLarge),
        (set(Duration::ZERO).await, ErrorKind::InvalidTtl),
        (
            set(century + Duration::from_nanos(1)).await,
            ErrorKind::InvalidTtl,
        ),
        (set(Duration::MAX).await, ErrorKind::InvalidTtl),
    ];
    for (result, kind) in refused {
        assert_eq!(result.unwrap_err().kind(), kind);
    }
    assert_eq!(minimal.calls(), [""; 0]);
    store.set("k", &[0; 10]).await.unwrap();
    set(century).await.unwrap();
    inner.delete(&longest[2..]).await.unwrap();
    store.delete(&longest).await.unwrap();
    assert_eq!(
        minimal.calls().len(),
        4,
        "the limits themselves are allowed"
    );
}

#[tokio::test]
async fn no_value_is_not_a_value_and_the_old_one_stays() {
    let minimal = Minimal::new();
    let store: KeyValueStore<Option<u8>> = KeyValueStore::model(minimal.clone());
    store.set("k", Some(7)).await.unwrap();
    minimal.calls();
    let error = store.set("k", None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidValue);
    assert!(error.source().unwrap().to_string().contains("null"));
    assert_eq!(minimal.calls(), [""; 0]);
    assert_eq!(store.get("k").await.unwrap(), Some(Some(7)));
}

#[tokio::test]
async fn what_does_not_decode_is_an_error_that_names_the_type_and_has_the_key() {
    let minimal = Minimal::new();
    KeyValueStore::text(minimal.clone())
        .set("n:secret-key", "hunter2")
        .await
        .unwrap();
    let numbers: KeyValueStore<u64> = KeyValueStore::model(minimal).namespace("n").unwrap();
    let error = numbers.get("secret-key").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert_eq!(
        error.to_string(),
        "minimal get: what is stored is not a u64"
    );
    assert_eq!(error.key(), Some("secret-key"));
    let batch = numbers.get_many(["a", "secret-key"]).await.unwrap_err();
    let shown = format!("{error:?} {batch:?} {batch} {numbers:?}");
    assert!(
        !shown.contains("hunter2") && !shown.contains("secret-key"),
        "{shown}"
    );
    let (index, error) = batch.failed().next().unwrap();
    assert_eq!(
        (index, error.key(), error.operation()),
        (1, Some("secret-key"), Some("get_many"))
    );
}

#[tokio::test]
async fn namespaces_are_prefixes_that_nest_and_never_meet() {
    let minimal = Minimal::new();
    let store = KeyValueStore::text(minimal.clone());
    let a = store.namespace("a").unwrap();
    a.namespace("b").unwrap().set("k", "inner").await.unwrap();
    assert_eq!(minimal.calls(), ["set a:b:k"]);
    assert_eq!(a.get("b:k").await.unwrap().as_deref(), Some("inner"));
    assert_eq!(store.namespace("ab").unwrap().get("k").await.unwrap(), None);
    for name in ["", ":", "a:b", "a:", &"x".repeat(254)] {
        let error = store.namespace(name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidKey, "{name}");
    }
    assert!(
        store.namespace(&"x".repeat(253)).is_ok(),
        "there is room for one byte"
    );
}

#[tokio::test]
async fn a_failing_item_fails_alone_and_the_last_duplicate_wins() {
    let mut minimal = Minimal::new();
    minimal.capabilities.max_value_len = Some(3);
    let store = KeyValueStore::text(minimal.clone());
    let items = [
        ("a", "1"),
        ("", "2"),
        ("b", "long"),
        ("a", "3"),
        ("a", "long"),
    ];
    let batch = store.set_many(items, SetOptions::new()).await.unwrap_err();
    let failed: Vec<_> = batch
        .failed()
        .map(|(at, error)| (at, error.kind()))
        .collect();
    let expected = [
        (1, ErrorKind::InvalidKey),
        (2, ErrorKind::ValueTooLarge),
        (4, ErrorKind::ValueTooLarge),
    ];
    assert_eq!(failed, expected);
    assert_eq!(batch.into_results().len(), 5);
    assert_eq!(minimal.calls(), ["set a"], "of duplicates one is sent");
    assert_eq!(store.get("a").await.unwrap().as_deref(), Some("3"));
    let batch = store.delete_many(["a", ""]).await.unwrap_err();
    assert_eq!(batch.failed().count(), 1);
    assert!(!store.has("a").await.unwrap());
}

#[tokio::test]
async fn an_empty_batch_and_one_of_bad_keys_ask_nothing() {
    let minimal = Minimal::new();
    let store = KeyValueStore::text(minimal.clone());
    let none: [&str; 0] = [];
    assert_eq!(store.get_many(none).await.unwrap(), [None::<String>; 0]);
    store.delete_many(none).await.unwrap();
    store
        .set_many([("", ""); 0], SetOptions::new())
        .await
        .unwrap();
    assert_eq!(store.get_many([""]).await.unwrap_err().failed().count(), 1);
    assert_eq!(minimal.calls(), [""; 0]);
}

#[tokio::test]
async fn closing_ends_clones_and_namespaces() {
    let minimal = Minimal::new();
    let store = KeyValueStore::text(minimal.clone());
    let (clone, inner) = (store.clone(), store.namespace("n").unwrap());
    store.close().await.unwrap();
    store.close().await.unwrap();
    let closed = [
        clone.get("k").await.map(drop),
        inner.set("k", "v").await,
        clone.ping().await.map(drop),
        inner.keys("").next().await.unwrap().map(drop),
        clone.get_many(["k"]).await.map(drop).map_err(Error::from),
    ];
    for result in closed {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Closed);
    }
    assert_eq!(minimal.calls(), [""; 0]);
}

/// Answers wrongly: too few items in batches, `Unmet` for plain writes, keys from elsewhere in listings.
struct Wrong(Capabilities);

#[async_trait]
impl Provider for Wrong {
    fn capabilities(&self) -> &Capabilities {
        &self.0
    }

    async fn get(&self, _: GetRequest<'_>) -> Result<Option<Bytes>> {
        Err(Error::new(ErrorKind::Unavailable, "down")
            .with_provider("inner")
            .with_key("whole:key"))
    }

    async fn set(&self, _: SetRequest<'_>) -> Result<Outcome> {
        Ok(Outcome::Unmet)
    }

    async fn delete(&self, _: DeleteRequest<'_>) -> Result<Outcome> {
        Ok(Outcome::Unmet)
    }

    async fn get_many(&self, _: &[GetRequest<'_>]) -> Vec<Result<Option<Bytes>>> {
        vec![Ok(None)]
    }

    fn keys(&self, request: KeysRequest) -> BoxStream<'static, Result<String>> {
        let keys = [
            request.prefix.clone(),
            format!("{}k", request.prefix),
            "elsewhere".to_owned(),
        ];
        Box::pin(Listed(Some(keys.into_iter())))
    }
}

/// Is not to be asked again after its end.
struct Listed(Option<std::array::IntoIter<String, 3>>);

impl futures_core::Stream for Listed {
    type Item = Result<String>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let keys = self.0.as_mut().expect("asked again after its end");
        let next = keys.next();
        if next.is_none() {
            self.0 = None;
        }
        Poll::Ready(next.map(Ok))
    }
}

#[tokio::test]
async fn a_provider_that_answers_wrongly_is_not_believed() {
    let mut capabilities = Capabilities::new("wrong");
    capabilities.keys = Some(kvstore_core::Listing::Once);
    let store = KeyValueStore::text(Wrong(capabilities))
        .namespace("n")
        .unwrap();
    assert_eq!(
        store.set("k", "v").await.unwrap_err().kind(),
        ErrorKind::Other
    );
    assert_eq!(
        store.delete("k").await.unwrap_err().kind(),
        ErrorKind::Other
    );
    assert_eq!(
        store.delete_many(["k"]).await.unwrap_err().failed().count(),
        1
    );
    let items = [("k", "v", SetOptions::new(), None)];
    let batch = store.set_each(items).await.unwrap_err();
    assert_eq!(batch.failed().count(), 1, "it had no condition");
    let batch = store.get_many(["a", "b"]).await.unwrap_err();
    assert_eq!(
        batch.failed().count(),
        2,
        "one answer for two items belongs to neither"
    );
    let mut keys = store.keys("");
    assert_eq!(
        keys.next().await.unwrap().unwrap(),
        "k",
        "the parent's key `n:` has no name in here"
    );
    assert_eq!(
        keys.next().await.unwrap().unwrap_err().kind(),
        ErrorKind::Other
    );
    for _ in 0..2 {
        assert!(keys.next().await.is_none());
    }
    let error = store.get("k").await.unwrap_err();
    assert_eq!((error.provider(), error.key()), (Some("inner"), Some("k")));
    assert!(error.is_retryable());
}

/// Claims versions and has `get_entry`: then the default `take` works.
struct Versioned(Minimal, Mutex<u64>);

#[async_trait]
impl Provider for Versioned {
    fn capabilities(&self) -> &Capabilities {
        &self.0.capabilities
    }

    async fn get(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        self.0.get(request).await
    }

    async fn set(&self, request: SetRequest<'_>) -> Result<Outcome> {
        self.0.set(request).await
    }

    /// The first delete finds that another write came between.
    async fn delete(&self, request: DeleteRequest<'_>) -> Result<Outcome> {
        let mut version = self.1.lock().unwrap();
        if request.version != Some(Version::from(*version)) || *version == 1 {
            *version += 1;
            return Ok(Outcome::Unmet);
        }
        self.0.map.lock().unwrap().remove(request.key.as_str());
        Ok(Outcome::Applied(None))
    }

    async fn get_entry(&self, request: GetRequest<'_>) -> Result<Option<Entry<Bytes>>> {
        let version = Version::from(*self.1.lock().unwrap());
        let found = self.0.get(request).await?;
        Ok(found.map(|value| Entry::new(value).with_version(version)))
    }
}

#[tokio::test]
async fn the_default_take_deletes_the_version_that_it_returns() {
    let mut minimal = Minimal::new();
    minimal.capabilities.versions = Some(Versions::Unique);
    minimal.capabilities.take = true;
    let store = KeyValueStore::text(Versioned(minimal.clone(), Mutex::new(1)));
    store.set("k", "v").await.unwrap();
    minimal.calls();
    assert_eq!(store.take("k").await.unwrap().as_deref(), Some("v"));
    assert_eq!(
        minimal.calls(),
        ["get k", "get k"],
        "read again after the lost race"
    );
    assert_eq!(store.take("k").await.unwrap(), None);
}

#[tokio::test]
async fn claiming_expiry_without_reading_it_is_an_error() {
    let mut minimal = Minimal::new();
    minimal.capabilities.expiry = Some(Duration::from_secs(1));
    let error = KeyValueStore::text(minimal)
        .get_entry("k")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn values_are_taken_lent_or_given_and_futures_can_be_spawned() {
    let minimal = Minimal::new();
    let bytes = KeyValueStore::bytes(minimal.clone());
    bytes.set("k", b"array").await.unwrap();
    bytes.set("k", &b"slice"[..]).await.unwrap();
    bytes.set("k", vec![1]).await.unwrap();
    bytes.set("k", &vec![1]).await.unwrap();
    bytes.set("k", &Bytes::from_static(b"bytes")).await.unwrap();
    let vectors: KeyValueStore<Vec<u8>> = KeyValueStore::with_codec(minimal.clone(), BytesCodec);
    assert_eq!(vectors.get_or("k", vec![]).await.unwrap(), b"bytes");
    let texts = KeyValueStore::text(minimal);
    texts.set("k", &"lent".to_owned()).await.unwrap();
    texts.set("k", "given".to_owned()).await.unwrap();
    assert_eq!(
        texts.get_or("none", "default".to_owned()).await.unwrap(),
        "default"
    );

    let ids = ["k", "none"].map(str::to_owned);
    let task = tokio::spawn(async move {
        let found = texts.get_many(ids.iter().map(|id| id.as_str())).await?;
        texts
            .set_many(ids.iter().map(|id| (id, id.as_str())), SetOptions::new())
            .await?;
        texts
            .delete_many(ids.iter().map(String::as_str).filter(|id| !id.is_empty()))
            .await?;
        Ok::<_, Error>(found)
    });
    assert_eq!(
        task.await.unwrap().unwrap(),
        [Some("given".to_owned()), None]
    );
}

impl Connect for Minimal {
    const SCHEMES: &'static [&'static str] = &["minimal", "least"];

    async fn connect(url: &str) -> Result<Self> {
        match url {
            "minimal://here" | "LEAST:" => Ok(Self::new()),
            _ => Err(Error::new(ErrorKind::Unavailable, "nobody there")),
        }
    }

    fn lazy(_: &str) -> Result<Self> {
        Ok(Self::new())
    }
}

#[tokio::test]
async fn a_registry_opens_by_scheme_and_prints_no_secret() {
    let registry = Registry::new().with::<Minimal>();
    let store = KeyValueStore::text(registry.open("minimal://here").await.unwrap());
    store.set("k", "v").await.unwrap();
    assert_eq!(store.get("k").await.unwrap().as_deref(), Some("v"));
    assert!(
        registry.open("LEAST:").await.is_ok(),
        "schemes have no case"
    );
    assert!(registry.open_lazy("least://down").is_ok());
    let down = registry.open("least://down").await.map(drop).unwrap_err();
    assert_eq!(down.kind(), ErrorKind::Unavailable);
    for url in [
        "redis://user:hunter2@host",
        "hunter2",
        "hunter2:x",
        "",
        ":",
        "://",
        "hunter 2://x",
    ] {
        for result in [registry.open(url).await, registry.open_lazy(url)] {
            let error = result.map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}");
            assert!(error.to_string().contains("minimal, least"), "{error}");
            assert!(!error.to_string().contains("hunter"), "{error}");
        }
    }
    assert_eq!(format!("{registry:?}"), r#"["minimal", "least"]"#);
}

#[tokio::test]
async fn an_expiry_can_be_kept_or_ended() {
    assert_eq!(SetOptions::new().expiry, Expiry::Never);
    assert_eq!(
        SetOptions::new()
            .ttl(Duration::from_secs(1))
            .keep_expiry()
            .expiry,
        Expiry::Keep
    );
    let entry = Entry::new(()).with_expires_in(Duration::from_secs(5));
    assert!(entry.expires_within(Duration::from_secs(5)));
    assert!(!entry.expires_within(Duration::from_secs(4)));
    assert!(
        !Entry::new(()).expires_within(Duration::MAX),
        "what never expires needs no touch"
    );
}
