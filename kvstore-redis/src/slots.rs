//! Which nodes of a cluster serve which keys.

use std::collections::HashMap;
use std::sync::Arc;

use crate::address::Address;
use crate::command::Reply;
use crate::node::Node;
use crate::shard::Shard;

/// How many slots a cluster's keys fall into.
pub(crate) const SLOTS: u16 = 16_384;

/// The slot of a key: of what stands between its first braces, if that is something, else of all of it.
pub(crate) fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|byte| *byte == b'}')?;
        (close > 0).then(|| &rest[..close])
    });
    crc16::State::<crc16::XMODEM>::calculate(tag.unwrap_or(key)) % SLOTS
}

/// What a node is used for, which says what its connection is told.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Use {
    Primary,
    Writes,
    Replica,
}

/// All nodes that there are connections to.
pub(crate) type Nodes = HashMap<(Address, Use), Arc<Node>>;

/// The nodes of a cluster, and who serves which slot.
#[derive(Clone)]
pub(crate) struct Map {
    /// The place in `shards` of each slot's, or `NOBODY`.
    owners: Vec<u16>,
    shards: Vec<Arc<Shard>>,
    nodes: Nodes,
}

const NOBODY: u16 = u16::MAX;

impl Map {
    /// Nothing is known.
    pub(crate) fn empty() -> Self {
        Self {
            owners: vec![NOBODY; usize::from(SLOTS)],
            shards: Vec::new(),
            nodes: Nodes::new(),
        }
    }

    /// From what a node says. `find` finds a node or makes one.
    pub(crate) fn new(
        parts: &[Part],
        replicas: bool,
        mut find: impl FnMut(&Address, Use) -> Arc<Node>,
        waits: bool,
    ) -> Self {
        let mut map = Self::empty();
        for part in parts {
            let known = map
                .shards
                .iter()
                .position(|shard| shard.primary.address() == Some(&part.primary));
            let place = known.unwrap_or_else(|| {
                let mut node = |address: &Address, usage| {
                    let node = find(address, usage);
                    map.nodes
                        .insert((address.clone(), usage), Arc::clone(&node));
                    node
                };
                let primary = node(&part.primary, Use::Primary);
                let writes = match waits {
                    true => node(&part.primary, Use::Writes),
                    false => Arc::clone(&primary),
                };
                let of_part = part.replicas.iter().filter(|_| replicas);
                map.shards.push(Arc::new(Shard {
                    primary,
                    writes,
                    replicas: of_part.map(|address| node(address, Use::Replica)).collect(),
                }));
                map.shards.len() - 1
            });
            let place = u16::try_from(place).unwrap_or(NOBODY);
            for slot in part.first..=part.last.min(SLOTS - 1) {
                map.owners[usize::from(slot)] = place;
            }
        }
        map
    }

    pub(crate) fn shard(&self, slot: u16) -> Option<&Arc<Shard>> {
        let place = *self.owners.get(usize::from(slot))?;
        self.shards.get(usize::from(place))
    }

    pub(crate) fn shards(&self) -> &[Arc<Shard>] {
        &self.shards
    }

    pub(crate) fn node(&self, address: &Address, usage: Use) -> Option<&Arc<Node>> {
        self.nodes.get(&(address.clone(), usage))
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.values()
    }

    /// The same, with one more node.
    pub(crate) fn with_node(&self, address: &Address, usage: Use, node: &Arc<Node>) -> Self {
        let mut map = self.clone();
        map.nodes.insert((address.clone(), usage), Arc::clone(node));
        map
    }

    /// The same, but for one slot that a shard serves now.
    pub(crate) fn with_owner(&self, slot: u16, shard: &Arc<Shard>) -> Self {
        let mut map = self.clone();
        let known = map
            .shards
            .iter()
            .position(|other| Arc::ptr_eq(other, shard));
        let place = known.unwrap_or_else(|| {
            map.shards.push(Arc::clone(shard));
            map.shards.len() - 1
        });
        if let Some(owner) = map.owners.get_mut(usize::from(slot)) {
            *owner = u16::try_from(place).unwrap_or(NOBODY);
        }
        map
    }
}

