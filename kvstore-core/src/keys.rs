use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use futures_core::stream::BoxStream;

use crate::{Error, ErrorKind, Result};

/// The keys of a listing, as they come: a `Stream`, with a [`next`](Self::next) of its own.
///
/// Each key that was there throughout comes at least once (see
/// [`Capabilities::keys`](crate::Capabilities::keys)). A listing that ends with an error is incomplete.
/// `Debug` prints no key.
///
/// ```
/// # async fn example(store: kvstore_core::KeyValueStore<String>) -> kvstore_core::Result<()> {
/// let mut keys = store.keys("user/");
/// while let Some(key) = keys.next().await {
///     println!("{}", key?);
/// }
/// # Ok(()) }
/// ```
#[must_use = "a listing asks the server only as its keys are read"]
pub struct Keys {
    /// `None` after the last: what a provider's stream does when it is asked again is not known.
    inner: Option<BoxStream<'static, Result<String>>>,
    provider: &'static str,
    /// The prefix of the store's namespace, which callers do not see.
    namespace: Arc<str>,
}

impl Keys {
    pub(crate) fn new(
        inner: BoxStream<'static, Result<String>>,
        provider: &'static str,
        namespace: Arc<str>,
    ) -> Self {
        Self {
            inner: Some(inner),
            provider,
            namespace,
        }
    }

    /// The next key; `None` after the last, however often it is asked.
    ///
    /// # Errors
    /// The provider's, page by page; [`ErrorKind::Unsupported`] where it cannot list.
    pub async fn next(&mut self) -> Option<Result<String>> {
        poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// The key as its namespace has it; `None` for the parent's key `name:`, which has no name in here.
    fn own(&self, key: String) -> Option<Result<String>> {
        if self.namespace.is_empty() {
            return Some(Ok(key));
        }
        match key.strip_prefix(&*self.namespace) {
            Some("") => None,
            Some(own) => Some(Ok(own.to_owned())),
            None => Some(Err(Error::new(
                ErrorKind::Other,
                "the provider named a key outside of the prefix that it was asked for",
            ))),
        }
    }
}

impl Stream for Keys {
    type Item = Result<String>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let Some(inner) = &mut self.inner else {
                return Poll::Ready(None);
            };
            let Some(result) = ready!(inner.as_mut().poll_next(context)) else {
                self.inner = None;
                return Poll::Ready(None);
            };
            if let Some(result) = result.map_or_else(|e| Some(Err(e)), |key| self.own(key)) {
                let provider = self.provider;
                return Poll::Ready(Some(
                    result.map_err(|error| error.at(provider, "keys", None)),
                ));
            }
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}
