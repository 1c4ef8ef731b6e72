//! What ends a connection, and what is then done about the calls on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use kvstore_core::{ErrorKind, KeyValueStore, Result};
use kvstore_testsuite::servers::MemcachedServer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::yield_now;
use tokio::time::timeout;

mod common;
use common::{PATIENT, behind, config, connect, ends, failed, recovers, texts};

const HOUR: Duration = Duration::from_secs(3600);

/// A write is not sent twice, so it must not meet a connection that has been closed.
#[tokio::test]
async fn a_connection_that_was_closed_is_noticed_before_anything_is_sent() -> Result<()> {
    let mut server = MemcachedServer::start();
    let texts = texts(&server.url(), "").await;
    for number in 0..3 {
        texts.set("key", format!("{number}")).await?;
        server.stop();
        server.restart();
        // The connection's end and the call are seen at the same moment.
        yield_now().await;
        texts.set("key", "v").await?;
        assert_eq!(texts.get("key").await?.as_deref(), Some("v"));
    }
    Ok(())
}

/// A proxy that puts something before the next answer, when it is told to.
async fn adding(server: &MemcachedServer, text: &'static str) -> (String, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("memcached://{}", listener.local_addr().unwrap());
    let (told, target) = (Arc::new(AtomicBool::new(false)), server.address());
    let add = Arc::clone(&told);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let add = Arc::clone(&add);
            tokio::spawn(async move {
                let server = TcpStream::connect(target).await.unwrap();
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let asked = tokio::io::copy(&mut from_client, &mut to_server);
                let answered = async {
                    let mut buffer = vec![0; 65_536];
                    while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
                        let added = match add.swap(false, Ordering::AcqRel) {
                            true => text,
                            false => "",
                        };
                        let answer = [added.as_bytes(), &buffer[..length]].concat();
                        if to_client.write_all(&answer).await.is_err() {
                            return;
                        }
                    }
                };
                // The client's end closes both.
                tokio::select! {
                    _ = asked => {}
                    () = answered => {}
                }
            });
        }
    });
    (url, told)
}

/// The answers that follow would be told to the wrong calls.
#[tokio::test]
async fn an_answer_that_is_none_to_what_was_asked() -> Result<()> {
    let server = MemcachedServer::start();
    for added in ["HD\r\n", "NS\r\n", "END\r\n", "VERSION 1\r\n"] {
        let (url, add) = adding(&server, added).await;
        let texts = texts(&url, "").await;
        let keys: Vec<_> = (0..20).map(|key| format!("{key}")).collect();
        for key in &keys {
            texts.set(key, key).await?;
        }
        add.store(true, Ordering::Release);
        // These are asked again, on another connection.
        for (key, found) in keys
            .iter()
            .zip(join_all(keys.iter().map(|key| texts.get(key))).await)
        {
            assert_eq!(found?.as_ref(), Some(key), "{added:?}");
        }
        assert!(!add.load(Ordering::Acquire), "it was added");
        // That a write is not asked again is told.
        if added != "HD\r\n" {
            add.store(true, Ordering::Release);
            let (set, found) = tokio::join!(texts.set("0", "0"), texts.get("1"));
            let error = failed(set, ErrorKind::Other, "set");
            assert!(error.outcome_unknown(), "{added:?}");
            assert_eq!(found?.as_deref(), Some("1"), "{added:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_store_that_is_dropped_waits_for_no_answer_that_nobody_wants() {
    let mut server = MemcachedServer::start();
    let texts = KeyValueStore::text(connect(config(&server).timeout(HOUR)).await);
    let before = server.stat("curr_connections");
    server.pause();
    let get = timeout(Duration::from_millis(50), texts.get("key")).await;
    assert!(get.is_err(), "nobody has answered");
    drop(texts);
    yield_now().await;
    server.resume();
    recovers("the connection to end", async || {
        match server.stat("curr_connections") < before {
            true => Ok(()),
            false => Err(ErrorKind::Busy.into()),
        }
    })
    .await;
}

/// Both would wait for ever who would first have everything written, and only then read.
#[tokio::test(flavor = "multi_thread")]
async fn large_questions_and_large_answers_at_the_same_time() -> Result<()> {
    let server = MemcachedServer::start();
    let (_proxy, texts) = behind(&server, PATIENT).await;
    let value = "v".repeat(500_000);
    let keys: Vec<_> = (0..8).map(|key| format!("{key}")).collect();
    for key in &keys {
        texts.set(key, &value).await?;
    }
    let calls = (0..200).map(|call| {
        let (texts, value, key) = (&texts, &value, &keys[call % 8]);
        async move {
            match call % 3 {
                0 => texts.set(key, value).await,
                _ => texts.get(key).await.map(|found| {
                    assert!(found.as_ref() == Some(value));
                }),
            }
        }
    });
    for done in ends("200 calls", join_all(calls)).await {
        done?;
    }
    Ok(())
}
