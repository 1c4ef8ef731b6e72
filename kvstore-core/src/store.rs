mod batch;
mod single;

use std::any::type_name;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{
    BytesCodec, Capabilities, Codec, Condition, Error, ErrorKind, Format, GetRequest, Input,
    JsonCodec, Key, ModelCodec, Provider, Result, SetOptions, TextCodec,
};

/// A store of values of one type: what an application holds.
///
/// Cheap to clone, and shared by all its clones. Made from a provider and a codec: [`bytes`](Self::bytes),
/// [`text`](Self::text), [`json`](Self::json), [`model`](Self::model), or any
/// [`with_codec`](Self::with_codec).
///
/// A missing key is `None`, or `false`; every failure is an [`Error`]. Keys are any non-empty text of up to 255
/// bytes (or more, by [`Capabilities::max_key_len`]), namespaces included. Before anything is sent the key, the
/// value, the time to live and the options are checked against what the provider can do, so each method may
/// answer:
///
/// - [`ErrorKind::InvalidKey`], where a key is empty or too long;
/// - [`ErrorKind::Unsupported`], where its [capabilities](Self::capabilities) do not have it;
/// - [`ErrorKind::Closed`], after [`close`](Self::close);
///
/// and, from the server or on the way to it, [`Unavailable`](ErrorKind::Unavailable),
/// [`Timeout`](ErrorKind::Timeout), [`Busy`](ErrorKind::Busy), [`Unauthenticated`](ErrorKind::Unauthenticated)
/// and [`PermissionDenied`](ErrorKind::PermissionDenied). What a method adds to these stands with it.
///
/// A dropped future leaves the store usable, and the key as before or as after.
///
/// ```
/// use std::time::Duration;
/// use kvstore_core::{KeyValueStore, Provider, Result, SetOptions};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Session {
///     user: String,
/// }
///
/// # async fn example(provider: impl Provider) -> Result<()> {
/// let sessions: KeyValueStore<Session> = KeyValueStore::model(provider).namespace("sessions")?;
/// let half_an_hour = SetOptions::new().ttl(Duration::from_secs(1800));
/// let session = Session { user: "ada".to_owned() };
/// sessions.set_with("4f2a", &session, half_an_hour).await?;
/// let session: Option<Session> = sessions.get("4f2a").await?;
/// # Ok(()) }
/// ```
pub struct KeyValueStore<V> {
    shared: Arc<Shared<V>>,
    /// The namespaces, each with its `:`; empty for a store without.
    prefix: Arc<str>,
}

/// What all clones and namespaces of a store share.
struct Shared<V> {
    provider: Arc<dyn Provider>,
    codec: Box<dyn Codec<V>>,
    format: Format,
    closed: AtomicBool,
}

impl<V> Clone for KeyValueStore<V> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            prefix: Arc::clone(&self.prefix),
        }
    }
}

/// Prints the provider and the type.
impl<V> fmt::Debug for KeyValueStore<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyValueStore")
            .field("provider", &self.shared.provider.capabilities().provider)
            .field("value", &format_args!("{}", type_name::<V>()))
            .finish_non_exhaustive()
    }
}

impl KeyValueStore<Bytes> {
    /// A store of bytes.
    pub fn bytes(provider: impl Provider) -> Self {
        Self::with_codec(provider, BytesCodec)
    }
}

impl KeyValueStore<String> {
    /// A store of text.
    pub fn text(provider: impl Provider) -> Self {
        Self::with_codec(provider, TextCodec)
    }
}

impl KeyValueStore<Map<String, Value>> {
    /// A store of JSON objects.
    pub fn json(provider: impl Provider) -> Self {
        Self::with_codec(provider, JsonCodec)
    }
}

impl<T: Serialize + DeserializeOwned + 'static> KeyValueStore<T> {
    /// A store of a serde type, kept as JSON. For `Vec<u8>` take `with_codec` and [`BytesCodec`]: a model of it
    /// is an array of numbers.
    pub fn model(provider: impl Provider) -> Self {
        Self::with_codec(provider, ModelCodec)
    }
}

