//! Expiry: T1, T3 and T4.

use std::time::Duration;

use kvstore_core::{Condition, Error, ErrorKind, KeyValueStore, SetOptions};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::check::{Checked, ensure, ensure_eq, fails, unsupported};
use crate::lease::{HOUR, Lease, short};
use crate::{Failure, Fixture};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

type Store = KeyValueStore<String>;

/// What is left of a case where expiry is not claimed: it is refused, and nothing changes.
pub(super) async fn no_expiry(store: &Store) -> Checked {
    store.set("key", "old").await?;
    for options in [SetOptions::new().ttl(HOUR), SetOptions::new().keep_expiry()] {
        unsupported(store.set_with("key", "new", options).await, "set_with")?;
        unsupported(store.set_many([("key", "new")], options).await, "set_many")?;
    }
    let found = store.get("key").await?;
    ensure_eq!(
        found.as_deref(),
        Some("old"),
        "the value after refused writes"
    );
    Ok(())
}

/// What is left of a case where `touch` is not claimed: it is refused, and nothing changes.
async fn no_touch(store: &Store) -> Checked {
    store.set("key", "value").await?;
    unsupported(store.touch("key", HOUR).await, "touch")?;
    unsupported(store.persist("key").await, "persist")?;
    let Some(entry) = store.get_entry("key").await? else {
        return Err(Failure::new("a refused touch deleted the key"));
    };
    ensure_eq!(
        entry.expires_in,
        None,
        "the time left after a refused touch"
    );
    Ok(())
}

/// The time that a key which is there has left.
pub(super) async fn left(store: &Store, key: &str) -> Checked<Option<Duration>> {
    match store.get_entry(key).await? {
        Some(entry) => Ok(entry.expires_in),
        None => Err(Failure::new(format!("the key `{key}` is missing"))),
    }
}

/// Checks by the time left, and again once it would have expired, that a key does not expire.
pub(super) async fn never_expires(store: &Store, key: &str, lease: Lease) -> Checked {
    ensure_eq!(left(store, key).await?, None, "the time left of `{key}`");
    lease.end().await;
    ensure!(
        store.has(key).await?,
        "the key `{key}` has expired, by a time to live that it no longer had"
    );
    Ok(())
}

pub(crate) async fn t1_value_and_expiry_are_written_together(f: Fixture) -> Checked {
    let (store, other) = (f.text(), f.other_text());
    if f.capabilities().expiry.is_none() {
        return no_expiry(&store).await;
    }
    let mut writer = JoinSet::new();
    writer.spawn(async move {
        for _ in 0..100 {
            store
                .set_with("key", "expires", SetOptions::new().ttl(HOUR))
                .await?;
            store.set("key", "lasts").await?;
        }
        Ok::<_, Error>(())
    });
    for read in 1.. {
        let done = writer.try_join_next();
        if let Some(entry) = other.get_entry("key").await? {
            let expires = entry.value == "expires";
            ensure_eq!(
                entry.expires_in.is_some(),
                expires,
                "the value `{}` has an expiry",
                entry.value
            );
        }
        match done {
            Some(Ok(written)) => return Ok(written?),
            Some(Err(error)) => return Err(Failure::new(format!("the writer panicked: {error}"))),
            None if read % 100 == 0 => sleep(Duration::from_millis(10)).await,
            None => {}
        }
    }
    Ok(())
}

