//! Writes: under a condition, or what is a read and a write under the condition that nothing came between.

use kvstore_core::{
    Bytes, Condition, DeleteRequest, Error, ErrorKind, Expiry, GetRequest, Outcome, Result,
    SetRequest, TouchRequest, Version,
};

use crate::api::{Found, State, Written};
use crate::client::Call;
use crate::secret::{self, Body};
use crate::time::Moment;

/// What a write needs to know of what is there.
struct Before {
    /// 0 where nothing ever was.
    version: u64,
    live: bool,
    expires_at: Option<Moment>,
}

impl Before {
    const NOTHING: Self = Self {
        version: 0,
        live: false,
        expires_at: None,
    };
}

impl Call<'_> {
    async fn before(&self, path: &str) -> Result<Before> {
        Ok(match self.read(path).await?.state()? {
            State::Missing(version) => Before {
                version,
                ..Before::NOTHING
            },
            State::Live(live) => Before {
                version: live.version,
                live: true,
                expires_at: live.expires_at,
            },
        })
    }

    pub(crate) async fn set(&self, request: SetRequest<'_>) -> Result<Outcome> {
        let path = self.client.root.secret(request.key.as_str());
        // What cannot be stored is refused before anything is sent.
        let body = self.body(&request, None, None)?;
        // It is refused where the mount wants a version with every write (`cas_required`).
        if request.condition.is_none()
            && request.expiry != Expiry::Keep
            && let Some(written) = self.write(&path, body).await?
        {
            return applied(&written);
        }
        let mut known =
            matches!(request.condition, Some(Condition::Absent)).then_some(Before::NOTHING);
        loop {
            let before = match known.take() {
                Some(before) => before,
                None => self.before(&path).await?,
            };
            let holds = match &request.condition {
                None => true,
                Some(Condition::Absent) => !before.live,
                Some(Condition::Present) => before.live,
                Some(Condition::Version(version)) => {
                    before.live && version.as_u64() == Some(before.version)
                }
                Some(_) => return Err(unknown_condition()),
            };
            if !holds {
                return Ok(Outcome::Unmet);
            }
            let body = self.body(&request, before.expires_at, Some(before.version))?;
            if let Some(written) = self.write(&path, body).await? {
                return applied(&written);
            }
            // Somebody else was quicker; only a version never comes back.
            if let Some(Condition::Version(_)) = request.condition {
                return Ok(Outcome::Unmet);
            }
        }
    }

    fn body(
        &self,
        request: &SetRequest<'_>,
        kept: Option<Moment>,
        cas: Option<u64>,
    ) -> Result<Bytes> {
        let expires_at = moment(request.expiry, kept)?;
        let limit = self.client.config.max_value_len;
        Body::new(request.format, &request.value)?.finish(expires_at, cas, limit)
    }

    pub(crate) async fn delete(&self, request: DeleteRequest<'_>) -> Result<Outcome> {
        let path = self.client.root.secret(request.key.as_str());
        let Some(version) = request.version else {
            return match self.client.config.keep_counter {
                true => self.delete_kept(&path).await,
                false => {
                    self.purge(&path).await?;
                    Ok(Outcome::Applied(None))
                }
            };
        };
        let before = self.before(&path).await?;
        let holds = before.live && version.as_u64() == Some(before.version);
        match holds && self.bury(&path, before.version).await? {
            true => Ok(Outcome::Applied(None)),
            false => Ok(Outcome::Unmet),
        }
    }

    async fn delete_kept(&self, path: &str) -> Result<Outcome> {
        loop {
            let before = self.before(path).await?;
            if !before.live || self.bury(path, before.version).await? {
                return Ok(Outcome::Applied(None));
            }
        }
    }

    /// Deletes a version if it still is the last.
    async fn bury(&self, path: &str, version: u64) -> Result<bool> {
        let Some(tombstone) = self.replace(path, version).await? else {
            return Ok(false);
        };
        self.clean(path, tombstone.version).await;
        Ok(true)
    }

    /// Replaces a version, if it still is the last, by a secret that says there is nothing: one of many does,
    /// while Vault deletes whatever version there is.
    async fn replace(&self, path: &str, version: u64) -> Result<Option<Written>> {
        let body = Body::tombstone().finish(None, Some(version), usize::MAX)?;
        self.write(path, body).await
    }

    /// Removes a tombstone and what was before it. That this may fail is no failure, as the key is deleted
    /// already, and a caller of `take` would lose the value; `purge_expired` sees to what is left.
    async fn clean(&self, path: &str, tombstone: u64) {
        let _ = match self.client.config.keep_counter {
            true => self.delete_version(path, tombstone).await,
            false => self.destroy_to(path, tombstone).await,
        };
    }

    pub(crate) async fn take(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        let path = self.client.root.secret(request.key.as_str());
        loop {
            let found = self.read(&path).await?;
            let State::Live(live) = found.state()? else {
                return Ok(None);
            };
            let Some(tombstone) = self.replace(&path, live.version).await? else {
                continue;
            };
            let taken = match self.client.config.keep_counter {
                true => Some(found),
                // Since it was read it may have been removed and set anew, at the same version.
                false => self.replaced(&path, &tombstone).await?,
            };
            self.clean(&path, tombstone.version).await;
            let Some(taken) = taken else { continue };
            if let State::Live(live) = taken.state()? {
                // Decoded after it is gone: what is not of the type is taken too.
                return live.secret.value(request.format).map(Some);
            }
        }
    }

    /// What a tombstone replaced; `None` when it was removed in the meantime, with the tombstone.
    async fn replaced(&self, path: &str, tombstone: &Written) -> Result<Option<Found>> {
        let found = self.read_version(path, tombstone.version - 1).await?;
        // What was set anew after the tombstone was removed is younger.
        Ok(found.is_older(tombstone)?.then_some(found))
    }

    pub(crate) async fn touch(&self, request: TouchRequest<'_>) -> Result<bool> {
        let path = self.client.root.secret(request.key.as_str());
        loop {
            let before = self.before(&path).await?;
            if !before.live {
                return Ok(false);
            }
            let expires_at = moment(request.expiry, before.expires_at)?;
            if expires_at == before.expires_at {
                return Ok(true);
            }
            let body = secret::expiry(expires_at, before.version)?;
            if self.patch(&path, body).await? {
                return Ok(true);
            }
        }
    }
}

/// When a key expires that is written now.
fn moment(expiry: Expiry, kept: Option<Moment>) -> Result<Option<Moment>> {
    match expiry {
        Expiry::Never => Ok(None),
        Expiry::After(span) => Ok(Some(Moment::now().after(span))),
        Expiry::Keep => Ok(kept),
        _ => Err(Error::new(
            ErrorKind::Unsupported,
            "this release does not know that expiry",
        )),
    }
}

fn unknown_condition() -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "this release does not know that condition",
    )
}

fn applied(written: &Written) -> Result<Outcome> {
    Ok(Outcome::Applied(Some(Version::from(written.version))))
}
