//! The operations on one key, and those on the store.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::KeyValueStore;
use crate::options::NO_VERSIONS;
use crate::provider::{OneError, unsupported_keys, unsupported_touch};
use crate::{
    Condition, DeleteRequest, Entry, Error, ErrorKind, Expiry, Input, Key, Keys, KeysRequest,
    Outcome, Result, ServerInfo, SetOptions, SetRequest, TouchRequest, Version,
};

impl<V: 'static> KeyValueStore<V> {
    /// Gets a value; `None` when the key is missing.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when what is stored is not a value of this type.
    pub async fn get(&self, key: &str) -> Result<Option<V>> {
        let get = async {
            let full = self.full_key(key)?;
            let found = self.shared.provider.get(self.request(&full)).await?;
            found.map(|stored| self.decode(stored)).transpose()
        };
        get.await
            .map_err(|error| self.fail(error, "get", Some(key)))
    }

    /// Gets a value, or this one when the key is missing.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_or(&self, key: &str, default: V) -> Result<V> {
        Ok(self.get(key).await?.unwrap_or(default))
    }

    /// Gets a value with its version and the time it has left, in one round trip.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use kvstore_core::{KeyValueStore, Result};
    /// # const TTL: Duration = Duration::from_secs(1800);
    /// # async fn example(sessions: KeyValueStore<String>) -> Result<()> {
    /// // Sliding expiry: a second round trip only once per half life.
    /// if let Some(entry) = sessions.get_entry("4f2a").await? && entry.expires_within(TTL / 2) {
    ///     sessions.touch("4f2a", TTL).await?;
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_entry(&self, key: &str) -> Result<Option<Entry<V>>> {
        let get_entry = async {
            let full = self.full_key(key)?;
            let found = self.shared.provider.get_entry(self.request(&full)).await?;
            let decode = |entry: Entry<Bytes>| entry.try_map(|stored| self.decode(stored));
            found.map(decode).transpose()
        };
        get_entry
            .await
            .map_err(|error| self.fail(error, "get_entry", Some(key)))
    }

    /// Whether the key is present. The value is not looked at.
    ///
    /// # Errors
    /// Only what any method may answer.
    pub async fn has(&self, key: &str) -> Result<bool> {
        let has = async {
            let full = self.full_key(key)?;
            self.shared.provider.has(self.request(&full)).await
        };
        has.await
            .map_err(|error| self.fail(error, "has", Some(key)))
    }

    /// Stores a value that does not expire; an expiry that the key had is gone.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidValue`] and [`ErrorKind::ValueTooLarge`] when the value cannot be stored;
    /// [`ErrorKind::StorageFull`] when the server has no room. The old value stays.
    pub async fn set(&self, key: &str, value: impl Into<Input<'_, V>>) -> Result<()> {
        let written = self.write(key, value.into(), SetOptions::new(), None).await;
        self.unconditional(written, "set", key)
    }

    /// Stores a value with a time to live, or keeping the one that the key has.
    ///
    /// # Errors
    /// As [`set`](Self::set); [`ErrorKind::InvalidTtl`] when the time to live is zero, or longer than 100 years
    /// or than the server can keep.
    pub async fn set_with(
        &self,
        key: &str,
        value: impl Into<Input<'_, V>>,
        options: SetOptions,
    ) -> Result<()> {
        let written = self.write(key, value.into(), options, None).await;
        self.unconditional(written, "set", key)
    }

    /// Stores a value if a condition holds; the answer says whether it did.
    ///
    /// ```
    /// # use kvstore_core::{Condition, KeyValueStore, Result, SetOptions};
    /// # async fn example(locks: KeyValueStore<String>) -> Result<bool> {
    /// let mine = locks.set_if("job", "worker-7", Condition::Absent, SetOptions::new()).await?;
    /// # Ok(mine.is_applied()) }
    /// ```
    ///
    /// # Errors
    /// As [`set_with`](Self::set_with).
    pub async fn set_if(
        &self,
        key: &str,
        value: impl Into<Input<'_, V>>,
        condition: Condition,
        options: SetOptions,
    ) -> Result<Outcome> {
        let written = self
            .write(key, value.into(), options, Some(condition))
            .await;
        written.map_err(|error| self.fail(error, "set_if", Some(key)))
    }

    /// Deletes a key; a missing one is no error.
    ///
    /// # Errors
    /// Only what any method may answer.
    pub async fn delete(&self, key: &str) -> Result<()> {
        let delete = async {
            let full = self.full_key(key)?;
            self.shared
                .provider
                .delete(DeleteRequest::new(Key(&full)))
                .await
        };
        self.unconditional(delete.await, "delete", key)
    }

    /// Deletes a key if it is at this version; the answer says whether it was.
    ///
    /// # Errors
    /// Only what any method may answer.
    pub async fn delete_if(&self, key: &str, version: Version) -> Result<Outcome> {
        let delete = async {
            let full = self.full_key(key)?;
            self.claimed(self.capabilities().versions.is_some(), NO_VERSIONS)?;
            let request = DeleteRequest::new(Key(&full)).with_version(version);
            self.shared.provider.delete(request).await
        };
        delete
            .await
            .map_err(|error| self.fail(error, "delete_if", Some(key)))
    }

    /// Gets a value and deletes it, in one step: exactly one of many callers has it.
    ///
    /// # Errors
    /// As [`get`](Self::get). A value that does not decode is gone all the same: where types may mix, use
    /// [`get_entry`](Self::get_entry) and [`delete_if`](Self::delete_if).
    pub async fn take(&self, key: &str) -> Result<Option<V>> {
        let take = async {
            let full = self.full_key(key)?;
            self.claimed(
                self.capabilities().take,
                "this provider cannot get and delete in one step",
            )?;
            let found = self.shared.provider.take(self.request(&full)).await?;
            found.map(|stored| self.decode(stored)).transpose()
        };
        take.await
            .map_err(|error| self.fail(error, "take", Some(key)))
    }

    /// Gives an existing key a new time to live; `false` when it is missing.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTtl`], as [`set_with`](Self::set_with).
    pub async fn touch(&self, key: &str, ttl: Duration) -> Result<bool> {
        let touched = self.change_expiry(key, Expiry::After(ttl)).await;
        touched.map_err(|error| self.fail(error, "touch", Some(key)))
    }

    /// Lets an existing key live for ever; `false` when it is missing.
    ///
    /// # Errors
    /// Only what any method may answer.
    pub async fn persist(&self, key: &str) -> Result<bool> {
        let persisted = self.change_expiry(key, Expiry::Never).await;
        persisted.map_err(|error| self.fail(error, "persist", Some(key)))
    }

    /// Lists the keys that begin with a prefix, which is taken literally and may be empty, as they come from
    /// the server, without their values.
    pub fn keys(&self, prefix: &str) -> Keys {
        let checked = self.open().and_then(|()| match self.capabilities().keys {
            Some(_) => Ok(()),
            None => Err(unsupported_keys()),
        });
        let keys = match checked {
            Ok(()) => {
                let request = KeysRequest::new(format!("{}{prefix}", self.prefix));
                self.shared.provider.keys(request)
            }
            Err(error) => Box::pin(OneError(Some(error))),
        };
        Keys::new(keys, self.capabilities().provider, Arc::clone(&self.prefix))
    }

    /// Asks the server what it is, and what in its settings could bite.
    ///
    /// # Errors
    /// Only what any method may answer.
    pub async fn ping(&self) -> Result<ServerInfo> {
        let ping = async {
            self.open()?;
            self.shared.provider.ping().await
        };
        ping.await.map_err(|error| self.fail(error, "ping", None))
    }

    /// Closes this store, its clones and namespaces, and the provider below: calls under way finish or fail by
    /// their deadline, later ones answer [`ErrorKind::Closed`]. Closing twice is as once.
    ///
    /// # Errors
    /// The provider's, when it cannot end in good order.
    pub async fn close(&self) -> Result<()> {
        self.shared.closed.store(true, Ordering::Release);
        let closed = self.shared.provider.close().await;
        closed.map_err(|error| self.fail(error, "close", None))
    }

    async fn write(
        &self,
        key: &str,
        value: Input<'_, V>,
        options: SetOptions,
        condition: Option<Condition>,
    ) -> Result<Outcome> {
        let full = self.full_key(key)?;
        self.check_options(options, condition.as_ref())?;
        let mut request = SetRequest::new(Key(&full), self.shared.format, self.encode(value)?)
            .with_expiry(options.expiry);
        request.condition = condition;
        self.shared.provider.set(request).await
    }

    async fn change_expiry(&self, key: &str, expiry: Expiry) -> Result<bool> {
        let full = self.full_key(key)?;
        if !self.capabilities().touch {
            return Err(unsupported_touch());
        }
        expiry.check(self.capabilities())?;
        let request = TouchRequest::new(Key(&full), self.shared.format, expiry);
        self.shared.provider.touch(request).await
    }

    /// The answer of a write that nothing was required of.
    fn unconditional(
        &self,
        written: Result<Outcome>,
        operation: &'static str,
        key: &str,
    ) -> Result<()> {
        let applied = match written {
            Ok(Outcome::Applied(_)) => return Ok(()),
            Ok(Outcome::Unmet) => unmet_without_condition(),
            Err(error) => error,
        };
        Err(self.fail(applied, operation, Some(key)))
    }
}

/// For a provider that says of a write without a condition that it was not applied.
pub(super) fn unmet_without_condition() -> Error {
    Error::new(
        ErrorKind::Other,
        "the provider did not apply a write that had no condition",
    )
}
