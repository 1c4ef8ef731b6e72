//! The operations on one key.

use kvstore_core::{
    Bytes, Condition, DeleteRequest, Entry, Error, ErrorKind, Expiry, GetRequest, Outcome, Result,
    SetRequest, TouchRequest,
};

use crate::provider::Both;
use crate::tombstone::{Found, is_tombstone};
use crate::version;

impl Both {
    pub(crate) async fn get(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        if let Some(found) = self.read_new(request).await? {
            return Ok(found);
        }
        if self.old_takes(request.key) {
            let found = self.get_old(request).await?;
            if found.is_some() {
                return Ok(found);
            }
        }
        // It may have moved between the two looks.
        Ok(self.read_new(request).await?.flatten())
    }

    /// Reads the value, since a tombstone would be there as well.
    pub(crate) async fn has(&self, request: GetRequest<'_>) -> Result<bool> {
        if let Some(has) = self.new_has(request).await? {
            return Ok(has);
        }
        if self.old_takes(request.key)
            && is_there(self.get_old(request).await.map(Some))? == Some(true)
        {
            return Ok(true);
        }
        Ok(self.new_has(request).await? == Some(true))
    }

    /// `None` where the new provider has nothing, `Some(false)` where the key was deleted.
    async fn new_has(&self, request: GetRequest<'_>) -> Result<Option<bool>> {
        is_there(self.read_new(request).await)
    }

    /// Moves nothing: what only the old one has is told with a version of its own.
    pub(crate) async fn get_entry(&self, request: GetRequest<'_>) -> Result<Option<Entry<Bytes>>> {
        let mut found = self.look(request).await?;
        if let Found::Missing = found {
            if self.old_takes(request.key)
                && let Some(mut entry) = self.get_entry_old(request).await?
            {
                entry.version = Some(self.version_of_old(request.format, &entry)?);
                return Ok(Some(entry));
            }
            // It may have moved between the two looks.
            found = self.look(request).await?;
        }
        match found {
            Found::Missing | Found::Deleted(_) => Ok(None),
            Found::Live(version, mut entry) => {
                entry.version = Some(match self.by_content {
                    true => version::of_content(request.format, &entry.value)?,
                    false => version::of_new(version)?,
                });
                Ok(Some(entry))
            }
            Found::Other(_, error) => Err(error),
        }
    }

    pub(crate) async fn set(&self, request: SetRequest<'_>) -> Result<Outcome> {
        check(&request)?;
        if let Some(Condition::Version(version)) = &request.condition {
            let Some(version) = self.move_version(request.key, version).await? else {
                return Ok(Outcome::Unmet);
            };
            let request = request.with_condition(Condition::Version(version));
            return self.write_now(request).await;
        }
        self.move_up(GetRequest::new(request.key, request.format))
            .await?;
        self.write(request).await
    }

    /// Writes to the new provider.
    async fn write_now(&self, request: SetRequest<'_>) -> Result<Outcome> {
        let written = self.new.set(request.clone()).await;
        self.tell(&request, written)
    }

    /// What the new provider did, with the version as it is told.
    pub(crate) fn tell(
        &self,
        request: &SetRequest<'_>,
        written: Result<Outcome>,
    ) -> Result<Outcome> {
        Ok(match written.map_err(self.new_failed())? {
            Outcome::Applied(Some(_)) if self.by_content => {
                Outcome::Applied(Some(version::of_content(request.format, &request.value)?))
            }
            Outcome::Applied(Some(version)) => Outcome::Applied(Some(version::of_new(version)?)),
            outcome => outcome,
        })
    }

