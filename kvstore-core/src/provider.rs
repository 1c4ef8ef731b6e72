use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use futures_core::stream::BoxStream;

use crate::{
    Capabilities, DeleteRequest, Entry, Error, ErrorKind, Format, GetRequest, Key, KeysRequest,
    Outcome, Result, ServerInfo, SetRequest, TouchRequest,
};

/// Connects a server: what a backend crate implements.
///
/// Four methods are required. The others have defaults that are right on every server: slower at worst, or
/// [`ErrorKind::Unsupported`]. A provider that can do more overrides them and claims so in its
/// [`Capabilities`]; `get_entry` must be overridden where expiry or versions are claimed.
///
/// The [store](crate::KeyValueStore) checks before it calls: keys are not empty and within the limit, values
/// within theirs, times to live sane, and nothing is asked that is not claimed. What is left to a provider:
///
/// - A missing key is `None`. Whatever else goes wrong is an error: down, slow, refusing, or a value that is
///   not there in the form of [`GetRequest::format`] ([`ErrorKind::Decode`]).
/// - Keys are kept exactly; two keys never meet on the server.
/// - Value and expiry are written in one atomic step, and an expired key is missing from its deadline on.
/// - Every call ends by the provider's own deadline, waiting for a connection included. A write whose answer
///   was lost says so by [`Error::with_outcome_unknown`].
/// - Batches answer one result an item, in order.
/// - After `close`, calls are [`ErrorKind::Closed`].
///
/// The crate `kvstore-testsuite` tests all that.
///
/// ```
/// use std::collections::HashMap;
/// use std::sync::Mutex;
/// use kvstore_core::{
///     async_trait, Bytes, Capabilities, DeleteRequest, GetRequest, KeyValueStore, Outcome, Provider, Result,
///     SetRequest,
/// };
///
/// struct Minimal {
///     capabilities: Capabilities,
///     map: Mutex<HashMap<String, Bytes>>,
/// }
///
/// #[async_trait]
/// impl Provider for Minimal {
///     fn capabilities(&self) -> &Capabilities {
///         &self.capabilities
///     }
///     async fn get(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
///         Ok(self.map.lock().unwrap().get(request.key.as_str()).cloned())
///     }
///     async fn set(&self, request: SetRequest<'_>) -> Result<Outcome> {
///         self.map.lock().unwrap().insert(request.key.as_str().to_owned(), request.value);
///         Ok(Outcome::Applied(None))
///     }
///     async fn delete(&self, request: DeleteRequest<'_>) -> Result<Outcome> {
///         self.map.lock().unwrap().remove(request.key.as_str());
///         Ok(Outcome::Applied(None))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
/// let minimal = Minimal { capabilities: Capabilities::new("minimal"), map: Mutex::default() };
/// let store = KeyValueStore::text(minimal);
/// store.set("greeting", "hello").await?;
/// assert_eq!(store.get("greeting").await?.as_deref(), Some("hello"));
/// # Ok(()) }
/// ```
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// What this provider promises; fixed once it is connected.
    fn capabilities(&self) -> &Capabilities;

    /// Gets a value; `None` when the key is missing.
    async fn get(&self, request: GetRequest<'_>) -> Result<Option<Bytes>>;

    /// Writes a value, with its expiry in the same step, if the condition holds.
    async fn set(&self, request: SetRequest<'_>) -> Result<Outcome>;

    /// Deletes a key, or a version of it. A missing key is `Applied` without a version asked for, and
    /// `Unmet` with one.
    async fn delete(&self, request: DeleteRequest<'_>) -> Result<Outcome>;

    /// Whether the key is present. Default: gets it.
    async fn has(&self, request: GetRequest<'_>) -> Result<bool> {
        Ok(self.get(request).await?.is_some())
    }

    /// Gets a value with its version and expiry, in one round trip. Default: gets the value, where neither
    /// expiry nor versions are claimed; else `Unsupported`.
    async fn get_entry(&self, request: GetRequest<'_>) -> Result<Option<Entry<Bytes>>> {
        let capabilities = self.capabilities();
        if capabilities.expiry.is_some() || capabilities.versions.is_some() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "this provider claims expiry or versions, and lacks the get_entry that reads them",
            ));
        }
        Ok(self.get(request).await?.map(Entry::new))
    }

    /// Gets and deletes a value, handing it to exactly one caller. Default: by version, where versions are
    /// claimed, again until it is the version that was read; else `Unsupported`.
    async fn take(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        loop {
            let Some(entry) = self.get_entry(request).await? else {
                return Ok(None);
            };
            let Some(version) = entry.version else {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "this provider has no versions, and lacks a take of its own",
                ));
            };
            let delete = DeleteRequest::new(request.key).with_version(version);
            if self.delete(delete).await?.is_applied() {
                return Ok(Some(entry.value));
            }
        }
    }

    /// Sets the expiry of a key; `false` when it is missing. Default: `Unsupported`.
    async fn touch(&self, request: TouchRequest<'_>) -> Result<bool> {
        let _ = request;
        Err(unsupported_touch())
    }

    /// Gets many values, one result an item, in order. Default: one by one.
    async fn get_many(&self, requests: &[GetRequest<'_>]) -> Vec<Result<Option<Bytes>>> {
        let mut results = Vec::with_capacity(requests.len());
        for request in requests {
            results.push(self.get(*request).await);
        }
        results
    }

    /// Writes many values, one result an item, in order; no key comes twice. Default: one by one.
    async fn set_many(&self, requests: &[SetRequest<'_>]) -> Vec<Result<Outcome>> {
        let mut results = Vec::with_capacity(requests.len());
        for request in requests {
            results.push(self.set(request.clone()).await);
        }
        results
    }

    /// Deletes many keys, one result an item, in order. Default: one by one.
    async fn delete_many(&self, requests: &[DeleteRequest<'_>]) -> Vec<Result<Outcome>> {
        let mut results = Vec::with_capacity(requests.len());
        for request in requests {
            results.push(self.delete(request.clone()).await);
        }
        results
    }

    /// Lists keys, page by page; the stream owns what it needs. Default: one `Unsupported`.
    fn keys(&self, request: KeysRequest) -> BoxStream<'static, Result<String>> {
        let _ = request;
        Box::pin(OneError(Some(unsupported_keys())))
    }

    /// Asks the server what it is. Default: looks for a key, and names the provider.
    async fn ping(&self) -> Result<ServerInfo> {
        let request = GetRequest::new(Key::new("kvstore-ping")?, Format::Binary);
        self.has(request).await?;
        Ok(ServerInfo::new(self.capabilities().provider))
    }

    /// Ends this provider and all its clones: calls under way finish or fail, later ones are
    /// [`ErrorKind::Closed`]. Default: nothing to end; the store that was closed answers `Closed` by itself, and
    /// other stores on the same provider go on, so a provider that several stores share overrides it.
    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

pub(crate) fn unsupported_touch() -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "this provider cannot change the expiry of an existing key",
    )
}

