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
        self.mark(path, &tombstone).await;
        Ok(true)
    }

    /// Replaces a version, if it still is the last, by a secret that says there is nothing: one of many does,
    /// while Vault deletes whatever version there is.
    ///
    /// Where versions count from 1 again after a delete, the tombstone stays, with the versions before it:
    /// Vault would destroy them by their numbers alone, which by then may be those of values set since.
    async fn replace(&self, path: &str, version: u64) -> Result<Option<Written>> {
        let body = Body::tombstone().finish(None, Some(version), usize::MAX)?;
        self.write(path, body).await
    }

    /// Marks a tombstone as deleted for Vault as well. That this may fail is no failure: the key is deleted
    /// already, and a caller of `take` would lose the value.
    async fn mark(&self, path: &str, tombstone: &Written) {
        if self.client.config.keep_counter {
            let _ = self.delete_version(path, tombstone.version).await;
        }
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
            self.mark(&path, &tombstone).await;
            if let Some(taken) = self.replaced(&path, found, &tombstone).await?
                && let State::Live(live) = taken.state()?
            {
                // Decoded after it is gone: what is not of the type is taken too.
                return live.secret.value(request.format).map(Some);
            }
        }
    }

    /// What a tombstone replaced. It is what was found before, unless that was deleted and another value set
    /// at the same version; `None` when the tombstone was deleted in its turn.
    async fn replaced(
        &self,
        path: &str,
        found: Found,
        tombstone: &Written,
    ) -> Result<Option<Found>> {
        if self.client.config.keep_counter {
            return Ok(Some(found));
        }
        let before = self.read_version(path, tombstone.version - 1).await?;
        let same = match before.created()? {
            Some(at) if at >= tombstone.created_time => return Ok(None),
            Some(at) => Some(at) == found.created()?,
            // Deleted since, or not kept as newer versions are too many.
            None => match self.created(path).await? {
                Some(since) if Some(since) <= found.created()? => true,
                _ => return Ok(None),
            },
        };
        Ok(Some(if same { found } else { before }))
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
