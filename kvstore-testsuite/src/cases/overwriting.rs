//! What a write makes of the expiry: O4.

use kvstore_core::{Condition, SetOptions};
use tokio::time::Instant;

use super::expiry::{left, never_expires, no_expiry};
use crate::Fixture;
use crate::check::{Checked, ensure, ensure_eq};
use crate::lease::{HOUR, Lease, short};

pub(crate) async fn o4_set_removes_the_expiry(f: Fixture) -> Checked {
    let (store, ttl) = (f.text(), short(&f));
    if f.capabilities().expiry.is_none() {
        return no_expiry(&store).await;
    }
    let keys = ["set", "set_many", "set_if"];
    let write = store.set_many(keys.map(|key| (key, "one")), SetOptions::new().ttl(ttl));
    let (lease, ()) = Lease::start(&f, ttl, write).await?;
    store.set("set", "two").await?;
    store
        .set_many([("set_many", "two")], SetOptions::new())
        .await?;
    if f.capabilities().if_present {
        // Where it has expired already there is nothing to replace.
        let set = store.set_if("set_if", "two", Condition::Present, SetOptions::new());
        if set.await?.is_applied() {
            never_expires(&store, "set_if", lease).await?;
        }
    }
    never_expires(&store, "set", lease).await?;
    never_expires(&store, "set_many", lease).await
}

pub(crate) async fn o4_set_keeps_the_expiry_when_told(f: Fixture) -> Checked {
    let (store, keep) = (f.text(), SetOptions::new().keep_expiry());
    if f.capabilities().expiry.is_none() {
        return no_expiry(&store).await;
    }
    let keys = ["set", "set_many", "set_if"];
    let write = store.set_many(keys.map(|key| (key, "one")), SetOptions::new().ttl(HOUR));
    let (lease, ()) = Lease::start(&f, HOUR, write).await?;
    store.set_with("set", "two", keep).await?;
    store.set_many([("set_many", "two")], keep).await?;
    if f.capabilities().if_present {
        let set = store
            .set_if("set_if", "two", Condition::Present, keep)
            .await?;
        ensure!(
            set.is_applied(),
            "`present`, of a key that is there, was not applied"
        );
    }
    for key in keys {
        let asked = Instant::now();
        let left = left(&store, key).await?;
        lease.check_left(left, asked, &format!("the time left of `{key}`, kept"))?;
    }
    // A key that does not expire keeps that, and so does a new one.
    store.set("lasting", "one").await?;
    for key in ["lasting", "new"] {
        store.set_with(key, "two", keep).await?;
        ensure_eq!(
            left(&store, key).await?,
            None,
            "the time left of the key `{key}`, set to keep what it had"
        );
    }
    // It is kept in truth, not just shown.
    let ttl = short(&f);
    let write = store.set_with("short", "one", SetOptions::new().ttl(ttl));
    let (lease, ()) = Lease::start(&f, ttl, write).await?;
    let present = f.capabilities().if_present;
    if present
        && !store
            .set_if("short", "two", Condition::Present, keep)
            .await?
            .is_applied()
    {
        return Ok(());
    }
    lease.watch(&store, "short").await
}
