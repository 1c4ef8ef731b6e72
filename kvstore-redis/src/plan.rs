//! Which servers a listing looks through, so that no key escapes it that moves from one to another meanwhile.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use kvstore_core::{Error, ErrorKind, Result};

use crate::address::Address;
use crate::call::Call;
use crate::client::Topology;
use crate::cluster::Cluster;
use crate::command::{Command, Reply};
use crate::error::{Failure, not_understood};
use crate::keys::{Visit, link};
use crate::node::Node;
use crate::shard::Shard;
use crate::slots::{SLOTS, Use};

/// Some of a cluster's slots.
pub(crate) type Slots = HashSet<u16>;

/// Nodes, and slots of each.
#[derive(Default)]
struct Visits(Vec<(Arc<Node>, Slots)>);

impl Visits {
    fn add(&mut self, node: &Arc<Node>, slot: u16) {
        let known = self
            .0
            .iter_mut()
            .find(|(other, _)| Arc::ptr_eq(other, node));
        match known {
            Some((_, slots)) => drop(slots.insert(slot)),
            None => self.0.push((Arc::clone(node), Slots::from([slot]))),
        }
    }

    /// `named`: only the keys of these slots are.
    fn visits(self, named: bool, on_its_way: bool) -> Vec<Visit> {
        let visit = |(node, slots)| Visit::new(Some(node), named.then_some(slots), on_its_way);
        self.0.into_iter().map(visit).collect()
    }
}

/// What was looked through, and what is still to be.
///
/// A key that moves from one node to another is found where it is while that node is looked through: at the one that
/// loses it, or, when that was too late, at the one that gets it, which is looked through once more afterwards, for
/// the slots that have moved or are on their way.
pub(crate) struct Plan {
    begun: bool,
    /// The node that was looked through for each slot.
    by: Vec<Option<Arc<Node>>>,
    /// Slots on their way for which the node that gets them was looked through.
    on_their_way: Vec<(u16, Address)>,
    next: Vec<Visit>,
}

impl Plan {
    pub(crate) fn new() -> Self {
        Self {
            begun: false,
            by: Vec::new(),
            on_their_way: Vec::new(),
            next: Vec::new(),
        }
    }

    /// The next server to look through; `None` when nothing is left.
    pub(crate) async fn next(
        &mut self,
        call: &Call<'_>,
        servers: &Topology,
    ) -> Result<Option<Visit>> {
        match servers {
            Topology::Cluster(cluster) => self.next_of_cluster(call, servers, cluster).await,
            _ if std::mem::replace(&mut self.begun, true) => Ok(None),
            Topology::One(shard) => {
                let node = Some(Arc::clone(&shard.primary));
                Ok(Some(Visit::new(node, None, false)))
            }
            #[cfg(feature = "rest")]
            Topology::Rest(_) => Ok(Some(Visit::new(None, None, false))),
        }
    }

    async fn next_of_cluster(
        &mut self,
        call: &Call<'_>,
        servers: &Topology,
        cluster: &Cluster,
    ) -> Result<Option<Visit>> {
        // Again, when a node was replaced that was to say what is on its way.
        while self.next.is_empty() {
            let first = !std::mem::replace(&mut self.begun, true);
            // At first whatever is known: at the end it is looked at again.
            let mut map = cluster.map();
            if !first || map.shards().is_empty() {
                map = cluster.looked_at(call.deadline).await?;
            }
            self.by.resize(usize::from(SLOTS), None);
            let mut visits = Visits::default();
            for (slot, by) in (0..SLOTS).zip(&mut self.by) {
                let Some(shard) = map.shard(slot) else {
                    let message = "the cluster has nobody who serves some of the keys";
                    return Err(Error::new(ErrorKind::Unavailable, message));
                };
                let owner = &shard.primary;
                if !by.as_ref().is_some_and(|by| Arc::ptr_eq(by, owner)) {
                    *by = Some(Arc::clone(owner));
                    visits.add(owner, slot);
                }
            }
            if !visits.0.is_empty() {
                self.next = visits.visits(!first, false);
                break;
            }
            let Some(leaving) = leaving(call, servers, map.shards()).await? else {
                continue;
            };
            for (slot, target) in leaving {
                let Some(address) = target.address() else {
                    continue;
                };
                let is_same = |known: &(u16, Address)| known.0 == slot && known.1 == *address;
                if !self.on_their_way.iter().any(is_same) {
                    self.on_their_way.push((slot, address.clone()));
                    visits.add(&target, slot);
                }
            }
            if visits.0.is_empty() {
                break;
            }
            self.next = visits.visits(true, true);
        }
        Ok(self.next.pop())
    }

