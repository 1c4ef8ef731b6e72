use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::StatusCode;
use example_service::{Answer, Failure, hashed, random, require};
use futures_util::TryStreamExt as _;
use kvstore_core::{Condition, KeyValueStore, Provider, Result, SetOptions};
use serde::{Deserialize, Serialize};

/// How long a session lasts without being used.
pub const TTL: Duration = Duration::from_secs(30 * 60);

/// How many sessions of a user are looked at together.
const AT_ONCE: usize = 16;

/// What is stored of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Whose it is.
    pub user: String,
    /// On what, as the user would call it.
    pub device: String,
    /// When it began, in seconds since 1970.
    pub since: u64,
}

/// A session in the list of its user's.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Listed {
    /// Names it, and does not give access to it.
    pub(crate) id: String,
    #[serde(flatten)]
    pub(crate) session: Session,
    /// Seconds.
    pub(crate) expires_in: Option<u64>,
    /// It is the one by which the list was asked for.
    pub(crate) current: bool,
}

/// The sessions of a site, in a store that any number of instances share.
///
/// A token is `USER.RANDOM`: the hash of the user's name, and 256 random bits. Its session is stored under
/// `USER/ID`, where the id is the hash of the whole token. So who reads the store's keys has no token, and a
/// user's sessions are listed by prefix, without an index that could disagree with them.
#[derive(Clone, Debug)]
pub struct Sessions {
    store: KeyValueStore<Session>,
    ttl: Duration,
}

/// A token, taken apart.
pub(crate) struct Token<'a> {
    user: &'a str,
    id: String,
}

impl<'a> Token<'a> {
    /// `None` for what cannot be one, which then is no key.
    fn parse(token: &'a str) -> Option<Self> {
        let (user, secret) = token.split_once('.')?;
        let hex = |part: &str| part.len() == 64 && part.bytes().all(|b| b.is_ascii_hexdigit());
        (hex(user) && hex(secret)).then(|| Self {
            user,
            id: hashed(token),
        })
    }

    fn key(&self) -> String {
        key(self.user, &self.id)
    }
}

fn key(user: &str, id: &str) -> String {
    format!("{user}/{id}")
}

fn not_logged_in() -> Failure {
    Failure::refused(StatusCode::UNAUTHORIZED, "not logged in")
}

impl Sessions {
    /// Sessions that last for so long without being used.
    ///
    /// # Errors
    /// Where the provider cannot let sessions expire, let them last on, or keep one from being another's.
    pub fn new(provider: Arc<dyn Provider>, ttl: Duration) -> Result<Self> {
        let can = provider.capabilities();
        let needs = [
            ("expiry", can.expiry.is_some()),
            ("setting it anew (`touch`)", can.touch),
            ("the condition `absent`", can.if_absent),
        ];
        require(can, &needs)?;
        let store = KeyValueStore::model(provider).namespace("sessions")?;
        Ok(Self { store, ttl })
    }

    /// Whether a user's sessions can be listed, and be ended together.
    pub fn can_list(&self) -> bool {
        self.store.capabilities().keys.is_some()
    }

    /// Begins a session; the answer is its token.
    pub(crate) async fn begin(&self, user: &str, device: &str) -> Answer<String> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let session = Session {
            user: user.to_owned(),
            device: device.to_owned(),
            since: since.unwrap_or_default().as_secs(),
        };
        let owner = hashed(user);
        let token = format!("{owner}.{}", random()?);
        let key = key(&owner, &hashed(&token));
        // No session ever becomes another's.
        let options = SetOptions::new().ttl(self.ttl);
        let begun = self
            .store
            .set_if(&key, &session, Condition::Absent, options);
        if !begun.await?.is_applied() {
            return Err(Failure::refused(
                StatusCode::CONFLICT,
                "that token is taken; try again",
            ));
        }
        Ok(token)
    }

    /// The session of a token, which lasts on from now.
    ///
    /// One round trip; a second one when half of its time is over.
    pub(crate) async fn find<'a>(&self, token: &'a str) -> Answer<(Token<'a>, Session)> {
        let token = Token::parse(token).ok_or_else(not_logged_in)?;
        let key = token.key();
        let entry = self.store.get_entry(&key).await?;
        let entry = entry.ok_or_else(not_logged_in)?;
        if entry.expires_within(self.ttl / 2) && !self.store.touch(&key, self.ttl).await? {
            // It ended meanwhile; touching does not revive it.
            return Err(not_logged_in());
        }
        Ok((token, entry.value))
    }

    /// Ends the session of a token, if there is one.
    pub(crate) async fn end(&self, token: &str) -> Answer<()> {
        let token = Token::parse(token).ok_or_else(not_logged_in)?;
        Ok(self.store.delete(&token.key()).await?)
    }

    /// All sessions of the user whose token this is.
    pub(crate) async fn list(&self, current: &Token<'_>) -> Answer<Vec<Listed>> {
        let prefix = key(current.user, "");
        let listed = self.store.keys(&prefix).map_ok(|key| {
            let id = key.strip_prefix(&prefix).unwrap_or(&key).to_owned();
            async move {
                let entry = self.store.get_entry(&key).await?;
                Ok(entry.map(|entry| Listed {
                    current: id == current.id,
                    id,
                    expires_in: entry.expires_in.map(|left| left.as_secs()),
                    session: entry.value,
                }))
            }
        });
        let found: Vec<Option<Listed>> =
            listed
                .try_buffer_unordered(AT_ONCE)
                .try_collect()
                .await
                .map_err(|error: kvstore_core::Error| Failure::from(error))?;
        let mut listed: Vec<Listed> = found.into_iter().flatten().collect();
        listed.sort_by(|a, b| (a.session.since, &a.id).cmp(&(b.session.since, &b.id)));
        // A server may name a key twice.
        listed.dedup_by(|a, b| a.id == b.id);
        Ok(listed)
    }

    /// Ends one session of the user whose token this is.
    pub(crate) async fn revoke(&self, current: &Token<'_>, id: &str) -> Answer<()> {
        // The key is made of the caller's own user, so it cannot be anybody else's session.
        Ok(self.store.delete(&key(current.user, id)).await?)
    }

    /// Ends all sessions of the user whose token this is; one that begins meanwhile may be left.
    ///
    /// Its own is the last to end: as long as another may be left, it can be asked for again.
    pub(crate) async fn revoke_all(&self, current: &Token<'_>) -> Answer<()> {
        let own = current.key();
        let mut others: Vec<String> = self
            .store
            .keys(&key(current.user, ""))
            .try_collect()
            .await?;
        others.retain(|key| *key != own);
        for keys in others.chunks(1000) {
            self.store.delete_many(keys).await?;
        }
        Ok(self.store.delete(&own).await?)
    }
}
