//! The service over HTTP, on real servers.

mod client;

use client::{Client, PROGRAM, in_this_process};
use example_service::testing::{Folder, Running};
use kvstore_memory::MemoryProvider;
use kvstore_redis::RedisProvider;
use kvstore_testsuite::servers::{Memcached, MongoDb, Redis, S3, Vault, ZooKeeper};
use kvstore_testsuite::unique_root;
use session_service::{LARGEST, TTL};

fn on_redis() -> String {
    format!("{}?prefix={}:", Redis::shared().url(), unique_root())
}

fn on_mongodb() -> String {
    MongoDb::shared().url(&format!("collection={}", unique_root()))
}

fn on_vault() -> String {
    Vault::shared().url(&format!("path={}", unique_root()))
}

fn on_s3() -> String {
    S3::shared().url(&format!("prefix={}/", unique_root()))
}

fn on_zookeeper() -> String {
    ZooKeeper::shared().url(&format!("/{}", unique_root()))
}

fn on_memcached() -> String {
    format!("{}?prefix={}:", Memcached::shared().url(), unique_root())
}

/// From login to logout, on an instance each for what comes first and what comes then.
async fn a_session(first: &Client, then: &Client) {
    let token = first.login("ada", "phone").await;
    for client in [first, then] {
        let session = client.session(&token).await.json(200);
        assert_eq!(
            (&session["user"], &session["device"]),
            (&"ada".into(), &"phone".into())
        );
        assert!(session["since"].as_u64() > Some(1_700_000_000), "{session}");
    }

    // Of one user and of another.
    let second = then.login("ada", "laptop").await;
    let other = first.login("bob", "phone").await;
    assert_ne!(token, second);
    let listed = then.get("/sessions", &token).await.json(200);
    let mut devices: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["device"].as_str().unwrap())
        .collect();
    devices.sort_unstable();
    assert_eq!(devices, ["laptop", "phone"]);
    let mine: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .filter(|s| s["current"] == true)
        .collect();
    assert_eq!(mine.len(), 1);
    assert_eq!(mine[0]["device"], "phone");
    let left = mine[0]["expires_in"].as_u64().unwrap();
    assert!(left > 0 && left <= TTL.as_secs(), "{left}");
    for secret in [&token, &second, &other] {
        assert!(
            !listed.to_string().contains(secret.as_str()),
            "a list gives no access"
        );
    }

    // Revoking: one's own, and nobody else's.
    let laptop = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|s| s["device"] == "laptop")
        .unwrap();
    let id = laptop["id"].as_str().unwrap();
    first
        .delete(&format!("/sessions/{id}"), &other)
        .await
        .status(204);
    then.session(&second).await.status(200);
    first
        .delete(&format!("/sessions/{id}"), &token)
        .await
        .status(204);
    then.session(&second).await.status(401);
    first.session(&token).await.status(200);

    // Logging out, twice.
    then.post("/logout", &token).await.status(204);
    for client in [first, then] {
        client.session(&token).await.status(401);
        client.get("/sessions", &token).await.status(401);
    }
    first.post("/logout", &token).await.status(204);

    // Everywhere at once.
    let tokens = [
        first.login("ada", "a").await,
        then.login("ada", "b").await,
        then.login("ada", "c").await,
    ];
    first.delete("/sessions", &tokens[1]).await.status(204);
    for token in &tokens {
        then.session(token).await.status(401);
    }
    then.session(&other).await.status(200);
}

async fn on(url: &str) {
    let (first, then) = (
        Running::start(PROGRAM, url, &[]),
        Running::start(PROGRAM, url, &[]),
    );
    a_session(&Client::new(first.base()), &Client::new(then.base())).await;
    for running in [first, then] {
        let (status, printed) = running.stop();
        assert!(status.success(), "{printed}");
        assert_eq!(printed.lines().count(), 1, "{printed}");
    }
}

#[tokio::test]
async fn two_instances_on_redis() {
    on(&on_redis()).await;
}

#[tokio::test]
async fn two_instances_on_mongodb() {
    on(&on_mongodb()).await;
}

#[tokio::test]
async fn two_instances_on_vault() {
    on(&on_vault()).await;
}

#[tokio::test]
async fn two_instances_that_move_from_redis_to_mongodb() {
    on(&format!("fallback:{} {}", on_mongodb(), on_redis())).await;
}

#[tokio::test]
async fn two_instances_on_zookeeper() {
    on(&on_zookeeper()).await;
}

#[tokio::test]
async fn two_instances_on_s3() {
    on(&on_s3()).await;
}

