use futures_util::stream::iter;
use kvstore_core::{Capabilities, DeleteRequest, GetRequest, Outcome, SetRequest, async_trait};
use kvstore_memory::MemoryProvider;

use super::*;
use crate::signals::Signals;
use crate::stores::{self, Opened};

fn context<'a>(messages: &'a Messages, signals: &'a Signals) -> Context<'a> {
    Context {
        store: None,
        namespace: None,
        json: false,
        messages,
        signals,
        opened: Opened::default(),
    }
}

async fn found(
    budget: &Budget,
    value: &'static str,
    expires: Option<Instant>,
    at: Instant,
) -> Found {
    Found {
        value: Bytes::from_static(value.as_bytes()),
        expires,
        at,
        room: budget.take(1).await,
    }
}

/// What was read long ago is read again before it is written where nothing is, and dropped where it is gone.
#[tokio::test]
async fn what_was_read_long_ago_is_read_again() {
    let (messages, signals) = (Messages::new(false, true), Signals::listen().unwrap());
    let context = context(&messages, &signals);
    for (if_absent, changed, gone) in [
        (true, Some("after"), None),
        (false, Some("before"), Some("before")),
    ] {
        let provider = || -> Arc<dyn Provider> { Arc::new(MemoryProvider::new()) };
        let (source, target) = (provider(), provider());
        let on = |provider| stores::on(provider, Kind::Text, None).unwrap();
        let source = on(&source);
        for key in ["fresh", "changed"] {
            source.set(key, Bytes::from_static(b"after")).await.unwrap();
        }
        let how = How {
            if_absent,
            dry_run: false,
            verify: false,
        };
        let copied = Target::new(&context, &target, how, 8).unwrap();
        let budget = Budget::new();
        let mut items = Vec::new();
        for (key, age) in [("fresh", 0), ("changed", 4), ("gone", 4)] {
            let at = Instant::now() - Duration::from_secs(age);
            let found = found(&budget, "before", None, at).await;
            items.push(Item::new(
                copied.queue(key),
                key.to_owned(),
                Kind::Text,
                found,
            ));
        }
        let items = iter(items).map(|item| async { Ok(Some(item)) });
        assert_eq!(copied.run(items, Some(&source)).await.unwrap(), End::Done);
        let target = on(&target);
        let get = async |key| {
            target
                .get(key)
                .await
                .unwrap()
                .map(|v| String::from_utf8(v.into()).unwrap())
        };
        assert_eq!(get("fresh").await.as_deref(), Some("before"));
        assert_eq!(get("changed").await.as_deref(), changed);
        assert_eq!(get("gone").await.as_deref(), gone);
    }
}

/// Whether it is written or not.
#[tokio::test]
async fn what_has_expired_is_counted_so() {
    let (messages, signals) = (Messages::new(false, true), Signals::listen().unwrap());
    let context = context(&messages, &signals);
    for dry_run in [false, true] {
        let target: Arc<dyn Provider> = Arc::new(MemoryProvider::new());
        let how = How {
            if_absent: false,
            dry_run,
            verify: false,
        };
        let target = Target::new(&context, &target, how, 8).unwrap();
        let now = Instant::now();
        let found = found(&Budget::new(), "value", Some(now), now).await;
        let item = Item::new(target.queue("key"), "key".to_owned(), Kind::Text, found);
        let items = iter([item]).map(|item| async { Ok(Some(item)) });
        assert_eq!(target.run(items, None).await.unwrap(), End::Done);
        let count = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        assert_eq!(
            (count(&target.counts.expired), count(&target.counts.written)),
            (1, 0)
        );
    }
}

/// Says that it wrote, and keeps something else.
struct Liar(MemoryProvider);

#[async_trait]
impl Provider for Liar {
    fn capabilities(&self) -> &Capabilities {
        self.0.capabilities()
    }

    async fn get(&self, request: GetRequest<'_>) -> StoreResult<Option<Bytes>> {
        self.0.get(request).await
    }

    async fn get_entry(&self, request: GetRequest<'_>) -> StoreResult<Option<Entry<Bytes>>> {
        self.0.get_entry(request).await
    }

    async fn set(&self, mut request: SetRequest<'_>) -> StoreResult<Outcome> {
        match request.key.as_str() {
            "other" => request.value = Bytes::from_static(b"other"),
            "never" => request.expiry = kvstore_core::Expiry::Never,
            "gone" => return Ok(Outcome::Applied(None)),
            _ => {}
        }
        self.0.set(request).await
    }

    async fn delete(&self, request: DeleteRequest<'_>) -> StoreResult<Outcome> {
        self.0.delete(request).await
    }
}

#[tokio::test]
async fn what_is_not_as_it_was_written_is_found() {
    let (messages, signals) = (Messages::new(false, true), Signals::listen().unwrap());
    let context = context(&messages, &signals);
    for (verify, end, numbers) in [(false, End::Done, (4, 0)), (true, End::Incomplete, (1, 3))] {
        let target: Arc<dyn Provider> = Arc::new(Liar(MemoryProvider::new()));
        let how = How {
            if_absent: false,
            dry_run: false,
            verify,
        };
        let target = Target::new(&context, &target, how, 8).unwrap();
        let (budget, now) = (Budget::new(), Instant::now());
        let mut items = Vec::new();
        for key in ["other", "never", "gone", "right"] {
            let expires = Some(now + Duration::from_secs(60));
            let found = found(&budget, "value", expires, now).await;
            items.push(Item::new(
                target.queue(key),
                key.to_owned(),
                Kind::Text,
                found,
            ));
        }
        let items = iter(items).map(|item| async { Ok(Some(item)) });
        assert_eq!(target.run(items, None).await.unwrap(), end);
        let count = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        let counts = &target.counts;
        assert_eq!((count(&counts.written), count(&counts.failed)), numbers);
    }
}
