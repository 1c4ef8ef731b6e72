//! Copying up.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use kvstore_core::{
    Bytes, Condition, Entry, Error, ErrorKind, Expiry, Format, GetRequest, Key, KeysRequest,
    Outcome, Result, SetRequest, Version,
};

use crate::FallbackProvider;
use crate::error::not_begun;
use crate::provider::{Both, NAME};
use crate::tombstone::Found;
use crate::version::{self, Told};

/// How many keys are copied at once.
pub(crate) const AT_ONCE: usize = 16;

impl FallbackProvider {
    /// Copies every key that only the old provider has to the new one, with the time it has left, while this and
    /// other instances serve; the answer is how many were copied.
    ///
    /// The format is that of the store: `Binary` for [`bytes`](kvstore_core::KeyValueStore::bytes), `Text` for
    /// `text`, `Json` for `json` and `model`. Nothing is deleted in the old provider, so it can be done again;
    /// when the answer is 0, the new one had everything.
    ///
    /// # Errors
    /// The first that occurs, as of a value that is not of the format, or that the new provider cannot hold; its
    /// [`key`](Error::key) says where. What was copied until then stays.
    pub async fn copy(&self, format: Format) -> Result<u64> {
        let both = &*self.both;
        let keys = both.old.keys(KeysRequest::new(""));
        keys.map_err(both.old_failed())
            .map_ok(|key| async move {
                let copied = both.copy_key(&key, format).await;
                copied.map_err(|error| error.with_key(&key))
            })
            .try_buffer_unordered(AT_ONCE)
            .try_fold(0, async |all, copied| Ok(all + u64::from(copied)))
            .await
            .map_err(|error| error.with_provider(NAME).with_operation("copy"))
    }
}

impl Both {
    /// Whether there was something to copy.
    async fn copy_key(&self, key: &str, format: Format) -> Result<bool> {
        let request = GetRequest::new(Key::new(key)?, format);
        match self.get_entry_old(request).await? {
            Some(entry) => Ok(self.copy_entry(request, entry).await?.is_applied()),
            None => Ok(false),
        }
    }

    /// Sees to it that the old provider does not have a key: what it has is copied, and deleted there.
    pub(crate) async fn move_up(&self, request: GetRequest<'_>) -> Result<()> {
        if !self.old_takes(request.key) {
            return Ok(());
        }
        let moving = async {
            let Some((format, entry)) = self.read_old(request).await? else {
                return Ok(());
            };
            // Where that was not applied, the new one has the key already, or it was deleted.
            let _ = self
                .copy_entry(GetRequest::new(request.key, format), entry)
                .await?;
            // From here on the new one hides what the old one has, so nothing is lost by deleting it. It would come
            // back when the new one's expires.
            self.delete_moved(request.key).await
        };
        moving.await.map_err(not_begun)
    }

    /// Moves a key up if it is at a version that was told; its version in the new provider, or `None` where it is at
    /// another.
    pub(crate) async fn move_version(
        &self,
        key: Key<'_>,
        version: &Version,
    ) -> Result<Option<Version>> {
        let moving = async {
            match version::told(version, self.by_content) {
                Told::New(version) => {
                    let anything = GetRequest::new(key, Format::Text);
                    if !self.new.has(anything).await.map_err(self.new_failed())? {
                        return Ok(None);
                    }
                    // What the new one has hides what the old one has, whether it is the version asked for or not.
                    if self.old_takes(key) {
                        self.delete_moved(key).await?;
                    }
                    Ok(Some(version))
                }
                Told::Read(format) => {
                    let request = GetRequest::new(key, format);
                    self.move_read_version(request, version).await
                }
                Told::Other => Ok(None),
            }
        };
        moving.await.map_err(not_begun)
    }

    /// The version that is told of an entry that was read in the old provider.
    pub(crate) fn version_of_old(&self, format: Format, entry: &Entry<Bytes>) -> Result<Version> {
        match self.by_content {
            true => version::of_content(format, &entry.value),
            false => version::of_old(format, entry),
        }
    }

    async fn move_read_version(
        &self,
        request: GetRequest<'_>,
        version: &Version,
    ) -> Result<Option<Version>> {
        // What moves keeps its version where that is the content.
        let mut may_have_moved = self.by_content;
        loop {
            // In this order: as long as the old one has it, what the new one has is a copy of it.
            let copy = match self.look(request).await? {
                Found::Missing => None,
                Found::Live(own, entry) if self.by_content => {
                    if version::of_content(request.format, &entry.value)? != *version {
                        return Ok(None);
                    }
                    if self.old_takes(request.key) {
                        self.delete_moved(request.key).await?;
                    }
                    return Ok(Some(own));
                }
                Found::Live(own, _) | Found::Other(own, _) if !self.by_content => Some(own),
                _ => return Ok(None),
            };
            if !self.old_takes(request.key) {
                return Ok(None);
            }
            let entry = match self.get_entry_old(request).await {
                Ok(Some(entry)) => entry,
                Ok(None) if may_have_moved => {
                    may_have_moved = false;
                    continue;
                }
                Ok(None) => return Ok(None),
                // Nothing that a version was told of.
                Err(error) if error.kind() == ErrorKind::Decode => return Ok(None),
                Err(error) => return Err(error),
            };
            if self.version_of_old(request.format, &entry)? != *version {
                return Ok(None);
            }
            let copy = match copy {
                Some(version) => version,
                None => match self.copy_entry(request, entry).await? {
                    Outcome::Applied(Some(version)) => version,
                    // Another was quicker, or it is to be looked at.
                    Outcome::Applied(None) | Outcome::Unmet => continue,
                },
            };
            self.delete_moved(request.key).await?;
            return Ok(Some(copy));
        }
    }

    /// Reads a key in the old provider, and as what: a value of another type than asked for moves as well, as what
    /// it is, so that then the new one judges it.
    async fn read_old(&self, request: GetRequest<'_>) -> Result<Option<(Format, Entry<Bytes>)>> {
        let mut of_another_type = None;
        // Where the server tells types apart, JSON may be any but bytes, and bytes are those of no other type.
        for format in [request.format, Format::Text, Format::Json, Format::Binary] {
            let asked = GetRequest::new(request.key, format);
            match self.get_entry_old(asked).await {
                Ok(entry) => return Ok(entry.map(|entry| (format, entry))),
                Err(error) if error.kind() == ErrorKind::Decode => {
                    of_another_type.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        // Of nothing that can be read.
        Err(of_another_type.unwrap_or_else(|| ErrorKind::Decode.into()))
    }

    /// Copies a value that was read in the old provider, unless the new one has something.
    async fn copy_entry(&self, request: GetRequest<'_>, entry: Entry<Bytes>) -> Result<Outcome> {
        // What the store checks of what it is given, and has not seen of this.
        let (key, limits) = (request.key, self.new.capabilities());
        if key.as_str().len() > limits.max_key_len {
            let message = "the old provider has a key that is too long for the new one";
            return Err(Error::new(ErrorKind::InvalidKey, message));
        }
        let len = entry.value.len();
        if limits.max_value_len.is_some_and(|limit| len > limit) {
            let message = "the old provider has a value that is too large for the new one";
            return Err(Error::new(ErrorKind::ValueTooLarge, message));
        }
        let expiry = match entry.expires_in {
            // No time left is not "forever".
            Some(left) => Expiry::After(left.max(Duration::from_millis(1))),
            None => Expiry::Never,
        };
        let copy = SetRequest::new(key, request.format, entry.value)
            .with_expiry(expiry)
            .with_condition(Condition::Absent);
        self.new.set(copy).await.map_err(self.new_failed())
    }
}
