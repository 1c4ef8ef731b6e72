//! The reference provider's listing.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures_core::Stream;
use kvstore_core::{Error, Result};

use super::bug::Bug;
use super::server::Server;

/// How many keys a page has.
const PAGE: usize = 50;

/// A listing in pages.
pub(crate) struct Pages {
    pub(crate) server: Arc<Mutex<Server>>,
    pub(crate) error: Option<Error>,
    pub(crate) prefix: String,
    /// Names some keys twice.
    pub(crate) twice: bool,
    pub(crate) page: Vec<String>,
    pub(crate) after: Option<String>,
    pub(crate) read: usize,
}

impl Pages {
    fn next_page(&mut self) {
        let server = self.server.lock().unwrap();
        let bug = server.bug;
        let is = |planted| bug == Some(planted);
        if self.after.is_some() && is(Bug::ListsOnePage) {
            return;
        }
        let begins = |key: &str| match bug {
            Some(bug) => bug.begins(key, &self.prefix),
            None => key.starts_with(&self.prefix),
        };
        let live = server
            .slots
            .iter()
            .filter(|(_, slot)| slot.live() || is(Bug::ListsExpired));
        let ours = live.filter(|(key, _)| begins(key)).map(|(key, _)| key);
        let later = |key: &&String| self.after.as_ref().is_none_or(|after| *key > after);
        let mut page: Vec<String> = match is(Bug::ListsByOffset) {
            true => ours.skip(self.read).take(PAGE).cloned().collect(),
            false => ours.filter(later).take(PAGE).cloned().collect(),
        };
        drop(server);
        self.read += page.len();
        self.after = page.last().cloned().or(self.after.take());
        if is(Bug::ListsStoredNames) {
            page = page.iter().map(|key| key.replace('/', "%2F")).collect();
        }
        if self.twice {
            page.extend(page.first().cloned());
        }
        page.reverse();
        self.page = page;
    }
}

impl Stream for Pages {
    type Item = Result<String>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(error) = self.error.take() {
            return Poll::Ready(Some(Err(error)));
        }
        if self.page.is_empty() {
            self.next_page();
        }
        Poll::Ready(self.page.pop().map(Ok))
    }
}
