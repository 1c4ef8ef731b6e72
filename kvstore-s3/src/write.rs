//! Writes: under a condition, or what is a read and a write under the condition that nothing came between.

use std::time::Duration;

use kvstore_core::{
    Bytes, Condition, DeleteRequest, Error, ErrorKind, Expiry, GetRequest, Outcome, Result,
    SetRequest, TouchRequest, Version,
};
use tokio::time::sleep;

use crate::api::{Found, Guard};
use crate::client::Call;
use crate::conditions::number;
use crate::object::{self, Content};
use crate::time::Moment;

/// Counts how often the server refused to create an object where there is none.
///
/// Somebody may have deleted it between the two answers, but hardly time after time. SeaweedFS refuses a key
/// as long as there are only keys below it, `a` beside `a/b`.
#[derive(Default)]
struct Refused(u8);

impl Refused {
    fn again(&mut self) -> Result<()> {
        self.0 += 1;
        match self.0 {
            ..5 => Ok(()),
            _ => Err(Error::new(
                ErrorKind::Other,
                "the server refuses to create this key, although it is missing; SeaweedFS does so while there are keys below it, as `a/b` is below `a`",
            )),
        }
    }
}

/// A write under a condition: it has a number, by which it is known again.
struct Write<'a> {
    object: &'a str,
    content: &'a Content,
    expiry: Expiry,
    number: String,
}

impl<'a> Write<'a> {
    fn new(object: &'a str, content: &'a Content, expiry: Expiry) -> Self {
        Self {
            object,
            content,
            expiry,
            number: number(),
        }
    }

    /// What it came to, where it is what wrote what is there.
    fn outcome(&self, found: &Found) -> Option<Outcome> {
        match found {
            Found::Live(found) | Found::Expired(found) if found.is_of_write(&self.number) => {
                Some(Outcome::Applied(found.version().ok()))
            }
            _ => None,
        }
    }
}

