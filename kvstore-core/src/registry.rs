use std::fmt;
use std::future::Future;
use std::sync::Arc;

use futures_core::future::BoxFuture;

use crate::{Error, ErrorKind, Provider, Result};

/// A provider that a URL can open: what a backend crate implements for the [`Registry`].
pub trait Connect: Provider + Sized {
    /// The URL schemes it serves, in lower case and without `:`.
    const SCHEMES: &'static [&'static str];

    /// Connects, and checks the address, the credentials and the rights as far as they can be checked.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] for any part of the URL that is not understood or not used, named without
    /// its value; otherwise what the server, or the lack of one, answers.
    fn connect(url: &str) -> impl Future<Output = Result<Self>> + Send;

    /// Makes the provider without connecting, so that a service starts while its server is down, and recovers
    /// with it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`], as `connect`.
    fn lazy(url: &str) -> Result<Self>;
}

/// Opens providers by URL: the server chosen at start-up, by configuration.
///
/// A registry is a value that an application fills with the providers that it wants.
///
/// ```no_run
/// # use kvstore_core::{async_trait, Bytes, Capabilities, Connect, DeleteRequest, GetRequest, Outcome, Provider,
/// #     SetRequest};
/// # struct RedisProvider(Capabilities);
/// # #[async_trait]
/// # impl Provider for RedisProvider {
/// #     fn capabilities(&self) -> &Capabilities { &self.0 }
/// #     async fn get(&self, _: GetRequest<'_>) -> Result<Option<Bytes>> { Ok(None) }
/// #     async fn set(&self, _: SetRequest<'_>) -> Result<Outcome> { Ok(Outcome::Applied(None)) }
/// #     async fn delete(&self, _: DeleteRequest<'_>) -> Result<Outcome> { Ok(Outcome::Applied(None)) }
/// # }
/// # impl Connect for RedisProvider {
/// #     const SCHEMES: &'static [&'static str] = &["redis"];
/// #     async fn connect(url: &str) -> Result<Self> { Self::lazy(url) }
/// #     fn lazy(_: &str) -> Result<Self> { Ok(Self(Capabilities::new("redis"))) }
/// # }
/// use kvstore_core::{KeyValueStore, Registry, Result};
///
/// # async fn example() -> Result<()> {
/// let registry = Registry::new().with::<RedisProvider>();
/// let provider = registry.open("redis://localhost").await?;
/// let sessions: KeyValueStore<String> = KeyValueStore::text(provider);
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct Registry {
    openers: Vec<Opener>,
}

type Opened = Result<Arc<dyn Provider>>;

#[derive(Clone, Copy)]
struct Opener {
    schemes: &'static [&'static str],
    connect: for<'a> fn(&'a str) -> BoxFuture<'a, Opened>,
    lazy: fn(&str) -> Opened,
}

impl Opener {
    const fn of<P: Connect>() -> Self {
        Self {
            schemes: P::SCHEMES,
            connect: |url| Box::pin(async { Ok(Arc::new(P::connect(url).await?) as _) }),
            lazy: |url| Ok(Arc::new(P::lazy(url)?) as _),
        }
    }
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a provider. Of two with the same scheme the one added last has it.
    #[must_use]
    pub fn with<P: Connect>(mut self) -> Self {
        self.openers.push(Opener::of::<P>());
        self
    }

    /// The schemes that can be opened, in the order added.
    pub fn schemes(&self) -> impl Iterator<Item = &'static str> {
        let schemes = |opener: &Opener| opener.schemes.iter().copied();
        self.openers.iter().flat_map(schemes)
    }

    /// Opens a provider by URL and checks its server; see [`Connect::connect`].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] when the URL has no scheme or one that no provider was added for; else the
    /// provider's.
    pub async fn open(&self, url: &str) -> Result<Arc<dyn Provider>> {
        (self.opener(url)?.connect)(url).await
    }

    /// Opens a provider by URL without connecting; see [`Connect::lazy`].
    ///
    /// # Errors
    /// As [`open`](Self::open), but no server is asked.
    pub fn open_lazy(&self, url: &str) -> Result<Arc<dyn Provider>> {
        (self.opener(url)?.lazy)(url)
    }

    fn opener(&self, url: &str) -> Result<Opener> {
        let invalid = |message| Error::new(ErrorKind::InvalidConfig, message);
        let schemes = || self.schemes().collect::<Vec<_>>().join(", ");
        let Some((scheme, rest)) = url.split_once(':') else {
            let message = format!(
                "the URL has no scheme; those that can be opened: {}",
                schemes()
            );
            return Err(invalid(message));
        };
        let serves = |opener: &&Opener| {
            let mut own = opener.schemes.iter();
            own.any(|own| own.eq_ignore_ascii_case(scheme))
        };
        let opener = self.openers.iter().rev().find(serves).copied();
        opener.ok_or_else(|| {
            // What stands before the colon may be a secret, unless it looks like a scheme.
            let named = match rest.starts_with("//") && scheme.bytes().all(is_scheme_byte) {
                true => format!(" `{scheme}`"),
                false => String::new(),
            };
            let schemes = schemes();
            invalid(format!("no provider was added for the URL's scheme{named}; those that can be opened: {schemes}"))
        })
    }
}

fn is_scheme_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)
}

/// Prints the schemes.
impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.schemes()).finish()
    }
}
