//! Nothing of a key, a value or a credential is logged, whatever goes on, at the finest level.

mod common;

use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{plain, policy, works_again};
use kvstore_core::{Condition, Error, ErrorKind, KeyValueStore, SetOptions};
use kvstore_testsuite::proxy::Proxy;
use kvstore_testsuite::servers::Vault;
use kvstore_testsuite::unique_root;
use kvstore_vault::VaultProvider;
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

const KEY: &str = "session-key-81c7";
const VALUE: &str = "password-value-55e2";
/// The value as base64, in part.
const ENCODED: &str = "cGFzc3dvcmQtdmFsdWUtNTVl";

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
    let vault = Vault::shared();
    // Not by the subscriber's own way to be the global one, which wants to be the logger too.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    tracing::trace!("tracing is heard");
    log::trace!("log is heard");

    let path = unique_root();
    let (role_id, secret_id) = vault.approle(&path, &policy(&path), json!({}));
    let proxy = Proxy::start(vault.address()).await.unwrap();
    let config = plain(vault, &path)
        .approle(role_id, secret_id.as_str())
        .port(proxy.address().port())
        .timeout(Duration::from_millis(500));
    let provider = VaultProvider::connect(config.clone()).await.unwrap();
    let text = KeyValueStore::text(provider.clone());
    let bytes = KeyValueStore::bytes(provider.clone());
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
    bytes.set(KEY, VALUE.as_bytes()).await.unwrap();
    bytes.get(KEY).await.unwrap();
    text.set(&format!("{KEY}/{KEY}"), VALUE).await.unwrap();
    text.delete(KEY).await.unwrap();

    proxy.cut_after_request();
    errors.push(text.set(KEY, VALUE).await.unwrap_err());
    proxy.heal();
    proxy.stall();
    errors.push(text.set(KEY, VALUE).await.unwrap_err());
    proxy.heal();
    proxy.refuse();
    errors.push(text.get(KEY).await.unwrap_err());
    proxy.heal();
    let elsewhere = VaultProvider::lazy(config.clone().path(format!("{path}-{KEY}"))).unwrap();
    let elsewhere = KeyValueStore::text(elsewhere);
    errors.push(elsewhere.get(KEY).await.unwrap_err());
    errors.push(elsewhere.keys("").next().await.unwrap().unwrap_err());
    let strings: Vec<String> = (0..1100).map(|_| VALUE.to_owned()).collect();
    errors.push(
        KeyValueStore::model(provider)
            .set(KEY, strings)
            .await
            .unwrap_err(),
    );
    let wrong = config.clone().approle("none", secret_id.as_str());
    errors.push(VaultProvider::connect(wrong).await.map(drop).unwrap_err());
    // The mount goes away under a provider that knows it; the server says so and repeats the path.
    let mount = unique_root();
    let kv = json!({ "type": "kv", "options": { "version": "2" } });
    vault.request("POST", &format!("sys/mounts/{mount}"), kv);
    let root = plain(vault, "path").mount(&mount).token(vault.token());
    // It upgrades itself for a moment.
    let connect = || VaultProvider::connect(root.clone());
    let gone = KeyValueStore::text(works_again(ErrorKind::Other, connect).await);
    vault.request("DELETE", &format!("sys/mounts/{mount}"), Value::Null);
    let missing = gone.get(KEY).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::InvalidConfig, "{missing:?}");
    errors.push(missing);

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
    for secret in [KEY, VALUE, ENCODED, secret_id.as_str(), vault.token()] {
        for (what, text) in [("the log", &logged), ("what is shown", &shown)] {
            // The path is part of the configuration, and has the key in it here.
            let text = text.replace(&format!("{path}-{KEY}"), "");
            assert!(!text.contains(secret), "{what} has {secret}: {text}");
        }
    }
}
