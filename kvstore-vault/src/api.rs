//! The requests for secrets.

use http::{Method, StatusCode};
use kvstore_core::{Bytes, Error, Result};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::client::Call;
use crate::error::{Refusal, not_understood};
use crate::http::{Answer, Ask, Effect};
use crate::secret::Secret;
use crate::time::Moment;

/// What there is at a path.
pub(crate) enum State<'a> {
    /// Nothing that counts. The version is that of what was deleted or has expired, 0 where nothing was.
    Missing(u64),
    Live(Live<'a>),
}

/// A secret that has not expired.
pub(crate) struct Live<'a> {
    pub(crate) secret: Secret<'a>,
    pub(crate) version: u64,
    pub(crate) expires_at: Option<Moment>,
    /// When the answer came.
    pub(crate) now: Moment,
}

#[derive(Deserialize)]
struct Read<D> {
    data: Option<Data<D>>,
    errors: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Data<D> {
    data: Option<D>,
    metadata: Written,
}

/// What the server says of a version.
#[derive(Deserialize)]
pub(crate) struct Written {
    pub(crate) version: u64,
    pub(crate) created_time: Moment,
}

#[derive(Deserialize)]
struct Listed {
    data: Names,
}

#[derive(Deserialize)]
struct Names {
    keys: Vec<String>,
}

/// The answer to a read: a secret, or that there is none.
pub(crate) struct Found(Answer);

impl Found {
    pub(crate) fn state(&self) -> Result<State<'_>> {
        let read: Read<Secret<'_>> = self.parse()?;
        let Some(Data { data, metadata }) = read.data else {
            return Ok(State::Missing(0));
        };
        let version = metadata.version;
        let Some(secret) = data.filter(|secret| !secret.is_tombstone()) else {
            return Ok(State::Missing(version));
        };
        let (now, expires_at) = (Moment::now(), secret.expires_at()?);
        if expires_at.is_some_and(|moment| moment.until(now).is_none()) {
            return Ok(State::Missing(version));
        }
        Ok(State::Live(Live {
            secret,
            version,
            expires_at,
            now,
        }))
    }

    /// When the version was written; `None` where nothing was.
    pub(crate) fn created(&self) -> Result<Option<Moment>> {
        let read: Read<IgnoredAny> = self.parse()?;
        Ok(read.data.map(|data| data.metadata.created_time))
    }

    /// The version whose members are still kept although the secret is missing: it has expired, or was
    /// marked as deleted and nothing more.
    pub(crate) fn leftover(&self) -> Result<Option<u64>> {
        let read: Read<Secret<'_>> = self.parse()?;
        let kept = read.data.filter(|data| data.data.is_some());
        Ok(match self.state()? {
            State::Missing(version) => kept.map(|_| version),
            State::Live(_) => None,
        })
    }

    fn parse<'a, D: Deserialize<'a>>(&'a self) -> Result<Read<D>> {
        let read: Result<Read<D>, _> = serde_json::from_slice(&self.0.text);
        read.map_err(|error| not_understood(&error))
    }
}