/// It cannot list keys.
#[tokio::test]
async fn two_instances_on_memcached_list_no_sessions() {
    let url = on_memcached();
    let (first, then) = (
        Running::start(PROGRAM, &url, &[]),
        Running::start(PROGRAM, &url, &[]),
    );
    let (one, other) = (Client::new(first.base()), Client::new(then.base()));
    let token = one.login("ada", "phone").await;
    for client in [&one, &other] {
        let session = client.session(&token).await.json(200);
        assert_eq!(session["device"], "phone");
        client.get("/sessions", &token).await.status(501);
        client.delete("/sessions", &token).await.status(501);
        client.get("/sessions", "guessed").await.status(401);
    }
    let id = example_service::hashed(&token);
    let ended = other.login("ada", "laptop").await;
    one.delete(&format!("/sessions/{id}"), &ended)
        .await
        .status(204);
    other.session(&token).await.status(401);
    one.post("/logout", &ended).await.status(204);
    other.session(&ended).await.status(401);
    let (status, printed) = first.stop();
    assert!(status.success(), "{printed}");
    assert!(printed.contains("cannot list keys"), "{printed}");
}

#[tokio::test]
async fn one_instance_on_the_default_keeps_its_sessions() {
    let folder = Folder::new();
    let start = || Running::start_in(PROGRAM, folder.path(), &[]);
    let running = start();
    let client = Client::new(running.base());
    a_session(&client, &client).await;
    let token = client.login("ada", "phone").await;
    let (status, printed) = running.stop();
    assert!(status.success(), "{printed}");
    assert!(printed.contains("file:session-service.redb"), "{printed}");
    assert!(folder.path().join("session-service.redb").is_file());

    let running = start();
    let client = Client::new(running.base());
    client.session(&token).await.status(200);
}

#[tokio::test]
async fn what_is_no_token_is_not_logged_in() {
    let client = in_this_process(MemoryProvider::new(), TTL).await;
    let token = client.login("ada", "").await;
    let (user, secret) = token.split_once('.').unwrap();
    let other = client.login("bob", "").await;
    let (_, others) = other.split_once('.').unwrap();
    for forged in [
        String::new(),
        "x".to_owned(),
        user.to_owned(),
        format!("{user}."),
        format!("{user}.{others}"),
        format!("{user}.{secret}0"),
        format!("{user}.{}", "0".repeat(64)),
        format!("{user}/{secret}"),
        format!("../{}.{secret}", &user[3..]),
        // The key itself, as who reads the store could make it.
        example_service::hashed(&token),
        format!("{user}.{}", example_service::hashed(&token)),
        "ü".to_owned(),
    ] {
        client.session(&forged).await.status(401);
        client.get("/sessions", &forged).await.status(401);
        client.delete("/sessions", &forged).await.status(401);
    }
    client.without_token("/session").await.status(401);
    client.session(&token).await.status(200);
    client.session(&other).await.status(200);
}

#[tokio::test]
async fn a_login_without_a_user_is_refused() {
    let client = in_this_process(MemoryProvider::new(), TTL).await;
    for body in ["{}", "[]", "", r#"{"user":""}"#, r#"{"user":7}"#] {
        let status = client.login_with(body).await.code();
        assert!(
            (400..500).contains(&status) && status != 401,
            "{body}: {status}"
        );
    }
}

#[tokio::test]
async fn a_login_that_is_too_large_is_refused() {
    let client = in_this_process(MemoryProvider::new(), TTL).await;
    let user = |len: usize| format!(r#"{{"user":"{}"}}"#, "x".repeat(len));
    let around = user(0).len();
    client.login_with(&user(LARGEST - around)).await.status(201);
    client
        .login_with(&user(LARGEST - around + 1))
        .await
        .status(413);
    let client = in_this_process(MemoryProvider::with_max_value_len(100), TTL).await;
    client.login_with(&user(10)).await.status(201);
    client.login_with(&user(100)).await.status(413);
}

/// All that had begun are gone; of those that begin meanwhile nothing is said.
#[tokio::test]
async fn ending_all_ends_all_that_had_begun_while_others_begin() {
    let provider = RedisProvider::connect(&on_redis()).await.unwrap();
    let client = in_this_process(provider, TTL).await;
    for _ in 0..10 {
        let mut begun = Vec::new();
        for _ in 0..20 {
            begun.push(client.login("ada", "phone").await);
        }
        let beside: Vec<_> = (0..20)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { client.login("ada", "laptop").await })
            })
            .collect();
        client.delete("/sessions", &begun[7]).await.status(204);
        for token in &begun {
            client.session(token).await.status(401);
        }
        for login in beside {
            let token = login.await.unwrap();
            let code = client.session(&token).await.code();
            assert!([200, 401].contains(&code), "{code}");
        }
    }
}

#[tokio::test]
async fn odd_users_are_users() {
    let client = in_this_process(MemoryProvider::new(), TTL).await;
    let long = "x".repeat(10_000);
    for user in ["../..", "a/b", "a", "ä", " ", "\0", &long] {
        let token = client.login(user, "").await;
        assert_eq!(client.session(&token).await.json(200)["user"], user);
        let listed = client.get("/sessions", &token).await.json(200);
        assert_eq!(listed.as_array().unwrap().len(), 1, "{user}");
    }
}
