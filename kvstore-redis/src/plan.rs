//! Which servers a listing looks through, so that no key escapes it that moves from one to another meanwhile.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use kvstore_core::{Error, ErrorKind, Result};

use crate::address::Address;
use crate::call::Call;
use crate::client::Topology;
use crate::cluster::Cluster;
use crate::command::{Command, Reply};
use crate::error::not_understood;
use crate::keys::Visit;
use crate::node::Node;
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
    on_their_way: Vec<(u16, Arc<Node>)>,
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
            Topology::Cluster(cluster) => self.next_of_cluster(call, cluster).await,
            _ if std::mem::replace(&mut self.begun, true) => Ok(None),
            Topology::One(shard) => Ok(Some(Visit::new(Some(Arc::clone(&shard.primary)), None))),
            #[cfg(feature = "rest")]
            Topology::Rest(_) => Ok(Some(Visit::new(None, None))),
        }
    }

    async fn next_of_cluster(
        &mut self,
        call: &Call<'_>,
        cluster: &Cluster,
    ) -> Result<Option<Visit>> {
        if self.next.is_empty() {
            let map = cluster.looked_at(call.deadline).await?;
            let first = !std::mem::replace(&mut self.begun, true);
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
            if visits.0.is_empty() {
                for shard in map.shards() {
                    for (slot, target) in migrating(call, cluster, &shard.primary).await? {
                        let is_same = |(other, node): &(u16, Arc<Node>)| {
                            *other == slot && Arc::ptr_eq(node, &target)
                        };
                        if !self.on_their_way.iter().any(is_same) {
                            visits.add(&target, slot);
                            self.on_their_way.push((slot, target));
                        }
                    }
                }
            }
            let visits = visits.0.into_iter();
            self.next = visits
                .map(|(node, slots)| Visit::new(Some(node), (!first).then_some(slots)))
                .collect();
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

/// The slots that are on their way from a node, and where to.
async fn migrating(
    call: &Call<'_>,
    cluster: &Cluster,
    node: &Arc<Node>,
) -> Result<Vec<(u16, Arc<Node>)>> {
    let nodes = Command::other("CLUSTER").word("NODES");
    let Reply::Data(text) = call.ask(node, &nodes).await? else {
        return Err(not_understood());
    };
    let text = String::from_utf8_lossy(&text);
    let map = cluster.map();
    let found = read(&text).into_iter().filter_map(|(slot, places)| {
        let own = node.address()?;
        let addresses: Vec<Address> = places
            .iter()
            .filter_map(|place| own.said_by(place))
            .collect();
        let known = addresses
            .iter()
            .find_map(|address| map.node(address, Use::Primary));
        let target = match known {
            Some(node) => Arc::clone(node),
            // It serves no slot so far.
            None => cluster.node_at(addresses.first()?, Use::Primary),
        };
        Some((slot, target))
    });
    Ok(found.collect())
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
