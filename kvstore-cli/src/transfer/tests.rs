use futures_util::stream::iter;
use kvstore_memory::MemoryProvider;

use super::*;
use crate::signals::Signals;
use crate::stores;

/// What was read long ago is read again before it is written where nothing is, and dropped where it is gone.
#[tokio::test]
async fn what_was_read_long_ago_is_read_again() {
    let (messages, signals) = (Messages::new(false, true), Signals::listen().unwrap());
    let context = Context {
        store: None,
        namespace: None,
        json: false,
        messages: &messages,
        signals: &signals,
    };
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
            items.push(Item {
                key: key.to_owned(),
                kind: Kind::Text,
                value: Bytes::from_static(b"before"),
                expires: None,
                at: Instant::now() - Duration::from_secs(age),
                room: budget.take(1).await,
            });
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
    let context = Context {
        store: None,
        namespace: None,
        json: false,
        messages: &messages,
        signals: &signals,
    };
    for dry_run in [false, true] {
        let target: Arc<dyn Provider> = Arc::new(MemoryProvider::new());
        let how = How {
            if_absent: false,
            dry_run,
            verify: false,
        };
        let target = Target::new(&context, &target, how, 8).unwrap();
        let item = Item {
            key: "key".to_owned(),
            kind: Kind::Text,
            value: Bytes::from_static(b"value"),
            expires: Some(Instant::now()),
            at: Instant::now(),
            room: Budget::new().take(1).await,
        };
        let items = iter([item]).map(|item| async { Ok(Some(item)) });
        assert_eq!(target.run(items, None).await.unwrap(), End::Done);
        let count = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        assert_eq!(
            (count(&target.counts.expired), count(&target.counts.written)),
            (1, 0)
        );
    }
}
