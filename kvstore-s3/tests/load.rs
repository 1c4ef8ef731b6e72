//! Many calls at once, or in one batch, and a server or connections that go away under them; and runtimes that do.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{plain, works_again};
use kvstore_core::{Error, ErrorKind, KeyValueStore, SetOptions};
use kvstore_s3::{S3Config, S3Provider};
use kvstore_testsuite::proxy::Proxy;
use kvstore_testsuite::servers::{S3, S3Server};
use kvstore_testsuite::unique_root;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

type Store = KeyValueStore<String>;

async fn connect(config: S3Config) -> Store {
    KeyValueStore::text(S3Provider::connect(config).await.unwrap())
}

/// What a call may answer while the server goes away and comes back.
#[track_caller]
fn is_of_the_server(error: &Error) {
    let kinds = [ErrorKind::Unavailable, ErrorKind::Timeout, ErrorKind::Busy];
    assert!(kinds.contains(&error.kind()), "{error:?}");
}

/// Writes a number, one after the other, and reads it, until it is told to end. Answers how many failed.
async fn count(store: Store, key: String, end: Arc<AtomicBool>, done: Arc<AtomicUsize>) -> usize {
    let (mut known, mut failed) = (0, 0);
    for number in 0_u64.. {
        match store.set(&key, number.to_string()).await {
            Ok(()) => {
                known = number;
                done.fetch_add(1, Ordering::AcqRel);
            }
            Err(error) => {
                is_of_the_server(&error);
                failed += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        match store.get(&key).await {
            // Of those whose outcome is not known one may have been done, now or before.
            Ok(found) => {
                let found: u64 = found.expect("the key is missing").parse().unwrap();
                assert!((known..=number).contains(&found), "{found} after {known}");
            }
            Err(error) => is_of_the_server(&error),
        }
        if end.load(Ordering::Acquire) {
            break;
        }
    }
    failed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_restarted_under_load_is_used_again_and_no_key_goes_missing() {
    let mut s3 = S3Server::start();
    let config = plain(&s3, &format!("{}/", unique_root())).timeout(Duration::from_secs(5));
    let store = connect(config).await;
    let (end, done) = (Arc::default(), Arc::<AtomicUsize>::default());
    let mut tasks = JoinSet::new();
    for task in 0..8 {
        let key = format!("key {task}");
        store.set(&key, "0").await.unwrap();
        tasks.spawn(count(
            store.clone(),
            key,
            Arc::clone(&end),
            Arc::clone(&done),
        ));
    }
    let more = async |count| {
        let (start, begin) = (Instant::now(), done.load(Ordering::Acquire));
        while done.load(Ordering::Acquire) < begin + count {
            assert!(start.elapsed() < Duration::from_secs(60), "nothing is done");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    more(50).await;
    s3.stop();
    // So long that the calls under way have failed.
    let get = || store.get("key 0");
    while get().await.is_ok() {}
    s3.restart();
    more(50).await;
    end.store(true, Ordering::Release);
    let failed: usize = tasks.join_all().await.into_iter().sum();
    assert!(failed > 0, "the server was never away");
}

#[tokio::test]
async fn of_a_batch_that_is_cut_each_item_tells_whether_it_may_be_done() {
    let s3 = S3::shared();
    let proxy = Proxy::start(s3.address()).await.unwrap();
    let config = plain(s3, &format!("{}/", unique_root()));
    let direct = connect(config.clone()).await;
    let store = connect(config.port(proxy.address().port())).await;
    let keys: Vec<_> = (0..40).map(|n| n.to_string()).collect();
    let items = || keys.iter().map(|key| (key, "value"));
    for cut in [0, 20] {
        proxy.cut_mid_reply(cut);
        let set = store.set_many(items(), SetOptions::new()).await;
        let set = set.unwrap_err();
        assert!((1..keys.len()).contains(&set.failed().count()), "{set:?}");
        for (_, error) in set.failed() {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
            assert!(error.outcome_unknown(), "{error:?}");
        }
        // What was cut was the answer.
        let found = direct.get_many(&keys).await.unwrap();
        assert!(found.iter().all(Option::is_some));
        proxy.heal();
        works_again(ErrorKind::Unavailable, || store.get("0")).await;

        // All of them in one request.
        proxy.cut_mid_reply(cut);
        let deleted = store.delete_many(&keys).await.unwrap_err();
        assert_eq!(deleted.failed().count(), keys.len(), "{deleted:?}");
        for (_, error) in deleted.failed() {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
            assert!(error.outcome_unknown(), "{error:?}");
        }
        let found = direct.get_many(&keys).await.unwrap();
        assert!(found.iter().all(Option::is_none));
        proxy.heal();
        works_again(ErrorKind::Unavailable, || store.get("0")).await;
    }
}

/// Each test has a runtime of its own, and so may have parts of a program.
#[test]
fn a_provider_outlives_the_runtime_that_it_was_made_in() {
    let config = plain(S3::shared(), &format!("{}/", unique_root()));
    let runtime = || Runtime::new().unwrap();
    let store = runtime().block_on(connect(config));
    for n in 0..3 {
        runtime().block_on(async {
            store.set("key", n.to_string()).await.unwrap();
            assert_eq!(store.get("key").await.unwrap(), Some(n.to_string()));
        });
    }
}
