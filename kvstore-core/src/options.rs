use std::time::Duration;

use crate::{Capabilities, Error, ErrorKind, Result, Version};

/// When a key expires after a write.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiry {
    /// It does not expire; an expiry that it had is gone.
    #[default]
    Never,
    /// It expires this long after the write: more than zero, at most 100 years.
    After(Duration),
    /// It keeps the expiry that it has; a new key does not expire.
    Keep,
}

/// 36,525 days.
const HUNDRED_YEARS: Duration = Duration::from_secs(36_525 * 24 * 60 * 60);

impl Expiry {
    pub(crate) fn check(self, capabilities: &Capabilities) -> Result<()> {
        if let Self::After(ttl) = self
            && (ttl.is_zero() || ttl > HUNDRED_YEARS)
        {
            return Err(Error::new(
                ErrorKind::InvalidTtl,
                "a time to live is more than zero and at most 100 years; without one the key does not expire",
            ));
        }
        if self != Self::Never && capabilities.expiry.is_none() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "this provider has no expiry",
            ));
        }
        Ok(())
    }
}

/// How to write a value, beyond the key and the value.
///
/// ```
/// use std::time::Duration;
/// use kvstore_core::SetOptions;
///
/// let half_an_hour = SetOptions::new().ttl(Duration::from_secs(1800));
/// let as_it_was = SetOptions::new().keep_expiry();
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetOptions {
    /// When the key expires; never, unless told.
    pub expiry: Expiry,
}

impl SetOptions {
    /// The defaults: the key does not expire.
    pub const fn new() -> Self {
        Self {
            expiry: Expiry::Never,
        }
    }

    /// The key expires this long after the write: more than zero, at most 100 years. Where the server's clock
    /// is coarser (see [`Capabilities::expiry`]) it is rounded up.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.expiry = Expiry::After(ttl);
        self
    }

    /// The key keeps the expiry that it has; a new key does not expire.
    #[must_use]
    pub fn keep_expiry(mut self) -> Self {
        self.expiry = Expiry::Keep;
        self
    }
}

/// What must hold for a write to be applied. An expired key is absent.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The key is absent.
    Absent,
    /// The key is present.
    Present,
    /// The key is present and at this version.
    Version(Version),
}

impl Condition {
    pub(crate) fn check(&self, capabilities: &Capabilities) -> Result<()> {
        let (claimed, message) = match self {
            Self::Absent => (
                capabilities.if_absent,
                "this provider cannot require that a key is absent",
            ),
            Self::Present => (
                capabilities.if_present,
                "this provider cannot require that a key is present",
            ),
            Self::Version(_) => (capabilities.versions.is_some(), NO_VERSIONS),
        };
        if claimed {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Unsupported, message))
    }
}

pub(crate) const NO_VERSIONS: &str = "this provider has no versions";

/// Whether a write under a condition was applied.
#[must_use = "the condition may not have held; then nothing was changed"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was applied. For a write under a condition, on a provider with versions: the version that it made,
    /// where the provider knows it without asking again.
    Applied(Option<Version>),
    /// The condition did not hold, and nothing was changed.
    Unmet,
}

impl Outcome {
    /// Whether the write was applied.
    pub fn is_applied(&self) -> bool {
        matches!(self, Self::Applied(_))
    }
}
