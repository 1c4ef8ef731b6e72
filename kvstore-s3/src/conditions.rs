//! Which conditions the server honours. Some clones of S3 accept the headers and ignore them, so it is tried.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use kvstore_core::{Bytes, Error, ErrorKind, Expiry, Format, Result};

use crate::api::{Found, Guard};
use crate::client::{Call, Client};
use crate::error::Refusal;
use crate::object::{Content, version};

/// What was found to be honoured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Conditions {
    /// A write that requires that there is no object.
    pub(crate) create: bool,
    /// A write that requires an object of this ETag.
    pub(crate) replace: bool,
    /// A delete that requires one.
    pub(crate) delete: bool,
}

impl Conditions {
    pub(crate) const ALL: Self = Self {
        create: true,
        replace: true,
        delete: true,
    };
    pub(crate) const NONE: Self = Self {
        create: false,
        replace: false,
        delete: false,
    };
}

/// A number that nobody else has.
pub(crate) fn number() -> String {
    let random = RandomState::new();
    format!("{:016x}{:016x}", random.hash_one(0), random.hash_one(1))
}

impl Client {
    /// Tries each condition where it holds and where it does not, on an object that is no key's. Each request has
    /// the time of a call.
    async fn probe(self: Arc<Self>) -> Result<Conditions> {
        if let Some(found) = self.conditions.get() {
            return Ok(*found);
        }
        let object = self.names.of_no_key(&number());
        let probed = self.own_call().probe_at(&object).await;
        match probed {
            Ok(found) => {
                // It is not there any more, unless the server ignores conditions.
                if found != Conditions::ALL {
                    self.own_call().delete_object(&object).await?;
                }
                Ok(*self.conditions.get_or_init(|| found))
            }
            Err(error) => {
                // Who waits may try again meanwhile.
                tokio::spawn(async move { self.own_call().delete_object(&object).await });
                Err(error)
            }
        }
    }
}

impl Call<'_> {
    /// What the server honours: tried when it is first asked for.
    pub(crate) async fn conditions(&self) -> Result<Conditions> {
        if !self.client.config.conditions {
            return Ok(Conditions::NONE);
        }
        if let Some(found) = self.client.conditions.get() {
            return Ok(*found);
        }
        let probed = self.client.probing.wait(self.deadline, || {
            let client = Arc::clone(self.client);
            async move { client.probe().await }
        });
        match probed.await {
            // Of what was tried, and not of the call.
            Some(Err(error)) if error.outcome_unknown() => {
                let message =
                    "which conditions the server honours could not be tried; nothing was sent";
                Err(Error::new(error.kind(), message).with_source(error))
            }
            Some(probed) => probed,
            None => {
                let message = "it takes longer to find out which conditions the server honours, and goes on; nothing was sent";
                Err(Error::new(ErrorKind::Timeout, message))
            }
        }
    }

    /// Makes sure of a condition before it is relied on.
    pub(crate) async fn need(&self, which: fn(&Conditions) -> bool) -> Result<()> {
        match which(&self.conditions().await?) {
            true => Ok(()),
            false => Err(Error::new(
                ErrorKind::Unsupported,
                "the server ignores conditions, which this needs: it was tried when they were first needed",
            )),
        }
    }

    async fn probe_at(&mut self, object: &str) -> Result<Conditions> {
        // An ETag, and not this object's.
        const OTHER: &str = "\"00000000000000000000000000000000\"";
        let other = || Guard::Tag(HeaderValue::from_static(OTHER));

        let mut found = Conditions::NONE;
        let Some(first) = self.probe_put(object, "1", Guard::Absent).await? else {
            return Ok(found);
        };
        self.probe_expiry(object).await?;
        found.create = self.probe_put(object, "2", Guard::Absent).await?.is_none();
        if !found.create {
            return Ok(found);
        }
        let stale = self.probe_put(object, "2", other()).await?;
        let second = self.probe_put(object, "2", first.clone()).await?;
        let (None, Some(second)) = (stale, second) else {
            return Ok(found);
        };
        let ignored = self.probe_delete(object, first).await?;
        found.delete = !ignored && self.probe_delete(object, second.clone()).await?;
        if !ignored && !found.delete {
            self.begin_anew();
            self.delete_object(object).await?;
        }
        // Some make objects where there are none.
        found.replace = self.probe_put(object, "2", second).await?.is_none();
        found.delete &= found.replace;
        Ok(found)
    }

    /// Makes sure that what was just written expires: a proxy may drop metadata with an underscore in its name.
    async fn probe_expiry(&mut self, object: &str) -> Result<()> {
        self.begin_anew();
        match self.look(object).await? {
            Found::Live(found) if self.client.expires && found.expires_at().is_none() => {
                Err(Error::new(
                    ErrorKind::InvalidConfig,
                    "the metadata `x-amz-meta-expires_at` does not reach the server or does not come back, so that no key would ever expire: look at the proxies between, or say that there is no `expiry`",
                ))
            }
            _ => Ok(()),
        }
    }

    /// Whether it was written, and what it is then.
    async fn probe_put(
        &mut self,
        object: &str,
        body: &'static str,
        guard: Guard,
    ) -> Result<Option<Guard>> {
        let content = Content::new(Format::Text, Bytes::from_static(body.as_bytes()))?;
        let expiry = match self.client.expires {
            true => Expiry::After(PROBE),
            false => Expiry::Never,
        };
        let headers = content.headers(expiry, None)?;
        self.begin_anew();
        let put = self.try_put(object, content.body, headers, guard).await?;
        match put {
            Ok(answer) => {
                let version = version(&answer.headers);
                Ok(version.as_ref().and_then(Guard::version))
            }
            Err(refusal) => not_done(refusal, WRITING).map(|()| None),
        }
    }

    async fn probe_delete(&mut self, object: &str, guard: Guard) -> Result<bool> {
        self.begin_anew();
        match self.try_delete(object, guard).await? {
            Ok(_) => Ok(true),
            Err(refusal) => not_done(refusal, DELETING).map(|()| false),
        }
    }
}

/// How many requests it takes at most, each with the time of a call, to try them.
pub(crate) const REQUESTS: u32 = 12;

/// When an object expires that was written to try the conditions, and could not be deleted.
const PROBE: Duration = Duration::from_secs(24 * 60 * 60);

const WRITING: &str = "the credentials lack the right to write, `s3:PutObject`; without any, say that there are no `conditions`";
const DELETING: &str = "the credentials lack the right to delete, `s3:DeleteObject`; without any, say that there are no `conditions`";

/// Whether a refusal is about the condition; of another kind it is an error.
fn not_done(refusal: Refusal, right: &'static str) -> Result<()> {
    if refusal.is_unmet() || refusal.is_missing() || refusal.is_unknown() {
        return Ok(());
    }
    Err(match refusal.is_of_a_right() {
        true => refusal.into_error(ErrorKind::PermissionDenied, right),
        false => refusal.into(),
    })
}