impl Call<'_> {
    /// Reads a secret; a miss is an answer too.
    pub(crate) async fn read(&self, path: &str) -> Result<Found> {
        self.read_from(self.client.root.api("data", path)).await
    }

    /// Reads one version of a secret.
    pub(crate) async fn read_version(&self, path: &str, version: u64) -> Result<Found> {
        let path = self.client.root.api("data", path);
        self.read_from(format!("{path}?version={version}")).await
    }

    async fn read_from(&self, path: String) -> Result<Found> {
        let ask = Ask::read(Method::GET, path);
        let answer = self.ask(&ask).await?;
        if answer.status.is_success() || is_miss(&answer) {
            return Ok(Found(answer));
        }
        Err(Refusal::new(&answer, &ask).into())
    }

    /// Writes a secret; the answer is its new version, or `None` when it was not at the version that the
    /// body requires.
    pub(crate) async fn write(&self, path: &str, body: Bytes) -> Result<Option<Written>> {
        #[derive(Deserialize)]
        struct Answered {
            data: Written,
        }
        let path_of_api = self.client.root.api("data", path);
        let ask = Ask::post(path_of_api, body, Effect::Secret);
        let answer = self.ask(&ask).await?;
        if !answer.status.is_success() {
            let refusal = Refusal::new(&answer, &ask);
            return match refusal.is_conflict() {
                true => Ok(None),
                false => Err(refusal.into()),
            };
        }
        let answered: Result<Answered, _> = serde_json::from_slice(&answer.text);
        let Answered { data } =
            answered.map_err(|error| not_understood(&error).with_outcome_unknown())?;
        if let (1, Some(max)) = (data.version, self.client.config.max_versions) {
            self.limit_versions(path, max).await?;
        }
        Ok(Some(data))
    }

    /// Changes members of a secret; `false` when it was not at the version that the body requires, or is
    /// there no more.
    pub(crate) async fn patch(&self, path: &str, body: Bytes) -> Result<bool> {
        let mut ask = Ask::post(self.client.root.api("data", path), body, Effect::Secret);
        ask.method = Method::PATCH;
        let answer = self.ask(&ask).await?;
        if answer.status.is_success() {
            return Ok(true);
        }
        let refusal = Refusal::new(&answer, &ask);
        match refusal.is_conflict() || is_gone(&answer) {
            true => Ok(false),
            false => Err(refusal.into()),
        }
    }

    async fn limit_versions(&self, path: &str, max: u32) -> Result<()> {
        let body = format!(r#"{{"max_versions":{max}}}"#).into();
        let path = self.client.root.api("metadata", path);
        let ask = Ask::post(path, body, Effect::Secret);
        // The secret is there all the same.
        self.done(&ask).await.map_err(Error::with_outcome_unknown)?;
        Ok(())
    }

    /// Removes a secret with all its versions.
    pub(crate) async fn purge(&self, path: &str) -> Result<()> {
        let path = self.client.root.api("metadata", path);
        self.done(&Ask::write(Method::DELETE, path, None)).await?;
        Ok(())
    }

    /// When the first version of a secret was written, since it was last removed.
    pub(crate) async fn created(&self, path: &str) -> Result<Option<Moment>> {
        #[derive(Deserialize)]
        struct Described {
            data: Option<Metadata>,
        }
        #[derive(Deserialize)]
        struct Metadata {
            created_time: Moment,
        }
        let found = self
            .read_from(self.client.root.api("metadata", path))
            .await?;
        let described: Result<Described, _> = serde_json::from_slice(&found.0.text);
        let Described { data } = described.map_err(|error| not_understood(&error))?;
        Ok(data.map(|metadata| metadata.created_time))
    }

    /// Marks a version as deleted, whatever newer ones there are.
    pub(crate) async fn delete_version(&self, path: &str, version: u64) -> Result<()> {
        self.versions("delete", path, version..=version).await
    }

    /// Removes what a version and those before it hold, whatever newer ones there are. What was never
    /// there is passed over by the server.
    pub(crate) async fn destroy_to(&self, path: &str, version: u64) -> Result<()> {
        let first = version.saturating_sub(KEPT).max(1);
        self.versions("destroy", path, first..=version).await
    }

    async fn versions(
        &self,
        endpoint: &str,
        path: &str,
        versions: std::ops::RangeInclusive<u64>,
    ) -> Result<()> {
        let versions: Vec<_> = versions.map(|version| version.to_string()).collect();
        let body = format!(r#"{{"versions":[{}]}}"#, versions.join(",")).into();
        let path = self.client.root.api(endpoint, path);
        self.done(&Ask::post(path, body, Effect::Secret)).await?;
        Ok(())
    }

    /// The names in a folder, those of folders with a slash at the end: all of them, or with OpenBao a page.
    pub(crate) async fn list(&self, folder: &str, after: Option<&str>) -> Result<Vec<String>> {
        let path = self.client.root.api("metadata", folder);
        let after = after.map(|name| format!("&after={}", crate::path::encode(name)));
        let path = format!("{path}?limit={PAGE}{}", after.unwrap_or_default());
        let ask = Ask::read(Method::from_bytes(b"LIST").unwrap_or(Method::GET), path);
        let answer = self.ask(&ask).await?;
        if is_miss(&answer) {
            return Ok(Vec::new());
        }
        if !answer.status.is_success() {
            return Err(Refusal::new(&answer, &ask).into());
        }
        let listed: Result<Listed, _> = serde_json::from_slice(&answer.text);
        Ok(listed.map_err(|error| not_understood(&error))?.data.keys)
    }
}

/// How many names a page has, where the server has pages.
pub(crate) const PAGE: usize = 1000;

/// The most versions that are removed at once; a server keeps 10, unless it is told to keep more.
const KEPT: u64 = 255;

/// Whether an answer to a change says that there is nothing to be changed: the same, or with no words at all.
fn is_gone(answer: &Answer) -> bool {
    is_miss(answer) || (answer.status == StatusCode::NOT_FOUND && answer.text.is_empty())
}

/// Whether an answer says that there is nothing, rather than no such mount or namespace.
fn is_miss(answer: &Answer) -> bool {
    if answer.status != StatusCode::NOT_FOUND {
        return false;
    }
    let read: Result<Read<IgnoredAny>, _> = serde_json::from_slice(&answer.text);
    read.is_ok_and(|read| match (read.data, read.errors) {
        (Some(_), _) => true,
        (None, errors) => errors.is_some_and(|errors| errors.is_empty()),
    })
}
