//! Calls: each with its deadline, as the owner of a token.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kvstore_core::{Error, ErrorKind, Result};
use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError};
use tokio::time::{Instant, timeout_at};

use crate::VaultConfig;
use crate::auth::Auth;
use crate::error::Refusal;
use crate::http::{Answer, Ask};
use crate::path::Root;
use crate::transport::Transport;
use crate::walk::STEP;

pub(crate) struct Client {
    pub(crate) config: VaultConfig,
    pub(crate) root: Root,
    pub(crate) auth: Arc<Auth>,
    transport: Arc<Transport>,
    calls: Semaphore,
    closed: AtomicBool,
}

/// A call under way: its deadline is that of all its requests.
pub(crate) struct Call<'a> {
    pub(crate) client: &'a Client,
    pub(crate) deadline: Instant,
    _permit: SemaphorePermit<'a>,
}

impl Client {
    pub(crate) fn new(config: VaultConfig) -> Result<Self> {
        let transport = Arc::new(Transport::new(&config)?);
        Ok(Self {
            root: Root::new(&config.mount, &config.path),
            auth: Auth::new(Arc::clone(&transport), config.clone()),
            transport,
            calls: Semaphore::new(config.max_pending),
            closed: AtomicBool::new(false),
            config,
        })
    }

    /// Begins a call: its deadline runs from here.
    pub(crate) fn call(&self) -> Result<Call<'_>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(ErrorKind::Closed.into());
        }
        match self.calls.try_acquire() {
            Ok(permit) => Ok(Call {
                client: self,
                deadline: Instant::now() + self.config.timeout,
                _permit: permit,
            }),
            // It is never closed.
            Err(TryAcquireError::Closed) => Err(ErrorKind::Closed.into()),
            Err(TryAcquireError::NoPermits) => {
                let calls = self.config.max_pending;
                let message = format!("{calls} calls are under way, which is `max_pending`");
                Err(Error::new(ErrorKind::Busy, message))
            }
        }
    }

    /// Refuses further calls, lets those under way end, gives the token back and closes the connections.
    pub(crate) async fn close(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.auth.stop();
        let deadline = Instant::now() + self.config.timeout;
        let calls = u32::try_from(self.config.max_pending).unwrap_or(u32::MAX);
        // In vain where a call takes longer: each ends by its own deadline.
        let _ = timeout_at(deadline, self.calls.acquire_many(calls)).await;
        self.auth.give_back(deadline).await;
        self.transport.close();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.auth.stop();
    }
}

impl Call<'_> {
    /// Begins the next part of a batch, with a deadline of its own, unless the server was too slow before:
    /// then the rest fails at once.
    pub(crate) fn go_on<T>(&mut self, before: &[Result<T>]) {
        let timed_out =
            |result: &Result<T>| matches!(result, Err(error) if error.kind() == ErrorKind::Timeout);
        if !before.iter().rev().take(STEP).any(timed_out) {
            self.deadline = Instant::now() + self.client.config.timeout;
        }
    }

    /// Asks, whatever the answer is, unless it is that the token is refused: then once more with a new one.
    pub(crate) async fn ask(&self, ask: &Ask) -> Result<Answer> {
        let (auth, transport) = (&self.client.auth, &self.client.transport);
        let session = auth.session(self.deadline).await?;
        let answer = transport
            .ask(ask, Some(&session.token), self.deadline)
            .await?;
        if !is_refused_token(&answer, ask) {
            session.works();
            return Ok(answer);
        }
        let session = auth.after_refusal(&session, self.deadline).await?;
        let answer = transport
            .ask(ask, Some(&session.token), self.deadline)
            .await?;
        if !is_refused_token(&answer, ask) {
            session.works();
        }
        Ok(answer)
    }

    /// Asks for what is done or refused.
    pub(crate) async fn done(&self, ask: &Ask) -> Result<Answer> {
        let answer = self.ask(ask).await?;
        match answer.status.is_success() {
            true => Ok(answer),
            false => Err(Refusal::new(&answer, ask).into()),
        }
    }
}

fn is_refused_token(answer: &Answer, ask: &Ask) -> bool {
    // Looked at more closely only where it may be.
    answer.status == http::StatusCode::FORBIDDEN && Refusal::new(answer, ask).is_of_the_token()
}
