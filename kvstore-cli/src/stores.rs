//! Opens stores.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use kvstore_core::{Bytes, KeyValueStore, Provider};
use tokio::time::timeout;

use crate::failure::Failure;
use crate::value::Kind;
use crate::{Context, home, providers, url};

/// A store of values of a type that was chosen at the command line.
pub(crate) type Store = KeyValueStore<Bytes>;

/// Connects the server that a URL names.
pub(crate) async fn open(url: &str) -> Result<Arc<dyn Provider>, Failure> {
    let url = url::with_password(url).await?;
    Ok(providers::open(&url).await?)
}

/// How long closing may take: a write under way may be waiting for a server that is away.
const CLOSING: Duration = Duration::from_secs(5);

/// What a command has opened.
#[derive(Default)]
pub(crate) struct Opened(Mutex<Vec<Arc<dyn Provider>>>);

impl Opened {
    fn add(&self, provider: &Arc<dyn Provider>) {
        let mut opened = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        opened.push(Arc::clone(provider));
    }

    /// Closes it all. Where a file is not closed, the next command checks it as a whole.
    pub(crate) async fn close(self) {
        let opened = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        let closed = join_all(opened.iter().map(|provider| provider.close()));
        // What the command was answered holds, whether this fails or not.
        let _ = timeout(CLOSING, closed).await;
    }
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
        self.open(&self.url()?).await
    }

    /// Connects the server that a URL names, until the command ends.
    pub(crate) async fn open(&self, url: &str) -> Result<Arc<dyn Provider>, Failure> {
        let provider = open(url).await?;
        self.opened.add(&provider);
        Ok(provider)
    }

    /// How many bytes a value of the store may have.
    pub(crate) async fn max_value_len(&self) -> Result<Option<usize>, Failure> {
        let url = url::with_password(&self.url()?).await?;
        Ok(providers::open_lazy(&url)?.capabilities().max_value_len)
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
        let url = url::with_password(url).await?;
        let lazy = providers::open_lazy(&url)?;
        if lazy.capabilities().keys.is_none()
            && let Some(refused) = self.on(&lazy, kind)?.keys("").next().await
        {
            refused?;
        }
        self.on(&self.open(&url).await?, kind)
    }

    /// A store on a provider, in the namespace that the command works in.
    pub(crate) fn on(&self, provider: &Arc<dyn Provider>, kind: Kind) -> Result<Store, Failure> {
        on(provider, kind, self.namespace.as_deref())
    }
}
