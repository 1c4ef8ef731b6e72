//! Requests, as many at once as there may be connections.

use std::sync::{Arc, PoisonError, RwLock};

use http::header::HeaderValue;
use kvstore_core::{Error, ErrorKind, Result};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::VaultConfig;
use crate::http::{Answer, Ask, Http};

pub(crate) struct Transport {
    /// `None` when it was closed.
    http: RwLock<Option<Arc<Http>>>,
    connections: Semaphore,
}

impl Transport {
    pub(crate) fn new(config: &VaultConfig) -> Result<Self> {
        Ok(Self {
            http: RwLock::new(Some(Arc::new(Http::new(config)?))),
            connections: Semaphore::new(config.max_connections),
        })
    }

    pub(crate) async fn ask(
        &self,
        ask: &Ask,
        token: Option<&HeaderValue>,
        deadline: Instant,
    ) -> Result<Answer> {
        let permit = timeout_at(deadline, self.connections.acquire()).await;
        let Ok(permit) = permit else {
            let message =
                "no connection was free in time: `max_connections` requests are under way";
            return Err(Error::new(ErrorKind::Timeout, message));
        };
        // It is never closed.
        let _permit = permit.map_err(|_| ErrorKind::Closed)?;
        let http = self
            .http
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        http.ok_or(ErrorKind::Closed)?
            .ask(ask, token, deadline)
            .await
    }

    /// Closes the connections that are not in use, and lets no new ones be made.
    pub(crate) fn close(&self) {
        *self.http.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