impl Call<'_> {
    pub(crate) async fn set(&self, request: SetRequest<'_>) -> Result<Outcome> {
        let object = self.client.names.object(request.key.as_str());
        let content = Content::new(request.format, request.value.clone())?;
        let write = || Write::new(&object, &content, request.expiry);
        match (&request.condition, request.expiry) {
            (None, Expiry::Never | Expiry::After(_)) => {
                if request.expiry != Expiry::Never {
                    self.need(|found| found.replace).await?;
                }
                let headers = content.headers(request.expiry, None)?;
                let version = self.put(&object, content.body, headers).await?;
                Ok(Outcome::Applied(version))
            }
            (Some(Condition::Absent), _) => self.create(&write()).await,
            (condition, _) => self.replace(&write(), condition.as_ref()).await,
        }
    }

    async fn create(&self, write: &Write<'_>) -> Result<Outcome> {
        self.need(|found| found.create).await?;
        if self.client.expires || write.expiry != Expiry::Never {
            // What has expired is replaced.
            self.need(|found| found.replace).await?;
        }
        let _turn = self.turn(write.object).await?;
        let mut refused = Refused::default();
        loop {
            let expired = match self.put_if(write, None, Guard::Absent).await? {
                Ok(outcome) => return Ok(outcome),
                Err(Found::Live(_)) => return Ok(Outcome::Unmet),
                Err(Found::Nothing) => {
                    refused.again()?;
                    continue;
                }
                Err(Found::Expired(expired)) => expired,
            };
            let body = &write.content.body;
            if expired.len().is_none_or(|len| len == body.len())
                && self.is_expired_with(write.object, body).await?
            {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "the key has expired with the same value, and two writers that create it could not be told apart; put something into the value that differs",
                ));
            }
            let guard = Guard::object(&expired)?;
            if let Ok(outcome) = self.put_if(write, None, guard).await? {
                return Ok(outcome);
            }
        }
    }

    /// Whether an expired object has this body.
    async fn is_expired_with(&self, object: &str, body: &Bytes) -> Result<bool> {
        Ok(match self.read(object).await? {
            Found::Expired(expired) => expired.body == *body,
            Found::Nothing | Found::Live(_) => false,
        })
    }

    /// Writes what is required to be there, or what is to keep the expiry of what is there.
    async fn replace(&self, write: &Write<'_>, condition: Option<&Condition>) -> Result<Outcome> {
        self.need(|found| found.replace).await?;
        let _turn = self.turn(write.object).await?;
        if let Some(Condition::Version(version)) = condition
            && !self.client.expires
        {
            // Nothing to look for: it cannot have expired.
            let Some(guard) = Guard::version(version) else {
                return Ok(Outcome::Unmet);
            };
            let written = self.put_if(write, None, guard).await?;
            return Ok(written.unwrap_or(Outcome::Unmet));
        }
        let mut refused = Refused::default();
        let mut found = self.look(write.object).await?;
        loop {
            let guard = match &found {
                Found::Nothing => Guard::Absent,
                Found::Expired(object) | Found::Live(object) => Guard::object(object)?,
            };
            let live = found.live();
            let holds = match condition {
                None => true,
                Some(Condition::Present) => live.is_some(),
                Some(Condition::Version(wanted)) => match &live {
                    Some(live) => live.version()? == *wanted,
                    None => false,
                },
                Some(_) => return Err(unknown_condition()),
            };
            if !holds {
                return Ok(Outcome::Unmet);
            }
            if matches!(guard, Guard::Absent) {
                refused.again()?;
            }
            let kept = live.and_then(|live| live.expires_at());
            found = match self.put_if(write, kept, guard).await? {
                Ok(outcome) => return Ok(outcome),
                // Somebody else was quicker.
                Err(found) => found,
            };
        }
    }

    /// Writes under a condition. Where it does not hold, the answer is what is there instead.
    ///
    /// It is sent once. Where the answer is lost, or a proxy sent it twice, what is there tells whether it was
    /// done.
    async fn put_if(
        &self,
        write: &Write<'_>,
        kept: Option<Moment>,
        guard: Guard,
    ) -> Result<Result<Outcome, Found>> {
        let mut headers = write.content.headers(write.expiry, kept)?;
        object::number(&mut headers, &write.number)?;
        loop {
            let body = write.content.body.clone();
            let put = self.try_put(write.object, body, headers.clone(), guard.clone());
            let error = match put.await {
                Ok(Ok(answer)) => {
                    return Ok(Ok(Outcome::Applied(object::version(&answer.headers))));
                }
                Ok(Err(refusal)) if refusal.is_conflict() => {
                    sleep(CONFLICT).await;
                    continue;
                }
                Ok(Err(refusal)) => {
                    // AWS says so of an object that was to be replaced.
                    let gone = refusal.is_missing() && matches!(guard, Guard::Tag(_));
                    if refusal.is_unmet() || gone {
                        let found = self.look(write.object).await;
                        let found = found.map_err(Error::with_outcome_unknown)?;
                        return Ok(write.outcome(&found).ok_or(found));
                    }
                    refusal.into()
                }
                Err(error) => error,
            };
            return self.find_again(write, error).await.map(Ok);
        }
    }

    /// Whether a write was done of which that is not known; else the error that it had.
    async fn find_again(&self, write: &Write<'_>, error: Error) -> Result<Outcome> {
        if !error.outcome_unknown() {
            return Err(error);
        }
        let found = self.look(write.object).await;
        // It may be done yet, or it was and somebody else has written since.
        found
            .ok()
            .and_then(|found| write.outcome(&found))
            .ok_or(error)
    }

    pub(crate) async fn delete(&self, request: DeleteRequest<'_>) -> Result<Outcome> {
        let object = self.client.names.object(request.key.as_str());
        let Some(version) = request.version else {
            self.delete_object(&object).await?;
            return Ok(Outcome::Applied(None));
        };
        self.need(|found| found.delete).await?;
        let _turn = self.turn(&object).await?;
        if self.client.expires {
            let live = self.look(&object).await?.live();
            let found = live.map(|live| live.version()).transpose()?;
            if found.as_ref() != Some(&version) {
                return Ok(Outcome::Unmet);
            }
        }
        match self.delete_if(&object, &version).await? {
            true => Ok(Outcome::Applied(None)),
            false => Ok(Outcome::Unmet),
        }
    }

    /// Deletes an object of this version; `false` when it is another, or there is none.
    async fn delete_if(&self, object: &str, version: &Version) -> Result<bool> {
        let Some(guard) = Guard::version(version) else {
            return Ok(false);
        };
        loop {
            let refusal = match self.try_delete(object, guard.clone()).await? {
                Ok(_) => return Ok(true),
                Err(refusal) => refusal,
            };
            if refusal.is_unmet() || refusal.is_missing() {
                return Ok(false);
            }
            if !refusal.is_conflict() {
                return Err(refusal.into());
            }
            sleep(CONFLICT).await;
        }
    }

    pub(crate) async fn take(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        self.need(|found| found.delete).await?;
        let object = self.client.names.object(request.key.as_str());
        let _turn = self.turn(&object).await?;
        loop {
            let Some(live) = self.read(&object).await?.live() else {
                return Ok(None);
            };
            if self.delete_if(&object, &live.version()?).await? {
                return Ok(Some(live.body));
            }
        }
    }

    /// Writes the same body again: a copy of the object onto itself would undo a write that came between.
    pub(crate) async fn touch(&self, request: TouchRequest<'_>) -> Result<bool> {
        self.need(|found| found.replace).await?;
        let object = self.client.names.object(request.key.as_str());
        let _turn = self.turn(&object).await?;
        loop {
            let Some(live) = self.read(&object).await?.live() else {
                return Ok(false);
            };
            if request.expiry == Expiry::Never && live.expires_at().is_none() {
                return Ok(true);
            }
            let guard = Guard::object(&live)?;
            let content = Content::again(&live)?;
            let write = Write::new(&object, &content, request.expiry);
            if self.put_if(&write, None, guard).await?.is_ok() {
                return Ok(true);
            }
        }
    }
}

/// How long to wait when another write under a condition is under way.
const CONFLICT: Duration = Duration::from_millis(20);

fn unknown_condition() -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "this release does not know that condition",
    )
}
