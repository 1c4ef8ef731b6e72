//! What the tests have in common. Each uses some of it.
#![allow(
    dead_code,
    reason = "each test is a crate of its own, and uses some of this"
)]

pub(crate) mod between;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use kvstore_core::{Error, ErrorKind, Result};
use kvstore_s3::S3Config;
use kvstore_testsuite::servers::{S3, S3Server};
use object_store::ClientOptions;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{HttpClient, HttpConnector};

/// So long that a busy machine makes no test fail. SeaweedFS makes two clients that write a key at the same time
/// wait for seconds, one after the other.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// A configuration for a server without TLS.
pub(crate) fn plain(s3: &S3, prefix: &str) -> S3Config {
    let (id, secret) = s3.access_key();
    S3Config::new("127.0.0.1", s3.bucket())
        .port(s3.address().port())
        .plain()
        .credentials(id, secret)
        .prefix(prefix)
        .timeout(TIMEOUT)
        .connect_timeout(TIMEOUT)
}

/// The driver's own client of the bucket, and none of ours.
pub(crate) fn driver(s3: &S3) -> AmazonS3 {
    let (id, secret) = s3.access_key();
    let driver = AmazonS3Builder::new()
        .with_endpoint(format!("http://{}", s3.address()))
        .with_allow_http(true)
        .with_bucket_name(s3.bucket())
        .with_access_key_id(id)
        .with_secret_access_key(secret)
        .with_http_connector(Plain);
    driver.build().unwrap()
}

/// An HTTP client without TLS, for which no process-wide crypto provider is asked.
#[derive(Debug)]
struct Plain;

impl HttpConnector for Plain {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let roots = rustls::RootCertStore::empty();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = reqwest::Client::builder().tls_backend_preconfigured(tls);
        Ok(HttpClient::new(client.no_proxy().build().unwrap()))
    }
}

/// A configuration for the shared server by TLS.
pub(crate) fn tls(prefix: &str) -> S3Config {
    let (id, secret) = S3Server::WRITER;
    let s3 = S3Server::shared();
    S3Config::new("localhost", s3.bucket())
        .port(s3.tls_address().port())
        .ca(s3.ca_path())
        .credentials(id, secret)
        .prefix(prefix)
        .timeout(TIMEOUT)
        .connect_timeout(TIMEOUT)
}

/// Checks that a call fails in this way, and with these words.
#[track_caller]
pub(crate) fn fails<T: Debug>(result: Result<T>, kind: ErrorKind, words: &str) -> Error {
    let error = result.expect_err("the call succeeded");
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(error.to_string().contains(words), "{error:?}");
    error
}

/// Waits until a call succeeds, which it must before long; until then it fails in this way alone.
pub(crate) async fn works_again<T, E: Into<Error>>(
    kind: ErrorKind,
    call: impl AsyncFn() -> Result<T, E>,
) -> T {
    let start = std::time::Instant::now();
    loop {
        match call().await.map_err(Into::into) {
            Ok(value) => return value,
            Err(error) => assert_eq!(error.kind(), kind, "{error:?}"),
        }
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "it does not work again"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
