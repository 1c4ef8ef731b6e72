//! What becomes of a call when one of the two fails in the middle of it.

use std::error::Error as _;
use std::time::Duration;

use kvstore_core::{
    Condition, Error, ErrorKind, KeyValueStore, Outcome, Result, SetOptions, Version,
};
use kvstore_fallback::FallbackProvider;
use kvstore_memory::MemoryProvider;
use kvstore_testsuite::{Faults, Faulty};

type Store = KeyValueStore<String>;

const HOUR: Duration = Duration::from_secs(3600);

/// Two providers that fail when told to, and the same two without.
struct Place {
    faulty: Store,
    sound: Store,
    new: Faults,
    old: Faults,
}

/// Where the key is before a call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Old,
    New,
    Both,
    Nowhere,
    /// Deleted: with a tombstone.
    Deleted,
}

const PLACES: [At; 5] = [At::Old, At::New, At::Both, At::Nowhere, At::Deleted];

impl Place {
    async fn new(at: At) -> Result<Self> {
        let (new, old) = (MemoryProvider::new(), MemoryProvider::new());
        let sound = KeyValueStore::text(FallbackProvider::new(new.clone(), old.clone())?);
        let stores = [
            KeyValueStore::text(new.clone()),
            KeyValueStore::text(old.clone()),
        ];
        let there = match at {
            At::Old => &stores[1..],
            At::New => &stores[..1],
            At::Both => &stores[..],
            At::Nowhere => &[],
            At::Deleted => {
                sound.delete("key").await?;
                &[]
            }
        };
        for store in there {
            store.set("key", "before").await?;
        }
        let ((new, new_faults), (old, old_faults)) = (Faulty::new(new), Faulty::new(old));
        Ok(Self {
            faulty: KeyValueStore::text(FallbackProvider::new(new, old)?),
            sound,
            new: new_faults,
            old: old_faults,
        })
    }

