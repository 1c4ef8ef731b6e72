//! Values: stored, read back, listed, and expired.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kvstore_core::{KeyValueStore, SetOptions};
use tokio::time::sleep;

use crate::packages::Package;
use crate::report::{line, short, speed, title};
use crate::{Place, Step};

const SINGLES: &str = "packages";
const BATCHES: &str = "batches";
const EXPIRING: &str = "expiring";

/// How long a key lives that is watched until it has expired.
const MOMENT: Duration = Duration::from_millis(300);
const HOUR: Duration = Duration::from_secs(3600);

/// Stores every package, and reads it back, in a call each.
pub(crate) async fn one_by_one(place: &Place, packages: &[Package]) -> Step {
    title("Typed values, one by one")?;
    let store = place.store(SINGLES)?;
    let count = packages.len();
    let dependencies: usize = packages
        .iter()
        .map(|package| package.dependencies.len())
        .sum();
    let features: usize = packages.iter().map(|package| package.features.len()).sum();
    line(
        "read",
        &format!(
            "{count} packages from `cargo metadata`, {dependencies} dependencies, {features} features"
        ),
    )?;

    let begin = Instant::now();
    for package in packages {
        store.set(&package.key(), package).await?;
    }
    speed("set", count, "each package stored as JSON", begin.elapsed())?;

    let begin = Instant::now();
    for package in packages {
        let found = store.get(&package.key()).await?;
        if found.as_ref() != Some(package) {
            return Err(format!("{} did not come back as it was", package.key()).into());
        }
    }
    speed(
        "get",
        count,
        "each read back, and equal to what was set",
        begin.elapsed(),
    )?;

    // A missing key is no error; a value of another type is.
    let missing = store.get("no-such-package/1.0.0").await?;
    line("get", &format!("a missing key: {missing:?}"))?;
    let first = packages.first().ok_or("there are no packages")?;
    match place.store::<u64>(SINGLES)?.get(&first.key()).await {
        Err(error) => line(
            "get",
            &format!("a package as a number: {:?} error", error.kind()),
        )?,
        Ok(_) => return Err("a package was read as a number".into()),
    }
    Ok(())
}

/// Does the same in a few round trips.
pub(crate) async fn in_batches(place: &Place, packages: &[Package]) -> Step {
    title("The same in batches")?;
    let (singles, store) = (place.store::<Package>(SINGLES)?, place.store(BATCHES)?);
    let keys: Vec<String> = packages.iter().map(Package::key).collect();

    let begin = Instant::now();
    store
        .set_many(keys.iter().zip(packages), SetOptions::new())
        .await?;
    speed(
        "set_many",
        keys.len(),
        "stored in one call",
        begin.elapsed(),
    )?;

    let begin = Instant::now();
    let found = store.get_many(&keys).await?;
    let batch = speed(
        "get_many",
        keys.len(),
        "read back in one call",
        begin.elapsed(),
    )?;
    if !found
        .iter()
        .map(Option::as_ref)
        .eq(packages.iter().map(Some))
    {
        return Err("a batch did not come back as it was".into());
    }

    let begin = Instant::now();
    for key in &keys {
        singles.get(key).await?;
    }
    let single = speed(
        "get",
        keys.len(),
        "read in as many calls, to compare",
        begin.elapsed(),
    )?;
    line(
        "",
        &format!("a batch is {:.1} times as fast", batch / single),
    )?;
    Ok(())
}