impl<V: 'static> KeyValueStore<V> {
    /// A store of what a codec encodes.
    pub fn with_codec(provider: impl Provider, codec: impl Codec<V>) -> Self {
        Self {
            shared: Arc::new(Shared {
                provider: Arc::new(provider),
                format: codec.format(),
                codec: Box::new(codec),
                closed: AtomicBool::new(false),
            }),
            prefix: "".into(),
        }
    }

    /// A view of this store: its keys are this store's keys that begin with `name:`, and it sees no others.
    /// Namespaces nest.
    ///
    /// ```
    /// # use kvstore_core::{KeyValueStore, Result};
    /// # async fn example(store: KeyValueStore<String>) -> Result<()> {
    /// let tokens = store.namespace("tokens")?;
    /// tokens.set("4f2a", "secret").await?;
    /// assert!(store.has("tokens:4f2a").await?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidKey`] when the name is empty, holds a `:`, or leaves no room for a key.
    pub fn namespace(&self, name: &str) -> Result<Self> {
        let prefix = format!("{}{name}:", self.prefix);
        let problem = if name.is_empty() {
            "the name of a namespace is empty; it has at least one character"
        } else if name.contains(':') {
            "the name of a namespace holds a `:`, which ends it; nest namespaces instead"
        } else if prefix.len() >= self.capabilities().max_key_len {
            "the namespace is as long as a key may be, and leaves no room for one; shorten it"
        } else {
            let (shared, prefix) = (Arc::clone(&self.shared), prefix.into());
            return Ok(Self { shared, prefix });
        };
        Err(self.fail(
            Error::new(ErrorKind::InvalidKey, problem),
            "namespace",
            None,
        ))
    }

    /// What the provider promises.
    pub fn capabilities(&self) -> &Capabilities {
        self.shared.provider.capabilities()
    }

    /// The provider below, to make a store of another type on it.
    pub fn provider(&self) -> &Arc<dyn Provider> {
        &self.shared.provider
    }

    fn open(&self) -> Result<()> {
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(ErrorKind::Closed.into());
        }
        Ok(())
    }

    /// The key as the provider sees it, checked.
    fn full_key<'a>(&self, key: &'a str) -> Result<Cow<'a, str>> {
        self.open()?;
        Key::new(key)?;
        let limit = self.capabilities().max_key_len;
        let len = self.prefix.len() + key.len();
        if len > limit {
            let message =
                format!("the key has {len} bytes, namespaces included; the limit is {limit}");
            return Err(Error::new(ErrorKind::InvalidKey, message));
        }
        if self.prefix.is_empty() {
            return Ok(Cow::Borrowed(key));
        }
        let mut full = String::with_capacity(len);
        full.push_str(&self.prefix);
        full.push_str(key);
        Ok(Cow::Owned(full))
    }

    fn check_options(&self, options: SetOptions, condition: Option<&Condition>) -> Result<()> {
        options.expiry.check(self.capabilities())?;
        condition.map_or(Ok(()), |condition| condition.check(self.capabilities()))
    }

    fn claimed(&self, claimed: bool, message: &'static str) -> Result<()> {
        if claimed {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Unsupported, message))
    }

    fn request<'a>(&self, full: &'a str) -> GetRequest<'a> {
        GetRequest::new(Key(full), self.shared.format)
    }

    fn encode(&self, value: Input<'_, V>) -> Result<Bytes> {
        let encoded = self.shared.codec.encode(value).map_err(|source| {
            let message = format!("the {} cannot be stored exactly", type_name::<V>());
            Error::new(ErrorKind::InvalidValue, message).with_source(source)
        })?;
        if let Some(limit) = self.capabilities().max_value_len
            && encoded.len() > limit
        {
            let len = encoded.len();
            let message = format!("the value has {len} bytes; the limit is {limit}");
            return Err(Error::new(ErrorKind::ValueTooLarge, message));
        }
        Ok(encoded)
    }

    fn decode(&self, stored: Bytes) -> Result<V> {
        self.shared.codec.decode(stored).map_err(|source| {
            let message = format!("what is stored is not a {}", type_name::<V>());
            Error::new(ErrorKind::Decode, message).with_source(source)
        })
    }

    /// Adds to an error what the provider does not know.
    fn fail(&self, error: Error, operation: &'static str, key: Option<&str>) -> Error {
        error.at(self.capabilities().provider, operation, key)
    }
}
