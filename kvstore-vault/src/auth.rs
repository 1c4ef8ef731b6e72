//! The token: got once for all calls, renewed in the background, got anew when it is refused.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use http::header::HeaderValue;
use kvstore_core::{Error, ErrorKind, Result};
use tokio::sync::Mutex as Turns;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout_at};

use crate::VaultConfig;
use crate::login::{self, Granted};
use crate::mount::{self, Product};
use crate::transport::Transport;

/// A token, and how long it is one.
pub(crate) struct Session {
    pub(crate) token: HeaderValue,
    granted: Granted,
    number: u64,
    since: Instant,
    /// Whether the server took the token at least once.
    worked: AtomicBool,
}

impl Session {
    /// Notes that the server took the token.
    pub(crate) fn works(&self) {
        self.worked.store(true, Ordering::Relaxed);
    }
}

pub(crate) struct Auth {
    transport: Arc<Transport>,
    config: VaultConfig,
    session: RwLock<Option<Arc<Session>>>,
    /// Whose turn it is to log in.
    turn: Turns<Turn>,
    renewal: Mutex<Option<AbortHandle>>,
    product: OnceLock<Product>,
    closed: AtomicBool,
}

#[derive(Default)]
struct Turn {
    count: u64,
    /// When the last attempt failed, and why.
    failed: Option<(Instant, Error)>,
}

/// No sooner than this is there another login when a token was refused that never worked.
const AGAIN: Duration = Duration::from_secs(1);

/// Even when a token is about to end, or the server is down.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);

impl Auth {
    pub(crate) fn new(transport: Arc<Transport>, config: VaultConfig) -> Arc<Self> {
        Arc::new(Self {
            transport,
            config,
            session: RwLock::new(None),
            turn: Turns::default(),
            renewal: Mutex::new(None),
            product: OnceLock::new(),
            closed: AtomicBool::new(false),
        })
    }

    /// The session that there is, or a new one.
    pub(crate) async fn session(self: &Arc<Self>, deadline: Instant) -> Result<Arc<Session>> {
        match self.current() {
            Some(session) => Ok(session),
            None => self.log_in(None, false, deadline).await,
        }
    }

    /// A session in place of one whose token was refused. However many were refused, one logs in.
    pub(crate) async fn after_refusal(
        self: &Arc<Self>,
        refused: &Session,
        deadline: Instant,
    ) -> Result<Arc<Session>> {
        if !refused.worked.load(Ordering::Relaxed) && refused.since.elapsed() < AGAIN {
            return Err(refused_token());
        }
        self.log_in(Some(refused), true, deadline).await
    }

    /// What the server is, once that is known.
    pub(crate) fn product(&self) -> Option<Product> {
        self.product.get().copied()
    }

    fn current(&self) -> Option<Arc<Session>> {
        self.session
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn log_in(
        self: &Arc<Self>,
        before: Option<&Session>,
        refused: bool,
        deadline: Instant,
    ) -> Result<Arc<Session>> {
        let asked = Instant::now();
        let turn = timeout_at(deadline, self.turn.lock()).await;
        let mut turn =
            turn.map_err(|_| Error::new(ErrorKind::Timeout, "the login took too long"))?;
        if let Some(session) = self.current()
            && before.is_none_or(|before| before.number != session.number)
        {
            return Ok(session);
        }
        if let Some((at, error)) = &turn.failed
            && *at >= asked
            && error.kind() != ErrorKind::Timeout
        {
            return Err(error.clone());
        }
        let granted = match self.attempt(before.filter(|_| refused), deadline).await {
            Ok(granted) => granted,
            Err(error) => {
                turn.failed = Some((Instant::now(), error.clone()));
                return Err(error);
            }
        };
        turn.count += 1;
        let session = Arc::new(Session {
            token: granted.header()?,
            granted,
            number: turn.count,
            since: Instant::now(),
            worked: AtomicBool::new(!refused),
        });
        self.replace(Some(Arc::clone(&session)));
        self.keep(&session);
        Ok(session)
    }

    /// Gets a token, and makes sure that there is what the configuration says, the first time.
    async fn attempt(&self, refused: Option<&Session>, deadline: Instant) -> Result<Granted> {
        let granted = login::log_in(&self.transport, &self.config, deadline).await?;
        if refused.is_some_and(|refused| refused.granted.token == granted.token) {
            return Err(refused_token());
        }
        if self.product.get().is_none() {
            let token = granted.header()?;
            let product = mount::check(&self.transport, &self.config, &token, deadline).await?;
            // Set by nobody else: it is our turn.
            self.product.get_or_init(|| product);
        }
        Ok(granted)
    }

    fn replace(&self, session: Option<Arc<Session>>) {
        *self.session.write().unwrap_or_else(PoisonError::into_inner) = session;
    }

    /// Renews the token in the background, in place of the task that did so for the one before.
    fn keep(self: &Arc<Self>, session: &Arc<Session>) {
        let mut renewal = self.renewal.lock().unwrap_or_else(PoisonError::into_inner);
        let task = session.granted.lease.map(|lease| {
            let (auth, session) = (Arc::clone(self), Arc::clone(session));
            tokio::spawn(async move { auth.renew(&session, lease).await }).abort_handle()
        });
        let before = std::mem::replace(&mut *renewal, task);
        // Closed meanwhile: nobody would end the task.
        if self.closed.load(Ordering::Acquire)
            && let Some(task) = renewal.take()
        {
            task.abort();
        }
        drop(renewal);
        if let Some(task) = before {
            task.abort();
        }
    }

    /// Renews a token at half of its lease each time. When that cannot go on, logs in before it ends.
    async fn renew(self: Arc<Self>, session: &Session, lease: Duration) {
        let mut whole = lease;
        let mut wait = lease / 2;
        loop {
            sleep(wait.max(SHORTEST_WAIT)).await;
            let deadline = Instant::now() + self.config.timeout;
            let renewed = match session.granted.renewable {
                true => login::renew(&self.transport, &session.token, deadline).await,
                false => Ok(Duration::ZERO),
            };
            let again = session.granted.by_login;
            match renewed {
                Ok(left) if left * 2 > whole || (!again && !left.is_zero()) => {
                    whole = whole.max(left);
                    wait = left / 2;
                    continue;
                }
                // The longest time that it may live is near, or it is refused.
                Ok(_) => {}
                Err(error) if !error.is_retryable() => {}
                Err(_) => {
                    wait = whole / 8;
                    continue;
                }
            }
            // On success there is another task for the new token. Calls notice themselves when a token has
            // run out that cannot be had anew.
            if !again || self.log_in(Some(session), false, deadline).await.is_ok() {
                return;
            }
            wait = whole / 8;
        }
    }

    /// Ends the background task.
    pub(crate) fn stop(&self) {
        self.closed.store(true, Ordering::Release);
        let task = self
            .renewal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(task) = task {
            task.abort();
        }
    }

    /// Gives a token back that nobody else has. That it may fail is in its nature: then it runs out.
    pub(crate) async fn give_back(&self, deadline: Instant) {
        if let Some(session) = self.current()
            && session.granted.by_login
        {
            let _ = login::revoke(&self.transport, &session.token, deadline).await;
        }
        self.replace(None);
    }
}

fn refused_token() -> Error {
    Error::new(
        ErrorKind::Unauthenticated,
        "the server refused the token: it has expired, was revoked, or is none",
    )
}
