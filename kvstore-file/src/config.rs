//! What a [`FileProvider`](crate::FileProvider) is made from.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use kvstore_core::{Error, Result};

use crate::error::invalid;

/// Where the file is, and how to use it.
///
/// Made from a URL (the [crate's page](crate) has the table) or step by step. There is nothing secret in it.
///
/// ```
/// use std::time::Duration;
/// use kvstore_file::FileConfig;
///
/// # fn main() -> kvstore_core::Result<()> {
/// let from_url: FileConfig = "file:/var/lib/app/store.redb?timeout=2s&cache_size=1000000".parse()?;
/// let by_hand = FileConfig::new("/var/lib/app/store.redb")
///     .timeout(Duration::from_secs(2))
///     .cache_size(1_000_000);
/// assert_eq!(from_url, by_hand);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileConfig {
    pub(crate) path: PathBuf,
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) max_pending: usize,
    pub(crate) max_value_len: usize,
    pub(crate) cache_size: usize,
}

impl FileConfig {
    /// The file at this path, which is made when it is opened first, in a folder that is there. A path that does not
    /// begin at the root begins at the working folder of the process, as it is now.
    pub fn new(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        Self {
            // An empty path cannot be completed, and is found by the check.
            path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
            timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(60),
            max_pending: 10_000,
            max_value_len: 16 << 20,
            cache_size: 64 << 20,
        }
    }

    /// Sets the deadline of every call, 5 seconds if not set: waiting for its turn and for the disk together. A
    /// listing has it per page.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how long opening may take, 60 seconds if not set. After a crash it reads the whole file.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how many calls may wait for the disk, 10,000 if not set: so many that read, and as many that write. More
    /// are refused as [`ErrorKind::Busy`](kvstore_core::ErrorKind::Busy), and so is what would let more than 256 MiB wait
    /// to be written. A batch counts once for each 1,000 keys or 8 MiB.
    #[must_use]
    pub fn max_pending(mut self, calls: usize) -> Self {
        self.max_pending = calls;
        self
    }

    /// Sets how many bytes a value may have, 16 MiB if not set, and 1 GiB at most. The whole value is in memory as it
    /// is written and read.
    #[must_use]
    pub fn max_value_len(mut self, bytes: usize) -> Self {
        self.max_value_len = bytes;
        self
    }

    /// Sets how many bytes of the file are kept in memory, 64 MiB if not set.
    #[must_use]
    pub fn cache_size(mut self, bytes: usize) -> Self {
        self.cache_size = bytes;
        self
    }

    /// Finds what cannot be.
    pub(crate) fn check(&self) -> Result<()> {
        let span = Duration::from_millis(1)..=Duration::from_secs(24 * 60 * 60);
        let path = self.path.as_os_str().as_encoded_bytes();
        let problem = if self.path.file_name().is_none() || path.ends_with(b"/") {
            "the path does not name a file"
        } else if path.contains(&0) {
            "the path has a NUL"
        } else if !span.contains(&self.timeout) {
            "`timeout` is from 1 ms to 24 h"
        } else if !span.contains(&self.connect_timeout) {
            "`connect_timeout` is from 1 ms to 24 h"
        } else if self.max_pending == 0 {
            "`max_pending` is 1 or more"
        } else if self.max_value_len > 1 << 30 {
            "`max_value_len` is 1 GiB or less"
        } else {
            return Ok(());
        };
        Err(invalid(problem))
    }
}

impl FromStr for FileConfig {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        crate::url::parse(url)
    }
}

/// What [`FileProvider::connect`](crate::FileProvider::connect) takes: a [`FileConfig`], or a URL.
pub trait IntoConfig {
    /// Makes the configuration.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`](kvstore_core::ErrorKind::InvalidConfig) when it is a URL that is not understood in
    /// every part.
    fn into_config(self) -> Result<FileConfig>;
}

impl IntoConfig for FileConfig {
    fn into_config(self) -> Result<FileConfig> {
        Ok(self)
    }
}

impl<T: AsRef<str>> IntoConfig for T {
    fn into_config(self) -> Result<FileConfig> {
        self.as_ref().parse()
    }
}
