//! The listing.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use kvstore_core::{ErrorKind, Result};
use tokio::task::coop::poll_proceed;

use crate::map::SHARDS;
use crate::provider::Shared;

/// Lists keys shard by shard: it holds the names of one shard's keys at a time, 16 bytes each, which it
/// shares with the map, and no lock between two keys.
pub(crate) struct Keys {
    pub(crate) shared: Arc<Shared>,
    pub(crate) prefix: String,
    /// The shard to look at next.
    pub(crate) shard: usize,
    /// Keys of the shard before that; each may have gone since.
    pub(crate) found: std::vec::IntoIter<Arc<str>>,
}

impl Stream for Keys {
    type Item = Result<String>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // As the calls do, so that a long listing lets other tasks run.
        ready!(poll_proceed(context)).made_progress();
        let this = self.get_mut();
        loop {
            if this.shard == SHARDS && this.found.as_slice().is_empty() {
                return Poll::Ready(None);
            }
            if this.shared.is_closed() {
                this.shard = SHARDS;
                this.found = Vec::new().into_iter();
                return Poll::Ready(Some(Err(ErrorKind::Closed.into())));
            }
            let map = &this.shared.map;
            match this.found.next() {
                Some(key) => {
                    if map.read(&key, |shard, key| shard.get(key).is_some()) {
                        return Poll::Ready(Some(Ok(key.as_ref().to_owned())));
                    }
                }
                None => {
                    this.found = map.keys_of_shard(this.shard, &this.prefix).into_iter();
                    this.shard += 1;
                }
            }
        }
    }
}
