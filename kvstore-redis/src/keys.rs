//! Listing keys by SCAN.

use std::sync::Arc;
use std::vec::IntoIter;

use futures_util::StreamExt as _;
use futures_util::stream::unfold;
use kvstore_core::{BoxStream, Bytes, Error, ErrorKind, Result};

use crate::call::Call;
use crate::client::{Client, Topology};
use crate::command::{Command, Reply};
use crate::error::{Failure, not_understood};
use crate::link::Link;
use crate::node::Node;
use crate::plan::{Plan, Slots};
use crate::slots::slot;

/// How many keys the server looks at for one page, whichever of them it names.
const COUNT: &str = "1000";

/// How often a server is looked through anew because its connection was lost.
const ANEW: u32 = 100;

struct Scan {
    client: Arc<Client>,
    /// The configuration's prefix, which is no part of a key.
    own: String,
    pattern: String,
    max_key_len: usize,
    page: IntoIter<String>,
    /// Which servers are to be looked through.
    plan: Plan,
    visit: Option<Visit>,
    has_ended: bool,
}

/// The looking through one server, or through the only one.
pub(crate) struct Visit {
    pub(crate) node: Option<Arc<Node>>,
    /// The slots whose keys are named; all, if none are said.
    pub(crate) slots: Option<Slots>,
    /// Whether the slots are still on their way to the node, which so far may serve none.
    on_its_way: bool,
    /// Where the next page begins.
    cursor: Bytes,
    /// The connection by which the cursor came. Another may lead to another server, or to the same one after it was
    /// started anew, where the cursor means something else.
    link: Option<Link>,
    times: u32,
}

/// What came of asking for a page.
enum Page {
    Keys(Vec<Reply>, Bytes),
    /// The server has no keys any more, but another in its place.
    Replaced,
}

pub(crate) fn list(
    client: Arc<Client>,
    own: &str,
    prefix: &str,
    max_key_len: usize,
) -> BoxStream<'static, Result<String>> {
    let scan = Scan {
        plan: Plan::new(),
        client,
        own: own.to_owned(),
        pattern: pattern(own, prefix),
        max_key_len,
        page: Vec::new().into_iter(),
        visit: None,
        has_ended: false,
    };
    unfold(scan, |mut scan| async {
        loop {
            if let Some(key) = scan.page.next() {
                return Some((Ok(key), scan));
            }
            if scan.has_ended {
                return None;
            }
            if let Err(error) = scan.load().await {
                scan.has_ended = true;
                return Some((Err(error), scan));
            }
        }
    })
    // Asked again after its end, it says so again.
    .fuse()
    .boxed()
}

impl Scan {
    /// Loads the next page, or finds that there is none.
    async fn load(&mut self) -> Result<()> {
        let call = self.client.call()?;
        if self.visit.is_none() {
            self.visit = self.plan.next(&call, self.client.servers()).await?;
        }
        let Some(visit) = &mut self.visit else {
            self.has_ended = true;
            return Ok(());
        };
        match visit
            .load(&call, self.client.servers(), &self.pattern)
            .await?
        {
            Page::Keys(keys, next) => {
                let keys: Vec<_> = keys
                    .into_iter()
                    .filter(|key| visit.names(key))
                    .filter_map(|key| own_key(&key, &self.own, self.max_key_len))
                    .collect();
                self.page = keys.into_iter();
                if &next[..] == b"0" {
                    self.visit = None;
                } else {
                    visit.cursor = next;
                }
            }
            Page::Replaced => {
                if let Some(node) = &visit.node {
                    self.plan.was_in_vain(node);
                }
                self.visit = None;
            }
        }
        Ok(())
    }
}

impl Visit {
    pub(crate) fn new(node: Option<Arc<Node>>, slots: Option<Slots>, on_its_way: bool) -> Self {
        Self {
            node,
            slots,
            on_its_way,
            cursor: Bytes::from_static(b"0"),
            link: None,
            times: 1,
        }
    }

    async fn load(&mut self, call: &Call<'_>, servers: &Topology, pattern: &str) -> Result<Page> {
        let mut tries = 3;
        let answer = loop {
            let Some(node) = self.node.clone() else {
                break call.send(scan(&self.cursor, pattern)).await?;
            };
            let mut link = match self.on_its_way {
                true => node.link_by(call.deadline).await?,
                false => match link(&node, call, servers).await? {
                    Some(link) => link,
                    None => return Ok(Page::Replaced),
                },
            };
            if self.link.as_ref().is_some_and(|before| !before.is(&link)) {
                self.cursor = Bytes::from_static(b"0");
                self.times += 1;
                if self.times > ANEW {
                    let message =
                        "the connection is lost too often for a listing to come to its end";
                    return Err(Error::new(ErrorKind::Unavailable, message));
                }
            }
            self.link = Some(link.clone());
            tries -= 1;
            match node
                .ask(&mut link, &scan(&self.cursor, pattern), call.deadline)
                .await
            {
                Err(Failure::Cut(_)) if tries > 0 => {}
                answer => break answer?,
            }
        };
        let Reply::List(mut parts) = answer else {
            return Err(not_understood());
        };
        match (parts.pop(), parts.pop()) {
            (Some(Reply::List(keys)), Some(Reply::Data(next))) => Ok(Page::Keys(keys, next)),
            _ => Err(not_understood()),
        }
    }

    /// Whether the key is one of those that this is about.
    fn names(&self, key: &Reply) -> bool {
        match (&self.slots, key) {
            (Some(slots), Reply::Data(key)) => slots.contains(&slot(key)),
            _ => true,
        }
    }
}

/// The connection to a server; `None` when it serves no keys any more.
pub(crate) async fn link(
    node: &Arc<Node>,
    call: &Call<'_>,
    servers: &Topology,
) -> Result<Option<Link>> {
    let Topology::Cluster(cluster) = servers else {
        return node.link_by(call.deadline).await.map(Some);
    };
    loop {
        tokio::select! {
            biased;
            link = node.link_by(call.deadline) => return link.map(Some),
            _ = cluster.changed() => {
                let map = cluster.map();
                if !map.shards().iter().any(|shard| Arc::ptr_eq(&shard.primary, node)) {
                    return Ok(None);
                }
            }
        }
    }
}

fn scan(cursor: &Bytes, pattern: &str) -> Command {
    let scan = Command::other("SCAN").word(cursor);
    ["MATCH", pattern, "COUNT", COUNT, "TYPE", "string"]
        .into_iter()
        .fold(scan, Command::word)
}

/// The key as the store knows it. What it could not ask for is not its own, so not named: what is
/// not text, is empty without the prefix, or is longer than a key may be.
fn own_key(key: &Reply, own: &str, max_key_len: usize) -> Option<String> {
    let Reply::Data(key) = key else { return None };
    let key = std::str::from_utf8(key).ok()?.strip_prefix(own)?;
    (!key.is_empty() && key.len() <= max_key_len).then(|| key.to_owned())
}

/// A glob that matches what begins with both, taken literally.
fn pattern(own: &str, prefix: &str) -> String {
    let mut pattern = String::with_capacity(own.len() + prefix.len() + 1);
    for char in own.chars().chain(prefix.chars()) {
        if matches!(char, '\\' | '*' | '?' | '[' | ']') {
            pattern.push('\\');
        }
        pattern.push(char);
    }
    pattern.push('*');
    pattern
}
