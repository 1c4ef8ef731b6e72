//! The requests for a token.

use std::time::Duration;

use http::Method;
use http::header::HeaderValue;
use kvstore_core::{Bytes, Error, ErrorKind, Result};
use serde::Deserialize;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::VaultConfig;
use crate::config::Login;
use crate::error::{Refusal, not_understood};
use crate::http::{Answer, Ask, Effect};
use crate::json;
use crate::path::encode;
use crate::transport::Transport;

/// A token that the server gave, or that it takes.
pub(crate) struct Granted {
    pub(crate) token: Zeroizing<String>,
    /// How long it lives from now; `None`: for ever, or it is not known.
    pub(crate) lease: Option<Duration>,
    pub(crate) renewable: bool,
    /// Whether we logged in for it, and can again.
    pub(crate) by_login: bool,
}

impl Granted {
    pub(crate) fn header(&self) -> Result<HeaderValue> {
        let mut header = HeaderValue::from_str(&self.token).map_err(|_| {
            Error::new(
                ErrorKind::InvalidConfig,
                "the token has characters that no token has",
            )
        })?;
        header.set_sensitive(true);
        Ok(header)
    }
}

/// Gets a token, or looks at the one that is given.
pub(crate) async fn log_in(
    transport: &Transport,
    config: &VaultConfig,
    deadline: Instant,
) -> Result<Granted> {
    let Some(login) = &config.login else {
        // Refused before by `VaultConfig::check`.
        return Err(ErrorKind::InvalidConfig.into());
    };
    let (method, fields) = match login {
        Login::Token(token) => return look_up(transport, token.read("the token")?, deadline).await,
        Login::AppRole { role_id, secret_id } => (
            "AppRole: look at the role id, the secret id and `auth_mount`",
            [
                ("role_id", Zeroizing::new(role_id.clone())),
                ("secret_id", secret_id.read("the secret id")?),
            ],
        ),
        Login::Kubernetes { role, jwt } => (
            "Kubernetes: look at the role, the service account and `auth_mount`",
            [
                ("role", Zeroizing::new(role.clone())),
                (
                    "jwt",
                    crate::Credential::file(jwt).read("the service account's token")?,
                ),
            ],
        ),
    };
    let mount = config.auth_mount.as_deref().unwrap_or(login.usual_mount());
    let ask = Ask::post(
        format!("auth/{}/login", encode(mount)),
        object(&fields),
        Effect::Login,
    );
    let answer = transport.ask(&ask, None, deadline).await?;
    if !answer.status.is_success() {
        let refusal = Refusal::new(&answer, &ask);
        let refused = matches!(answer.status.as_u16(), 400 | 401 | 403 | 404);
        if refused && !refusal.says("namespace not found") && !refusal.says("HTTPS server") {
            let message = format!("the server refused the login by {method}");
            return Err(refusal.into_error(ErrorKind::Unauthenticated, message));
        }
        return Err(refusal.into());
    }
    let granted = auth(&answer)?;
    Ok(Granted {
        lease: seconds(granted.lease_duration),
        token: Zeroizing::new(granted.client_token.into()),
        renewable: granted.renewable,
        by_login: true,
    })
}

/// Learns how long a token lives. A token whose policies do not let it look at itself is fine too.
async fn look_up(
    transport: &Transport,
    token: Zeroizing<String>,
    deadline: Instant,
) -> Result<Granted> {
    let mut granted = Granted {
        token,
        lease: None,
        renewable: false,
        by_login: false,
    };
    let ask = Ask::read(Method::GET, "auth/token/lookup-self".to_owned());
    let answer = transport
        .ask(&ask, Some(&granted.header()?), deadline)
        .await?;
    if !answer.status.is_success() {
        let refusal = Refusal::new(&answer, &ask);
        return match refusal.is_of_a_right() {
            true => Ok(granted),
            false => Err(refusal.into()),
        };
    }
    let found: Lookup = read(&answer)?;
    granted.renewable = found.data.renewable;
    // What cannot be renewed needs nobody to watch it.
    granted.lease = seconds(found.data.ttl).filter(|_| found.data.renewable);
    Ok(granted)
}

/// How long the token of a session still lives, and whether it can be renewed.
pub(crate) fn life(answer: &Answer) -> Result<(Option<Duration>, bool)> {
    let found: Lookup = read(answer)?;
    Ok((seconds(found.data.ttl), found.data.renewable))
}

/// Renews a token; the answer is how long it lives from now.
pub(crate) async fn renew(
    transport: &Transport,
    token: &HeaderValue,
    deadline: Instant,
) -> Result<Duration> {
    let body = Bytes::from_static(b"{}");
    let ask = Ask::post("auth/token/renew-self".to_owned(), body, Effect::None);
    let answer = transport.ask(&ask, Some(token), deadline).await?;
    if !answer.status.is_success() {
        return Err(Refusal::new(&answer, &ask).into());
    }
    Ok(Duration::from_secs(auth(&answer)?.lease_duration))
}

/// Ends a token.
pub(crate) async fn revoke(
    transport: &Transport,
    token: &HeaderValue,
    deadline: Instant,
) -> Result<()> {
    let body = Bytes::from_static(b"{}");
    let ask = Ask::post("auth/token/revoke-self".to_owned(), body, Effect::None);
    transport.ask(&ask, Some(token), deadline).await.map(drop)
}

#[derive(Deserialize)]
struct Auth<'a> {
    client_token: &'a str,
    lease_duration: u64,
    renewable: bool,
}

#[derive(Deserialize)]
struct Lookup {
    data: Life,
}

#[derive(Deserialize)]
struct Life {
    ttl: u64,
    #[serde(default)]
    renewable: bool,
}

fn auth(answer: &Answer) -> Result<Auth<'_>> {
    #[derive(Deserialize)]
    struct Login<'a> {
        #[serde(borrow)]
        auth: Auth<'a>,
    }
    Ok(read::<Login<'_>>(answer)?.auth)
}

fn read<'a, T: Deserialize<'a>>(answer: &'a Answer) -> Result<T> {
    serde_json::from_slice(&answer.text).map_err(|error| not_understood(&error))
}

fn seconds(seconds: u64) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// An object of strings.
fn object(fields: &[(&str, Zeroizing<String>)]) -> Bytes {
    let len = |(name, value): &(&str, Zeroizing<String>)| name.len() + json::string_len(value) + 4;
    let mut text = Zeroizing::new(Vec::with_capacity(
        fields.iter().map(len).sum::<usize>() + 2,
    ));
    for (name, value) in fields {
        let before = if text.is_empty() { b'{' } else { b',' };
        text.push(before);
        json::push_string(&mut text, name);
        text.push(b':');
        json::push_string(&mut text, value);
    }
    text.push(b'}');
    Bytes::from_owner(text)
}
