//! The cases find what is wrong: of providers with one planted bug each, exactly the cases that must fail do. And
//! they find nothing wrong with those that keep the contract, whatever these claim.

mod planted {
    pub(crate) mod batches;
    pub(crate) mod conditions;
    pub(crate) mod errors;
    pub(crate) mod expiry;
    pub(crate) mod keys;
    pub(crate) mod values;

    pub(crate) use super::reference;
}
mod reference;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;
use std::time::Duration;

use kvstore_core::{Capabilities, Listing, Versions};
use kvstore_testsuite::{Failure, cases};
use planted::{batches, conditions, errors, expiry, keys, values};
use reference::bug::Bug;

type Planted = (Bug, &'static [&'static str]);

/// What no provider's bug can break, since the store does it before the provider is asked.
const KEPT_BY_THE_STORE: [&str; 6] = [
    "b1_of_duplicates_the_last_wins",
    "e1_debug_prints_no_secret",
    "k4_the_empty_key_is_invalid",
    "k5_a_name_is_not_empty_and_holds_no_colon",
    "k5_a_nested_namespace_is_a_namespace_of_a_namespace",
    "t3_zero_and_over_100_years_is_invalid",
];

/// The cases that fail. In a runtime of its own for each, whose clock jumps to the next deadline when all tasks
/// wait: expiry takes no time, and each run is the same.
fn failing(capabilities: &Capabilities, bug: Option<Bug>) -> Vec<(&'static str, Failure)> {
    let run = |case: &kvstore_testsuite::Case| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        let fixture = reference::fixture(capabilities.clone(), bug);
        let failure = runtime.block_on(case.run(fixture)).err()?;
        Some((case.name, failure))
    };
    cases().iter().filter_map(run).collect()
}

/// What is wrong with the expectation, if anything.
fn check((bug, expected): Planted) -> Option<String> {
    let failing = failing(&reference::full(), Some(bug));
    let found: BTreeSet<&str> = failing.iter().map(|(name, _)| *name).collect();
    let expected: BTreeSet<&str> = expected.iter().copied().collect();
    let unnoticed: Vec<_> = expected.difference(&found).collect();
    let alien = |(name, _): &&(&str, Failure)| !expected.contains(name);
    let alien: Vec<_> = failing.iter().filter(alien).collect();
    let wrong = !(unnoticed.is_empty() && alien.is_empty());
    wrong.then(|| format!("{bug:?}: did not fail: {unnoticed:?}; failed besides: {alien:#?}"))
}

fn planted() -> Vec<Planted> {
    [
        keys::PLANTED,
        values::PLANTED,
        expiry::PLANTED,
        conditions::PLANTED,
        batches::PLANTED,
        errors::PLANTED,
    ]
    .concat()
}

#[test]
fn each_bug_is_found_by_the_cases_named_beside_it() {
    let (planted, next) = (planted(), AtomicUsize::new(0));
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(bug) = planted.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = check(*bug);
                    wrong.lock().unwrap().extend(found);
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_case_can_fail() {
    let planted = planted();
    let found: BTreeSet<&str> = planted
        .iter()
        .flat_map(|(_, cases)| cases.iter().copied())
        .collect();
    let unbroken: BTreeSet<&str> = cases()
        .iter()
        .map(|case| case.name)
        .filter(|name| !found.contains(name))
        .collect();
    assert_eq!(unbroken, BTreeSet::from(KEPT_BY_THE_STORE));
}

#[test]
fn providers_that_keep_the_contract_pass() {
    let full = reference::full();
    let bare = Capabilities::new("bare");
    let mut coarse = full.clone();
    coarse.expiry = Some(Duration::from_secs(1));
    let mut counting = full.clone();
    counting.versions = Some(Versions::Counter);
    counting.max_value_len = None;
    let mut content = full.clone();
    content.versions = Some(Versions::Content);
    content.keys = Some(Listing::AtLeastOnce);
    let mut expiring = bare.clone();
    expiring.expiry = full.expiry;
    let mut creating = bare.clone();
    creating.if_absent = true;
    creating.keys = full.keys;
    let mut replacing = bare.clone();
    replacing.if_present = true;
    replacing.take = true;
    for capabilities in [
        full, bare, coarse, counting, content, expiring, creating, replacing,
    ] {
        let failing = failing(&capabilities, None);
        assert!(failing.is_empty(), "{capabilities:?}: {failing:#?}");
    }
}