    /// Writes a key that the old provider does not have, under no version.
    pub(crate) async fn write(&self, request: SetRequest<'_>) -> Result<Outcome> {
        if is_one_step(&request) {
            return self.write_now(request).await;
        }
        // Here a tombstone must not count as a value: it is replaced as the version that was seen.
        loop {
            let found = self.look(GetRequest::new(request.key, request.format));
            let (present, seen) = match found.await? {
                Found::Missing => (false, Condition::Absent),
                Found::Deleted(version) => (false, Condition::Version(version)),
                Found::Live(version, _) | Found::Other(version, _) => {
                    (true, Condition::Version(version))
                }
            };
            let holds = match request.condition {
                Some(Condition::Absent) => !present,
                Some(Condition::Present) => present,
                _ => true,
            };
            if !holds {
                return Ok(Outcome::Unmet);
            }
            let mut write = request.clone().with_condition(seen);
            if !present && write.expiry == Expiry::Keep {
                write.expiry = Expiry::Never;
            }
            let written = self.write_now(write).await?;
            if written.is_applied() {
                return Ok(written);
            }
        }
    }

    pub(crate) async fn delete(&self, request: DeleteRequest<'_>) -> Result<Outcome> {
        let key = request.key;
        let Some(version) = request.version else {
            // In the old one first: the other way round a copy could come between the two. And then the new one
            // still has its value when the call fails between the two, where it had one.
            self.delete_old(&request).await?;
            let buried = self.new.set(self.tombstone(key)).await;
            return match buried {
                Ok(_) => Ok(Outcome::Applied(None)),
                Err(error) => Err(self.new_failed()(error).with_outcome_unknown()),
            };
        };
        let Some(version) = self.move_version(key, &version).await? else {
            return Ok(Outcome::Unmet);
        };
        let buried = self.bury(key, version).await?;
        Ok(match buried {
            Outcome::Applied(_) => Outcome::Applied(None),
            Outcome::Unmet => Outcome::Unmet,
        })
    }

    async fn delete_old(&self, request: &DeleteRequest<'_>) -> Result<()> {
        if self.old_takes(request.key) {
            let deleted = self.old.delete(request.clone()).await;
            return deleted.map(drop).map_err(self.old_failed());
        }
        Ok(())
    }

    pub(crate) async fn take(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        self.move_up(request).await?;
        loop {
            let (version, taken) = match self.look(request).await? {
                Found::Missing | Found::Deleted(_) => return Ok(None),
                Found::Live(version, entry) => (version, Ok(Some(entry.value))),
                Found::Other(version, error) => (version, Err(error)),
            };
            if self.bury(request.key, version).await?.is_applied() {
                return taken;
            }
        }
    }

    /// Writes the value again, under the condition that it is still there: touching could hit a tombstone.
    pub(crate) async fn touch(&self, request: TouchRequest<'_>) -> Result<bool> {
        let asked = GetRequest::new(request.key, request.format);
        self.move_up(asked).await?;
        loop {
            let (version, entry) = match self.look(asked).await? {
                Found::Missing | Found::Deleted(_) => return Ok(false),
                Found::Live(version, entry) => (version, entry),
                Found::Other(_, error) => return Err(error),
            };
            let write = SetRequest::new(request.key, request.format, entry.value)
                .with_expiry(request.expiry)
                .with_condition(Condition::Version(version));
            let written = self.new.set(write).await.map_err(self.new_failed())?;
            if written.is_applied() {
                return Ok(true);
            }
        }
    }
}

/// Whether the new provider does right by a write alone: it replaces whatever is there.
pub(crate) fn is_one_step(request: &SetRequest<'_>) -> bool {
    request.condition.is_none() && request.expiry != Expiry::Keep
}

/// Whether what was read is there: also what does not read as it was asked for. `None` stays.
fn is_there(read: Result<Option<Option<Bytes>>>) -> Result<Option<bool>> {
    match read {
        Ok(found) => Ok(found.map(|value| value.is_some())),
        Err(error) if error.kind() == ErrorKind::Decode => Ok(Some(true)),
        Err(error) => Err(error),
    }
}

/// The one value that would read as a deleted key.
pub(crate) fn check(request: &SetRequest<'_>) -> Result<()> {
    if is_tombstone(&request.value) {
        let message = "the value is what stands for a deleted key";
        return Err(Error::new(ErrorKind::InvalidValue, message));
    }
    Ok(())
}
