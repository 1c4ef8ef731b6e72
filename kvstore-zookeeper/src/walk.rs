//! Walking over all nodes below the root, bucket by bucket.

use std::collections::HashSet;
use std::sync::Arc;
use std::vec::IntoIter;

use futures_util::StreamExt as _;
use futures_util::stream::unfold;
use kvstore_core::{BoxStream, Error, Result};

use crate::batch::READ;
use crate::client::{Call, Client, Effect};
use crate::data::Data;
use crate::error::refused;
use crate::place::Place;
use crate::read::{Node, epoch, exactly, got_all};
use crate::wire::{self, ANY, Code, Frames, Write};

/// How many nodes are read at once at most: a value may have a megabyte.
const AT_ONCE: usize = 64;

/// Nodes that are keys beginning with a prefix, some at a time.
struct Walk {
    prefix: String,
    /// `None` before the first step.
    buckets: Option<IntoIter<String>>,
    /// Of the bucket that is walked over.
    keys: IntoIter<(String, Place)>,
}

impl Walk {
    fn new(prefix: String) -> Self {
        Self {
            prefix,
            buckets: None,
            keys: Vec::new().into_iter(),
        }
    }

    /// The next keys with their places, all of one bucket, which may be none at all; `None` after the last.
    async fn step(&mut self, call: &Call<'_>) -> Result<Option<Vec<(String, Place)>>> {
        let root = &call.client.root;
        let Some(buckets) = &mut self.buckets else {
            let names = call.names(root.path()).await?;
            let buckets: Vec<_> = names.iter().filter_map(|name| root.bucket(name)).collect();
            self.buckets = Some(buckets.into_iter());
            return Ok(Some(Vec::new()));
        };
        if self.keys.len() == 0 {
            let Some(bucket) = buckets.next() else {
                return Ok(None);
            };
            let names = call.names(&bucket).await?;
            let keys = names.iter().filter_map(|name| root.key(&bucket, name));
            let keys: Vec<_> = keys
                .filter(|(key, _)| key.starts_with(&self.prefix))
                .collect();
            self.keys = keys.into_iter();
        }
        let most = call.client.readable(READ).min(AT_ONCE);
        let sizes = self
            .keys
            .as_slice()
            .iter()
            .map(|(_, place)| place.node().len());
        let part = call.client.fitting(sizes.take(most));
        Ok(Some(self.keys.by_ref().take(part).collect()))
    }

    /// Whether the buckets are known, so that the next step goes on where one has failed.
    fn has_begun(&self) -> bool {
        self.buckets.is_some()
    }
}

impl Call<'_> {
    /// The names of a node's children; none when it is missing.
    async fn names(&self, path: &str) -> Result<Vec<String>> {
        let frames = || Frames::fresh().children(path);
        let [found] = exactly(self.ask(Effect::None, frames).await?)?;
        match found.result {
            Ok(body) => Ok(wire::names(body)?),
            Err(Code::NO_NODE) => Ok(Vec::new()),
            Err(code) => Err(refused(code)),
        }
    }

    /// Looks at nodes of one bucket: its epoch before, and what each holds.
    async fn look(
        &self,
        keys: &[(String, Place)],
    ) -> Result<(Option<i32>, Vec<Result<Option<Node>>>)> {
        let Some((_, first)) = keys.first() else {
            return Ok((None, Vec::new()));
        };
        let paths: Vec<_> = keys.iter().map(|(_, place)| place.node()).collect();
        let frames = || self.get_all(Frames::fresh().exists(first.bucket()), &paths);
        let mut answers = self.ask(Effect::None, frames).await?.into_iter();
        let epoch = answers.next().map_or(Ok(None), epoch)?;
        Ok((epoch, got_all(answers, keys.len())?))
    }

    /// Deletes those of some nodes of one bucket that have expired; the answer is how many. What of a node fails
    /// goes to `failed`, if nothing is there.
    async fn purge(&self, keys: &[(String, Place)], failed: &mut Option<Error>) -> Result<u64> {
        let mut kept = HashSet::new();
        'look: loop {
            let (epoch, nodes) = self.look(keys).await?;
            let mut expired = Vec::new();
            for ((key, place), node) in keys.iter().zip(nodes) {
                match node {
                    Ok(Some(node)) if !node.is_live() && !kept.contains(key) => {
                        expired.push((key, place, node.stat.version));
                    }
                    Ok(_) => {}
                    Err(error) => {
                        failed.get_or_insert(error.with_key(key));
                    }
                }
            }
            while let (Some(version), Some((_, first, _))) = (epoch, expired.first()) {
                let deletes = expired.iter().map(|(_, place, version)| Write::Delete {
                    path: place.node(),
                    version: *version,
                });
                let begin = Write::Set {
                    path: first.bucket(),
                    data: &Data::EMPTY,
                    version,
                };
                let writes: Vec<_> = deletes.chain([begin]).collect();
                match self.all_or_none(&writes).await? {
                    Ok(_) => return Ok(expired.len() as u64),
                    Err((_, Code::NO_NODE | Code::BAD_VERSION)) => continue 'look,
                    // It stays, and keeps the others no more.
                    Err((at, code @ (Code::NOT_EMPTY | Code::NO_AUTH))) if at < expired.len() => {
                        let (key, ..) = expired.remove(at);
                        failed.get_or_insert(refused(code).with_key(key));
                        kept.insert(key);
                    }
                    Err((_, code)) => return Err(refused(code)),
                }
            }
            return Ok(0);
        }
    }
}

