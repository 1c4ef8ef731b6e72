//! Attempts to connect: they are nobody's in particular, and take as long as they may.

use std::time::Duration;

use futures_util::future::{join_all, poll_immediate};
use kvstore_core::{ErrorKind, KeyValueStore};
use kvstore_memcached::{MemcachedConfig, MemcachedProvider};
use kvstore_testsuite::proxy::Proxy;
use kvstore_testsuite::servers::MemcachedServer;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

mod common;
use common::{behind, config, connect, ends, gone, recovers};

const HOUR: Duration = Duration::from_secs(3600);

/// A store of texts that is not connected so far, behind a proxy.
async fn not_yet(server: &MemcachedServer, parameters: &str) -> (Proxy, KeyValueStore<String>) {
    let proxy = Proxy::start(server.address()).await.unwrap();
    let url = format!("memcached://{}?{parameters}", proxy.address());
    (
        proxy,
        KeyValueStore::text(MemcachedProvider::lazy(url).unwrap()),
    )
}

/// Two round trips are longer than a call may take, and one is not.
#[tokio::test]
async fn an_attempt_goes_on_after_the_deadline_of_the_call_that_began_it() {
    let server = MemcachedServer::start();
    let (proxy, texts) = not_yet(&server, "timeout=600ms&connect_timeout=20s").await;
    proxy.delay(Duration::from_millis(400));
    assert!(gone(&ends("get", texts.get("key")).await.unwrap_err()));
    assert_eq!(recovers("get", || texts.get("key")).await, None);
}

#[tokio::test]
async fn an_attempt_goes_on_after_its_calls_were_dropped() {
    let server = MemcachedServer::start();
    let (proxy, texts) = not_yet(&server, "timeout=20s&connect_timeout=20s").await;
    let before = server.stat("total_connections");
    proxy.delay(Duration::from_millis(500));
    for _ in 0..5 {
        let get = timeout(Duration::from_millis(50), texts.get("key")).await;
        assert!(get.is_err(), "nobody has answered so far");
    }
    assert_eq!(texts.get("key").await.unwrap(), None);
    let made = server.stat("total_connections") - before - 1;
    assert_eq!(made, 1, "besides that of the question itself");
}

#[tokio::test]
async fn a_call_short_of_time_fails_alone() {
    let server = MemcachedServer::start();
    let (proxy, texts) = behind(&server, "timeout=2s&connect_timeout=20s").await;
    proxy.delay(Duration::from_millis(1600));
    proxy.cut_after_request();
    // Its connection is lost when little of its time is left.
    let short = texts.get("key");
    let other = async {
        sleep(Duration::from_millis(1200)).await;
        proxy.delay(Duration::from_millis(300));
        sleep(Duration::from_millis(600)).await;
        texts.get("key").await
    };
    let (short, other) = tokio::join!(short, other);
    assert!(gone(&short.unwrap_err()));
    assert_eq!(other.unwrap(), None);
}

#[tokio::test]
async fn all_that_wait_are_told_why_it_failed_and_the_next_call_tries_again() {
    let server = MemcachedServer::start();
    let (proxy, texts) = not_yet(&server, "timeout=20s&connect_timeout=300ms").await;
    proxy.stall();
    for _ in 0..2 {
        for get in join_all((0..10).map(|_| texts.get("key"))).await {
            assert_eq!(get.unwrap_err().kind(), ErrorKind::Unavailable);
        }
    }
    proxy.heal();
    assert_eq!(texts.get("key").await.unwrap(), None);
}

#[tokio::test]
async fn it_ends_with_the_store() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = MemcachedConfig::new("127.0.0.1", silent.local_addr().unwrap().port());
    let config = config.timeout(HOUR).connect_timeout(HOUR);
    for closes in [true, false] {
        let memcached = MemcachedProvider::lazy(config.clone()).unwrap();
        let texts = KeyValueStore::text(memcached);
        let mut client = {
            let get = texts.get("key");
            let accepted = async {
                let (mut client, _) = silent.accept().await.unwrap();
                let mut question = [0; 9];
                client.read_exact(&mut question).await.unwrap();
                assert_eq!(&question, b"version\r\n");
                client
            };
            tokio::select! {
                _ = get => panic!("nobody has answered"),
                client = accepted => client,
            }
        };
        match closes {
            true => texts.close().await.unwrap(),
            false => drop(texts),
        }
        let mut rest = Vec::new();
        let closed = ends("the connection", client.read_to_end(&mut rest)).await;
        assert_eq!(closed.unwrap_or_default(), 0);
    }
}

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

#[test]
fn a_connection_on_a_runtime_that_does_not_run_any_more() {
    let server = MemcachedServer::start();
    let (first, second) = (runtime(), runtime());
    let config = config(&server).timeout(Duration::from_millis(500));
    let texts = KeyValueStore::text(first.block_on(connect(config)));
    first.block_on(texts.set("key", "v")).unwrap();
    // The first is there, and nobody drives it.
    let found = second.block_on(recovers("get", || texts.get("key")));
    assert_eq!(found.as_deref(), Some("v"));
}

#[test]
fn an_attempt_on_a_runtime_that_does_not_run_any_more() {
    let server = MemcachedServer::start();
    let (first, second) = (runtime(), runtime());
    let config = config(&server).timeout(Duration::from_millis(500));
    let config = config.connect_timeout(Duration::from_millis(500));
    let texts = KeyValueStore::text(MemcachedProvider::lazy(config).unwrap());
    let begun = first.block_on(async { poll_immediate(texts.get("key")).await });
    assert!(begun.is_none());
    assert_eq!(second.block_on(recovers("get", || texts.get("key"))), None);
    let begun = first.block_on(async { poll_immediate(texts.get("key")).await });
    drop((begun, first));
    assert_eq!(second.block_on(recovers("get", || texts.get("key"))), None);
}
