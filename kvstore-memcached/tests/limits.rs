//! The size of items: what does not fit is not sent, since Memcached deletes the old item when it refuses a new one.

use kvstore_core::{Condition, ErrorKind, KeyValueStore, Result, SetOptions};
use kvstore_memcached::MemcachedProvider;
use kvstore_testsuite::servers::MemcachedServer;

mod common;
use common::{SECRET, config, connect, failed, not_connected, printed};

#[tokio::test]
async fn what_the_server_takes_is_asked_and_kept_to() -> Result<()> {
    for (options, item_size_max) in [
        (&["-I", "512k"][..], 512 << 10),
        (&[], 1 << 20),
        (&["-I", "4m"], 4 << 20),
    ] {
        let server = MemcachedServer::start_with(options);
        let memcached = connect(config(&server)).await;
        let bytes = KeyValueStore::bytes(memcached);
        let limit = bytes.capabilities().max_value_len.unwrap();
        assert_eq!(limit, item_size_max - 4096);
        // The largest value under the longest name, and under the longest key.
        for key in ["k".to_owned(), "k".repeat(250), " ".repeat(1024)] {
            let value = vec![b'v'; limit];
            bytes.set(&key, &value).await?;
            assert_eq!(bytes.get(&key).await?.unwrap().len(), limit);
            let absent = bytes
                .set_if(&key, &value, Condition::Absent, SetOptions::new())
                .await?;
            assert!(!absent.is_applied());
            let set = bytes.set(&key, vec![b'v'; limit + 1]).await;
            failed(set, ErrorKind::ValueTooLarge, "set");
            assert!(bytes.has(&key).await?, "the old value stays");
        }
    }
    Ok(())
}

/// The sizes that servers take are reckoned exactly.
#[tokio::test]
async fn an_item_of_the_servers_size_fits_and_one_more_byte_does_not() -> Result<()> {
    let server = MemcachedServer::start();
    // Made without asking the server, so the store lets pass what is over its limit.
    let generous = config(&server).max_value_len(2 << 20);
    let bytes = KeyValueStore::bytes(MemcachedProvider::lazy(generous)?);
    for key in ["k".to_owned(), "k".repeat(250), "k".repeat(251)] {
        let (name, header) = match key.len() {
            251 => (66, 4 + 252),
            length => (length, 0),
        };
        let most = (1 << 20) - 59 - name - header;
        bytes.set(&key, vec![b'a'; most]).await?;
        let over = vec![b'b'; most + 1];
        let error = failed(
            bytes.set(&key, &over).await,
            ErrorKind::ValueTooLarge,
            "set",
        );
        assert!(error.to_string().contains("1048576"), "{error}");
        let batch = bytes.set_many([(&key[..], &over[..]), ("other", b"v")], SetOptions::new());
        let results = batch.await.unwrap_err().into_results();
        assert_eq!(
            results[0].as_ref().unwrap_err().kind(),
            ErrorKind::ValueTooLarge
        );
        assert!(results[1].is_ok(), "the other item is stored");
        for condition in [Condition::Absent, Condition::Present] {
            let set = bytes
                .set_if(&key, &over, condition, SetOptions::new())
                .await;
            failed(set, ErrorKind::ValueTooLarge, "set_if");
        }
        let kept = SetOptions::new().keep_expiry();
        let set = bytes.set_with(&key, &over, kept).await;
        failed(set, ErrorKind::ValueTooLarge, "set_with");
        let found = bytes.get(&key).await?.expect("the old value stays");
        assert_eq!((found.len(), found[0]), (most, b'a'));
    }
    assert_eq!(server.stat("cmd_set"), 3 + 3, "only what fits is sent");
    // And the server would have refused it.
    let name = "m";
    let over = (1 << 20) - 59 - name.len() + 1;
    server.set(name, 0, "old");
    let refused = server.ask(&format!("ms {name} {over}\r\n{}", "v".repeat(over)));
    assert_eq!(refused, "SERVER_ERROR object too large for cache");
    assert_eq!(server.get(name), None, "it has deleted the old one");
    Ok(())
}

#[tokio::test]
async fn a_limit_of_ones_own() -> Result<()> {
    let server = MemcachedServer::start();
    let bytes = KeyValueStore::bytes(connect(config(&server).max_value_len(5)).await);
    bytes.set("k", b"12345").await?;
    failed(
        bytes.set("k", b"123456").await,
        ErrorKind::ValueTooLarge,
        "set",
    );
    let over = config(&server).max_value_len((1 << 20) - 4095);
    not_connected(over, ErrorKind::InvalidConfig, "`max_value_len`").await;
    Ok(())
}

/// A value over 512 KiB is stored in pieces, and where there is no memory for one the old value stays.
#[tokio::test]
async fn a_server_that_is_full_and_evicts_nothing() -> Result<()> {
    for (length, old_stays) in [(500_000, false), (600_000, true)] {
        let server = MemcachedServer::start_with(&["-m", "8", "-M"]);
        let bytes = KeyValueStore::bytes(connect(config(&server)).await);
        bytes.set("small", SECRET.as_bytes()).await?;
        let large = vec![b'v'; length];
        let mut number = 0;
        let error = loop {
            match bytes.set(&format!("large {number}"), &large).await {
                Ok(()) => number += 1,
                Err(error) => break error,
            }
            assert!(number < 100, "8 MB are not full");
        };
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{error:?}");
        assert!(!error.is_retryable() && !error.outcome_unknown());
        assert!(!printed(&error).contains("vvv"));
        // As the README warns.
        failed(
            bytes.set("large 0", &large).await,
            ErrorKind::StorageFull,
            "set over an old value",
        );
        assert_eq!(bytes.has("large 0").await?, old_stays, "{length}");
        bytes.delete("large 0").await?;
        // That made room for one more.
        let items = [("new 1", &large), ("new 2", &large), ("new 3", &large)];
        let batch = bytes.set_many(items, SetOptions::new()).await;
        let results = batch.unwrap_err().into_results();
        assert!(results[0].is_ok(), "{results:?}");
        for result in &results[1..] {
            let error = result.as_ref().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::StorageFull);
            assert!(!error.outcome_unknown());
        }
        assert_eq!(
            bytes.get("small").await?.as_deref(),
            Some(SECRET.as_bytes())
        );
        let info = bytes.ping().await?;
        assert!(info.warnings[0].contains("`-M`"), "{info:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_evicts_says_so() -> Result<()> {
    let server = MemcachedServer::start_with(&["-m", "8"]);
    let bytes = KeyValueStore::bytes(connect(config(&server)).await);
    assert!(!bytes.capabilities().retains);
    let large = vec![b'v'; 500_000];
    for number in 0..40 {
        bytes.set(&format!("{number}"), &large).await?;
    }
    let left = bytes.get_many((0..40).map(|number| number.to_string()));
    let left = left.await.unwrap().iter().flatten().count();
    assert!(left < 40, "8 MB do not hold 20");
    let info = bytes.ping().await?;
    assert_eq!(info.product, "memcached");
    assert_eq!(info.version.unwrap(), server.ask("version")[8..]);
    let warnings = info.warnings.join("\n");
    assert!(
        warnings.contains("forgets") && warnings.contains("has evicted"),
        "{warnings}"
    );
    assert!(
        !warnings.contains("TLS"),
        "on this machine it is not needed"
    );
    Ok(())
}
