//! Batches: B1 and B3.

use kvstore_core::{
    Condition, DeleteRequest, Expiry, Format, GetRequest, Key, Outcome, SetOptions, SetRequest,
};
use tokio::time::Instant;

use super::conditions::version;
use crate::check::{Checked, ensure, ensure_eq};
use crate::lease::{HOUR, Lease};
use crate::{Failure, Fixture};

pub(crate) async fn b1_get_many_answers_in_the_order_asked(f: Fixture) -> Checked {
    let store = f.text();
    store
        .set_many(
            [("a", "1"), ("b", "2"), ("c", ""), ("d", "4")],
            SetOptions::new(),
        )
        .await?;
    let one = |value: &str| Some(value.to_owned());
    let batches: [(&[&str], _); 5] = [
        (
            &["a", "b", "c", "d"],
            vec![one("1"), one("2"), one(""), one("4")],
        ),
        (
            &["d", "b", "a", "c"],
            vec![one("4"), one("2"), one("1"), one("")],
        ),
        (
            &["x", "a", "y", "b", "z"],
            vec![None, one("1"), None, one("2"), None],
        ),
        (
            &["b", "a", "b", "x", "b", "x"],
            vec![one("2"), one("1"), one("2"), None, one("2"), None],
        ),
        (&["c"], vec![one("")]),
    ];
    for (keys, expected) in batches {
        ensure_eq!(
            store.get_many(keys).await?,
            expected,
            "get_many of {keys:?}"
        );
    }
    Ok(())
}

pub(crate) async fn b1_the_empty_batch_is_empty(f: Fixture) -> Checked {
    let (counted, faults) = f.counted();
    let (store, none) = (counted.text(), [""; 0]);
    ensure_eq!(store.get_many(none).await?, [], "get_many of no key");
    store.set_many([("", ""); 0], SetOptions::new()).await?;
    store.delete_many(none).await?;
    ensure_eq!(
        faults.calls(),
        0,
        "the number of calls that the provider got"
    );
    // Nor does the provider itself mind.
    ensure!(
        f.provider().get_many(&[]).await.is_empty(),
        "the provider answers to no key"
    );
    ensure!(
        f.provider().set_many(&[]).await.is_empty(),
        "the provider answers to no write"
    );
    ensure!(
        f.provider().delete_many(&[]).await.is_empty(),
        "the provider answers to no delete"
    );
    Ok(())
}

pub(crate) async fn b1_of_duplicates_the_last_wins(f: Fixture) -> Checked {
    let store = f.text();
    let items = [
        ("a", "1"),
        ("b", "1"),
        ("a", "2"),
        ("c", "1"),
        ("a", "3"),
        ("b", "2"),
    ];
    store.set_many(items, SetOptions::new()).await?;
    let found = store.get_many(["a", "b", "c"]).await?;
    ensure_eq!(
        found,
        ["3", "2", "1"].map(|value| Some(value.to_owned())),
        "the values set"
    );
    Ok(())
}

pub(crate) async fn b1_delete_many_ignores_missing_keys(f: Fixture) -> Checked {
    let store = f.text();
    store
        .set_many([("a", "1"), ("b", "2"), ("c", "3")], SetOptions::new())
        .await?;
    store.delete_many(["missing"]).await?;
    store
        .delete_many(["missing", "a", "gone", "b", "a", "missing"])
        .await?;
    let found = store.get_many(["a", "b", "c"]).await?;
    ensure_eq!(found, [None, None, Some("3".to_owned())], "the values left");
    Ok(())
}

pub(crate) async fn b1_large_batches_are_done_in_full(f: Fixture) -> Checked {
    let store = f.text();
    let keys: Vec<String> = (0..2500).map(|index| format!("large/{index}")).collect();
    let value = |index: usize| format!("value {index}");
    let items = keys
        .iter()
        .enumerate()
        .map(|(index, key)| (key, value(index)));
    store.set_many(items, SetOptions::new()).await?;
    let backwards = store.get_many(keys.iter().rev()).await?;
    for (index, found) in backwards.into_iter().rev().enumerate() {
        ensure_eq!(found, Some(value(index)), "the value of {}", keys[index]);
    }
    store.delete_many(&keys[..2400]).await?;
    let found = store.get_many(&keys).await?;
    let left: Vec<usize> = (0..keys.len())
        .filter(|index| found[*index].is_some())
        .collect();
    ensure_eq!(
        left,
        Vec::from_iter(2400..2500),
        "the keys left by delete_many"
    );
    Ok(())
}