/// The live keys that begin with a prefix.
pub(crate) fn keys(client: Arc<Client>, prefix: String) -> BoxStream<'static, Result<String>> {
    struct Listing {
        walk: Walk,
        client: Arc<Client>,
        keys: IntoIter<Result<String>>,
        failed: bool,
    }
    let listing = Listing {
        walk: Walk::new(prefix),
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
            match page(&mut listing.walk, &listing.client).await {
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

async fn page(walk: &mut Walk, client: &Client) -> Result<Option<Vec<Result<String>>>> {
    let call = client.call()?;
    let Some(keys) = walk.step(&call).await? else {
        return Ok(None);
    };
    let (_, nodes) = call.look(&keys).await?;
    let live = |((key, _), node): ((String, Place), Result<Option<Node>>)| match node {
        Ok(node) => node.is_some_and(|node| node.is_live()).then_some(Ok(key)),
        Err(error) => Some(Err(Error::with_key(error, &key))),
    };
    Ok(Some(keys.into_iter().zip(nodes).filter_map(live).collect()))
}

/// Deletes the nodes that have expired; the answer is how many. What fails of a node or a bucket alone is told
/// at the end.
pub(crate) async fn purge(client: &Client) -> Result<u64> {
    let mut walk = Walk::new(String::new());
    let (mut purged, mut failed) = (0, None);
    loop {
        let call = client.call()?;
        let step = match walk.step(&call).await {
            Ok(Some(keys)) => call.purge(&keys, &mut failed).await,
            Ok(None) => return failed.map_or(Ok(purged), Err),
            Err(error) => Err(error),
        };
        match step {
            Ok(more) => purged += more,
            Err(error) if walk.has_begun() && !error.is_retryable() => {
                failed.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Deletes the root and its buckets, if there is nothing else below; whether there is not.
pub(crate) async fn remove_root(client: &Client) -> Result<bool> {
    let call = client.call()?;
    let root = &client.root;
    let names = call.names(root.path()).await?;
    let buckets: Vec<_> = names.iter().filter_map(|name| root.bucket(name)).collect();
    let paths = buckets.iter().map(String::as_str).chain([root.path()]);
    let delete = |path| Write::Delete { path, version: ANY };
    let writes: Vec<_> = paths.map(delete).collect();
    match call.all_or_none(&writes).await? {
        Ok(_) => Ok(true),
        Err((at, Code::NO_NODE)) if at == buckets.len() => Ok(true),
        // Something was put there, or somebody else does the same.
        Err((_, Code::NOT_EMPTY | Code::NO_NODE)) => Ok(false),
        Err((_, code)) => Err(refused(code)),
    }
}
