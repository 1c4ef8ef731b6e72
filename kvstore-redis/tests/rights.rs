//! The rights that the README lists: enough, and none too many; and what connecting says of others.

use kvstore_core::{Condition, ErrorKind, KeyValueStore, Result, SetOptions};
use kvstore_redis::{RedisConfig, RedisProvider};
use kvstore_testsuite::servers::RedisServer;

mod common;
use common::{RIGHTS, failed, printed};

/// Makes a user of these rights on the keys that begin with `p:`, and the configuration for it.
fn user(server: &RedisServer, keys: &str, rights: &str) -> RedisConfig {
    let mut command = vec!["ACL", "SETUSER", "someone", "reset", "on", ">secret", keys];
    command.extend(rights.split(' ').filter(|right| !right.is_empty()));
    server.command(&command);
    let config: RedisConfig = server.url().parse().unwrap();
    config.username("someone").password("secret")
}

#[tokio::test]
async fn without_any_one_of_them_connecting_names_it() {
    let server = RedisServer::start();
    RedisProvider::connect(user(&server, "~*", RIGHTS))
        .await
        .unwrap();
    for right in RIGHTS.split(' ').filter(|right| *right != "+ping") {
        let others = RIGHTS.replace(&format!("{right} "), "");
        assert_ne!(others, RIGHTS);
        let connected = RedisProvider::connect(user(&server, "~*", &others)).await;
        let error = failed(connected, ErrorKind::PermissionDenied, right);
        assert!(
            error.to_string().ends_with(&format!("allow {right}")),
            "{right}: {error}"
        );
    }
    let connected = RedisProvider::connect(user(&server, "~*", "+ping")).await;
    let error = failed(connected, ErrorKind::PermissionDenied, "all of them");
    assert!(error.to_string().contains("+get +set +del"), "{error}");
    // Without credentials the connection is tried by PING, with them by AUTH; `ping` needs it too.
    let redis = RedisProvider::connect(user(&server, "~*", &RIGHTS.replace(" +ping", "")))
        .await
        .unwrap();
    failed(
        KeyValueStore::text(redis).ping().await,
        ErrorKind::PermissionDenied,
        "ping",
    );
}

#[tokio::test]
async fn a_prefix_that_the_user_may_not_use_is_found_on_connecting() {
    let server = RedisServer::start();
    let config = user(&server, "~p:*", RIGHTS);
    RedisProvider::connect(config.clone().prefix("p:"))
        .await
        .unwrap();
    let error = failed(
        RedisProvider::connect(config.clone().prefix("q:")).await,
        ErrorKind::PermissionDenied,
        "q:",
    );
    assert!(error.to_string().contains("`prefix`"), "{error}");
    // Without one, the namespaces may be what is allowed.
    let redis = RedisProvider::connect(config).await.unwrap();
    KeyValueStore::text(redis)
        .namespace("p")
        .unwrap()
        .set("k", "v")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_forbidden_key_fails_alone_in_a_batch() -> Result<()> {
    let server = RedisServer::start();
    // With MGET and MSET allowed, which one forbidden key fails as a whole, and without.
    for more in ["+mget +mset", ""] {
        let redis =
            RedisProvider::connect(user(&server, "~p:*", &format!("{RIGHTS} {more}"))).await?;
        let texts = KeyValueStore::text(redis);
        let items = [("p:a", "1"), ("q:b", "2"), ("p:c", "3")];
        let only_the_second = |results: Vec<Result<(), kvstore_core::Error>>| {
            let denied = results
                .iter()
                .map(|result| result.as_ref().err().map(kvstore_core::Error::kind));
            assert_eq!(
                denied.collect::<Vec<_>>(),
                [None, Some(ErrorKind::PermissionDenied), None],
                "{more}"
            );
        };
        only_the_second(
            texts
                .set_many(items, SetOptions::new())
                .await
                .unwrap_err()
                .into_results(),
        );
        let keys = items.map(|(key, _)| key);
        let results = texts.get_many(keys).await.unwrap_err().into_results();
        assert_eq!(results[2].as_ref().unwrap().as_deref(), Some("3"));
        only_the_second(results.into_iter().map(|result| result.map(drop)).collect());
        server.command(&["SET", "q:b", "2"]);
        only_the_second(texts.delete_many(keys).await.unwrap_err().into_results());
        assert_eq!(
            server.command(&["KEYS", "*"]),
            kvstore_testsuite::servers::Reply::List(vec![kvstore_testsuite::servers::Reply::Data(
                b"q:b".to_vec()
            )])
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_right_taken_away_later_is_permission_denied() -> Result<()> {
    let server = RedisServer::start();
    let redis = RedisProvider::connect(user(&server, "~*", &format!("{RIGHTS} +scan"))).await?;
    let texts = KeyValueStore::text(redis);
    texts.set("secret key", "secret value").await?;
    let version = texts
        .get_entry("secret key")
        .await?
        .unwrap()
        .version
        .unwrap();
    server.command(&["ACL", "SETUSER", "someone", "-@all", "+eval", "+evalsha"]);
    let condition = Condition::Version(version);
    let (key, options) = ("secret key", SetOptions::new());
    let denied = [
        texts.get(key).await.map(drop),
        texts.has(key).await.map(drop),
        texts.set(key, "secret value").await,
        texts.take(key).await.map(drop),
        texts.delete(key).await,
        texts.get_entry(key).await.map(drop),
        texts.persist(key).await.map(drop),
        texts
            .set_if(key, "secret value", condition, options)
            .await
            .map(drop),
        texts.keys("secret").next().await.unwrap().map(drop),
    ];
    for (index, result) in denied.into_iter().enumerate() {
        let error = failed(result, ErrorKind::PermissionDenied, &index.to_string());
        assert!(!error.outcome_unknown());
        assert!(!printed(&error).contains("secret"), "{error:?}");
    }
    Ok(())
}

#[test]
fn the_readme_lists_these_rights() {
    let readme = include_str!("../README.md");
    assert!(readme.contains(&format!("~app:* {RIGHTS}\n")));
}