pub(crate) fn unsupported_keys() -> Error {
    Error::new(ErrorKind::Unsupported, "this provider cannot list keys")
}

/// A stream of one error.
pub(crate) struct OneError(pub(crate) Option<Error>);

impl Stream for OneError {
    type Item = Result<String>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.take().map(Err))
    }
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Forwards methods as what `async_trait` makes of them, so that no second box is made.
macro_rules! forward {
    ($($name:ident<$($life:lifetime),*>($($argument:ident: $type:ty)?) -> $answer:ty;)*) => {$(
        fn $name<'me, $($life,)* 'future>(&'me self $(, $argument: $type)?) -> BoxFuture<'future, $answer>
        where
            'me: 'future,
            $($life: 'future,)*
            Self: 'future,
        {
            (**self).$name($($argument)?)
        }
    )*};
}

#[deny(clippy::missing_trait_methods)]
impl<P: Provider + ?Sized> Provider for Arc<P> {
    fn capabilities(&self) -> &Capabilities {
        (**self).capabilities()
    }

    fn keys(&self, request: KeysRequest) -> BoxStream<'static, Result<String>> {
        (**self).keys(request)
    }

    forward! {
        get<'a>(request: GetRequest<'a>) -> Result<Option<Bytes>>;
        set<'a>(request: SetRequest<'a>) -> Result<Outcome>;
        delete<'a>(request: DeleteRequest<'a>) -> Result<Outcome>;
        has<'a>(request: GetRequest<'a>) -> Result<bool>;
        get_entry<'a>(request: GetRequest<'a>) -> Result<Option<Entry<Bytes>>>;
        take<'a>(request: GetRequest<'a>) -> Result<Option<Bytes>>;
        touch<'a>(request: TouchRequest<'a>) -> Result<bool>;
        get_many<'a, 'b>(requests: &'a [GetRequest<'b>]) -> Vec<Result<Option<Bytes>>>;
        set_many<'a, 'b>(requests: &'a [SetRequest<'b>]) -> Vec<Result<Outcome>>;
        delete_many<'a, 'b>(requests: &'a [DeleteRequest<'b>]) -> Vec<Result<Outcome>>;
        ping<>() -> Result<ServerInfo>;
        close<>() -> Result<()>;
    }
}
