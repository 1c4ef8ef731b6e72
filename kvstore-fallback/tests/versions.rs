//! The versions that are told, of keys in the old provider and in the new one, and what holds under them.

mod content;
mod stores;
mod typed;

use std::time::Duration;

use content::ByContent;
use kvstore_core::{
    Condition, DeleteRequest, Format, Key, KeyValueStore, Provider as _, Result, SetOptions,
    SetRequest,
};
use kvstore_fallback::FallbackProvider;
use kvstore_testsuite::Faulty;
use stores::Stores;
use typed::Typed;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_version_of_the_old_one_is_none() -> Result<()> {
    let Stores { both, old, .. } = Stores::filled().await?;
    let version = old.get_entry("old").await?.unwrap().version.unwrap();
    assert!(!both.delete_if("old", version.clone()).await?.is_applied());
    let condition = Condition::Version(version);
    let written = both
        .set_if("old", "written", condition, SetOptions::new())
        .await?;
    assert!(!written.is_applied());
    assert_eq!(both.get("old").await?.as_deref(), Some("from old"));
    Ok(())
}

/// What only the old one has is told with a version, which holds until the key moves, also when it was copied.
#[tokio::test]
async fn a_version_that_was_told_holds_until_the_key_moves() -> Result<()> {
    for how in ["set_if", "delete_if", "set_many", "delete_many"] {
        for meanwhile in ["nothing", "copied", "unmet", "moved", "set", "deleted"] {
            let Stores {
                both,
                old,
                new,
                provider,
            } = Stores::filled().await?;
            let entry = both.get_entry("old").await?.unwrap();
            let again = both.get_entry("old").await?.unwrap();
            assert_eq!(entry.version, again.version);
            match meanwhile {
                "copied" => assert_eq!(provider.copy(Format::Text).await?, 1),
                // With the same value: any write is another version.
                "moved" => assert!(both.touch("old", HOUR).await?),
                // It changes nothing, and moves the key.
                "unmet" => {
                    let absent = Condition::Absent;
                    let set = both.set_if("old", "other", absent, SetOptions::new());
                    assert!(!set.await?.is_applied());
                }
                "set" => both.set("old", "from old").await?,
                "deleted" => both.delete("old").await?,
                _ => {}
            }
            let before = both.get("old").await?;
            let (key, version) = (Key::new("old")?, entry.version.unwrap());
            let write = SetRequest::new(key, Format::Text, "written".into())
                .with_condition(Condition::Version(version.clone()));
            let delete = DeleteRequest::new(key).with_version(version.clone());
            let written = match how {
                "set_if" => provider.set(write).await?,
                "set_many" => provider.set_many(&[write]).await.remove(0)?,
                "delete_if" => provider.delete(delete).await?,
                _ => provider.delete_many(&[delete]).await.remove(0)?,
            };
            let holds = ["nothing", "copied"].contains(&meanwhile);
            assert_eq!(written.is_applied(), holds, "{how}, {meanwhile}");
            let expected = match (holds, how) {
                (false, _) => before,
                (true, "set_if" | "set_many") => Some("written".to_owned()),
                (true, _) => None,
            };
            assert_eq!(both.get("old").await?, expected, "{how}, {meanwhile}");
            if holds {
                assert!(!old.has("old").await?, "{how}, {meanwhile}");
                assert!(new.has("old").await?, "{how}, {meanwhile}");
                assert!(!both.delete_if("old", version).await?.is_applied());
            }
        }
    }
    Ok(())
}

/// Where versions are the content, a key that moves between the two looks is at the same version after it.
#[tokio::test]
async fn a_version_of_a_content_holds_while_the_key_moves() -> Result<()> {
    let (new, old) = (ByContent::default(), ByContent::default());
    let other = Stores::of(new.clone(), old.clone());
    other.old.set("key", "before").await?;
    let (slow, faults) = Faulty::new(old);
    let both = KeyValueStore::text(FallbackProvider::new(new, slow)?);
    let version = both.get_entry("key").await?.unwrap().version.unwrap();
    let calls = faults.calls();
    faults.delay(1, Duration::from_secs(1));
    let writing = tokio::spawn(async move {
        let condition = Condition::Version(version);
        both.set_if("key", "after", condition, SetOptions::new())
            .await
    });
    while faults.calls() == calls {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(other.both.touch("key", HOUR).await?);
    assert!(writing.await.unwrap()?.is_applied());
    assert_eq!(other.both.get("key").await?.as_deref(), Some("after"));
    Ok(())
}

/// One of the new one known from before is none of a key that only the old one has, for `set_if` and for `delete_if`.
#[tokio::test]
async fn a_version_of_the_new_one_is_of_what_it_has() -> Result<()> {
    for at in ["old", "both"] {
        for delete in [false, true] {
            let Stores { both, new, old, .. } = Stores::filled().await?;
            let version = match new.get_entry(at).await? {
                Some(entry) => entry.version.unwrap(),
                None => new.get_entry("new").await?.unwrap().version.unwrap(),
            };
            let outcome = match delete {
                true => both.delete_if(at, version).await?,
                false => {
                    let condition = Condition::Version(version);
                    both.set_if(at, "written", condition, SetOptions::new())
                        .await?
                }
            };
            assert_eq!(outcome.is_applied(), at == "both", "{at}");
            assert_eq!(old.has(at).await?, at == "old", "{at}");
        }
    }
    Ok(())
}

/// A delete does not say what the value is; the version does.
#[tokio::test]
async fn a_version_says_as_what_the_value_was_read() -> Result<()> {
    let (new, old) = (Typed::default(), Typed::default());
    let provider = FallbackProvider::new(new.clone(), old.clone())?;
    let both = KeyValueStore::bytes(provider.clone());
    KeyValueStore::bytes(old).set("key", b"\xff").await?;
    let version = both.get_entry("key").await?.unwrap().version.unwrap();
    assert!(both.delete_if("key", version).await?.is_applied());
    assert_eq!(both.get("key").await?, None);
    Ok(())
}
