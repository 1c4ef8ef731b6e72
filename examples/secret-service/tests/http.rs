//! The service over HTTP, on real servers.

mod client;

use client::{CALLERS, Client, PROGRAM, in_this_process};
use example_service::testing::{Folder, Running};
use kvstore_memory::MemoryProvider;
use kvstore_testsuite::servers::{Memcached, MongoDb, Redis, S3, Vault, ZooKeeper};
use kvstore_testsuite::unique_root;
use secret_service::LARGEST;
use serde_json::Value;

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

/// The life of some secrets, on an instance each for what comes first and what comes then.
async fn secrets(first: &Client, then: &Client) {
    let (one, other) = (b"\x00\xff any bytes \r\n", b"rotated \x80");
    first.fetch("tenant-7").await.status(404);
    first.rotate("tenant-7", one).await.status(404);
    first.take("tenant-7").await.status(404);
    first.create("tenant-7", one).await.status(201);
    then.create("tenant-7", other).await.status(409);
    for client in [first, then, first] {
        assert_eq!(client.fetch("tenant-7").await.bytes(), one);
    }
    then.rotate("tenant-7", other).await.status(204);
    assert_eq!(first.fetch("tenant-7").await.bytes(), other);

    // SeaweedFS cannot create `a` under a condition while there is `a/b`.
    for name in ["%2F..%2F", "%C3%A4", "a", "a%2Fb", "%3F%23%25", "empty"] {
        let secret = if name == "empty" {
            b""
        } else {
            name.as_bytes()
        };
        then.create(name, secret).await.status(201);
        assert_eq!(first.fetch(name).await.bytes(), secret, "{name}");
    }
    let names = first.names("").await;
    assert_eq!(names, ["/../", "?#%", "a", "a/b", "empty", "tenant-7", "ä"]);
    assert_eq!(first.names("a").await, ["a", "a/b"]);

    // Once, whoever asks.
    let takers = (0..20).map(|index| {
        let client = [first, then][index % 2].clone();
        tokio::spawn(async move { client.take("a%2Fb").await })
    });
    let mut taken = Vec::new();
    for taker in takers.collect::<Vec<_>>() {
        taken.push(taker.await.unwrap());
    }
    assert_eq!(
        taken.iter().filter(|answer| answer.0 == 200).count(),
        1,
        "{taken:?}"
    );
    assert_eq!(
        taken.iter().filter(|answer| answer.0 == 404).count(),
        19,
        "{taken:?}"
    );
    first.fetch("a%2Fb").await.status(404);

    // Created once, and rotated by those who are not too late.
    let creators = (0..20_u8).map(|index| {
        let client = [first, then][usize::from(index) % 2].clone();
        tokio::spawn(async move { (index, client.create("race", &[index]).await) })
    });
    let mut created = Vec::new();
    for creator in creators.collect::<Vec<_>>() {
        let (index, answer) = creator.await.unwrap();
        match answer.0 {
            201 => created.push(index),
            code => assert_eq!(code, 409),
        }
    }
    assert_eq!(created.len(), 1);
    assert_eq!(then.fetch("race").await.bytes(), created);
    let rotators = (100..120_u8).map(|index| {
        let client = [first, then][usize::from(index) % 2].clone();
        tokio::spawn(async move { (index, client.rotate("race", &[index]).await) })
    });
    let mut rotated = Vec::new();
    for rotator in rotators.collect::<Vec<_>>() {
        let (index, answer) = rotator.await.unwrap();
        match answer.0 {
            204 => rotated.push(index),
            code => assert_eq!(code, 409),
        }
    }
    let last = first.fetch("race").await.bytes();
    assert!(rotated.contains(&last[0]), "{rotated:?}, {last:?}");

    first.delete("tenant-7").await.status(204);
    then.delete("tenant-7").await.status(204);
    then.fetch("tenant-7").await.status(404);
    first.create("tenant-7", one).await.status(201);
    assert_eq!(then.fetch("tenant-7").await.bytes(), one);
    let path = "/secrets/short?ttl=3600";
    let created = first.ask(reqwest::Method::POST, path, one).await.unwrap();
    created.status(201);
    assert_eq!(then.fetch("short").await.bytes(), one);
}