/// What the single call does, the batch does: an item carries its own expiry and condition.
pub(crate) async fn b3_items_carry_their_own_condition(f: Fixture) -> Checked {
    let (store, capabilities) = (f.text(), f.capabilities());
    let keys = ["plain", "there", "at version", "stale", "also plain"];
    store
        .set_many(keys.map(|key| (key, "old")), SetOptions::new())
        .await?;
    let set = |key, value: &'static str| -> Checked<SetRequest<'_>> {
        Ok(SetRequest::new(Key::new(key)?, Format::Text, value.into()))
    };
    let mut items = vec![(set("plain", "new")?, true, Some("new"))];
    let mut add = |key, condition, applied, now| -> Checked {
        items.push((set(key, "new")?.with_condition(condition), applied, now));
        Ok(())
    };
    if capabilities.if_absent {
        add("created", Condition::Absent, true, Some("new"))?;
        add("there", Condition::Absent, false, Some("old"))?;
    }
    if capabilities.if_present {
        add("missing", Condition::Present, false, None)?;
    }
    if capabilities.versions.is_some() {
        let (current, stale) = (
            version(&store, "at version").await?,
            version(&store, "stale").await?,
        );
        store.set("stale", "newer").await?;
        add("at version", Condition::Version(current), true, Some("new"))?;
        add("stale", Condition::Version(stale), false, Some("newer"))?;
    }
    items.push((set("also plain", "new")?, true, Some("new")));
    let requests: Vec<_> = items.iter().map(|(request, ..)| request.clone()).collect();
    let outcomes = f.provider().set_many(&requests).await;
    ensure_eq!(
        outcomes.len(),
        items.len(),
        "how many results set_many gives"
    );
    for ((request, applied, now), outcome) in items.iter().zip(outcomes) {
        let key = request.key.as_str();
        ensure_eq!(
            outcome?.is_applied(),
            *applied,
            "the item `{key}` was applied"
        );
        ensure_eq!(
            store.get(key).await?.as_deref(),
            *now,
            "the value of `{key}`"
        );
    }
    if capabilities.versions.is_some() {
        let (current, stale) = (
            version(&store, "plain").await?,
            version(&store, "stale").await?,
        );
        store.set("stale", "newest").await?;
        let deletes = [
            DeleteRequest::new(Key::new("stale")?).with_version(stale),
            DeleteRequest::new(Key::new("plain")?).with_version(current),
            DeleteRequest::new(Key::new("also plain")?),
        ];
        let outcomes = f.provider().delete_many(&deletes).await;
        let outcomes: Result<Vec<Outcome>, _> = outcomes.into_iter().collect();
        let applied: Vec<bool> = outcomes?.iter().map(Outcome::is_applied).collect();
        ensure_eq!(
            applied,
            [false, true, true],
            "of a delete at a stale version, at the current, and plain: applied"
        );
        let left = store.get_many(["stale", "plain", "also plain"]).await?;
        ensure_eq!(
            left,
            [Some("newest".to_owned()), None, None],
            "the values after delete_many"
        );
    }
    Ok(())
}

pub(crate) async fn b3_items_carry_their_own_expiry(f: Fixture) -> Checked {
    let store = f.text();
    if f.capabilities().expiry.is_none() {
        return super::expiry::no_expiry(&store).await;
    }
    store
        .set_with("kept", "old", SetOptions::new().ttl(2 * HOUR))
        .await?;
    let expiries = [
        ("never", Expiry::Never),
        ("hour", Expiry::After(HOUR)),
        ("kept", Expiry::Keep),
        ("half", Expiry::After(HOUR / 2)),
    ];
    let request = |(key, expiry)| -> Checked<SetRequest<'_>> {
        Ok(SetRequest::new(Key::new(key)?, Format::Text, "new".into()).with_expiry(expiry))
    };
    let requests = expiries
        .into_iter()
        .map(request)
        .collect::<Checked<Vec<_>>>()?;
    let write = async {
        let outcomes = f.provider().set_many(&requests).await;
        outcomes
            .into_iter()
            .try_for_each(|outcome| outcome.map(drop))
    };
    let (lease, ()) = Lease::start(&f, HOUR, write).await?;
    for (key, of_an_hour) in [
        ("never", None),
        ("hour", Some((1, 1))),
        ("kept", Some((2, 1))),
        ("half", Some((1, 2))),
    ] {
        let asked = Instant::now();
        let Some(entry) = store.get_entry(key).await? else {
            return Err(Failure::new(format!("the item `{key}` was not written")));
        };
        ensure_eq!(entry.value, "new", "the value of `{key}`");
        match (of_an_hour, entry.expires_in) {
            (None, left) => ensure_eq!(left, None, "the time left of `{key}`"),
            // Compared as if it were the hour that the lease is of; `kept` began a little earlier.
            (Some((times, parts)), left) if key != "kept" => {
                let whole = left.map(|left| left + HOUR - HOUR * times / parts);
                lease.check_left(whole, asked, &format!("the time left of `{key}`"))?;
            }
            (_, left) => ensure!(
                left.is_some_and(|left| left > HOUR),
                "the item `{key}` has {left:?} left"
            ),
        }
    }
    Ok(())
}

/// The provider answers a batch of one as it answers the single call.
pub(crate) async fn b1_a_batch_of_one_is_the_single_call(f: Fixture) -> Checked {
    let provider = f.provider();
    for key in ["a", "a/b", "\0", "é", "*"] {
        let key = Key::new(key)?;
        let get = GetRequest::new(key, Format::Text);
        let set = SetRequest::new(key, Format::Text, "value".into());
        let outcomes = provider.set_many(std::slice::from_ref(&set)).await;
        ensure!(
            matches!(outcomes[..], [Ok(Outcome::Applied(_))]),
            "set_many of one: {outcomes:?}"
        );
        let (single, many) = (provider.get(get).await?, provider.get_many(&[get]).await);
        ensure_eq!(
            single.as_deref(),
            Some(&b"value"[..]),
            "get after set_many of one"
        );
        ensure!(
            matches!(&many[..], [Ok(found)] if *found == single),
            "get_many of one differs from get"
        );
        let outcomes = provider.delete_many(&[DeleteRequest::new(key)]).await;
        ensure!(
            matches!(outcomes[..], [Ok(Outcome::Applied(_))]),
            "delete_many of one: {outcomes:?}"
        );
        ensure!(
            provider.get(get).await?.is_none(),
            "a key deleted by delete_many of one is there"
        );
    }
    Ok(())
}
