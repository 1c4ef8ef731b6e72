//! What stands on the server, as other programs see it, and what they left there.

use std::time::Duration;

use futures_util::future::BoxFuture;
use kvstore_core::{Bytes, Condition, ErrorKind, KeyValueStore, Result, SetOptions};
use kvstore_memcached::MemcachedProvider;
use kvstore_testsuite::servers::{MemcachedItem, MemcachedServer};

mod common;
use common::{config, connect, failed};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn start(prefix: &str) -> (MemcachedServer, MemcachedProvider) {
    let server = MemcachedServer::start();
    let provider = connect(config(&server).prefix(prefix)).await;
    (server, provider)
}

fn item(value: impl Into<Vec<u8>>) -> Option<MemcachedItem> {
    let (flags, value) = (0, value.into());
    Some(MemcachedItem { flags, value })
}

/// The seconds that an item has left, as the server tells.
fn left(server: &MemcachedServer, name: &str) -> i64 {
    let told = server.ask(&format!("mg {name} t"));
    let left = told.strip_prefix("HD t").and_then(|left| left.parse().ok());
    left.unwrap_or_else(|| panic!("{name}: {told}"))
}

#[tokio::test]
async fn keys_and_values_are_raw() -> Result<()> {
    let (server, memcached) = start("app:").await;
    let bytes = KeyValueStore::bytes(memcached.clone());
    bytes.set("k", &b"\0\xff\r\n"[..]).await?;
    assert_eq!(server.get("app:k"), item(b"\0\xff\r\n"));
    let texts = KeyValueStore::text(memcached.clone()).namespace("n")?;
    texts.set("ü", "grün").await?;
    assert_eq!(server.get("app:n:ü"), item("grün"));
    let json = KeyValueStore::json(memcached);
    let object: serde_json::Map<_, _> = [("a".to_owned(), 1.into())].into_iter().collect();
    json.set("j", &object).await?;
    assert_eq!(server.get("app:j"), item(r#"{"a":1}"#));
    assert_eq!(server.stat("curr_items"), 3, "and nothing else is written");
    // What another program wrote is read, whatever its client flags say.
    server.set("app:n:theirs", 7, "written by another");
    assert_eq!(
        texts.get("theirs").await?.as_deref(),
        Some("written by another")
    );
    Ok(())
}

#[tokio::test]
async fn what_breaks_the_protocol_is_escaped() -> Result<()> {
    let (server, memcached) = start("a b:").await;
    let texts = KeyValueStore::text(memcached);
    for (key, name) in [
        ("x y", "a~20b:x~20y"),
        ("x\0y", "a~20b:x~00y"),
        ("~", "a~20b:~7E"),
        ("k\r\nflush_all\r\n", "a~20b:k~0D~0Aflush_all~0D~0A"),
        ("\x1f\x7f\u{80}", "a~20b:~1F~7F\u{80}"),
    ] {
        texts.set(key, key).await?;
        assert_eq!(server.get(name), item(key), "{name}");
        texts.delete(key).await?;
        assert_eq!(server.get(name), None, "{name}");
    }
    // As it would be if the key with the NUL were cut off there.
    server.set("a~20b:x", 0, "other");
    texts.delete("x\0y").await?;
    assert_eq!(server.get("a~20b:x"), item("other"));
    Ok(())
}

#[tokio::test]
async fn a_long_key_is_hashed_and_stands_before_its_value() -> Result<()> {
    let (server, memcached) = start("p:").await;
    let bytes = KeyValueStore::bytes(memcached);
    bytes.set(&"k".repeat(248), b"raw").await?;
    let longest = format!("p:{}", "k".repeat(248));
    assert_eq!(server.get(&longest), item("raw"), "250 bytes fit");
    let key = format!("{} ", "k".repeat(250));
    bytes.set(&key, b"v\n").await?;
    // `printf %s "$key" | sha256sum`
    let name = "p:~h390ad836ee4daeaa4154d72a3c3e25cb0f7cf817562023ca4b707c1be9ae9933";
    let (flags, value) = (0x6b76, format!("{}~20\nv\n", "k".repeat(250)));
    let value = value.into_bytes();
    assert_eq!(server.get(name), Some(MemcachedItem { flags, value }));
    assert_eq!(bytes.get(&key).await?.as_deref(), Some(&b"v\n"[..]));
    let entry = bytes.get_entry(&key).await?.unwrap();
    assert_eq!(entry.value, "v\n");
    let version = Condition::Version(entry.version.unwrap());
    let set = bytes.set_if(&key, b"w", version, SetOptions::new()).await?;
    assert!(set.is_applied());
    let found = bytes.get_many([&key[..], "none"]).await?;
    assert_eq!(found, [Some(Bytes::from("w")), None]);
    bytes
        .set_with(&key, b"kept", SetOptions::new().keep_expiry())
        .await?;
    assert_eq!(bytes.take(&key).await?.as_deref(), Some(&b"kept"[..]));
    assert!(!bytes.has(&key).await?);

    // What was not written for this key is not its value.
    for (flags, value) in [
        (0, format!("{}~20\nv", "k".repeat(250))),
        (0x6b76, format!("{}~20\nv", "j".repeat(250))),
        (0x6b76, String::new()),
    ] {
        server.set(name, flags, value);
        failed(bytes.get(&key).await, ErrorKind::Decode, "get");
        failed(bytes.get_entry(&key).await, ErrorKind::Decode, "get_entry");
        failed(bytes.take(&key).await, ErrorKind::Decode, "take");
        let found = bytes.get_many([&key]).await.unwrap_err().into_results();
        assert_eq!(found[0].as_ref().unwrap_err().kind(), ErrorKind::Decode);
        assert!(server.get(name).is_some(), "take has left it there");
    }
    Ok(())
}

#[tokio::test]
async fn expiry_is_the_servers_and_never_short() -> Result<()> {
    let (server, memcached) = start("").await;
    let texts = KeyValueStore::text(memcached);
    let (second, long) = (Duration::from_secs(1), 30 * DAY);
    for (ttl, told) in [
        // One more, as the server's clock ticks once a second.
        (Duration::from_millis(100), 2..=2),
        (90 * second, 91..=91),
        (Duration::from_millis(90_001), 92..=92),
        (long - second, 2_592_000..=2_592_000),
        // A date, for which one does not know how far the clock is from its next second.
        (long, 2_592_001..=2_592_002),
        (long + Duration::from_nanos(1), 2_592_001..=2_592_002),
        (365 * DAY, 31_536_001..=31_536_002),
    ] {
        let options = SetOptions::new().ttl(ttl);
        let writes: [&dyn Fn() -> BoxFuture<'static, ()>; 3] = [
            &|| {
                let texts = texts.clone();
                Box::pin(async move { texts.set_with("key", "v", options).await.unwrap() })
            },
            &|| {
                let texts = texts.clone();
                Box::pin(async move { texts.set_many([("key", "v")], options).await.unwrap() })
            },
            &|| {
                let texts = texts.clone();
                Box::pin(async move {
                    texts.set("key", "v").await.unwrap();
                    assert!(texts.touch("key", ttl).await.unwrap());
                })
            },
        ];
        for (number, write) in writes.iter().enumerate() {
            loop {
                let before = server.stat("time");
                write().await;
                let left = left(&server, "key");
                // The clock has not ticked in between.
                if server.stat("time") == before {
                    assert!(told.contains(&left), "{ttl:?}, {number}: {left}");
                    break;
                }
            }
        }
    }
    assert!(texts.persist("key").await?);
    assert_eq!(left(&server, "key"), -1);
    assert!(texts.persist("key").await?, "also when it does not expire");
    texts
        .set_with("key", "v", SetOptions::new().ttl(long))
        .await?;
    texts.set("key", "v").await?;
    assert_eq!(left(&server, "key"), -1);
    assert!(!texts.persist("missing").await?);
    Ok(())
}

#[tokio::test]
async fn nothing_expires_after_2038() -> Result<()> {
    let (server, memcached) = start("").await;
    let texts = KeyValueStore::text(memcached);
    texts.set("key", "old").await?;
    let commands = server.stat("cmd_set") + server.stat("cmd_touch");
    for ttl in [20 * 365 * DAY, 36_525 * DAY] {
        let options = SetOptions::new().ttl(ttl);
        let set = texts.set_with("key", "new", options).await;
        failed(set, ErrorKind::InvalidTtl, "set");
        let batch = texts.set_many([("key", "new"), ("other", "new")], options);
        let results = batch.await.unwrap_err().into_results();
        for result in results {
            failed(result, ErrorKind::InvalidTtl, "set_many");
        }
        let touch = texts.touch("key", ttl).await;
        failed(touch, ErrorKind::InvalidTtl, "touch");
    }
    assert_eq!(texts.get("key").await?.as_deref(), Some("old"));
    assert_eq!(left(&server, "key"), -1);
    let sent = server.stat("cmd_set") + server.stat("cmd_touch");
    assert_eq!(sent, commands, "nothing was sent");
    Ok(())
}

#[tokio::test]
async fn a_kept_expiry_does_not_move() -> Result<()> {
    let (server, memcached) = start("").await;
    let texts = KeyValueStore::text(memcached);
    let ends = |server: &MemcachedServer| {
        // Asked twice, as the clock may tick in between.
        loop {
            let before = server.stat("time");
            let left = left(server, "key");
            if server.stat("time") == before {
                return i64::try_from(before).unwrap() + left;
            }
        }
    };
    let hour = SetOptions::new().ttl(Duration::from_secs(3600));
    texts.set_with("key", "v", hour).await?;
    let end = ends(&server);
    let begun = std::time::Instant::now();
    let mut writes = 0;
    // Each of these would add what it takes, if the time left were told.
    while begun.elapsed() < Duration::from_secs(5) {
        texts
            .set_with("key", "w", SetOptions::new().keep_expiry())
            .await?;
        texts
            .set_many([("key", "x")], SetOptions::new().keep_expiry())
            .await
            .unwrap();
        writes += 2;
    }
    let moved = ends(&server) - end;
    assert!((0..=1).contains(&moved), "{moved} s in {writes} writes");
    Ok(())
}

#[tokio::test]
async fn a_version_is_the_servers() -> Result<()> {
    let (server, memcached) = start("").await;
    let texts = KeyValueStore::text(memcached);
    texts.set("k", "v").await?;
    let version = texts.get_entry("k").await?.unwrap().version.unwrap();
    assert_eq!(server.ask("mg k c"), format!("HD c{version}"));
    let condition = Condition::Version(version.clone());
    let applied = texts.set_if("k", "w", condition, SetOptions::new()).await?;
    let made = match applied {
        kvstore_core::Outcome::Applied(Some(made)) => made,
        other => panic!("{other:?}"),
    };
    assert_eq!(server.ask("mg k c"), format!("HD c{made}"));
    // Another program's write is seen, also of the same bytes.
    server.set("k", 0, "w");
    let stale = [version, made, 0.into(), "abc".parse()?];
    for stale in stale {
        let condition = Condition::Version(stale.clone());
        for options in [SetOptions::new(), SetOptions::new().keep_expiry()] {
            let set = texts.set_if("k", "x", condition.clone(), options).await?;
            assert!(!set.is_applied(), "{stale}");
        }
        assert!(!texts.delete_if("k", stale).await?.is_applied());
    }
    assert_eq!(server.get("k"), item("w"));
    Ok(())
}

#[tokio::test]
async fn keys_are_not_listed() -> Result<()> {
    let (_server, memcached) = start("").await;
    let texts = KeyValueStore::text(memcached);
    texts.set("k", "v").await?;
    let first = texts.keys("").next().await.unwrap();
    failed(first, ErrorKind::Unsupported, "keys");
    Ok(())
}
