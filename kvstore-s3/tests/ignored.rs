//! Servers that ignore conditions: a real one, behind something that takes the conditions out of requests.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::between::{Pass, between};
use common::fails;
use kvstore_core::{Condition, ErrorKind, KeyValueStore, Provider as _, SetOptions};
use kvstore_s3::{S3Config, S3Provider};

/// Whether a condition is taken out of a request of this method.
type Ignores = fn(method: &str, condition: &str) -> bool;

async fn ignoring(ignores: Ignores) -> S3Config {
    let without = move |request: String| {
        let method = request.split(' ').next().unwrap_or_default().to_owned();
        let conditions = ["if-none-match", "if-match"].into_iter();
        let ignored = conditions.filter(|condition| ignores(&method, condition));
        Pass::On(ignored.fold(request, |request, condition| {
            request.replace(&format!("\r\n{condition}:"), "\r\nx-ignored:")
        }))
    };
    between(without, |answer| answer).await
}

async fn unsupported(store: &KeyValueStore<String>, condition: Condition) {
    let set = store.set_if("key", "new", condition, SetOptions::new());
    fails(set.await, ErrorKind::Unsupported, "");
}

#[tokio::test]
async fn what_is_passed_on_is_honoured() {
    let provider = S3Provider::connect(ignoring(|_, _| false).await).await;
    let claims = provider.unwrap().capabilities().clone();
    assert!(claims.if_absent && claims.if_present && claims.take && claims.versions.is_some());
}

#[tokio::test]
async fn without_if_none_match_nothing_is_claimed() {
    let config = ignoring(|_, condition| condition == "if-none-match").await;
    let provider = S3Provider::connect(config).await.unwrap();
    let claims = provider.capabilities().clone();
    assert!(!claims.if_absent && !claims.if_present && !claims.take && !claims.touch);
    assert!(claims.versions.is_none() && claims.expiry.is_none());
    let store = KeyValueStore::text(provider);
    unsupported(&store, Condition::Absent).await;
    store.set("key", "value").await.unwrap();
    assert_eq!(store.get("key").await.unwrap().as_deref(), Some("value"));
    let entry = store.get_entry("key").await.unwrap().unwrap();
    assert_eq!((entry.version, entry.expires_in), (None, None));
    let info = store.ping().await.unwrap();
    let warns = |warning: &String| warning.contains("ignores some conditions");
    assert!(info.warnings.iter().any(warns), "{info:?}");
}

#[tokio::test]
async fn without_if_match_keys_can_be_created_where_none_expires() {
    let config = ignoring(|_, condition| condition == "if-match").await;
    let provider = S3Provider::connect(config.clone()).await.unwrap();
    let claims = provider.capabilities().clone();
    assert!(!claims.if_absent && !claims.if_present && !claims.take);
    assert!(claims.versions.is_none() && claims.expiry.is_none());
    let provider = S3Provider::connect(config.without_expiry()).await.unwrap();
    let claims = provider.capabilities().clone();
    assert!(claims.if_absent && !claims.if_present && !claims.take);
    let store = KeyValueStore::text(provider);
    let create = |value| store.set_if("key", value, Condition::Absent, SetOptions::new());
    assert!(create("one").await.unwrap().is_applied());
    assert!(!create("two").await.unwrap().is_applied());
    unsupported(&store, Condition::Present).await;
    assert_eq!(store.get("key").await.unwrap().as_deref(), Some("one"));
}

#[tokio::test]
async fn where_only_deletes_ignore_it_there_are_no_versions() {
    let config = ignoring(|method, _| method == "DELETE").await;
    let provider = S3Provider::connect(config).await.unwrap();
    let claims = provider.capabilities().clone();
    assert!(claims.if_absent && claims.if_present && claims.touch && claims.expiry.is_some());
    assert!(claims.versions.is_none() && !claims.take);
    let store = KeyValueStore::text(provider);
    store.set("key", "value").await.unwrap();
    fails(store.take("key").await, ErrorKind::Unsupported, "");
    let set = store.set_if("key", "new", Condition::Present, SetOptions::new());
    assert!(set.await.unwrap().is_applied());
    assert!(store.touch("key", Duration::from_secs(60)).await.unwrap());
    assert_eq!(store.get("key").await.unwrap().as_deref(), Some("new"));
}

/// As an old MinIO does, which then makes objects where there are none.
#[tokio::test]
async fn where_deletes_ignore_it_and_so_do_writes_of_what_is_gone_nothing_is_replaced() {
    static GONE: AtomicBool = AtomicBool::new(false);
    let config = ignoring(|method, condition| match method {
        "DELETE" => {
            GONE.store(true, Ordering::Release);
            true
        }
        _ => condition == "if-match" && GONE.load(Ordering::Acquire),
    });
    let provider = S3Provider::connect(config.await).await.unwrap();
    let claims = provider.capabilities();
    assert!(!claims.if_present && !claims.touch && !claims.take && !claims.if_absent);
    assert!(claims.versions.is_none() && claims.expiry.is_none());
}

#[tokio::test]
async fn a_lazy_provider_finds_out_before_it_relies_on_it() {
    let config = ignoring(|_, condition| condition == "if-match").await;
    let store = KeyValueStore::text(S3Provider::lazy(config.clone()).unwrap());
    let ttl = Duration::from_millis(300);
    let short = store.set_with("key", "value", SetOptions::new().ttl(ttl));
    fails(short.await, ErrorKind::Unsupported, "tried");
    store.set("key", "value").await.unwrap();
    fails(store.take("key").await, ErrorKind::Unsupported, "tried");
    fails(
        store.touch("key", ttl).await,
        ErrorKind::Unsupported,
        "tried",
    );
    unsupported(&store, Condition::Present).await;
    // What connecting does not claim: it could not be created again once it has expired.
    unsupported(&store, Condition::Absent).await;
    let short = SetOptions::new().ttl(ttl);
    let short = store.set_if("new", "value", Condition::Absent, short);
    fails(short.await, ErrorKind::Unsupported, "tried");
    let keep = SetOptions::new().keep_expiry();
    let kept = store.set_with("key", "new", keep).await;
    fails(kept, ErrorKind::Unsupported, "tried");
    assert_eq!(store.get("key").await.unwrap().as_deref(), Some("value"));
    let without = S3Provider::lazy(config.without_expiry()).unwrap();
    let created = KeyValueStore::text(without);
    let created = created.set_if("new", "value", Condition::Absent, SetOptions::new());
    assert!(created.await.unwrap().is_applied());
}
