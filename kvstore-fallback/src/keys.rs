//! The listing: what only the old provider has, then what the new one has.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::vec;

use futures_util::{StreamExt as _, stream};
use kvstore_core::{
    BoxStream, Error, ErrorKind, Format, GetRequest, Key, KeysRequest, Provider, Result,
};

use crate::provider::Both;
use crate::tombstone::is_tombstone;

/// How many keys are looked at together. Their values are read, since a tombstone can be told by its value only.
const PAGE: usize = 256;
/// The same where values can be larger than this.
const LARGE: usize = 64 << 10;
const PAGE_OF_LARGE: usize = 16;

fn page(provider: &dyn Provider) -> usize {
    match provider.capabilities().max_value_len {
        Some(limit) if limit <= LARGE => PAGE,
        _ => PAGE_OF_LARGE,
    }
}

pub(crate) fn list(both: Arc<Both>, request: KeysRequest) -> BoxStream<'static, Result<String>> {
    let at_once = page(&*both.new).min(page(&*both.old));
    let pages = both.old.keys(request.clone()).ready_chunks(at_once).boxed();
    let walk = Walk {
        both,
        request,
        pages,
        in_old: true,
        page: Vec::new().into_iter(),
        failed: None,
        named: Named::default(),
    };
    stream::try_unfold(walk, |mut walk| async move {
        let key = walk.next().await?;
        Ok(key.map(|key| (key, walk)))
    })
    .boxed()
}

/// Keys move from the old provider to the new one only. So who walks through the old one first meets each key that
/// is there throughout.
struct Walk {
    both: Arc<Both>,
    request: KeysRequest,
    pages: BoxStream<'static, Vec<Result<String>>>,
    in_old: bool,
    /// Keys to name.
    page: vec::IntoIter<String>,
    /// What the listing ends with after them.
    failed: Option<Error>,
    named: Named,
}

impl Walk {
    async fn next(&mut self) -> Result<Option<String>> {
        loop {
            if let Some(key) = self.page.next() {
                return Ok(Some(key));
            }
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            match self.pages.next().await {
                Some(page) => {
                    let mut keys = Vec::with_capacity(page.len());
                    for key in page {
                        match key {
                            Ok(key) => keys.push(key),
                            Err(error) => {
                                let which = match self.in_old {
                                    true => self.both.old_failed()(error),
                                    false => self.both.new_failed()(error),
                                };
                                self.failed = Some(which);
                                break;
                            }
                        }
                    }
                    self.page = self.still_to_name(keys).await?.into_iter();
                }
                None if self.in_old => {
                    self.in_old = false;
                    self.named.finish();
                    let new = self.both.new.keys(self.request.clone());
                    self.pages = new.ready_chunks(page(&*self.both.new)).boxed();
                }
                None => return Ok(None),
            }
        }
    }

    /// Those of a page that this part of the walk names. Of the old provider's keys those that the new one has
    /// nothing of; the others come later, unless they are deleted.
    async fn still_to_name(&mut self, keys: Vec<String>) -> Result<Vec<String>> {
        if keys.is_empty() {
            return Ok(keys);
        }
        let in_new = are_live(&self.both.new, &keys)
            .await
            .map_err(self.both.new_failed())?;
        let mut still_to_name = Vec::with_capacity(keys.len());
        for (key, live) in keys.into_iter().zip(in_new) {
            match live {
                None if self.in_old => still_to_name.push(key),
                Some(true) if !self.in_old && !self.named.has(&key) => still_to_name.push(key),
                _ => {}
            }
        }
        if self.in_old {
            // A tombstone, of a move the other way, is no key. What has moved by now comes with the new one's.
            let old = &self.both.old;
            let live = are_live(old, &still_to_name).await;
            let mut live = live.map_err(self.both.old_failed())?.into_iter();
            still_to_name.retain(|_| live.next() == Some(Some(true)));
            still_to_name.iter().for_each(|key| self.named.add(key));
        }
        Ok(still_to_name)
    }
}

/// What a provider has of keys: `None` where there is nothing, else whether it is no tombstone.
async fn are_live(provider: &Arc<dyn Provider>, keys: &[String]) -> Result<Vec<Option<bool>>> {
    // Longer ones of the old provider are not in the new one, which need not be able to say so.
    let limit = provider.capabilities().max_key_len;
    let mut live = vec![None; keys.len()];
    let (mut asked, mut places) = (Vec::with_capacity(keys.len()), Vec::new());
    for (place, key) in keys.iter().enumerate() {
        if key.len() <= limit {
            // As text, which a tombstone is; what is not text is no tombstone.
            asked.push(GetRequest::new(Key::new(key)?, Format::Text));
            places.push(place);
        }
    }
    if asked.is_empty() {
        return Ok(live);
    }
    let found = provider.get_many(&asked).await;
    if found.len() != asked.len() {
        let message = "it answered fewer or more items than it was asked";
        return Err(Error::new(ErrorKind::Other, message));
    }
    for (place, found) in places.into_iter().zip(found) {
        live[place] = match found {
            Ok(value) => value.map(|value| !is_tombstone(&value)),
            Err(error) if error.kind() == ErrorKind::Decode => Some(true),
            Err(error) => return Err(error),
        };
    }
    Ok(live)
}

/// The keys that the first part of the walk named and that may have moved since: 128 bits of a hash each, with keys
/// that nobody knows, so that no two are the same; a vector that grows takes up to twice as much.
#[derive(Default)]
struct Named {
    hashes: Vec<u128>,
    keys: [RandomState; 2],
}

impl Named {
    fn hash(&self, key: &str) -> u128 {
        let [high, low] = self
            .keys
            .each_ref()
            .map(|keys| u128::from(keys.hash_one(key)));
        high << 64 | low
    }

    fn add(&mut self, key: &str) {
        let hash = self.hash(key);
        self.hashes.push(hash);
    }

    /// Before the first `has`.
    fn finish(&mut self) {
        self.hashes.sort_unstable();
    }

    fn has(&self, key: &str) -> bool {
        !self.hashes.is_empty() && self.hashes.binary_search(&self.hash(key)).is_ok()
    }
}