pub(crate) async fn t3_zero_and_over_100_years_is_invalid(f: Fixture) -> Checked {
    let store = f.text();
    if f.capabilities().expiry.is_none() {
        return no_expiry(&store).await;
    }
    store.set("key", "old").await?;
    let years = 36_525 * DAY;
    for ttl in [
        Duration::ZERO,
        years + Duration::from_nanos(1),
        2 * years,
        Duration::MAX,
    ] {
        let (options, invalid) = (SetOptions::new().ttl(ttl), ErrorKind::InvalidTtl);
        fails(
            store.set_with("key", "new", options).await,
            invalid,
            format!("set_with, {ttl:?}"),
        )?;
        fails(
            store.set_many([("key", "new")], options).await,
            invalid,
            format!("set_many, {ttl:?}"),
        )?;
        if f.capabilities().if_present {
            let set = store
                .set_if("key", "new", Condition::Present, options)
                .await;
            fails(set, invalid, format!("set_if, {ttl:?}"))?;
        }
        if f.capabilities().touch {
            fails(
                store.touch("key", ttl).await,
                invalid,
                format!("touch, {ttl:?}"),
            )?;
        }
    }
    let found = store.get("key").await?;
    ensure_eq!(
        found.as_deref(),
        Some("old"),
        "the value after refused writes"
    );
    ensure_eq!(
        left(&store, "key").await?,
        None,
        "the time left after refused writes"
    );
    Ok(())
}

pub(crate) async fn t3_a_key_lives_as_long_as_told(f: Fixture) -> Checked {
    let store = f.text();
    let Some(unit) = f.capabilities().expiry else {
        return no_expiry(&store).await;
    };
    ensure!(!unit.is_zero(), "the provider states a granularity of zero");
    let mut watches = JoinSet::new();
    let ms = Duration::from_millis;
    for ttl in [
        unit,
        unit / 2,
        unit * 3 / 2,
        Duration::from_nanos(1),
        ms(1),
        ms(250),
        ms(999),
        ms(1001),
        ms(1700),
    ] {
        let (key, options) = (format!("{ttl:?}"), SetOptions::new().ttl(ttl));
        let write = store.set_with(&key, "value", options);
        let (lease, ()) = Lease::start(&f, ttl, write).await?;
        let store = store.clone();
        watches.spawn(async move { lease.watch(&store, &key).await });
    }
    watches.join_all().await.into_iter().collect()
}

pub(crate) async fn t3_thirty_one_days_and_ten_years_work(f: Fixture) -> Checked {
    let store = f.text();
    if f.capabilities().expiry.is_none() {
        return no_expiry(&store).await;
    }
    let mut leases = Vec::new();
    for days in [1, 29, 30, 31, 365, 3652] {
        let (key, ttl) = (format!("{days} days"), days * DAY);
        let set = store.set_with(&key, "value", SetOptions::new().ttl(ttl));
        match Lease::start(&f, ttl, set).await {
            Ok((lease, ())) => leases.push((key, lease)),
            // A server that counts seconds in 31 bits.
            Err(_) if days == 3652 && ends_after_2038(ttl) => {
                let set = store
                    .set_with(&key, "value", SetOptions::new().ttl(ttl))
                    .await;
                fails(
                    set,
                    ErrorKind::InvalidTtl,
                    "ten years, which end after 2038-01-19",
                )?;
            }
            Err(failure) => return Err(failure),
        }
    }
    // What takes the time for a date, or for less, has lost the key a little later.
    sleep(Duration::from_millis(1500)).await;
    for (key, lease) in leases {
        ensure!(
            store.get(&key).await?.is_some(),
            "a key set for {key} is gone after 1.5 s"
        );
        let asked = Instant::now();
        lease.check_left(
            left(&store, &key).await?,
            asked,
            &format!("the time left of {key}"),
        )?;
    }
    Ok(())
}

fn ends_after_2038(ttl: Duration) -> bool {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    (now + ttl).as_secs() > i32::MAX.unsigned_abs().into()
}

