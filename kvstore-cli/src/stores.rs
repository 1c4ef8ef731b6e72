//! Opens stores.

use std::sync::Arc;

use kvstore_core::{Bytes, KeyValueStore, Provider};

use crate::failure::Failure;
use crate::value::Kind;
use crate::{Context, home, providers, url};

/// A store of values of a type that was chosen at the command line.
pub(crate) type Store = KeyValueStore<Bytes>;

/// Connects the server that a URL names.
pub(crate) async fn open(url: &str) -> Result<Arc<dyn Provider>, Failure> {
    let url = url::with_password(url)?;
    Ok(providers::open(&url).await?)
}

/// A store of a type on a provider, in a namespace.
pub(crate) fn on(
    provider: &Arc<dyn Provider>,
    kind: Kind,
    namespace: Option<&str>,
) -> Result<Store, Failure> {
    let mut store = KeyValueStore::with_codec(Arc::clone(provider), kind);
    for name in namespace.into_iter().flat_map(|names| names.split(':')) {
        store = store.namespace(name)?;
    }
    Ok(store)
}

impl Context<'_> {
    /// The URL of the one store that the command works on.
    pub(crate) fn url(&self) -> Result<String, Failure> {
        self.store.clone().map_or_else(home::url, Ok)
    }

    /// The provider of the one store that the command works on.
    pub(crate) async fn provider(&self) -> Result<Arc<dyn Provider>, Failure> {
        open(&self.url()?).await
    }

    /// The one store that the command works on.
    pub(crate) async fn store(&self, kind: Kind) -> Result<Store, Failure> {
        self.on(&self.provider().await?, kind)
    }

    /// The store, for a command that may move its key from the old one of two to the new one. What moves is read as a
    /// type, which Vault for one cannot tell from its form, so there the type must be told.
    pub(crate) async fn moving(&self, kind: Option<Kind>, unless: Kind) -> Result<Store, Failure> {
        if kind.is_none() && url::is_two(&self.url()?) {
            return Err(Failure::usage(
                "this moves the key to the new store, as what `--as bytes`, `text` or `json` says: give it",
            ));
        }
        self.store(kind.unwrap_or(unless)).await
    }

    /// A store whose keys are to be listed. Where they cannot be, no server is asked.
    pub(crate) async fn listed(&self, url: &str, kind: Kind) -> Result<Store, Failure> {
        let url = url::with_password(url)?;
        let lazy = providers::open_lazy(&url)?;
        if lazy.capabilities().keys.is_none()
            && let Some(refused) = self.on(&lazy, kind)?.keys("").next().await
        {
            refused?;
        }
        self.on(&providers::open(&url).await?, kind)
    }

    /// A store on a provider, in the namespace that the command works in.
    pub(crate) fn on(&self, provider: &Arc<dyn Provider>, kind: Kind) -> Result<Store, Failure> {
        on(provider, kind, self.namespace.as_deref())
    }
}
