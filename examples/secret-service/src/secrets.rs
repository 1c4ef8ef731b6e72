use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use example_service::{Answer, Failure, require};
use futures_util::TryStreamExt as _;
use kvstore_core::{Bytes, Condition, KeyValueStore, Provider, Result, SetOptions};

/// Secrets of any bytes, by name.
#[derive(Clone, Debug)]
pub struct Secrets(KeyValueStore<Bytes>);

fn missing() -> Failure {
    Failure::refused(StatusCode::NOT_FOUND, "there is no secret of that name")
}

impl Secrets {
    /// Secrets in a store that any number of instances share.
    ///
    /// # Errors
    /// Where the provider cannot do all of what is asked here. One that may lose a secret without being told to, as
    /// Memcached, cannot list them either.
    pub fn new(provider: Arc<dyn Provider>) -> Result<Self> {
        let can = provider.capabilities();
        let needs = [
            ("expiry", can.expiry.is_some()),
            ("the condition `absent`", can.if_absent),
            ("versions", can.versions.is_some()),
            ("getting and deleting in one step (`take`)", can.take),
            ("listings", can.keys.is_some()),
        ];
        require(can, &needs)?;
        Ok(Self(KeyValueStore::bytes(provider).namespace("secrets")?))
    }

    /// Stores a new secret, and never over another.
    pub(crate) async fn create(
        &self,
        name: &str,
        secret: Bytes,
        ttl: Option<Duration>,
    ) -> Answer<()> {
        let options = match ttl {
            Some(ttl) => SetOptions::new().ttl(ttl),
            None => SetOptions::new(),
        };
        let created = self.0.set_if(name, secret, Condition::Absent, options);
        match created.await?.is_applied() {
            true => Ok(()),
            false => Err(Failure::refused(
                StatusCode::CONFLICT,
                "there is a secret of that name",
            )),
        }
    }

    pub(crate) async fn fetch(&self, name: &str) -> Answer<Bytes> {
        self.0.get(name).await?.ok_or_else(missing)
    }

    /// Fetches a secret for the last time: of any number of callers one has it.
    pub(crate) async fn take(&self, name: &str) -> Answer<Bytes> {
        self.0.take(name).await?.ok_or_else(missing)
    }

    /// Replaces a secret, which lives as long as before. Of two who rotate at the same time one is refused.
    pub(crate) async fn rotate(&self, name: &str, secret: Bytes) -> Answer<()> {
        let entry = self.0.get_entry(name).await?.ok_or_else(missing)?;
        let version = entry.version.ok_or_else(|| {
            Failure::refused(StatusCode::NOT_IMPLEMENTED, "this store has no versions")
        })?;
        let options = SetOptions::new().keep_expiry();
        let rotated = self
            .0
            .set_if(name, secret, Condition::Version(version), options);
        match rotated.await?.is_applied() {
            true => Ok(()),
            false => Err(Failure::refused(
                StatusCode::CONFLICT,
                "it was changed at the same time; look again",
            )),
        }
    }

    pub(crate) async fn delete(&self, name: &str) -> Answer<()> {
        Ok(self.0.delete(name).await?)
    }

    pub(crate) async fn names(&self, prefix: &str) -> Answer<Vec<String>> {
        let mut names: Vec<String> = self.0.keys(prefix).try_collect().await?;
        names.sort_unstable();
        // A server may name a key twice.
        names.dedup();
        Ok(names)
    }
}
