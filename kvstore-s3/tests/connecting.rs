//! Connecting: what is wrong is told at once; rights that are missing; what is not claimed is not supported.

mod common;

use common::between::{Pass, between};
use common::{fails, plain, tls};
use kvstore_core::{
    Condition, Connect as _, ErrorKind, KeyValueStore, Listing, Provider as _, SetOptions, Versions,
};
use kvstore_s3::{S3Config, S3Provider};
use kvstore_testsuite::servers::{S3, S3Server};
use kvstore_testsuite::unique_root;

fn prefix() -> String {
    format!("{}/", unique_root())
}

async fn refused(config: S3Config, kind: ErrorKind, words: &str) {
    let error = fails(S3Provider::connect(config).await.map(drop), kind, words);
    assert!(error.to_string().starts_with("s3 connect: "), "{error}");
}

#[tokio::test]
async fn a_wrong_key_a_missing_right_and_a_missing_bucket_are_told() {
    let s3 = S3Server::shared();
    let config = || plain(s3, &prefix());
    let (id, secret) = S3Server::WRITER;
    let wrong = config().credentials("nobody", secret);
    refused(wrong, ErrorKind::Unauthenticated, "access key").await;
    let wrong = config().credentials(id, "guessed");
    refused(wrong, ErrorKind::Unauthenticated, "access key").await;
    let (id, secret) = S3Server::STRANGER;
    let stranger = config().credentials(id, secret);
    refused(stranger, ErrorKind::PermissionDenied, "`s3:GetObject`").await;
    let (id, secret) = S3Server::READER;
    let reader = config().credentials(id, secret);
    refused(reader, ErrorKind::PermissionDenied, "`s3:PutObject`").await;
    let anonymous = config().anonymous();
    refused(anonymous, ErrorKind::PermissionDenied, "").await;
    // To those who may know it.
    let missing = S3Config::new("127.0.0.1", "another-bucket")
        .port(s3.address().port())
        .plain()
        .credentials(S3Server::STRANGER.0, S3Server::STRANGER.1);
    refused(missing, ErrorKind::InvalidConfig, "no such bucket").await;
}

#[tokio::test]
async fn a_missing_right_is_an_error_and_never_a_miss() {
    let s3 = S3Server::shared();
    let place = prefix();
    let store = KeyValueStore::text(S3Provider::connect(plain(s3, &place)).await.unwrap());
    store.set("key", "value").await.unwrap();

    let (id, secret) = S3Server::READER;
    let reader = plain(s3, &place)
        .credentials(id, secret)
        .without_conditions();
    let reader = KeyValueStore::text(S3Provider::connect(reader).await.unwrap());
    assert_eq!(reader.get("key").await.unwrap().as_deref(), Some("value"));
    assert_eq!(reader.get("missing").await.unwrap(), None);
    let denied = ErrorKind::PermissionDenied;
    let set = fails(reader.set("key", "x").await, denied, "README");
    assert!(!set.outcome_unknown() && !set.is_retryable());
    fails(reader.delete("key").await, denied, "README");
    let many = reader.delete_many(["key", "a"]).await.unwrap_err();
    assert_eq!(many.failed().count(), 2);
    assert!(many.failed().all(|(_, error)| error.kind() == denied));

    let (id, secret) = S3Server::STRANGER;
    let stranger = plain(s3, &place).credentials(id, secret);
    let stranger = KeyValueStore::text(S3Provider::lazy(stranger).unwrap());
    for key in ["key", "missing"] {
        fails(stranger.get(key).await, denied, "README");
        fails(stranger.has(key).await, denied, "README");
        fails(stranger.take(key).await, denied, "");
    }
    fails(stranger.keys("").next().await.unwrap(), denied, "README");

    let (id, secret) = S3Server::UNLISTED;
    let unlisted = plain(s3, &place).credentials(id, secret);
    let unlisted = KeyValueStore::text(S3Provider::connect(unlisted).await.unwrap());
    unlisted.set("other", "value").await.unwrap();
    assert_eq!(
        unlisted.take("other").await.unwrap().as_deref(),
        Some("value")
    );
    let mut keys = unlisted.keys("");
    fails(keys.next().await.unwrap(), denied, "README");
    assert!(keys.next().await.is_none());
    assert_eq!(store.get("key").await.unwrap().as_deref(), Some("value"));
}

#[tokio::test]
async fn without_credentials_where_the_server_lets_everybody_in() {
    let s3 = S3Server::shared();
    let config = S3Config::new("127.0.0.1", s3.open_bucket())
        .port(s3.address().port())
        .plain()
        .prefix(prefix())
        .anonymous();
    let store = KeyValueStore::text(S3Provider::connect(config).await.unwrap());
    store.set("key", "value").await.unwrap();
    assert_eq!(store.take("key").await.unwrap().as_deref(), Some("value"));
}

#[tokio::test]
async fn tls_is_what_it_should_be() {
    let s3 = S3Server::shared();
    let store = KeyValueStore::text(S3Provider::connect(tls(&prefix())).await.unwrap());
    store.set("key", "value").await.unwrap();
    let warnings = store.ping().await.unwrap().warnings;
    assert!(warnings.is_empty(), "{warnings:?}");
    // An authority that did not sign its certificate.
    let other = s3.ca_path().with_file_name("client.pem");
    let untrusted = tls(&prefix()).ca(other);
    refused(untrusted, ErrorKind::InvalidConfig, "not trusted").await;
    let missing = tls(&prefix()).ca("/nowhere.pem");
    refused(missing, ErrorKind::InvalidConfig, "`ca`").await;
    let no_tls = tls(&prefix()).port(s3.address().port());
    refused(no_tls, ErrorKind::InvalidConfig, "`s3+http`").await;
    let plain = plain(s3, &prefix()).port(s3.tls_address().port());
    refused(plain, ErrorKind::InvalidConfig, "use the scheme `s3`").await;
}

