//! Sliding expiry, and sessions that end while they are used.

mod client;

use std::time::{Duration, Instant};

use client::{Client, in_this_process};
use kvstore_core::ErrorKind;
use kvstore_memory::MemoryProvider;
use kvstore_redis::RedisProvider;
use kvstore_testsuite::servers::Redis;
use kvstore_testsuite::{Faulty, unique_root};

/// Uses a session for so long; `None` where this machine was too slow to use it often enough.
async fn used_for(client: &Client, token: &str, ttl: Duration, long: Duration) -> Option<()> {
    let start = Instant::now();
    while start.elapsed() < long {
        let asked = Instant::now();
        let code = client.session(token).await.code();
        tokio::time::sleep(ttl / 50).await;
        // A session that is used has at least half of its time left then.
        if asked.elapsed() >= ttl / 3 {
            return None;
        }
        assert_eq!(code, 200, "a session that is used has ended");
    }
    Some(())
}

#[tokio::test]
async fn a_session_that_is_used_lasts_and_one_that_is_not_ends() {
    let ttl = Duration::from_secs(2);
    let client = in_this_process(MemoryProvider::new(), ttl).await;
    let (token, unused) = loop {
        let (token, unused) = (client.login("ada", "").await, client.login("ada", "").await);
        if used_for(&client, &token, ttl, 2 * ttl).await.is_some() {
            break (token, unused);
        }
    };
    client.session(&unused).await.status(401);
    // Asking would keep it alive.
    tokio::time::sleep(ttl).await;
    client.session(&token).await.status(401);
}

#[tokio::test]
async fn a_touch_that_fails_is_503_and_the_session_lasts() {
    let (provider, faults) = Faulty::new(MemoryProvider::new());
    let ttl = Duration::from_secs(4);
    let client = in_this_process(provider, ttl).await;
    loop {
        let begun = Instant::now();
        let token = client.login("ada", "").await;
        tokio::time::sleep(ttl * 5 / 8).await;
        // One call to read the session, one to let it last on.
        faults.delay(1, Duration::ZERO);
        faults.fail(1, ErrorKind::Timeout);
        let failed = client.session(&token).await.code();
        let then = client.session(&token).await.code();
        faults.heal();
        // Else this machine was too slow, and it has expired.
        if begun.elapsed() < ttl {
            assert_eq!((failed, then), (503, 200));
            return;
        }
    }
}

/// On two instances, of which one lets a session last on as the other ends it.
#[tokio::test]
async fn a_session_that_has_ended_never_comes_back() {
    let url = format!("{}?prefix={}:", Redis::shared().url(), unique_root());
    let hour = Duration::from_secs(3600);
    let redis = async || RedisProvider::connect(&url).await.unwrap();
    let hours = in_this_process(redis().await, hour).await;
    // What has an hour left has under half of its day.
    let days = in_this_process(redis().await, 24 * hour).await;
    for _ in 0..200 {
        let token = hours.login("ada", "").await;
        let used = {
            let (days, token) = (days.clone(), token.clone());
            tokio::spawn(async move { days.session(&token).await.code() })
        };
        hours.post("/logout", &token).await.status(204);
        days.session(&token).await.status(401);
        let code = used.await.unwrap();
        assert!([200, 401].contains(&code), "{code}");
        for client in [&hours, &days] {
            client.session(&token).await.status(401);
        }
    }
}