/// Slots that follow each other, and who serves them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) first: u16,
    pub(crate) last: u16,
    pub(crate) primary: Address,
    pub(crate) replicas: Vec<Address>,
}

impl Part {
    /// How many they are.
    pub(crate) fn slots(&self) -> usize {
        usize::from(self.last.saturating_sub(self.first)) + 1
    }
}

/// Reads what the node at `asked` answers to `CLUSTER SLOTS`; `None` where it is nothing like that.
pub(crate) fn parts(answer: &Reply, asked: &Address) -> Option<Vec<Part>> {
    let Reply::List(parts) = answer else {
        return None;
    };
    let mut read = Vec::with_capacity(parts.len());
    for part in parts {
        let Reply::List(part) = part else {
            return None;
        };
        let [Reply::Int(first), Reply::Int(last), primary, replicas @ ..] = &part[..] else {
            return None;
        };
        // Of a node whose host the cluster does not know, nobody can be told where it is.
        let Some(primary) = address(primary, asked) else {
            continue;
        };
        read.push(Part {
            first: u16::try_from(*first).ok()?,
            last: u16::try_from(*last).ok()?,
            primary,
            replicas: replicas
                .iter()
                .filter_map(|node| address(node, asked))
                .collect(),
        });
    }
    Some(read)
}

fn address(node: &Reply, asked: &Address) -> Option<Address> {
    let Reply::List(node) = node else {
        return None;
    };
    let [host, Reply::Int(port), ..] = &node[..] else {
        return None;
    };
    let host = match host {
        Reply::Data(host) => std::str::from_utf8(host).ok()?,
        Reply::Nil => "",
        _ => return None,
    };
    Some(Address::Tcp(
        asked.or_own(host)?,
        u16::try_from(*port).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        // The check value of CRC16/XMODEM.
        assert_eq!(slot(b"123456789"), 0x31C3 % SLOTS);
        assert_eq!(slot(b""), 0);
        let same = slot(b"user1000");
        for key in ["{user1000}.following", "x{user1000}{other}", "{user1000}"] {
            assert_eq!(slot(key.as_bytes()), same, "{key}");
        }
        // Nothing stands between the first braces, or they do not close.
        for key in ["{}{user1000}", "{user1000", "}user1000{"] {
            let whole = crc16::State::<crc16::XMODEM>::calculate(key.as_bytes()) % SLOTS;
            assert_eq!(slot(key.as_bytes()), whole, "{key}");
        }
        assert_eq!(slot(b"{{user1000}}"), slot(b"{user1000"));
    }

    #[test]
    fn what_a_node_says_of_the_slots() {
        let asked = Address::Tcp("asked".to_owned(), 1);
        let tcp = |host: &str, port| Address::Tcp(host.to_owned(), port);
        let data = |text: &'static str| Reply::Data(text.as_bytes().into());
        let node = |host: Reply, port| Reply::List(vec![host, Reply::Int(port), data("id")]);
        let part = |first, last, nodes: Vec<Reply>| {
            let mut part = vec![Reply::Int(first), Reply::Int(last)];
            part.extend(nodes);
            Reply::List(part)
        };
        let answer = Reply::List(vec![
            part(0, 5, vec![node(data("a"), 7), node(data("b"), 8)]),
            part(6, 7, vec![node(Reply::Nil, 9), node(data("?"), 9)]),
            part(8, 9, vec![node(data("?"), 9)]),
        ]);
        let expected = [
            Part {
                first: 0,
                last: 5,
                primary: tcp("a", 7),
                replicas: vec![tcp("b", 8)],
            },
            Part {
                first: 6,
                last: 7,
                primary: tcp("asked", 9),
                replicas: Vec::new(),
            },
        ];
        assert_eq!(parts(&answer, &asked).unwrap(), expected);
        for strange in [
            Reply::Nil,
            Reply::List(vec![Reply::Int(1)]),
            part(0, 1, vec![]),
        ] {
            assert_eq!(parts(&Reply::List(vec![strange]), &asked), None);
        }
        assert_eq!(parts(&Reply::Nil, &asked), None);
    }
}
