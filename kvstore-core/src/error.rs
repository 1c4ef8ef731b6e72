use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// A `Result` whose error is [`Error`], unless another is named.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Any error, boxed: what a [`Codec`](crate::Codec) answers.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What kind of failure an [`Error`] is, for programs to decide by.
///
/// A missing key is not among them: it is `None`, never an error.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The key is empty, or longer than the provider's limit. Found before any I/O.
    InvalidKey,
    /// The value cannot be stored exactly: JSON `null`, a non-finite float, nesting over 100, or what
    /// this server cannot hold. Found before any I/O.
    InvalidValue,
    /// The time to live is zero, over 100 years, or beyond what the server can keep. Found before any I/O.
    InvalidTtl,
    /// The value is over the provider's limit (found before any I/O) or over the server's.
    ValueTooLarge,
    /// What is stored under the key is not a value of the store's type.
    Decode,
    /// The provider cannot do this; its [`Capabilities`](crate::Capabilities) say so. Found before any I/O.
    Unsupported,
    /// An address, option or file of the configuration is wrong.
    InvalidConfig,
    /// The server refused the credentials, or wants some.
    Unauthenticated,
    /// The server knows the user, who lacks a right.
    PermissionDenied,
    /// The server cannot be reached, or cannot serve now: down, starting, sealed, read-only.
    Unavailable,
    /// The deadline passed before the server's answer came.
    Timeout,
    /// Too much is under way: a queue is full, or the server asks to slow down.
    Busy,
    /// The server has no room for the value.
    StorageFull,
    /// The store was closed.
    Closed,
    /// None of the others.
    Other,
}

impl ErrorKind {
    /// One sentence for people, where a place in the code has no better one.
    pub(crate) const fn sentence(self) -> &'static str {
        match self {
            Self::InvalidKey => "the key is not valid",
            Self::InvalidValue => "the value cannot be stored",
            Self::InvalidTtl => "the time to live is not valid",
            Self::ValueTooLarge => "the value is too large",
            Self::Decode => "the stored value does not decode",
            Self::Unsupported => "the provider does not support this",
            Self::InvalidConfig => "the configuration is not valid",
            Self::Unauthenticated => "the server refused the credentials",
            Self::PermissionDenied => "the server refused permission",
            Self::Unavailable => "the server is unavailable",
            Self::Timeout => "the deadline passed",
            Self::Busy => "too much is under way",
            Self::StorageFull => "the server has no room",
            Self::Closed => "the store is closed",
            Self::Other => "the operation failed",
        }
    }
}

/// Why an operation failed: one error type for all providers.
///
/// Decide by [`kind`](Self::kind), [`is_retryable`](Self::is_retryable) and
/// [`outcome_unknown`](Self::outcome_unknown). It prints one sentence that names the provider and the
/// operation; the driver's own error is its [`source`](std::error::Error::source). Neither `Display` nor
/// `Debug` prints a key (session tokens are keys), a value or a password: [`key`](Self::key) has the key.
///
/// One word wide, and cheap to clone, since one failure may answer many callers.
///
/// ```
/// use kvstore_core::{Error, ErrorKind};
///
/// fn status(error: &Error) -> u16 {
///     match error.kind() {
///         ErrorKind::InvalidKey | ErrorKind::InvalidValue => 400,
///         _ if error.is_retryable() => 503,
///         _ => 500,
///     }
/// }
/// assert_eq!(status(&Error::new(ErrorKind::Timeout, "no answer within 5 s")), 503);
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    provider: Option<&'static str>,
    operation: Option<&'static str>,
    key: Option<Box<str>>,
    outcome_unknown: bool,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// Makes an error. The message is one clause that says what is wrong and what to do, without any
    /// key, value or secret; it does not repeat the source.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            provider: None,
            operation: None,
            key: None,
            outcome_unknown: false,
            source: None,
        }))
    }

    fn edit(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// Adds the driver's error. It must not print keys, values or secrets.
    #[must_use]
    pub fn with_source(self, source: impl Into<BoxError>) -> Self {
        let source = Arc::from(source.into());
        self.edit(|inner| inner.source = Some(source))
    }

    /// Says that the write may have been applied: its answer was lost.
    #[must_use]
    pub fn with_outcome_unknown(self) -> Self {
        self.edit(|inner| inner.outcome_unknown = true)
    }

    /// Says which key was meant, where the store does not know it (inside a listing or a batch).
    #[must_use]
    pub fn with_key(self, key: &str) -> Self {
        self.edit(|inner| inner.key = Some(key.into()))
    }

    /// Says which provider failed. The store does this; a provider says it where it fails outside of one,
    /// as on connecting.
    #[must_use]
    pub fn with_provider(self, provider: &'static str) -> Self {
        self.edit(|inner| inner.provider = Some(provider))
    }

    /// Says which operation failed, as `with_provider` does for the provider.
    #[must_use]
    pub fn with_operation(self, operation: &'static str) -> Self {
        self.edit(|inner| inner.operation = Some(operation))
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the same call may well succeed a little later: the server was unreachable, slow or busy.
    ///
    /// For a write that is not safe to repeat, look at [`outcome_unknown`](Self::outcome_unknown) as well.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.0.kind,
            ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Busy
        )
    }

    /// Whether a write may have been applied although it failed: its answer was lost.
    pub fn outcome_unknown(&self) -> bool {
        self.0.outcome_unknown
    }

    /// The key that was meant, as the caller of the store named it.
    pub fn key(&self) -> Option<&str> {
        self.0.key.as_deref()
    }

    /// The operation that failed: `connect`, or as its method is called (`set` for `set_with` too).
    pub fn operation(&self) -> Option<&'static str> {
        self.0.operation
    }

    /// The provider that failed, as [`Capabilities::provider`](crate::Capabilities::provider) names it.
    pub fn provider(&self) -> Option<&'static str> {
        self.0.provider
    }

    /// The sentence without provider and operation.
    pub(crate) fn message(&self) -> &str {
        &self.0.message
    }

    /// Adds what only the store knows. What the provider said itself about provider and operation stays;
    /// the key becomes the one that the caller named.
    pub(crate) fn at(
        self,
        provider: &'static str,
        operation: &'static str,
        key: Option<&str>,
    ) -> Self {
        self.edit(|inner| {
            inner.provider.get_or_insert(provider);
            inner.operation = Some(operation);
            if let Some(key) = key {
                inner.key = Some(key.into());
            }
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.provider, self.0.operation) {
            (Some(provider), Some(operation)) => write!(f, "{provider} {operation}: ")?,
            (Some(name), None) | (None, Some(name)) => write!(f, "{name}: ")?,
            (None, None) => {}
        }
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Error");
        out.field("kind", &self.0.kind)
            .field("message", &format_args!("{self}"))
            .field("outcome_unknown", &self.0.outcome_unknown);
        if let Some(source) = &self.0.source {
            // As it displays itself: a driver's `Debug` may hold the request.
            out.field("source", &format_args!("{source}"));
        }
        out.finish_non_exhaustive()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn std::error::Error + 'static))
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self::new(kind, kind.sentence())
    }
}

