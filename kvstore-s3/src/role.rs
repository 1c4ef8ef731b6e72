//! The credentials of a role: asked for where AWS puts them for programs, and again before they end.

mod place;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use kvstore_core::{Bytes, Error, ErrorKind, Result};
use object_store::aws::AwsCredential;
use object_store::client::{HttpClient, HttpRequest};
use serde::Deserialize;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout_at};

use crate::http::{ANSWER, Broken, client, is_connect, receive};
use crate::joint::Joint;
use crate::name::encode;
use crate::time::Moment;
use crate::tls::{self, Trust};
use crate::{Credential, S3Config};

pub(crate) use place::Place;

/// How long before credentials end new ones are asked for. Those of instances are there by then.
const EARLY: Duration = Duration::from_secs(5 * 60);

/// How long credentials are used that should have ended, or could not be renewed, before it is tried again.
const PAUSE: Duration = Duration::from_secs(10);

/// How long to wait before what failed by accident is asked again.
const AGAIN: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];

/// A role, and the credentials it has now.
pub(crate) struct Role {
    place: Place,
    client: HttpClient,
    /// Of each request.
    timeout: Duration,
    held: Mutex<Option<Held>>,
    renewing: Joint<Arc<AwsCredential>>,
}

#[derive(Clone)]
struct Held {
    credential: Arc<AwsCredential>,
    renew: Moment,
    ends: Moment,
}

impl Role {
    pub(crate) fn new(place: Place, config: &S3Config) -> Result<Self> {
        // AWS's own services are asked, whatever authority the S3 server has.
        let trust = match place.url().starts_with("https:") {
            true => Trust::System,
            false => Trust::Nobody,
        };
        Ok(Self {
            place,
            client: HttpClient::new(client(config, tls::client(trust)?)?),
            timeout: config.timeout,
            held: Mutex::new(None),
            renewing: Joint::new(),
        })
    }

    /// Its credentials. Where those it has are to end soon, others are asked for, and nobody waits for that.
    pub(crate) async fn credential(
        self: &Arc<Self>,
        deadline: Instant,
    ) -> Result<Arc<AwsCredential>> {
        let renew = || {
            let role = Arc::clone(self);
            async move { role.renew().await }
        };
        let (now, held) = (Moment::now(), self.held().clone());
        if let Some(held) = held
            && now < held.ends
        {
            if now >= held.renew {
                self.renewing.begin(renew);
            }
            return Ok(held.credential);
        }
        let renewed = self.renewing.wait(deadline, renew).await;
        renewed.unwrap_or_else(|| Err(Error::new(ErrorKind::Timeout, LATE)))
    }

