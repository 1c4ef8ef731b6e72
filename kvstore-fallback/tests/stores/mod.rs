//! An old and a new provider, and what both are together.
#![allow(dead_code, reason = "each test program uses some of it")]

use kvstore_core::{Condition, KeyValueStore, Provider, Result, SetOptions};
use kvstore_fallback::FallbackProvider;
use kvstore_memory::MemoryProvider;

/// The two, and what both are together.
pub(crate) struct Stores {
    pub(crate) new: KeyValueStore<String>,
    pub(crate) old: KeyValueStore<String>,
    pub(crate) both: KeyValueStore<String>,
    pub(crate) provider: FallbackProvider,
}

impl Stores {
    pub(crate) fn new() -> Self {
        Self::of(MemoryProvider::new(), MemoryProvider::new())
    }

    pub(crate) fn of(new: impl Provider + Clone, old: impl Provider + Clone) -> Self {
        let provider = FallbackProvider::new(new.clone(), old.clone()).unwrap();
        Self {
            new: KeyValueStore::text(new),
            old: KeyValueStore::text(old),
            both: KeyValueStore::text(provider.clone()),
            provider,
        }
    }

    /// With the keys `old`, `new`, `both` and, which nobody has, `none`.
    pub(crate) async fn filled() -> Result<Self> {
        let stores = Self::new();
        stores.old.set("old", "from old").await?;
        stores.new.set("new", "from new").await?;
        stores.old.set("both", "from both").await?;
        stores.new.set("both", "from both").await?;
        Ok(stores)
    }

    /// What a copy does that has read the old provider long ago.
    pub(crate) async fn late_copy(&self, key: &str, value: &str) -> Result<()> {
        let absent = Condition::Absent;
        let copied = self
            .new
            .set_if(key, value, absent, SetOptions::new())
            .await?;
        assert!(!copied.is_applied(), "{key} has come back");
        Ok(())
    }
}

pub(crate) async fn listed(store: &KeyValueStore<String>) -> Result<Vec<String>> {
    let mut keys = store.keys("");
    let mut listed = Vec::new();
    while let Some(key) = keys.next().await {
        listed.push(key?);
    }
    listed.sort();
    Ok(listed)
}
