//! Where the tour keeps what it stores.

use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;

use kvstore_core::{KeyValueStore, Provider, Result};
use kvstore_file::{FileConfig, FileProvider};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A namespace of the tour's own.
pub(crate) struct Place {
    pub(crate) provider: Arc<dyn Provider>,
    /// The name of its namespace.
    pub(crate) name: String,
}

impl Place {
    pub(crate) fn new(provider: Arc<dyn Provider>) -> Self {
        let name = new_name("tour");
        Self { provider, name }
    }

    /// A store of any serde type, in a namespace within that of the tour. There can be any number of stores on
    /// one provider.
    pub(crate) fn store<T>(&self, part: &str) -> Result<KeyValueStore<T>>
    where
        T: Serialize + DeserializeOwned + 'static,
    {
        let provider = Arc::clone(&self.provider);
        KeyValueStore::model(provider)
            .namespace(&self.name)?
            .namespace(part)
    }

    /// The namespace above those of the stores, which sees all their keys.
    pub(crate) fn everything(&self) -> Result<KeyValueStore<String>> {
        KeyValueStore::text(Arc::clone(&self.provider)).namespace(&self.name)
    }
}

/// A folder for temporary files, which goes with this value.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(new_name("kvstore-tour"));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("store.redb")
    }

    /// Opens the file in it: without a URL, by the provider's own configuration.
    pub(crate) async fn open(&self) -> Result<Arc<dyn Provider>> {
        let file = FileProvider::connect(FileConfig::new(self.file())).await?;
        Ok(Arc::new(file))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A file that is left in the folder for temporary files is no reason to fail.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A name that nobody else has.
fn new_name(prefix: &str) -> String {
    format!("{prefix}-{:016x}", RandomState::new().hash_one(()))
}
