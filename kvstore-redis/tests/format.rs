//! What stands on the server: raw keys, raw values, as hexkit and redis-cli see them.

use std::time::Duration;

use futures_util::StreamExt as _;
use kvstore_core::{Bytes, Condition, ErrorKind, KeyValueStore, Result, SetOptions};
use kvstore_redis::RedisProvider;
use kvstore_testsuite::servers::{RedisServer, Reply};

async fn start(parameters: &str) -> (RedisServer, RedisProvider) {
    let server = RedisServer::start();
    let url = format!("{}{parameters}", server.url());
    let provider = RedisProvider::connect(url).await.unwrap();
    (server, provider)
}

#[tokio::test]
async fn keys_and_values_are_raw() -> Result<()> {
    let (server, redis) = start("?prefix=app:").await;
    let bytes = KeyValueStore::bytes(redis.clone());
    bytes.set("k", &b"\0\xff\r\n"[..]).await?;
    assert_eq!(
        server.command(&["GET", "app:k"]),
        Reply::Data(b"\0\xff\r\n".to_vec())
    );
    let texts = KeyValueStore::text(redis.clone()).namespace("n")?;
    texts.set("ü", "grün").await?;
    assert_eq!(server.command(&["GET", "app:n:ü"]).text(), "grün");
    let json = KeyValueStore::json(redis);
    let object: serde_json::Map<_, _> = [("a".to_owned(), 1.into())].into_iter().collect();
    json.set("j", &object).await?;
    assert_eq!(server.command(&["GET", "app:j"]).text(), r#"{"a":1}"#);
    assert_eq!(
        server.command(&["DBSIZE"]),
        Reply::Integer(3),
        "and nothing else is written"
    );
    server.command(&["SET", "app:theirs", "written by another"]);
    assert_eq!(texts.get("theirs").await?, None);
    assert_eq!(
        KeyValueStore::text(texts.provider().clone())
            .get("theirs")
            .await?
            .as_deref(),
        Some("written by another")
    );
    Ok(())
}

#[tokio::test]
async fn expiry_is_px_rounded_up() -> Result<()> {
    let (server, redis) = start("").await;
    let texts = KeyValueStore::text(redis);
    server.command(&["CONFIG", "RESETSTAT"]);
    texts
        .set_with(
            "k",
            "v",
            SetOptions::new().ttl(Duration::from_nanos(90_000_000_001)),
        )
        .await?;
    let left = server
        .command(&["PTTL", "k"])
        .text()
        .parse::<u64>()
        .unwrap();
    assert!((30_000..=90_001).contains(&left), "{left}");
    texts
        .set_with("k", "w", SetOptions::new().keep_expiry())
        .await?;
    assert_ne!(server.command(&["PTTL", "k"]).text(), "-1");
    assert!(texts.persist("k").await?);
    assert_eq!(server.command(&["PTTL", "k"]).text(), "-1");
    assert!(texts.persist("k").await?, "also when it does not expire");
    assert!(!texts.persist("missing").await?);
    let hundred_years = Duration::from_secs(36_525 * 24 * 60 * 60);
    assert!(texts.touch("k", hundred_years).await?);
    texts
        .set_with("k", "x", SetOptions::new().ttl(hundred_years))
        .await?;
    assert!(texts.get_entry("k").await?.unwrap().expires_in.unwrap() > hundred_years / 2);
    Ok(())
}

#[tokio::test]
async fn a_version_is_the_sha1_of_the_value() -> Result<()> {
    let (server, redis) = start("").await;
    let texts = KeyValueStore::text(redis);
    texts.set("k", "abc").await?;
    let version = texts.get_entry("k").await?.unwrap().version.unwrap();
    assert_eq!(
        version.to_string(),
        "a9993e364706816aba3e25717850c26c9cd0d89d"
    );
    server.command(&["SET", "k", "written by another"]);
    let options = SetOptions::new().ttl(Duration::from_secs(60));
    assert!(
        !texts
            .set_if("k", "d", Condition::Version(version.clone()), options)
            .await?
            .is_applied()
    );
    assert!(!texts.delete_if("k", version.clone()).await?.is_applied());
    server.command(&["SET", "k", "abc"]);
    assert!(
        texts
            .set_if("k", "d", Condition::Version(version), options)
            .await?
            .is_applied(),
        "A to B to A passes"
    );
    assert_ne!(server.command(&["PTTL", "k"]).text(), "-1");
    Ok(())
}

#[tokio::test]
async fn what_is_no_string_is_decode_and_never_missing() -> Result<()> {
    let (server, redis) = start("?prefix=p:").await;
    server.command(&["LPUSH", "p:list", "x"]);
    server.command(&["SET", "p:string", "s"]);
    let texts = KeyValueStore::text(redis);
    let version = "a9993e364706816aba3e25717850c26c9cd0d89d".parse()?;
    let decode = [
        texts.get("list").await.map(drop),
        texts.get_entry("list").await.map(drop),
        texts.take("list").await.map(drop),
        texts.delete_if("list", version).await.map(drop),
    ];
    for (index, result) in decode.into_iter().enumerate() {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Decode, "{index}");
    }
    let results = texts
        .get_many(["string", "list", "missing"])
        .await
        .unwrap_err()
        .into_results();
    assert_eq!(results[0].as_ref().unwrap().as_deref(), Some("s"));
    assert_eq!(results[1].as_ref().unwrap_err().kind(), ErrorKind::Decode);
    assert_eq!(results[1].as_ref().unwrap_err().key(), Some("list"));
    assert!(results[2].as_ref().unwrap().is_none());
    assert_eq!(
        server.command(&["LLEN", "p:list"]),
        Reply::Integer(1),
        "take has left it there"
    );
    let keys: Vec<_> = texts.keys("").collect().await;
    assert_eq!(keys.into_iter().collect::<Result<Vec<_>>>()?, ["string"]);
    Ok(())
}

#[tokio::test]
async fn listings_take_prefixes_literally_and_name_what_can_be_asked_for() -> Result<()> {
    let (server, redis) = start(r"?prefix=%2A%5B%3F%5C%5D%5E:").await;
    let bytes = KeyValueStore::bytes(redis);
    let keys = [
        "a*b", "a?b", "a[b", "a]b", r"a\b", "a^b", "a-b", "ab", "axb", "*", "ü",
    ];
    for key in keys {
        bytes.set(key, Bytes::from(key)).await?;
    }
    let own = r"*[?\]^:";
    server.command(&["SET", "other", ""]);
    server.command(&["SET", own, "no key at all"]);
    server.command(&[
        b"SET",
        &[own.as_bytes(), b"\xff\xfe"].concat()[..],
        b"no text",
    ]);
    server.command(&[
        "SET",
        &format!("{own}{}", "k".repeat(1025)),
        "longer than a key may be",
    ]);
    let list = async |prefix: &str| -> Result<Vec<String>> {
        let mut found: Vec<_> = bytes
            .keys(prefix)
            .collect::<Vec<_>>()
            .await
            .into_iter()
            .collect::<Result<_>>()?;
        found.sort();
        Ok(found)
    };
    let mut all = keys.map(str::to_owned);
    all.sort();
    assert_eq!(list("").await?, all);
    for prefix in ["a*", "a?", "a[", "a]", r"a\", "a^", "a-", "ab", "*", "ü"] {
        let expected: Vec<_> = all
            .iter()
            .filter(|key| key.starts_with(prefix))
            .cloned()
            .collect();
        assert_eq!(list(prefix).await?, expected, "{prefix}");
    }
    assert_eq!(list("a").await?.len(), 9);
    Ok(())
}