/// Lists keys by prefix, and looks at their values.
pub(crate) async fn listed(place: &Place, packages: &[Package]) -> Step {
    title("Listing")?;
    let store = place.store::<Package>(SINGLES)?;
    let all = match store.capabilities().keys {
        Some(_) => names(&store, "").await?,
        None => {
            line(
                "keys",
                "this server cannot list its keys; these are the ones that were written:",
            )?;
            packages.iter().map(Package::key).collect()
        }
    };
    let own = match store.capabilities().keys {
        Some(_) => names(&store, "kvstore-").await?,
        None => all
            .iter()
            .filter(|key| key.starts_with("kvstore-"))
            .cloned()
            .collect(),
    };
    line("keys", &format!("{} begin with `kvstore-`:", own.len()))?;
    for package in store.get_many(&own).await?.into_iter().flatten() {
        let description = package.description.unwrap_or_default();
        line(
            "",
            &format!("{:<20}{}", package.name, short(&description, 56)),
        )?;
    }

    let mut licenses = BTreeMap::<String, usize>::new();
    for package in store.get_many(&all).await?.into_iter().flatten() {
        let license = package.license.unwrap_or_else(|| "none named".to_owned());
        *licenses.entry(license).or_default() += 1;
    }
    let mut licenses: Vec<_> = licenses.into_iter().collect();
    licenses.sort_by_key(|(_, packages)| std::cmp::Reverse(*packages));
    line(
        "keys",
        &format!("{} in all; the commonest licenses:", all.len()),
    )?;
    for (license, packages) in licenses.iter().take(3) {
        line("", &format!("{packages:>4}  {license}"))?;
    }
    Ok(())
}

/// The keys that begin with a prefix, in order.
pub(crate) async fn names<V: 'static>(store: &KeyValueStore<V>, prefix: &str) -> Step<Vec<String>> {
    let mut listing = store.keys(prefix);
    let mut names = Vec::new();
    while let Some(key) = listing.next().await {
        names.push(key?);
    }
    names.sort();
    // A server may name a key twice.
    names.dedup();
    Ok(names)
}

/// The keys that these steps write, after the names of their stores: for servers without a listing.
pub(crate) fn written(packages: &[Package]) -> Vec<String> {
    let all = |part| {
        packages
            .iter()
            .map(move |package| format!("{part}:{}", package.key()))
    };
    let expiring = all(EXPIRING).take(3);
    all(SINGLES).chain(all(BATCHES)).chain(expiring).collect()
}

/// Lets three keys expire, and changes its mind about two of them.
pub(crate) async fn expiring(place: &Place, packages: &[Package]) -> Step {
    title("Expiry")?;
    let store = place.store::<Package>(EXPIRING)?;
    let [gone, touched, persisted, ..] = packages else {
        return Err("there are fewer than three packages".into());
    };
    let granularity = store.capabilities().expiry.unwrap_or_default();
    let ttl = SetOptions::new().ttl(MOMENT.max(granularity));
    for package in [gone, touched, persisted] {
        store.set_with(&package.key(), package, ttl).await?;
    }
    let begin = Instant::now();
    let entry = store
        .get_entry(&gone.key())
        .await?
        .ok_or("a key expired early")?;
    let left = entry.expires_in.ok_or("a key has no expiry")?;
    line(
        "set_with",
        &format!(
            "three packages for {MOMENT:?}; {} has {} ms left",
            gone.name,
            left.as_millis()
        ),
    )?;
    let late =
        !store.touch(&touched.key(), HOUR).await? || !store.persist(&persisted.key()).await?;
    if late {
        return Err("the keys expired before their expiry was changed".into());
    }
    line(
        "touch",
        &format!("{} may live for an hour now", touched.name),
    )?;
    line("persist", &format!("{} for ever", persisted.name))?;

    while store.has(&gone.key()).await? {
        if begin.elapsed() > MOMENT + 2 * granularity + Duration::from_secs(10) {
            return Err("a key outlives its deadline".into());
        }
        sleep(Duration::from_millis(5)).await;
    }
    line(
        "has",
        &format!(
            "{} is gone after {} ms",
            gone.name,
            begin.elapsed().as_millis()
        ),
    )?;
    let left = store
        .get_many([gone, touched, persisted].map(Package::key))
        .await?;
    let left = left.iter().flatten().count();
    line("get_many", &format!("{left} of the three are left"))?;
    match left {
        2 => Ok(()),
        _ => Err("the wrong keys expired".into()),
    }
}
