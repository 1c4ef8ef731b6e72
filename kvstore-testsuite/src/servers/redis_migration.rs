//! Slots of a Redis Cluster that move from one primary to another, in steps.

use super::redis_cluster::RedisCluster;
use super::redis_server::ADMIN;
use super::resp::Reply;

/// How many keys are moved by one command.
const KEYS: &str = "100";

impl RedisCluster {
    /// Begins to move a slot to another primary: from now on the one that serves it answers `ASK` for keys
    /// that it does not have, and it still serves those it has.
    ///
    /// # Panics
    /// When the nodes refuse.
    pub fn begin_migration(&mut self, slot: u16, target: usize) {
        let source = self.node_of_slot(slot);
        self.set_slot(target, slot, &["IMPORTING", &self.ids[source]]);
        self.set_slot(source, slot, &["MIGRATING", &self.ids[target]]);
    }

    /// Moves one key of a slot that is moving.
    ///
    /// # Panics
    /// When the key is not there, or the nodes refuse.
    pub fn migrate_key<K: AsRef<[u8]>>(&mut self, key: K, target: usize) {
        let source = self.node_of(&key);
        self.migrate(source, target, &[key.as_ref()]);
    }

    /// Ends the move of a slot: the target serves it, and the other primaries know. Replicas come to know in
    /// moments, and [`wait_until_ok`](Self::wait_until_ok) waits for that.
    ///
    /// # Panics
    /// When the nodes refuse: as long as the source has keys of the slot.
    pub fn end_migration(&mut self, slot: u16, target: usize) {
        let source = self.node_of_slot(slot);
        let others = self.primaries();
        let others = others.into_iter().filter(|i| ![source, target].contains(i));
        // The target first: if the source forgot first and all ended there, nobody would have the slot.
        for node in [target, source].into_iter().chain(others) {
            self.set_slot(node, slot, &["NODE", &self.ids[target]]);
        }
    }

    /// Moves a slot with all its keys to another primary, and waits until all nodes have it so.
    ///
    /// # Panics
    /// When the nodes refuse.
    pub fn migrate_slot(&mut self, slot: u16, target: usize) {
        self.begin_migration(slot, target);
        let source = self.node_of_slot(slot);
        loop {
            let keys = self.keys_in_slot(source, slot);
            if keys.is_empty() {
                break;
            }
            let keys: Vec<_> = keys.iter().map(Vec::as_slice).collect();
            self.migrate(source, target, &keys);
        }
        self.end_migration(slot, target);
        self.wait_until_ok();
    }

    /// Some keys of a slot, at most a hundred, that a node has itself, also of a slot that is moving.
    ///
    /// # Panics
    /// When the node does not answer.
    pub fn keys_in_slot(&self, node: usize, slot: u16) -> Vec<Vec<u8>> {
        let command = ["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), KEYS];
        let Reply::List(keys) = self.nodes[node].redis.command(&command) else {
            panic!("Redis answered something else, where keys were expected");
        };
        let key = |reply| match reply {
            Reply::Data(key) => key,
            other => panic!("Redis answered {other:?}, where a key was expected"),
        };
        keys.into_iter().map(key).collect()
    }

    fn migrate(&self, source: usize, target: usize, keys: &[&[u8]]) {
        let port = self.port(target);
        // As the suite, whichever password a test wants.
        let command = [
            "MIGRATE",
            "127.0.0.1",
            &port,
            "",
            "0",
            "5000",
            "AUTH2",
            ADMIN[0],
            "any",
            "KEYS",
        ];
        let mut command: Vec<_> = command.iter().map(|word| word.as_bytes()).collect();
        command.extend(keys);
        let reply = self.nodes[source].redis.command(&command).text();
        assert_eq!(reply, "OK", "no such key to move from node {source}");
    }

    fn set_slot(&self, node: usize, slot: u16, args: &[&str]) {
        let slot = slot.to_string();
        let command = [&["CLUSTER", "SETSLOT", &slot][..], args].concat();
        self.nodes[node].redis.command(&command);
    }
}