pub(crate) async fn t4_the_time_left_can_be_read(f: Fixture) -> Checked {
    let store = f.text();
    if f.capabilities().expiry.is_none() {
        return no_expiry(&store).await;
    }
    for seconds in [100, 5000, 86_399] {
        let ttl = Duration::from_secs(seconds);
        let options = SetOptions::new().ttl(ttl);
        let (lease, ()) = Lease::start(&f, ttl, store.set_with("one", "value", options)).await?;
        check_left(&store, "one", lease).await?;
        let many = store.set_many([("many", "value")], options);
        let (lease, ()) = Lease::start(&f, ttl, many).await?;
        check_left(&store, "many", lease).await?;
        if f.capabilities().if_present {
            let set = store.set_if("one", "new", Condition::Present, options);
            let (lease, set) = Lease::start(&f, ttl, set).await?;
            ensure!(
                set.is_applied(),
                "`present`, of a key that is there, was not applied"
            );
            check_left(&store, "one", lease).await?;
            if f.capabilities().if_absent {
                let options = SetOptions::new().ttl(HOUR / 2);
                let set = store
                    .set_if("one", "new", Condition::Absent, options)
                    .await?;
                ensure!(
                    !set.is_applied(),
                    "`absent`, of a key that is there, was applied"
                );
                check_left(&store, "one", lease).await?;
            }
        }
    }
    Ok(())
}

async fn check_left(store: &Store, key: &str, lease: Lease) -> Checked {
    let asked = Instant::now();
    let left = left(store, key).await?;
    lease.check_left(left, asked, &format!("the time left of `{key}`"))
}

pub(crate) async fn t4_touch_sets_the_expiry(f: Fixture) -> Checked {
    let store = f.text();
    if !f.capabilities().touch {
        return no_touch(&store).await;
    }
    store.set("key", "value").await?;
    // On a key without one, longer, and shorter.
    for ttl in [HOUR, 2 * HOUR, HOUR / 2] {
        let (lease, touched) = Lease::start(&f, ttl, store.touch("key", ttl)).await?;
        ensure!(touched, "touch of a key that is there is false");
        check_left(&store, "key", lease).await?;
        let found = store.get("key").await?;
        ensure_eq!(found.as_deref(), Some("value"), "the value after touch");
    }
    let ttl = short(&f);
    let (lease, touched) = Lease::start(&f, ttl, store.touch("key", ttl)).await?;
    ensure!(touched, "touch of a key that is there is false");
    lease.watch(&store, "key").await
}

pub(crate) async fn t4_touch_extends_the_life(f: Fixture) -> Checked {
    let (store, ttl) = (f.text(), 2 * short(&f));
    if !f.capabilities().touch {
        return no_touch(&store).await;
    }
    let options = SetOptions::new().ttl(ttl);
    let (lease, ()) = Lease::start(&f, ttl, store.set_with("key", "value", options)).await?;
    if !store.touch("key", HOUR).await? {
        // On a slow machine it may have expired by now, and only then.
        return lease.watch(&store, "key").await;
    }
    lease.end().await;
    ensure!(
        store.has("key").await?,
        "a touched key expired when it would have without"
    );
    Ok(())
}

pub(crate) async fn t4_persist_removes_the_expiry(f: Fixture) -> Checked {
    let (store, ttl) = (f.text(), 2 * short(&f));
    if !f.capabilities().touch {
        return no_touch(&store).await;
    }
    let options = SetOptions::new().ttl(ttl);
    let (lease, ()) = Lease::start(&f, ttl, store.set_with("key", "value", options)).await?;
    if !store.persist("key").await? {
        return lease.watch(&store, "key").await;
    }
    let found = store.get("key").await?;
    ensure_eq!(found.as_deref(), Some("value"), "the value after persist");
    never_expires(&store, "key", lease).await?;
    ensure!(
        store.persist("key").await?,
        "persist of a key that does not expire is false"
    );
    Ok(())
}

pub(crate) async fn t4_touch_creates_no_key(f: Fixture) -> Checked {
    let store = f.text();
    if !f.capabilities().touch {
        return no_touch(&store).await;
    }
    store.set("deleted", "value").await?;
    store.delete("deleted").await?;
    for key in ["missing", "deleted"] {
        ensure!(
            !store.touch(key, HOUR).await?,
            "touch of the {key} key is true"
        );
        ensure!(!store.has(key).await?, "touch created the {key} key");
        ensure!(
            !store.persist(key).await?,
            "persist of the {key} key is true"
        );
        ensure!(!store.has(key).await?, "persist created the {key} key");
    }
    Ok(())
}