#[tokio::test]
async fn what_answers_and_is_no_s3_is_told() {
    let none = S3Config::new("127.0.0.1", "bucket")
        .port(1)
        .plain()
        .anonymous();
    refused(none, ErrorKind::Unavailable, "http://127.0.0.1:1").await;
    let answers = |answer| between(move |_| Pass::Answer(answer), |answer| answer);
    let page = answers("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n<html>Welcome</html>");
    refused(page.await, ErrorKind::Other, "does it speak S3?").await;
    let bare = answers("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
    refused(bare.await, ErrorKind::InvalidConfig, "as S3 does").await;
    let elsewhere = answers(
        "HTTP/1.1 301 Moved Permanently\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
    );
    refused(
        elsewhere.await,
        ErrorKind::InvalidConfig,
        "at another address",
    )
    .await;
}

#[tokio::test]
async fn what_is_claimed_is_what_the_server_honours() {
    let s3 = S3::shared();
    let all = S3Provider::connect(plain(s3, &prefix())).await.unwrap();
    let lazy = S3Provider::lazy(plain(s3, &prefix())).unwrap();
    assert_eq!(all.capabilities(), lazy.capabilities());
    let claims = all.capabilities();
    assert!(claims.if_absent && claims.if_present && claims.take && claims.touch);
    assert_eq!(claims.versions, Some(Versions::Content));
    assert_eq!(claims.keys, Some(Listing::Once));
    assert!(claims.expiry.is_some() && claims.strong_reads && claims.retains);

    let none = plain(s3, &prefix()).without_conditions();
    let none = S3Provider::connect(none).await.unwrap();
    let claims = none.capabilities().clone();
    assert!(!claims.if_absent && !claims.if_present && !claims.take && !claims.touch);
    assert!(claims.versions.is_none() && claims.expiry.is_none());
    // Also where nobody checks before.
    let request = kvstore_core::Key::new("key").unwrap();
    let set = kvstore_core::SetRequest::new(request, kvstore_core::Format::Text, "x".into());
    for condition in [
        Condition::Absent,
        Condition::Present,
        Condition::Version(1.into()),
    ] {
        let set = none.set(set.clone().with_condition(condition)).await;
        fails(set, ErrorKind::Unsupported, "");
    }
    let store = KeyValueStore::text(none);
    fails(store.take("key").await, ErrorKind::Unsupported, "");
    assert!(!store.has("key").await.unwrap());
}

#[tokio::test]
async fn the_probe_leaves_nothing_behind() {
    let s3 = S3::shared();
    let prefix = prefix();
    for _ in 0..2 {
        S3Provider::connect(plain(s3, &prefix)).await.unwrap();
    }
    let lazy = S3Provider::lazy(plain(s3, &prefix)).unwrap();
    let store = KeyValueStore::text(lazy);
    let set = store.set_if("key", "x", Condition::Present, SetOptions::new());
    assert!(!set.await.unwrap().is_applied());
    let driver = common::driver(s3);
    let path = object_store::path::Path::parse(&prefix).unwrap();
    let listed = object_store::ObjectStore::list_with_delimiter(&driver, Some(&path)).await;
    let mut found = listed.unwrap().objects;
    // SeaweedFS shows the folder itself for a while.
    found.retain(|object| object.location != path);
    assert_eq!(found, []);
}

#[tokio::test]
async fn ping_says_what_the_server_is() {
    let s3 = S3::shared();
    let url = s3.url(&format!("prefix={}", prefix()));
    let store = KeyValueStore::text(
        <S3Provider as kvstore_core::Connect>::connect(&url)
            .await
            .unwrap(),
    );
    let info = store.ping().await.unwrap();
    if info.product == "seaweedfs" {
        assert!(info.version.is_some(), "{info:?}");
        assert!(info.warnings.is_empty(), "{info:?}");
    }
    assert_eq!(S3Provider::SCHEMES, ["s3", "s3+http"]);
}

#[tokio::test]
async fn values_over_the_limit_are_refused_and_long_ones_are_not() {
    let s3 = S3::shared();
    let place = prefix();
    let config = plain(s3, &place).max_value_len(1 << 20);
    let store = KeyValueStore::text(S3Provider::connect(config).await.unwrap());
    let long = "x".repeat(1 << 20);
    store.set("key", &long).await.unwrap();
    let longer = long.clone() + "x";
    let error = fails(store.set("key", longer).await, ErrorKind::ValueTooLarge, "");
    assert!(!error.outcome_unknown());
    assert_eq!(store.get("key").await.unwrap().as_ref(), Some(&long));
    // What others wrote is not loaded either.
    let short = plain(s3, &place).max_value_len((1 << 20) - 1);
    let short = KeyValueStore::text(S3Provider::connect(short).await.unwrap());
    fails(
        short.get("key").await,
        ErrorKind::ValueTooLarge,
        "`max_value_len`",
    );
    fails(
        short.take("key").await,
        ErrorKind::ValueTooLarge,
        "`max_value_len`",
    );
    assert!(short.has("key").await.unwrap());
    assert_eq!(store.get("key").await.unwrap(), Some(long));
    // The server keeps it in several pieces.
    let store = KeyValueStore::text(S3Provider::connect(plain(s3, &prefix())).await.unwrap());
    let long = "x".repeat(9 << 20);
    store.set("long", &long).await.unwrap();
    let version = store
        .get_entry("long")
        .await
        .unwrap()
        .unwrap()
        .version
        .unwrap();
    let set = store.set_if(
        "long",
        "short",
        Condition::Version(version),
        SetOptions::new(),
    );
    assert!(set.await.unwrap().is_applied());
}