    async fn renew(&self) -> Result<Arc<AwsCredential>> {
        let fetched = self.fetch().await;
        let now = Moment::now();
        let mut held = self.held();
        match fetched {
            Ok((credential, ends)) => {
                let credential = Arc::new(credential);
                // The clocks may differ, and what is given is the best there is.
                let left = ends.until(now).unwrap_or_default();
                *held = Some(Held {
                    credential: Arc::clone(&credential),
                    renew: now.after(left.saturating_sub(EARLY).max(PAUSE)),
                    ends: now.after(left.max(PAUSE)),
                });
                Ok(credential)
            }
            Err(error) => {
                if let Some(held) = &mut *held {
                    held.renew = now.after(PAUSE);
                }
                Err(error)
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn fetch(&self) -> Result<(AwsCredential, Moment)> {
        const TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
        const TOKEN_TTL: HeaderName =
            HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");

        let mut headers = HeaderMap::new();
        match &self.place {
            Place::WebIdentity {
                sts,
                token,
                role,
                session,
            } => {
                let form = [
                    ("Action", "AssumeRoleWithWebIdentity"),
                    ("DurationSeconds", "3600"),
                    ("RoleArn", role),
                    ("RoleSessionName", session),
                    ("Version", "2011-06-15"),
                    ("WebIdentityToken", &read(token).await?),
                ];
                let form = form.map(|(name, value)| format!("{name}={}", encode(value)));
                let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
                headers.insert(CONTENT_TYPE, kind);
                let answer = self.ask(Method::POST, sts, headers, form.join("&"));
                Given::of_web_identity(&answer.await?)
            }
            Place::Container { url, token } => {
                if let Some(token) = token {
                    headers.insert(AUTHORIZATION, header(&read(token).await?)?);
                }
                Given::of_json(&self.get(url, headers).await?)
            }
            Place::Instance { url } => {
                headers.insert(TOKEN_TTL, HeaderValue::from_static("600"));
                let token = format!("{url}/latest/api/token");
                let token = self.ask(Method::PUT, &token, headers, String::new());
                let mut headers = HeaderMap::new();
                headers.insert(TOKEN, header(word(&token.await?)?)?);
                let roles = format!("{url}/latest/meta-data/iam/security-credentials/");
                let role = self.get(&roles, headers.clone()).await?;
                let role = format!("{roles}{}", word(&role)?);
                Given::of_json(&self.get(&role, headers).await?)
            }
        }
    }

    async fn get(&self, url: &str, headers: HeaderMap) -> Result<Bytes> {
        self.ask(Method::GET, url, headers, String::new()).await
    }

    async fn ask(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: String,
    ) -> Result<Bytes> {
        let mut again = AGAIN.into_iter();
        loop {
            let mut request = HttpRequest::new(body.clone().into());
            *request.method_mut() = method.clone();
            *request.uri_mut() = Uri::try_from(url).map_err(|_| odd())?;
            *request.headers_mut() = headers.clone();
            if method != Method::GET {
                // Of an empty body it would not be told otherwise.
                let headers = request.headers_mut();
                headers.insert(CONTENT_LENGTH, body.len().into());
            }
            let deadline = Instant::now() + self.timeout;
            let answer = timeout_at(deadline, receive(&self.client, request, ANSWER)).await;
            let by_accident = match answer {
                Ok(Ok(answer)) if answer.status.is_success() => return Ok(answer.body),
                Ok(Ok(answer)) => match answer.status {
                    StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => true,
                    status if status.is_server_error() => true,
                    _ => return Err(Error::new(ErrorKind::Unauthenticated, REFUSED)),
                },
                Ok(Err(Broken::Http(error))) => !is_connect(&error),
                Ok(Err(Broken::TooLong)) => false,
                Err(_) => return Err(Error::new(ErrorKind::Timeout, LATE)),
            };
            match again.next().filter(|_| by_accident) {
                Some(pause) => sleep(pause).await,
                None => return Err(Error::new(ErrorKind::Unavailable, NOT_HAD)),
            }
        }
    }
}

const REFUSED: &str = "where AWS puts credentials for programs none were given, but a refusal: look at the role, and \
    at the token that asks for it";
const LATE: &str =
    "no credentials came in time from where AWS puts them for programs; nothing was sent";
const NOT_HAD: &str = "no credentials could be had from where AWS puts them for programs";

/// What is said of an answer that is not as it should be; it may hold a secret.
fn odd() -> Error {
    let message =
        "what answers where AWS puts credentials for programs gives none that are understood";
    Error::new(ErrorKind::Unavailable, message)
}

async fn read(file: &Credential) -> Result<String> {
    let file = file.clone();
    let read = spawn_blocking(move || file.read("the token that asks for credentials")).await;
    let read = read.unwrap_or_else(|_| Err(ErrorKind::Other.into()));
    // It may be there before long.
    read.map_err(|source| Error::new(ErrorKind::Unavailable, NOT_HAD).with_source(source))
}

fn header(text: &str) -> Result<HeaderValue> {
    HeaderValue::try_from(text).map_err(|_| odd())
}

/// A body of one word.
fn word(body: &[u8]) -> Result<&str> {
    let word = str::from_utf8(body).map_err(|_| odd())?.trim();
    match !word.is_empty() && is_visible(word) {
        true => Ok(word),
        false => Err(odd()),
    }
}

fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Credentials as they are given.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Given {
    access_key_id: String,
    secret_access_key: String,
    #[serde(alias = "SessionToken")]
    token: String,
    expiration: String,
}

impl Given {
    fn of_json(body: &[u8]) -> Result<(AwsCredential, Moment)> {
        serde_json::from_slice::<Self>(body)
            .map_err(|_| odd())?
            .checked()
    }

    fn of_web_identity(body: &[u8]) -> Result<(AwsCredential, Moment)> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            assume_role_with_web_identity_result: Assumed,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Assumed {
            credentials: Given,
        }
        let text = str::from_utf8(body).map_err(|_| odd())?;
        let answer: Answer = quick_xml::de::from_str(text).map_err(|_| odd())?;
        answer
            .assume_role_with_web_identity_result
            .credentials
            .checked()
    }

    fn checked(self) -> Result<(AwsCredential, Moment)> {
        // They become part of headers.
        if !is_visible(&self.access_key_id) || !is_visible(&self.token) {
            let message =
                "the credentials that were found have characters other than visible ASCII";
            return Err(Error::new(ErrorKind::Unauthenticated, message));
        }
        let ends = Moment::from_text(&self.expiration).ok_or_else(odd)?;
        let credential = AwsCredential {
            key_id: self.access_key_id,
            secret_key: self.secret_access_key,
            token: Some(self.token),
        };
        Ok((credential, ends))
    }
}

#[cfg(test)]
mod tests;
