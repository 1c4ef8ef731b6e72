//! Listing, page by page.

use std::sync::Arc;
use std::vec::IntoIter;

use futures_util::StreamExt as _;
use futures_util::stream::{iter, unfold};
use kvstore_core::{BoxStream, Error, Result};

use crate::api::Found;
use crate::client::{Call, Client};
use crate::error::not_understood;

/// How many objects are looked at within one deadline.
pub(crate) const STEP: usize = 256;

/// How many are looked at at once.
pub(crate) const AT_ONCE: usize = 16;

/// A walk over the objects of the keys that begin with a prefix.
struct Walk {
    prefix: String,
    /// What the objects' names begin with.
    begin: String,
    /// Of the page that was asked for last, the objects that are still to be looked at, with their keys.
    objects: IntoIter<(String, String)>,
    next: Next,
}

enum Next {
    First,
    After(String),
    None,
}

impl Walk {
    fn new(client: &Client, prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            begin: client.names.begin(prefix),
            objects: Vec::new().into_iter(),
            next: Next::First,
        }
    }

    /// The next live keys, which may be none at all; `None` after the last.
    async fn step(&mut self, call: &Call<'_>) -> Result<Option<Vec<Result<String>>>> {
        if self.objects.len() == 0 {
            if matches!(self.next, Next::None) {
                return Ok(None);
            }
            self.load(call).await?;
            return Ok(Some(Vec::new()));
        }
        let some = self.objects.by_ref().take(STEP);
        if !call.client.expires {
            return Ok(Some(some.map(|(_, key)| Ok(key)).collect()));
        }
        let find = async |object: &str| match call.head(object).await? {
            // It was named just now, and anything between may answer 404 without a word.
            Found::Nothing => call.look(object).await,
            found => Ok(found),
        };
        let live = iter(some).map(async |(object, key)| match find(&object).await {
            Ok(Found::Live(_)) => Some(Ok(key)),
            Ok(Found::Nothing | Found::Expired(_)) => None,
            Err(error) => Some(Err(Error::with_key(error, &key))),
        });
        let live = live.buffer_unordered(AT_ONCE);
        Ok(Some(live.filter_map(std::future::ready).collect().await))
    }

    async fn load(&mut self, call: &Call<'_>) -> Result<()> {
        let after = match &self.next {
            Next::After(token) => Some(token.as_str()),
            Next::First | Next::None => None,
        };
        let page = call.list(&self.begin, after).await?;
        if page.next.is_some() && page.next.as_deref() == after {
            // It would go on for ever.
            return Err(not_understood());
        }
        let key = |object: String| {
            let key = call.client.names.key(&object)?;
            key.starts_with(&self.prefix).then_some((object, key))
        };
        let objects: Vec<_> = page.objects.into_iter().filter_map(key).collect();
        self.objects = objects.into_iter();
        self.next = page.next.map_or(Next::None, Next::After);
        Ok(())
    }
}

/// The live keys that begin with a prefix.
pub(crate) fn keys(client: Arc<Client>, prefix: &str) -> BoxStream<'static, Result<String>> {
    struct Listing {
        walk: Walk,
        client: Arc<Client>,
        keys: IntoIter<Result<String>>,
        failed: bool,
    }
    let listing = Listing {
        walk: Walk::new(&client, prefix),
        client,
        keys: Vec::new().into_iter(),
        failed: false,
    };
    unfold(listing, |mut listing| async {
        loop {
            if let Some(key) = listing.keys.next() {
                return Some((key, listing));
            }
            if listing.failed {
                return None;
            }
            let step = async { listing.walk.step(&listing.client.call()?).await };
            match step.await {
                Ok(keys) => listing.keys = keys?.into_iter(),
                Err(error) => {
                    listing.failed = true;
                    return Some((Err(error), listing));
                }
            }
        }
    })
    .fuse()
    .boxed()
}