    /// A node was not looked through to its end, and will not be.
    pub(crate) fn was_in_vain(&mut self, node: &Arc<Node>) {
        for by in &mut self.by {
            if by.as_ref().is_some_and(|by| Arc::ptr_eq(by, node)) {
                *by = None;
            }
        }
    }
}

/// The slots that are on their way, and where to; `None` when one of the nodes has none any more.
async fn leaving(
    call: &Call<'_>,
    servers: &Topology,
    shards: &[Arc<Shard>],
) -> Result<Option<Vec<(u16, Arc<Node>)>>> {
    let Topology::Cluster(cluster) = servers else {
        return Ok(None);
    };
    let nodes = Command::other("CLUSTER").word("NODES");
    let mut found = Vec::new();
    for shard in shards {
        let node = &shard.primary;
        let Some(mut link) = link(node, call, servers).await? else {
            return Ok(None);
        };
        let text = match node.ask(&mut link, &nodes, call.deadline).await {
            Ok(Reply::Data(text)) => text,
            Ok(_) => return Err(not_understood()),
            // Who takes its place is asked.
            Err(Failure::Cut(_)) => return Ok(None),
            Err(failure) => return Err(failure.into()),
        };
        let map = cluster.map();
        for (slot, places) in read(&String::from_utf8_lossy(&text)) {
            let own = node.address();
            let places = places.iter().filter_map(|place| own?.said_by(place));
            let addresses: Vec<Address> = places.collect();
            let known = addresses
                .iter()
                .find_map(|address| map.node(address, Use::Primary));
            let target = match (known, addresses.first()) {
                (Some(node), _) => Arc::clone(node),
                // It serves no slot so far.
                (None, Some(address)) => cluster.node_at(address, Use::Primary),
                (None, None) => continue,
            };
            found.push((slot, target));
        }
    }
    Ok(Some(found))
}

/// Reads what a node answers to `CLUSTER NODES`: its slots that are on their way, and by which names the node goes
/// that gets them.
fn read(text: &str) -> Vec<(u16, Vec<String>)> {
    let mut places = HashMap::new();
    let mut leaving = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [id, place, flags, ..] = &words[..] else {
            continue;
        };
        // `127.0.0.1:7000@17000,one.example`
        let (place, more) = place.split_once('@').unwrap_or((place, ""));
        let mut names = vec![place.to_owned()];
        let host = more.split(',').nth(1).filter(|host| !host.is_empty());
        if let (Some(host), Some((_, port))) = (host, place.rsplit_once(':')) {
            names.push(format!("{host}:{port}"));
        }
        places.insert(*id, names);
        if flags.split(',').any(|flag| flag == "myself") {
            // `[93->-id]`
            let on_their_way = words.iter().filter_map(|word| {
                let (slot, id) = word
                    .strip_prefix('[')?
                    .strip_suffix(']')?
                    .split_once("->-")?;
                Some((slot.parse().ok()?, id))
            });
            leaving.extend(on_their_way);
        }
    }
    let named = leaving.into_iter();
    named
        .filter_map(|(slot, id)| Some((slot, places.get(id)?.clone())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_on_their_way_are_read() {
        let text = "aa 10.0.0.1:7000@17000,one.example myself,master - 0 0 1 connected 0-5460 [93->-bb] [77-<-cc] [95->-dd]\n\
                    bb 10.0.0.2:7001@17001 master - 0 1 2 connected 5461-10922 [1->-aa]\n\
                    cc 10.0.0.3:7002@17002 master - 0 1 3 connected\n\
                    dd :0@0,four.example master,noaddr - 0 1 4 connected\n\
                    \n";
        let expected = [
            (93, vec!["10.0.0.2:7001".to_owned()]),
            (95, vec![":0".to_owned(), "four.example:0".to_owned()]),
        ];
        assert_eq!(read(text), expected);
        assert_eq!(read("what is this"), []);
    }
}