async fn on(url: &str) {
    let start = || Running::start(PROGRAM, url, &[CALLERS]);
    let (first, then) = (start(), start());
    secrets(&Client::new(first.base()), &Client::new(then.base())).await;
    for running in [first, then] {
        let (status, printed) = running.stop();
        assert!(status.success(), "{printed}");
        let mut lines = 0;
        for line in printed.lines().skip(1) {
            let record: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
            assert_eq!(record["caller"], "billing", "{line}");
            lines += 1;
        }
        assert!(lines > 20, "{printed}");
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
async fn two_instances_that_move_from_vault_to_mongodb() {
    on(&format!("fallback:{} {}", on_mongodb(), on_vault())).await;
}

#[tokio::test]
async fn two_instances_on_zookeeper() {
    on(&on_zookeeper()).await;
}

#[tokio::test]
async fn two_instances_on_s3() {
    on(&on_s3()).await;
}

#[tokio::test]
async fn one_instance_on_the_default_keeps_its_secrets() {
    let folder = Folder::new();
    let start = || Running::start_in(PROGRAM, folder.path(), &[CALLERS]);
    let running = start();
    let client = Client::new(running.base());
    secrets(&client, &client).await;
    client.create("kept", b"\x00kept").await.status(201);
    let (status, printed) = running.stop();
    assert!(status.success(), "{printed}");
    assert!(printed.contains("file:secret-service.redb"), "{printed}");
    assert!(folder.path().join("secret-service.redb").is_file());

    let running = start();
    let client = Client::new(running.base());
    assert_eq!(client.fetch("kept").await.bytes(), b"\x00kept");
}

#[tokio::test]
async fn a_store_that_cannot_list_is_refused() {
    let mut command = std::process::Command::new(PROGRAM);
    command
        .env("KVSTORE_URL", on_memcached())
        .env("LISTEN", "127.0.0.1:0");
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{told}");
    assert!(
        told.contains("memcached") && told.contains("listings"),
        "{told}"
    );
}

#[tokio::test]
async fn the_audit_log_says_who_did_what_and_no_secret() {
    let (client, log) = in_this_process(MemoryProvider::new()).await;
    let backup = client.with_token("backup-0123456789abcdef");
    let stranger = client.with_token("guessed-0123456789abcdef");
    client.create("tenant%2F7", b"hunter2").await.status(201);
    stranger.fetch("tenant%2F7").await.status(401);
    stranger.delete("tenant%2F7").await.status(401);
    stranger.list("").await.status(401);
    // What is no UTF-8 is refused, and told to callers alone.
    stranger.fetch("%FF").await.status(401);
    client.fetch("%FF").await.status(400);
    client.create("large", &[0; LARGEST + 1]).await.status(413);
    backup.fetch("tenant%2F7").await.status(200);
    client.rotate("tenant%2F7", b"hunter3").await.status(204);
    backup.names("").await;
    client.take("tenant%2F7").await.status(200);
    client.delete("tenant%2F7").await.status(204);
    client.fetch("tenant%2F7").await.status(404);
    let text = log.text();
    let records: Vec<_> = text
        .lines()
        .map(|line| {
            let record: Value = serde_json::from_str(line).unwrap();
            assert!(record["at"].as_str().unwrap().parse::<u64>().unwrap() > 1_700_000_000_000);
            let text = |member: &str| record[member].as_str().unwrap_or("-").to_owned();
            format!(
                "{} {} {} {}",
                text("caller"),
                text("action"),
                text("name"),
                record["status"]
            )
        })
        .collect();
    assert_eq!(
        records,
        [
            "billing create tenant/7 201",
            "- fetch tenant/7 401",
            "- delete tenant/7 401",
            "- list - 401",
            "- fetch - 401",
            "billing fetch - 400",
            "billing create large 413",
            "backup fetch tenant/7 200",
            "billing rotate tenant/7 204",
            "backup list - 200",
            "billing take tenant/7 200",
            "billing delete tenant/7 204",
            "billing fetch tenant/7 404",
        ]
    );
    for secret in ["hunter", "0123456789"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn a_caller_of_its_own_is_made_where_none_is_named() {
    let running = Running::start(PROGRAM, "memory:", &[]);
    let printed = running.printed();
    let (_, token) = printed.split_once("has the token ").unwrap();
    let token: &'static str = token.lines().next().unwrap().to_owned().leak();
    let client = Client::new(running.base());
    client.fetch("x").await.status(401);
    client.with_token(token).fetch("x").await.status(404);
}

#[tokio::test]
async fn a_secret_that_is_too_large_is_refused_and_the_old_one_stays() {
    let (client, _) = in_this_process(MemoryProvider::new()).await;
    client.create("x", &[7; LARGEST]).await.status(201);
    client.rotate("x", &[8; LARGEST + 1]).await.status(413);
    assert_eq!(client.fetch("x").await.bytes(), [7; LARGEST]);
    // The store may hold less.
    let (client, _) = in_this_process(MemoryProvider::with_max_value_len(10)).await;
    client.create("x", &[7; 11]).await.status(413);
    client.fetch("x").await.status(404);
    client.create("x", &[7; 10]).await.status(201);
    client.rotate("x", &[8; 11]).await.status(413);
    assert_eq!(client.fetch("x").await.bytes(), [7; 10]);
}

#[tokio::test]
async fn mistakes_are_told() {
    let (client, _) = in_this_process(MemoryProvider::new()).await;
    let post = async |path: &str| {
        let asked = client.ask(reqwest::Method::POST, path, b"x").await;
        asked.unwrap().0
    };
    assert_eq!(post("/secrets/x?ttl=0").await, 400);
    assert_eq!(post("/secrets/x?ttl=soon").await, 400);
    assert_eq!(post("/secrets/x?tll=60").await, 400);
    assert_eq!(post("/secrets").await, 405);
    client.fetch("x").await.status(404);
}
