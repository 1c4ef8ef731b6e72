//! What is answered in part, and what two steps are done by: connections that end in between.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kvstore_core::{Error, ErrorKind, KeyValueStore, SetOptions};
use kvstore_memcached::{MemcachedConfig, MemcachedProvider};
use kvstore_testsuite::servers::MemcachedServer;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

mod common;
use common::{behind, ends, recovers};

const KEYS: [&str; 4] = ["a", "b", "c", "d"];

/// Fails unless the first two are done, and the others may or may not be.
fn two_of_four(results: &[Result<(), Error>], kind: ErrorKind, what: &str) {
    assert!(
        results[..2].iter().all(Result::is_ok),
        "{what}: {results:?}"
    );
    for result in &results[2..] {
        let error = result.as_ref().unwrap_err();
        assert_eq!(error.kind(), kind, "{what}");
        assert!(error.outcome_unknown(), "{what}");
    }
}

#[tokio::test]
async fn what_was_answered_before_a_connection_was_lost_is_done() {
    let server = MemcachedServer::start();
    let (proxy, texts) = behind(&server, "").await;
    texts.set("there", "v").await.unwrap();
    for what in ["set_many", "delete_many"] {
        recovers("get", || texts.get("there")).await;
        // Two answers of four bytes, and a piece of the third.
        proxy.cut_mid_reply(10);
        let batch = match what {
            "set_many" => {
                let items = KEYS.map(|key| (key, "v"));
                ends(what, texts.set_many(items, SetOptions::new())).await
            }
            _ => ends(what, texts.delete_many(KEYS)).await,
        };
        let results = batch.unwrap_err().into_results();
        two_of_four(&results, ErrorKind::Unavailable, what);
        let there = server.get("d").is_some();
        assert_eq!(there, what == "set_many", "all of it was sent, and done");
    }
}

enum Said {
    Text(&'static str),
    /// The connection is closed after it.
    Last(&'static str),
}

/// A server that lets everybody in, and then says what it is told to by the number of the connection and the line; and what
/// it was asked, likewise.
async fn acting(
    say: impl Fn(usize, &str) -> Said + Send + Sync + 'static,
) -> (MemcachedConfig, Arc<Mutex<Vec<(usize, String)>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (say, seen) = (Arc::new(say), Arc::clone(&asked));
    tokio::spawn(async move {
        for number in 0.. {
            let (client, _) = listener.accept().await.unwrap();
            let (say, seen) = (Arc::clone(&say), Arc::clone(&seen));
            tokio::spawn(async move {
                let mut client = BufReader::new(client);
                let mut line = String::new();
                while client.read_line(&mut line).await.is_ok_and(|read| read > 0) {
                    let said = match line.trim_end() {
                        "version" => Said::Text("VERSION 1.6.18\r\n"),
                        "stats settings" => Said::Text(
                            "STAT cas_enabled yes\r\nSTAT item_size_max 1048576\r\nEND\r\n",
                        ),
                        line => {
                            seen.lock().unwrap().push((number, line.to_owned()));
                            say(number, line)
                        }
                    };
                    let (text, last) = match said {
                        Said::Text(text) => (text, false),
                        Said::Last(text) => (text, true),
                    };
                    if client.write_all(text.as_bytes()).await.is_err() || last {
                        return;
                    }
                    line.clear();
                }
            });
        }
    });
    (MemcachedConfig::new("127.0.0.1", port), asked)
}

#[tokio::test]
async fn what_was_answered_before_the_deadline_is_done() {
    let (config, _) = acting(|_, line| match line {
        "ms a 1" | "ms b 1" | "md a" | "md b" => Said::Text("HD\r\n"),
        _ => Said::Text(""),
    })
    .await;
    let config = config.timeout(Duration::from_millis(500));
    for what in ["set_many", "delete_many"] {
        let memcached = MemcachedProvider::connect(config.clone()).await.unwrap();
        let texts = KeyValueStore::text(memcached);
        let items = KEYS.map(|key| (key, "v"));
        let batch = match what {
            "set_many" => ends(what, texts.set_many(items, SetOptions::new())).await,
            _ => ends(what, texts.delete_many(KEYS)).await,
        };
        let results = batch.unwrap_err().into_results();
        two_of_four(&results, ErrorKind::Timeout, what);
    }
}

/// The values of lines that were answered are there, of two pieces of a batch.
#[tokio::test]
async fn what_was_found_before_the_deadline_is_there() {
    let (config, _) = acting(|_, line| match line.starts_with("get 0") {
        true => Said::Text("END\r\n"),
        false => Said::Text(""),
    })
    .await;
    let config = config.timeout(Duration::from_millis(500));
    let texts = KeyValueStore::text(MemcachedProvider::connect(config).await.unwrap());
    let keys = (0..20).map(|key| format!("{key:0200}"));
    let keys = keys.map(|key| match key.ends_with(['5', '6', '7', '8', '9']) {
        true => key,
        false => key.replacen('0', "1", 1),
    });
    let mut keys: Vec<_> = keys.collect();
    keys.sort();
    let found = ends("get_many", texts.get_many(&keys)).await;
    let found = found.unwrap_err().into_results();
    let there = found.iter().filter(|found| found.is_ok()).count();
    assert!((1..20).contains(&there), "{there} of 20");
    for found in &found[there..] {
        let error = found.as_ref().unwrap_err();
        assert!(error.kind() == ErrorKind::Timeout && !error.outcome_unknown());
    }
}

/// The server may have been started again, and given the same version to another value.
#[tokio::test]
async fn a_version_is_not_used_on_another_connection_than_it_was_read_on() {
    let read = |number: usize, line: &str, answer| match (number, line.starts_with("mg ")) {
        (0, true) => Said::Last(answer),
        (_, true) => Said::Text("EN\r\n"),
        _ => Said::Text("HD c8\r\n"),
    };
    // Again where the second step was sent before the connection's end was noticed: it says that it may be done.
    let taken = async || {
        let (config, asked) =
            acting(move |number, line| read(number, line, "VA 1 c7 t-1\r\nv\r\n")).await;
        let texts = KeyValueStore::text(MemcachedProvider::connect(config).await?);
        assert_eq!(texts.take("key").await?, None);
        Ok(asked)
    };
    let asked = recovers("take", taken).await.lock().unwrap().clone();
    let mg = "mg key v c t".to_owned();
    assert_eq!(asked, [(0, mg.clone()), (1, mg)]);

    let kept = async || {
        let (config, asked) = acting(move |number, line| match line {
            "stats" => Said::Text("STAT time 1000000000\r\nEND\r\n"),
            "v" => Said::Text(""),
            _ => read(number, line, "HD c7 t-1\r\nSTAT time 1000000000\r\nEND\r\n"),
        })
        .await;
        let texts = KeyValueStore::text(MemcachedProvider::connect(config).await?);
        let options = SetOptions::new().keep_expiry();
        texts.set_with("key", "v", options).await?;
        Ok(asked)
    };
    let asked = recovers("set_with", kept).await.lock().unwrap().clone();
    let conditional = asked.iter().any(|(_, line)| line.contains(" C7"));
    assert!(!conditional, "{asked:?}");
    assert!(asked.contains(&(1, "mg key c t".to_owned())), "{asked:?}");
}