    /// What is there to see: the value, and whether it expires.
    async fn state(&self) -> Result<Option<(String, bool)>> {
        let entry = self.sound.get_entry("key").await?;
        Ok(entry.map(|entry| (entry.value, entry.expires_in.is_some())))
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Call {
    Get,
    Has,
    GetEntry,
    GetMany,
    Keys,
    Set,
    SetKeeping,
    SetShort,
    SetAbsent,
    SetPresent,
    SetVersion,
    SetMany,
    Delete,
    DeleteIf,
    DeleteMany,
    Take,
    Touch,
    Persist,
}

const READS: [Call; 5] = [
    Call::Get,
    Call::Has,
    Call::GetEntry,
    Call::GetMany,
    Call::Keys,
];

const WRITES: [Call; 13] = [
    Call::Set,
    Call::SetKeeping,
    Call::SetShort,
    Call::SetAbsent,
    Call::SetPresent,
    Call::SetVersion,
    Call::SetMany,
    Call::Delete,
    Call::DeleteIf,
    Call::DeleteMany,
    Call::Take,
    Call::Touch,
    Call::Persist,
];

fn applied(outcome: Outcome) -> String {
    outcome.is_applied().to_string()
}

/// Makes a call; what it answers, as text.
async fn call(call: Call, store: &Store, version: Option<Version>) -> Result<String> {
    let plain = SetOptions::new();
    // A version that nothing has, where there is none.
    let version = version.unwrap_or_else(|| Version::from(1));
    Ok(match call {
        Call::Get => format!("{:?}", store.get("key").await?),
        Call::Has => format!("{:?}", store.has("key").await?),
        Call::GetEntry => format!("{:?}", store.get_entry("key").await?.map(|e| e.value)),
        Call::GetMany => format!("{:?}", store.get_many(["key", "key"]).await?),
        Call::Keys => {
            let (mut keys, mut listed) = (store.keys(""), Vec::new());
            while let Some(key) = keys.next().await {
                listed.push(key?);
            }
            format!("{listed:?}")
        }
        Call::Set => format!("{:?}", store.set("key", "after").await?),
        Call::SetKeeping => {
            format!(
                "{:?}",
                store.set_with("key", "after", plain.keep_expiry()).await?
            )
        }
        Call::SetShort => format!(
            "{:?}",
            store.set_with("key", "after", plain.ttl(HOUR)).await?
        ),
        Call::SetAbsent => applied(
            store
                .set_if("key", "after", Condition::Absent, plain)
                .await?,
        ),
        Call::SetPresent => applied(
            store
                .set_if("key", "after", Condition::Present, plain)
                .await?,
        ),
        Call::SetVersion => {
            let condition = Condition::Version(version);
            applied(store.set_if("key", "after", condition, plain).await?)
        }
        Call::SetMany => format!("{:?}", store.set_many([("key", "after")], plain).await?),
        Call::Delete => format!("{:?}", store.delete("key").await?),
        Call::DeleteIf => applied(store.delete_if("key", version).await?),
        Call::DeleteMany => format!("{:?}", store.delete_many(["key"]).await?),
        Call::Take => format!("{:?}", store.take("key").await?),
        Call::Touch => format!("{:?}", store.touch("key", HOUR).await?),
        Call::Persist => format!("{:?}", store.persist("key").await?),
    })
}

/// The version that a caller has got before.
async fn version(kind: Call, place: &Place) -> Result<Option<Version>> {
    match kind {
        Call::SetVersion | Call::DeleteIf => {
            let entry = place.sound.get_entry("key").await?;
            Ok(entry.and_then(|entry| entry.version))
        }
        _ => Ok(None),
    }
}

/// Every call, from every state, with a fault of each sort in each of the calls that it makes to each of the two.
#[tokio::test]
async fn a_fault_anywhere_is_told_and_leaves_the_key_as_before_or_after() -> Result<()> {
    let mut told = 0;
    for at in PLACES {
        for kind in READS.into_iter().chain(WRITES) {
            let place = Place::new(at).await?;
            let before = place.state().await?;
            let place = Place::new(at).await?;
            let seen = version(kind, &place).await?;
            let answer = call(kind, &place.faulty, seen).await?;
            let after = place.state().await?;
            let calls = [place.new.calls(), place.old.calls()];
            for (side, calls) in calls.into_iter().enumerate() {
                for index in 0..calls {
                    for lost in [false, true] {
                        let place = Place::new(at).await?;
                        let seen = version(kind, &place).await?;
                        let faults = [&place.new, &place.old][side];
                        faults.delay(index, Duration::ZERO);
                        match lost {
                            true => faults.lose_answers(1),
                            false => faults.fail(1, ErrorKind::Timeout),
                        }
                        let result = call(kind, &place.faulty, seen).await;
                        place.new.heal();
                        place.old.heal();
                        let state = place.state().await?;
                        let what = format!(
                            "{kind:?}, {at:?}, call {index} of side {side}, lost: {lost}: {result:?}, {before:?} to {state:?}"
                        );
                        match result {
                            // A fault may be of no matter, as when a value was not to be read at all.
                            Ok(got) => assert_eq!((&got, &state), (&answer, &after), "{what}"),
                            Err(error) => {
                                told += 1;
                                assert!(error.is_retryable(), "{what}");
                                if READS.contains(&kind) {
                                    assert!(!error.outcome_unknown(), "{what}");
                                }
                                match error.outcome_unknown() {
                                    true => assert!(state == before || state == after, "{what}"),
                                    false => assert_eq!(state, before, "{what}"),
                                }
                            }
                        }
                        // Again, as who is told does: a write that may have been done is done.
                        let again = [Call::Set, Call::Delete, Call::SetMany, Call::DeleteMany];
                        if again.contains(&kind) {
                            call(kind, &place.faulty, None).await?;
                            assert_eq!(place.state().await?, after, "{what}");
                        }
                    }
                }
            }
        }
    }
    assert!(told > 300, "only {told} faults were told");
    Ok(())
}

/// Everything that the error says, and that those say which caused it.
fn chain(error: &Error) -> String {
    let mut all = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        all += &format!(": {error}");
        source = error.source();
    }
    all
}

#[tokio::test]
async fn while_the_old_one_is_down_nothing_is_missing() -> Result<()> {
    let place = Place::new(At::New).await?;
    place
        .old
        .fail(usize::from(u16::MAX), ErrorKind::Unavailable);
    assert_eq!(place.faulty.get("key").await?.as_deref(), Some("before"));
    assert!(place.faulty.has("key").await?);
    for error in [
        place.faulty.get("other").await.unwrap_err(),
        place.faulty.has("other").await.unwrap_err(),
        place.faulty.get_entry("other").await.unwrap_err(),
        place.faulty.take("key").await.unwrap_err(),
        place.faulty.delete("key").await.unwrap_err(),
        place.faulty.ping().await.unwrap_err(),
        place.faulty.keys("").next().await.unwrap().unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert_eq!(error.provider(), Some("fallback"), "{error}");
        assert!(!error.outcome_unknown(), "{error}");
        assert!(
            chain(&error).contains("the old provider, memory, failed"),
            "{}",
            chain(&error)
        );
        assert!(
            chain(&error).contains("the test asked for this failure"),
            "{}",
            chain(&error)
        );
    }
    // Each item for itself.
    let found = place.faulty.get_many(["key", "other"]).await.unwrap_err();
    let found = found.into_results();
    assert_eq!(found[0].as_ref().unwrap().as_deref(), Some("before"));
    assert!(found[1].is_err());
    Ok(())
}

#[tokio::test]
async fn while_the_new_one_is_down_the_old_one_is_not_taken_for_it() -> Result<()> {
    let place = Place::new(At::Old).await?;
    place
        .new
        .fail(usize::from(u16::MAX), ErrorKind::Unavailable);
    for kind in READS.into_iter().chain(WRITES) {
        let error = call(kind, &place.faulty, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{kind:?}: {error}");
        let told = chain(&error);
        assert!(
            told.contains("the new provider, memory, failed"),
            "{kind:?}: {told}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_copy_that_fails_says_at_which_key_and_goes_on_next_time() -> Result<()> {
    let (new, old) = (MemoryProvider::new(), MemoryProvider::new());
    let store = KeyValueStore::text(old.clone());
    for index in 0..100 {
        store.set(&format!("key {index}"), "value").await?;
    }
    let (new, faults) = Faulty::new(new);
    let provider = FallbackProvider::new(new, old)?;
    faults.delay(50, Duration::ZERO);
    faults.fail(1, ErrorKind::Timeout);
    let error = provider.copy(kvstore_core::Format::Text).await.unwrap_err();
    assert!(error.key().is_some_and(|key| key.starts_with("key ")));
    assert!(!format!("{error} {error:?}").contains("key 1"));
    let rest = provider.copy(kvstore_core::Format::Text).await?;
    // Those that were under way are done again.
    assert!((1..=50 + 16).contains(&rest), "{rest}");
    assert_eq!(provider.copy(kvstore_core::Format::Text).await?, 0);
    Ok(())
}

/// O6: a future that is dropped anywhere leaves the key as before or after.
#[tokio::test]
async fn a_dropped_call_leaves_the_key_as_before_or_after() -> Result<()> {
    for at in PLACES {
        for kind in WRITES {
            let place = Place::new(at).await?;
            let before = place.state().await?;
            let place = Place::new(at).await?;
            let seen = version(kind, &place).await?;
            call(kind, &place.faulty, seen).await?;
            let after = place.state().await?;
            let calls = [place.new.calls(), place.old.calls()];
            for (side, calls) in calls.into_iter().enumerate() {
                for index in 0..calls {
                    let place = Place::new(at).await?;
                    let seen = version(kind, &place).await?;
                    let faults = [&place.new, &place.old][side];
                    faults.delay(index, Duration::ZERO);
                    faults.delay(1, HOUR);
                    let limit = Duration::from_millis(1);
                    let call = call(kind, &place.faulty, seen);
                    let dropped = tokio::time::timeout(limit, call).await;
                    let state = place.state().await?;
                    assert!(
                        state == before || state == after,
                        "{kind:?}, {at:?}, call {index} of side {side}: {dropped:?}, {state:?}"
                    );
                }
            }
        }
    }
    Ok(())
}
