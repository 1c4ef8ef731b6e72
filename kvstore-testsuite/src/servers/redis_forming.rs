//! How a Redis Cluster for tests is formed: what `redis-cli --cluster create` does, by the suite's own commands.

use std::path::Path;
use std::time::Duration;

use super::certificates;
use super::redis_cluster::{NODES, PRIMARIES, RedisCluster};
use super::redis_nodes::{Config, Node, Ports, holds_within, start_all};
use super::redis_topology::{SLOTS, is_settled, members};
use super::run::Lifetime;

impl RedisCluster {
    pub(super) fn launch(path: &Path, lifetime: Lifetime, options: &[&str], tls: bool) -> Self {
        let tls = tls.then(|| lifetime.folder.clone());
        if let Some(folder) = &tls {
            certificates::write(folder);
        }
        let nodes = start_all(lifetime, NODES, |_, lifetime| {
            Node::start(path, lifetime, &[], |ports| {
                config(ports, options, tls.as_deref())
            })
        });
        let ids = nodes
            .iter()
            .map(|node| node.redis.command(&["CLUSTER", "MYID"]).text());
        let mut cluster = Self {
            ids: ids.collect(),
            nodes,
            tls,
        };
        cluster.form();
        cluster.nodes[0].redis.report(&format!(
            "as a cluster of {NODES} nodes, from {}",
            path.display()
        ));
        cluster
    }

    /// Finds the cluster that another process noted, if it is still there.
    pub(super) fn find(note: &str) -> Option<Self> {
        let node = |line: &str| {
            let node = Node::found(Ports {
                plain: line.parse().ok()?,
                tls: 0,
                bus: 0,
            });
            let id = node.redis.ask(&["CLUSTER", "MYID"]).ok()?.text();
            Some((node, id))
        };
        let found: Option<Vec<_>> = note.lines().map(node).collect();
        let (nodes, ids) = found?.into_iter().unzip();
        let cluster = Self {
            nodes,
            ids,
            tls: None,
        };
        let is_well = || is_settled(&cluster.nodes, &cluster.ids);
        holds_within(Duration::from_secs(20), is_well).then_some(cluster)
    }

    /// The port by which the nodes know a node.
    pub(super) fn port(&self, node: usize) -> String {
        let ports = self.nodes[node].ports;
        let port = if self.tls.is_some() {
            ports.tls
        } else {
            ports.plain
        };
        port.to_string()
    }

    /// Makes a cluster of nodes that know nothing of one another.
    fn form(&mut self) {
        let cluster =
            |node: &Node, args: &[&str]| node.redis.command(&[&["CLUSTER"], args].concat());
        // Before any two meet: with the same ones they would have to settle who is older.
        for (node, epoch) in self.nodes.iter().zip(1..) {
            cluster(node, &["SET-CONFIG-EPOCH", &epoch.to_string()]);
        }
        for (i, node) in self.nodes.iter().take(PRIMARIES).enumerate() {
            let border = |i: usize| usize::from(SLOTS) * i / PRIMARIES;
            let (first, last) = (border(i), border(i + 1) - 1);
            cluster(
                node,
                &["ADDSLOTSRANGE", &first.to_string(), &last.to_string()],
            );
        }
        self.wait("the nodes know one another", || {
            // All with all: word of others spreads slowly. And again, if one was too busy to answer in time.
            for (i, node) in self.nodes.iter().enumerate() {
                for (other, there) in self.nodes.iter().enumerate().skip(i + 1) {
                    let (port, bus) = (self.port(other), there.ports.bus.to_string());
                    cluster(node, &["MEET", "127.0.0.1", &port, &bus]);
                }
            }
            holds_within(Duration::from_secs(5), || self.knows_itself())
        });
        for (i, node) in self.nodes.iter().enumerate().skip(PRIMARIES) {
            cluster(node, &["REPLICATE", &self.ids[i - PRIMARIES]]);
        }
        self.wait_until_ok();
        // On a busy machine a replica may have been quicker.
        for primary in 0..PRIMARIES {
            if !self.primaries().contains(&primary) {
                self.failover(primary);
            }
        }
    }

    /// Whether every node knows all nodes.
    fn knows_itself(&self) -> bool {
        let knows_all = |node: &Node| {
            let members = members(&node.redis).unwrap_or_default();
            let known = |id: &String| members.iter().any(|member| member.id == *id);
            self.ids.iter().all(known)
        };
        self.nodes.iter().all(knows_all)
    }
}

/// The configuration of a node.
fn config(ports: Ports, options: &[&str], tls: Option<&Path>) -> Config {
    let mut config = Config::data(ports);
    config.line("cluster-enabled", &["yes"]);
    config.line("cluster-port", &[&ports.bus.to_string()]);
    config.line("cluster-announce-ip", &["127.0.0.1"]);
    config.line("cluster-node-timeout", &["1000"]);
    // A replica takes over however old its data are.
    config.line("cluster-replica-validity-factor", &["0"]);
    if let Some(folder) = tls {
        config.tls(ports, folder);
        config.line("tls-cluster", &["yes"]);
    }
    config.options(options);
    config
}
