//! Listing keys, page by page.

use std::sync::Arc;
use std::vec::IntoIter;

use futures_util::StreamExt as _;
use futures_util::stream::unfold;
use kvstore_core::{BoxStream, ErrorKind, Result};

use crate::client::Client;

struct Listing {
    client: Arc<Client>,
    prefix: String,
    page: IntoIter<String>,
    next: Next,
}

/// Where the next page begins.
enum Next {
    First,
    After(String),
    None,
}

/// Each page is a snapshot of its own, so that a listing that nobody reads on holds no space in the file.
pub(crate) fn list(client: Arc<Client>, prefix: String) -> BoxStream<'static, Result<String>> {
    let listing = Listing {
        client,
        prefix,
        page: Vec::new().into_iter(),
        next: Next::First,
    };
    unfold(listing, |mut listing| async {
        match listing.next_key().await {
            Ok(key) => key.map(|key| (Ok(key), listing)),
            Err(error) => {
                listing.page = Vec::new().into_iter();
                listing.next = Next::None;
                Some((Err(error), listing))
            }
        }
    })
    // Asked again after its end, it says so again.
    .fuse()
    .boxed()
}

impl Listing {
    async fn next_key(&mut self) -> Result<Option<String>> {
        loop {
            if self.client.is_closed() && !matches!(self.next, Next::None) {
                return Err(ErrorKind::Closed.into());
            }
            if let Some(key) = self.page.next() {
                return Ok(Some(key));
            }
            let after = match std::mem::replace(&mut self.next, Next::None) {
                Next::First => None,
                Next::After(key) => Some(key),
                Next::None => return Ok(None),
            };
            let prefix = self.prefix.clone();
            let read = self
                .client
                .read(move |snapshot| snapshot.page(&prefix, after.as_deref()));
            let (page, next) = read.await?;
            self.page = page.into_iter();
            self.next = next.map_or(Next::None, Next::After);
        }
    }
}
