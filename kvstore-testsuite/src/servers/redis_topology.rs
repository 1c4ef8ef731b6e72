//! What the nodes of a cluster say of it.

use std::collections::BTreeSet;

use super::redis::Redis;
use super::redis_cluster::NODES;
use super::redis_nodes::Node;
use super::resp::Reply;

/// How many slots there are.
pub(super) const SLOTS: u16 = 16_384;

/// A node of a cluster, in the eyes of one of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Member {
    pub(super) id: String,
    pub(super) is_primary: bool,
    /// The id of the primary that it follows, or `-`.
    pub(super) follows: String,
    /// The first and the last slot of each range that it serves.
    pub(super) slots: Vec<(u16, u16)>,
    epoch: u64,
    is_well: bool,
    is_connected: bool,
    is_self: bool,
}

impl Member {
    /// Reads a line of `CLUSTER NODES`.
    fn read(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let (id, _address) = (words.next()?, words.next()?);
        let flags: Vec<_> = words.next()?.split(',').collect();
        let follows = words.next()?.to_owned();
        let epoch = words.nth(2)?.parse().ok()?;
        let is_connected = words.next()? == "connected";
        // In brackets: slots that come or go.
        let slots = words.filter(|word| !word.starts_with('[')).map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some((first.parse().ok()?, last.parse().ok()?))
        });
        let has = |flag| flags.contains(&flag);
        Some(Self {
            id: id.to_owned(),
            is_primary: has("master"),
            follows,
            slots: slots.collect::<Option<_>>()?,
            epoch,
            is_well: !["fail", "fail?", "handshake", "noaddr"]
                .into_iter()
                .any(has),
            is_connected,
            is_self: has("myself"),
        })
    }

    pub(super) fn serves(&self, slot: u16) -> bool {
        self.is_primary
            && self
                .slots
                .iter()
                .any(|(first, last)| (*first..=*last).contains(&slot))
    }

    fn count(&self) -> usize {
        self.slots
            .iter()
            .map(|(first, last)| usize::from(last - first) + 1)
            .sum()
    }
}

/// The nodes that a node knows, if it answers.
pub(super) fn members(redis: &Redis) -> Option<Vec<Member>> {
    match redis.ask(&["CLUSTER", "NODES"]) {
        Ok(Reply::Data(text)) => String::from_utf8(text)
            .ok()?
            .lines()
            .map(Member::read)
            .collect(),
        _ => None,
    }
}

/// What a node says of itself.
pub(super) fn itself(redis: &Redis) -> Option<Member> {
    members(redis)?.into_iter().find(|member| member.is_self)
}

/// The nodes that run and serve slots as primaries, with their indices.
///
/// One that was away may still take itself for a primary: the younger claim counts.
pub(super) fn primaries(nodes: &[Node]) -> Vec<(usize, Member)> {
    let mut found: Vec<(usize, Member)> = Vec::new();
    for (i, node) in nodes.iter().enumerate().filter(|(_, node)| node.runs) {
        found.extend(
            itself(&node.redis)
                .filter(|member| member.is_primary && !member.slots.is_empty())
                .map(|member| (i, member)),
        );
    }
    let outdated = |member: &Member| {
        let first = member.slots.first().map(|(first, _)| *first);
        found.iter().any(|(_, other)| {
            other.epoch > member.epoch && first.is_some_and(|slot| other.serves(slot))
        })
    };
    found
        .iter()
        .filter(|(_, member)| !outdated(member))
        .cloned()
        .collect()
}

/// Whether the nodes that run are at one about all of them, every slot has a primary that runs, and every
/// replica that runs follows.
pub(super) fn is_settled(nodes: &[Node], ids: &[String]) -> bool {
    let running: Vec<_> = nodes
        .iter()
        .zip(ids)
        .filter(|(node, _)| node.runs)
        .collect();
    let is_running = |id: &String| running.iter().any(|(_, other)| *other == id);
    let mut views = BTreeSet::new();
    for (node, id) in &running {
        let Some(mut members) = members(&node.redis) else {
            return false;
        };
        members.sort();
        let well =
            |member: &Member| !is_running(&member.id) || (member.is_well && member.is_connected);
        let here = members.iter().find(|member| member.is_self);
        let in_its_place =
            here.is_some_and(|here| &here.id == *id && (here.is_primary || follows(&node.redis)));
        let served: usize = members
            .iter()
            .filter(|member| member.is_primary && is_running(&member.id))
            .map(Member::count)
            .sum();
        if members.len() != NODES
            || !members.iter().all(well)
            || !in_its_place
            || served != usize::from(SLOTS)
            || says(node, "cluster_state") != Some("ok".to_owned())
        {
            return false;
        }
        let view: Vec<_> = members
            .into_iter()
            .map(|m| (m.id, m.is_primary, m.follows, m.slots))
            .collect();
        views.insert(view);
    }
    views.len() == 1
}

/// Whether the link of a replica to its primary is up.
pub(super) fn follows(redis: &Redis) -> bool {
    redis
        .info_of("replication", "master_link_status")
        .as_deref()
        == Some("up")
}

/// A field of `CLUSTER INFO`.
fn says(node: &Node, field: &str) -> Option<String> {
    let Ok(Reply::Data(text)) = node.redis.ask(&["CLUSTER", "INFO"]) else {
        return None;
    };
    let text = String::from_utf8(text).ok()?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_cluster_nodes_are_read() {
        let line = "0a1b 127.0.0.1:30004@31004,host myself,master - 0 1426238317239 4 connected 0-9 12 [93-<-c0]";
        let member = Member::read(line).unwrap();
        assert_eq!(member.slots, [(0, 9), (12, 12)]);
        assert_eq!((member.epoch, member.count()), (4, 11));
        assert!(member.is_primary && member.is_self && member.is_well && member.is_connected);
        assert!(member.serves(12) && !member.serves(10) && !member.serves(93));
        let line = "0a1b 127.0.0.1:30004@31004 slave,fail? c0 0 1426238317239 4 disconnected";
        let member = Member::read(line).unwrap();
        assert_eq!(member.follows, "c0");
        assert!(!member.is_primary && !member.is_self && !member.is_well && !member.is_connected);
    }
}
