use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use kvstore_core::{Bytes, Capabilities, KeyValueStore, Provider};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::faulty::{Faults, Faulty};

/// What a case is run on: a provider on a root of its own, where no key is yet.
///
/// A root is made by the server's means (a prefix, path, collection or database of the provider's
/// configuration), never a [namespace](KeyValueStore::namespace): under `x:` the keys `..` and `/a` are
/// harmless, and the cases on keys would test nothing.
#[derive(Clone)]
pub struct Fixture {
    provider: Arc<dyn Provider>,
    other: Option<Arc<dyn Provider>>,
}

impl Fixture {
    /// A fixture of one client.
    pub fn new(provider: impl Provider) -> Self {
        Self {
            provider: Arc::new(provider),
            other: None,
        }
    }

    /// Adds a second client of the same root, with a connection of its own: what one writes the other reads,
    /// and they contend. Without one the first client plays both.
    #[must_use]
    pub fn with_other(mut self, provider: impl Provider) -> Self {
        self.other = Some(Arc::new(provider));
        self
    }

    /// The provider.
    pub fn provider(&self) -> &Arc<dyn Provider> {
        &self.provider
    }

    /// The second client; the first where there is no second.
    pub fn other(&self) -> &Arc<dyn Provider> {
        self.other.as_ref().unwrap_or(&self.provider)
    }

    pub(crate) fn capabilities(&self) -> &Capabilities {
        self.provider.capabilities()
    }

    pub(crate) fn bytes(&self) -> KeyValueStore<Bytes> {
        KeyValueStore::bytes(Arc::clone(&self.provider))
    }

    pub(crate) fn text(&self) -> KeyValueStore<String> {
        KeyValueStore::text(Arc::clone(&self.provider))
    }

    pub(crate) fn json(&self) -> KeyValueStore<Map<String, Value>> {
        KeyValueStore::json(Arc::clone(&self.provider))
    }

    pub(crate) fn model<T: Serialize + DeserializeOwned + 'static>(&self) -> KeyValueStore<T> {
        KeyValueStore::model(Arc::clone(&self.provider))
    }

    /// The text store of the second client.
    pub(crate) fn other_text(&self) -> KeyValueStore<String> {
        KeyValueStore::text(Arc::clone(self.other()))
    }

    /// The same with one client, whose calls are counted.
    pub(crate) fn counted(&self) -> (Self, Faults) {
        let (counted, faults) = Faulty::new(Arc::clone(&self.provider));
        (Self::new(counted), faults)
    }

    /// As many text stores as there are tasks, of the two clients in turn.
    pub(crate) fn texts(&self, tasks: usize) -> Vec<KeyValueStore<String>> {
        let stores = [self.text(), self.other_text()];
        stores.iter().cloned().cycle().take(tasks).collect()
    }
}

impl fmt::Debug for Fixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixture")
            .field("provider", &self.capabilities().provider)
            .field("other", &self.other.is_some())
            .finish()
    }
}

/// A name for a root that no other test uses: 20 lower-case letters and digits, the first a letter.
///
/// It is random, so nothing that another run left behind is in the way.
pub fn unique_root() -> String {
    // Each `RandomState` hashes with keys of its own, seeded by the operating system.
    format!(
        "test{:016x}",
        RandomState::new().hash_one(std::process::id())
    )
}
