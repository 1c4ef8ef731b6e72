//! Walking over all secrets below the path, folder by folder.

use std::sync::Arc;
use std::vec::IntoIter;

use futures_util::StreamExt as _;
use futures_util::stream::{iter, unfold};
use kvstore_core::{BoxStream, Error, Result};

use crate::api::{PAGE, State};
use crate::client::{Call, Client};

/// How many secrets are looked at within one deadline.
pub(crate) const STEP: usize = 256;

/// How many are looked at at once.
pub(crate) const AT_ONCE: usize = 16;

/// A folder, and what of it is still to be seen.
struct Folder {
    path: String,
    names: IntoIter<String>,
    /// Where the next page begins; `None` when there is none.
    next: Option<Next>,
}

enum Next {
    First,
    After(String),
}

impl Folder {
    fn new(path: String) -> Self {
        Self {
            path,
            names: Vec::new().into_iter(),
            next: Some(Next::First),
        }
    }

    async fn load(&mut self, call: &Call<'_>, next: Next) -> Result<()> {
        let after = match &next {
            Next::First => None,
            Next::After(name) => Some(name.as_str()),
        };
        let names = call.list(&self.path, after).await?;
        // A server without pages gives all names each time, whatever it is asked for.
        let again =
            after.is_some_and(|after| names.first().is_some_and(|first| first.as_str() <= after));
        if !again {
            self.next = names
                .last()
                .filter(|_| names.len() == PAGE)
                .cloned()
                .map(Next::After);
            self.names = names.into_iter();
        }
        Ok(())
    }
}

/// Secrets that are keys beginning with a prefix, some at a time.
pub(crate) struct Walk {
    prefix: String,
    folders: Vec<Folder>,
}

impl Walk {
    pub(crate) fn new(client: &Client, prefix: &str) -> Self {
        Self {
            folders: vec![Folder::new(client.root.folder(prefix))],
            prefix: prefix.to_owned(),
        }
    }

    /// The next secrets, as their paths with their keys, which may be none at all; `None` after the last.
    pub(crate) async fn step(&mut self, call: &Call<'_>) -> Result<Option<Vec<(String, String)>>> {
        let root = &call.client.root;
        let Some(folder) = self.folders.last_mut() else {
            return Ok(None);
        };
        if folder.names.len() == 0 {
            match folder.next.take() {
                Some(next) => folder.load(call, next).await?,
                None => drop(self.folders.pop()),
            }
            return Ok(Some(Vec::new()));
        }
        let mut secrets = Vec::new();
        let mut below = Vec::new();
        for name in folder.names.by_ref().take(STEP) {
            let path = format!("{}{name}", folder.path);
            if path.ends_with('/') {
                if root.may_hold(&path, &self.prefix) {
                    below.push(Folder::new(path));
                }
            } else if let Some(key) = root.key(&path)
                && key.starts_with(&self.prefix)
            {
                secrets.push((path, key));
            }
        }
        self.folders.extend(below);
        Ok(Some(secrets))
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
    let Some(secrets) = walk.step(&call).await? else {
        return Ok(None);
    };
    let live = iter(secrets).map(async |(path, key)| {
        let found = call.read(&path).await;
        match found.and_then(|found| Ok(matches!(found.state()?, State::Live(_)))) {
            Ok(live) => live.then_some(Ok(key)),
            Err(error) => Some(Err(Error::with_key(error, &key))),
        }
    });
    let keys: Vec<_> = live
        .buffer_unordered(AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await;
    Ok(Some(keys))
}

/// Destroys what the secrets hold that have expired or are marked as deleted; the answer is how many.
pub(crate) async fn purge(client: &Client) -> Result<u64> {
    let mut walk = Walk::new(client, "");
    let mut purged = 0;
    loop {
        let call = client.call()?;
        let Some(secrets) = walk.step(&call).await? else {
            return Ok(purged);
        };
        let call = &call;
        let purge = iter(secrets).map(async |(path, key)| {
            let purge = async {
                let leftover = call.read(&path).await?.leftover()?;
                if let Some(version) = leftover {
                    call.destroy_to(&path, version).await?;
                }
                Ok(u64::from(leftover.is_some()))
            };
            purge.await.map_err(|error: Error| error.with_key(&key))
        });
        let counts: Vec<Result<u64>> = purge.buffer_unordered(AT_ONCE).collect().await;
        for count in counts {
            purged += count?;
        }
    }
}