/// Some items of a batch failed: their errors, and every item's result.
///
/// `?` turns it into an [`Error`] (the first item's, saying how many failed). Who cares item by item uses
/// [`failed`](Self::failed) or [`into_results`](Self::into_results). `Debug` prints no value.
///
/// ```
/// use kvstore_core::{BatchError, Error, ErrorKind};
///
/// let batch = BatchError::new(vec![Ok(()), Err(Error::from(ErrorKind::Timeout))]).unwrap_err();
/// assert_eq!(batch.failed().map(|(index, _)| index).collect::<Vec<_>>(), [1]);
/// let error: Error = batch.into();
/// assert_eq!(error.kind(), ErrorKind::Timeout);
/// ```
pub struct BatchError<T> {
    results: Vec<Result<T>>,
}

impl<T> BatchError<T> {
    /// Sorts a batch's results: all values in their order where every item succeeded, else the
    /// `BatchError` that holds every item's result.
    ///
    /// # Errors
    /// When at least one item failed.
    #[allow(
        clippy::new_ret_no_self,
        reason = "a BatchError without a failed item cannot be made"
    )]
    pub fn new(results: Vec<Result<T>>) -> Result<Vec<T>, Self> {
        if results.iter().any(Result::is_err) {
            return Err(Self { results });
        }
        Ok(results.into_iter().flatten().collect())
    }

    /// The items that failed: their place in the batch as it was asked, and why.
    pub fn failed(&self) -> impl Iterator<Item = (usize, &Error)> {
        let failed = |(index, result)| Some((index, Result::as_ref(result).err()?));
        self.results.iter().enumerate().filter_map(failed)
    }

    /// Every item's result, in the order asked.
    pub fn into_results(self) -> Vec<Result<T>> {
        self.results
    }
}

impl<T> fmt::Display for BatchError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (failed, all) = (self.failed().count(), self.results.len());
        write!(f, "{failed} of {all} items failed")
    }
}

impl<T> fmt::Debug for BatchError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed: Vec<_> = self.failed().collect();
        f.debug_struct("BatchError")
            .field("items", &self.results.len())
            .field("failed", &failed)
            .finish()
    }
}

impl<T> std::error::Error for BatchError<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let (_, first) = self.failed().next()?;
        Some(first)
    }
}

impl<T> From<BatchError<T>> for Error {
    fn from(batch: BatchError<T>) -> Self {
        let summary = batch.to_string();
        let unknown = batch.failed().any(|(_, error)| error.outcome_unknown());
        let first = batch.results.into_iter().find_map(Result::err);
        // A BatchError has a failed item by construction.
        let error = first.unwrap_or_else(|| Self::from(ErrorKind::Other));
        let message = format!("{summary}, the first: {}", error.message());
        error.edit(|inner| {
            inner.message = message.into();
            inner.outcome_unknown = unknown;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    #[test]
    fn prints_provider_operation_and_its_own_sentence_but_no_key() {
        let error = Error::new(ErrorKind::Unavailable, "the server is down")
            .with_source("connection refused")
            .at("redis", "get", Some("token-4f2a"));
        assert_eq!(error.to_string(), "redis get: the server is down");
        assert_eq!(error.key(), Some("token-4f2a"));
        assert_eq!(error.source().unwrap().to_string(), "connection refused");
        assert!(!format!("{error:?} {error}").contains("4f2a"));
        assert!(format!("{error:?}").contains("connection refused"));
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }

    #[test]
    fn a_batch_error_becomes_the_first_items_error() {
        let results = vec![
            Ok(()),
            Err(Error::new(ErrorKind::Timeout, "no answer")),
            Err(Error::from(ErrorKind::Busy).with_outcome_unknown()),
        ];
        let batch = BatchError::new(results).unwrap_err();
        assert_eq!(batch.source().unwrap().to_string(), "no answer");
        let error = Error::from(batch);
        assert_eq!(
            error.to_string(),
            "2 of 3 items failed, the first: no answer"
        );
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.outcome_unknown(), "one of them may have been applied");
    }
}
