use std::time::Duration;

/// What a provider promises, fixed once it is connected.
///
/// *Operations* are tested both ways by the test suite: what is claimed works, what is not claimed answers
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) before any I/O. *Guarantees* (`strong_reads`,
/// `retains`) are tested where they are claimed, and shown where they are not.
///
/// A provider builds them up from [`new`](Self::new), which claims nothing beyond get, set and delete; so does
/// a wrapper, from what it forwards. An operation added here later is then unclaimed in older providers.
///
/// ```
/// use std::time::Duration;
/// use kvstore_core::Capabilities;
///
/// let mut capabilities = Capabilities::new("my-server");
/// capabilities.max_value_len = Some(1 << 20);
/// capabilities.expiry = Some(Duration::from_secs(1));
/// assert!(!capabilities.take);
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The provider's name, in lower case: names it in errors, logs and metrics.
    pub provider: &'static str,
    /// The longest key in bytes, namespaces included; at least 255.
    pub max_key_len: usize,
    /// The largest encoded value in bytes that is sent; `None`: no limit.
    pub max_value_len: Option<usize>,

    /// A write can carry a time to live or keep the old one: the granularity with which it expires.
    pub expiry: Option<Duration>,
    /// The expiry of an existing key can be set (`touch`) and removed (`persist`).
    pub touch: bool,
    /// A write can require that the key is absent.
    pub if_absent: bool,
    /// A write can require that the key is present.
    pub if_present: bool,
    /// `get_entry` gives versions, and writes and deletes can require one.
    pub versions: Option<Versions>,
    /// A value can be got and deleted in one step, handed to exactly one caller.
    pub take: bool,
    /// Keys can be listed.
    pub keys: Option<Listing>,

    /// After a write has returned, every client reads it.
    pub strong_reads: bool,
    /// The server never evicts a key that has not expired.
    pub retains: bool,
}

impl Capabilities {
    /// The least: get, set and delete of any value, with keys of up to 255 bytes.
    pub const fn new(provider: &'static str) -> Self {
        Self {
            provider,
            max_key_len: 255,
            max_value_len: None,
            expiry: None,
            touch: false,
            if_absent: false,
            if_present: false,
            versions: None,
            take: false,
            keys: None,
            strong_reads: false,
            retains: false,
        }
    }
}

/// What a [`Version`](crate::Version) promises.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// Any write changes it, for ever: a version seen once never comes back.
    Unique,
    /// It counts a key's writes, and restarts when the key is purged.
    Counter,
    /// It is a hash of the value: setting the same bytes again brings the same version back.
    Content,
}

/// How often a listing names a key.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// Each key that was there throughout is named once.
    Once,
    /// Each key that was there throughout is named at least once, seldom twice.
    AtLeastOnce,
}
