//! Nothing of a key, a value or a credential is logged, whatever goes on, at the finest level.

mod common;

use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::plain;
use kvstore_core::{Condition, Error, KeyValueStore, SetOptions};
use kvstore_s3::S3Provider;
use kvstore_testsuite::proxy::Proxy;
use kvstore_testsuite::servers::{S3, S3Server};
use kvstore_testsuite::unique_root;
use tracing_subscriber::fmt::MakeWriter;

const KEY: &str = "session-key-81c7";
const VALUE: &str = "password-value-55e2";

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{} {} {}\n", record.level(), record.target(), record.args());
        self.0.lock().unwrap().extend_from_slice(line.as_bytes());
    }

    fn flush(&self) {}
}

/// All that an error prints, with what it comes from.
fn printed(error: &Error) -> String {
    let mut text = format!("{error} {error:?} {error:#?}\n");
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        writeln!(text, "{error} {error:?}").unwrap();
        source = error.source();
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_logged_or_printed() {
    let log = Log::default();
    log::set_boxed_logger(Box::new(log.clone())).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
        .with_writer(log.clone())
        .finish();
    let s3 = S3::shared();
    // Not by the subscriber's own way to be the global one, which wants to be the logger too.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    tracing::trace!("tracing is heard");
    log::trace!("log is heard");

    let prefix = format!("{}/", unique_root());
    let proxy = Proxy::start(s3.address()).await.unwrap();
    let config = plain(s3, &prefix)
        .port(proxy.address().port())
        .timeout(Duration::from_secs(1));
    let provider = S3Provider::connect(config.clone()).await.unwrap();
    let text = KeyValueStore::text(provider.clone());
    let numbers: KeyValueStore<u64> = KeyValueStore::model(provider.clone());
    let mut shown = format!("{provider:?} {config:?} {text:?}");

    assert_eq!(text.get(KEY).await.unwrap(), None);
    text.set(KEY, VALUE).await.unwrap();
    text.get(KEY).await.unwrap();
    let unmet = text
        .set_if(KEY, VALUE, Condition::Absent, SetOptions::new())
        .await;
    assert!(!unmet.unwrap().is_applied());
    let mut errors = vec![numbers.get(KEY).await.unwrap_err()];
    text.touch(KEY, Duration::from_secs(60)).await.unwrap();
    text.keys("").next().await.unwrap().unwrap();
    text.take(KEY).await.unwrap();
    text.set_many([(KEY, VALUE), ("b", VALUE)], SetOptions::new())
        .await
        .unwrap();
    text.delete_many([KEY, "b"]).await.unwrap();

    proxy.cut_after_request();
    errors.push(text.set(KEY, VALUE).await.unwrap_err());
    proxy.heal();
    proxy.stall();
    errors.push(text.set(KEY, VALUE).await.unwrap_err());
    proxy.heal();
    proxy.refuse();
    errors.push(text.get(KEY).await.unwrap_err());
    proxy.heal();
    let (id, secret) = S3Server::STRANGER;
    let stranger = S3Provider::lazy(config.clone().credentials(id, secret)).unwrap();
    let stranger = KeyValueStore::text(stranger);
    errors.push(stranger.get(KEY).await.unwrap_err());
    errors.push(stranger.set(KEY, VALUE).await.unwrap_err());
    errors.push(stranger.delete_many([KEY, "b"]).await.unwrap_err().into());
    errors.push(stranger.keys(KEY).next().await.unwrap().unwrap_err());
    let wrong = config.clone().credentials(s3.access_key().0, VALUE);
    errors.push(S3Provider::connect(wrong).await.map(drop).unwrap_err());

    for error in &errors {
        shown += &printed(error);
    }
    let logged = log.text();
    assert!(
        logged.contains("tracing is heard") && logged.contains("log is heard"),
        "{logged}"
    );
    assert!(
        logged.contains("hyper_util"),
        "the HTTP client is heard too: {logged}"
    );
    for secret in [KEY, VALUE, s3.access_key().1, S3Server::STRANGER.1] {
        for (what, text) in [("the log", &logged), ("what is shown", &shown)] {
            assert!(!text.contains(secret), "{what} has {secret}: {text}");
        }
    }
}
