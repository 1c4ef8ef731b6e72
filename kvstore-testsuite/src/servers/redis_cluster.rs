//! A Redis Cluster for tests.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use super::redis_nodes::{Node, holds_within, valkey, wait};
use super::redis_server::installed;
use super::redis_topology::{SLOTS, is_settled, itself, primaries};
use super::resp::Reply;
use super::run::{Lifetime, Run};

/// How many nodes there are: the primaries, then a replica of each.
pub(super) const NODES: usize = 2 * PRIMARIES;

pub(super) const PRIMARIES: usize = 3;

/// A Redis Cluster of six nodes on this machine: at first the nodes 0, 1 and 2 are primaries, with a third of
/// the slots each, and 3, 4 and 5 are their replicas, in this order.
///
/// ```no_run
/// use kvstore_testsuite::servers::RedisCluster;
///
/// let mut cluster = RedisCluster::start();
/// let url = cluster.url("?timeout=5s");
/// // … connect a store to `url`, and write …
/// let primary = cluster.node_of("fruit");
/// cluster.stop(primary);
/// cluster.wait_until_ok();
/// // … a replica was promoted, and the store works …
/// ```
#[derive(Debug)]
pub struct RedisCluster {
    pub(super) nodes: Vec<Node>,
    /// What each node is called in the cluster.
    pub(super) ids: Vec<String>,
    /// Where the certificates are, if it speaks TLS.
    pub(super) tls: Option<PathBuf>,
}

impl RedisCluster {
    /// The cluster of this test run, for tests that leave it as it is for the others. It is slower than one of
    /// a test's own to take a node for dead: other tests keep the machine busy.
    ///
    /// # Panics
    /// When the program is not installed, with what to do, or the cluster does not come up.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<RedisCluster> = OnceLock::new();
        SHARED.get_or_init(|| Self::share("redis-cluster", installed))
    }

    /// The cluster of Valkey of this test run, as [`shared`](Self::shared).
    ///
    /// # Panics
    /// As [`shared`](Self::shared).
    pub fn shared_valkey() -> &'static Self {
        static SHARED: OnceLock<RedisCluster> = OnceLock::new();
        SHARED.get_or_init(|| Self::share("valkey-cluster", valkey))
    }

    /// Starts a cluster of the test's own, which ends when the value is dropped.
    ///
    /// # Panics
    /// As [`shared`](Self::shared).
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a cluster of the test's own with more options of `redis-server` for each node, which win over
    /// those the suite gives: `["--requirepass", "secret"]`, `["--cluster-require-full-coverage", "no"]`.
    ///
    /// # Panics
    /// As [`shared`](Self::shared).
    pub fn start_with(options: &[&str]) -> Self {
        Self::own(&installed(), options, false)
    }

    /// Starts a cluster of Valkey of the test's own, with more options as [`start_with`](Self::start_with).
    ///
    /// # Panics
    /// As [`shared`](Self::shared).
    pub fn start_valkey(options: &[&str]) -> Self {
        Self::own(&valkey(), options, false)
    }

    /// Starts a cluster of the test's own that speaks TLS, also between its nodes, with more options as
    /// [`start_with`](Self::start_with). The nodes have ports without TLS as well, for the suite.
    ///
    /// # Panics
    /// As [`shared`](Self::shared).
    pub fn start_tls(options: &[&str]) -> Self {
        Self::own(&installed(), options, true)
    }

    /// The URL of all nodes, with what is to follow, as `?timeout=1s`: `redis-cluster://127.0.0.1:7000,…`, or
    /// `rediss-cluster://localhost:7000,…` if the cluster speaks TLS.
    pub fn url(&self, rest: &str) -> String {
        let scheme = if self.tls.is_some() {
            "rediss"
        } else {
            "redis"
        };
        format!("{scheme}-cluster://{}{rest}", self.hosts())
    }

    /// The hosts and ports of all nodes, `127.0.0.1:7000,127.0.0.1:7001,…`, for a URL that a test makes itself.
    pub fn hosts(&self) -> String {
        let host = |node: &Node| match self.tls {
            Some(_) => format!("localhost:{}", node.ports.tls),
            None => node.redis.address().to_string(),
        };
        self.nodes.iter().map(host).collect::<Vec<_>>().join(",")
    }

    /// The address of a node, without TLS.
    pub fn address(&self, node: usize) -> SocketAddr {
        self.nodes[node].redis.address()
    }

    /// The address of a node, with TLS.
    ///
    /// # Panics
    /// When the cluster does not speak TLS.
    pub fn tls_address(&self, node: usize) -> SocketAddr {
        self.certificates();
        self.nodes[node].tls_address()
    }

    /// The certificate (PEM) of the authority that signed those of the nodes and of the client.
    ///
    /// # Panics
    /// When the cluster does not speak TLS.
    pub fn ca_path(&self) -> PathBuf {
        self.certificates().join("ca.pem")
    }

    /// A certificate (PEM) for a client.
    ///
    /// # Panics
    /// When the cluster does not speak TLS.
    pub fn client_cert_path(&self) -> PathBuf {
        self.certificates().join("client.pem")
    }

    /// The key (PEM) of the client's certificate.
    ///
    /// # Panics
    /// When the cluster does not speak TLS.
    pub fn client_key_path(&self) -> PathBuf {
        self.certificates().join("client.key")
    }

    /// Gives a node one command, with every right. A replica answers reads itself; for other slots than a node
    /// has, it refuses with `MOVED`.
    ///
    /// # Panics
    /// When the node refuses, with its words, or does not answer.
    pub fn command<A: AsRef<[u8]>>(&self, node: usize, args: &[A]) -> Reply {
        self.nodes[node].redis.clone().with_readonly().command(args)
    }

    /// As [`command`](Self::command), and a refusal is a [`Reply::Error`].
    ///
    /// # Panics
    /// When the node does not answer.
    pub fn try_command<A: AsRef<[u8]>>(&self, node: usize, args: &[A]) -> Reply {
        self.nodes[node]
            .redis
            .clone()
            .with_readonly()
            .try_command(args)
    }

    /// Gives one command to the node that serves a key.
    ///
    /// # Panics
    /// As [`command`](Self::command).
    pub fn command_for<K: AsRef<[u8]>, A: AsRef<[u8]>>(&self, key: K, args: &[A]) -> Reply {
        self.command(self.node_of(key), args)
    }

    /// The slot of a key.
    ///
    /// # Panics
    /// When no node runs.
    pub fn slot<K: AsRef<[u8]>>(&self, key: K) -> u16 {
        let node = self.nodes.iter().find(|node| node.runs);
        let node = node.unwrap_or_else(|| panic!("no node of the cluster runs"));
        match node
            .redis
            .command(&[b"CLUSTER", &b"KEYSLOT"[..], key.as_ref()])
        {
            Reply::Integer(slot) => u16::try_from(slot).unwrap_or(SLOTS),
            other => panic!("Redis answered {other:?}, where a slot was expected"),
        }
    }

    /// The primary that serves a key now.
    ///
    /// # Panics
    /// When for long no node does.
    pub fn node_of<K: AsRef<[u8]>>(&self, key: K) -> usize {
        self.node_of_slot(self.slot(key))
    }

    /// The primary that serves a slot now.
    ///
    /// # Panics
    /// When for long no node does.
    pub fn node_of_slot(&self, slot: u16) -> usize {
        let mut found = None;
        self.wait("a primary that runs serves the slot", || {
            let primaries = primaries(&self.nodes);
            found = primaries
                .iter()
                .find(|(_, member)| member.serves(slot))
                .map(|(i, _)| *i);
            found.is_some()
        });
        found.unwrap_or_else(|| unreachable!("waited for"))
    }

    /// The nodes that run and serve slots as primaries now.
    pub fn primaries(&self) -> Vec<usize> {
        primaries(&self.nodes).into_iter().map(|(i, _)| i).collect()
    }

    /// The replica that runs and follows a node, which itself need not run.
    ///
    /// # Panics
    /// When there is none.
    pub fn replica_of(&self, node: usize) -> usize {
        let follows = |other: &Node| {
            other.runs
                && itself(&other.redis).is_some_and(|member| member.follows == self.ids[node])
        };
        let replica = self.nodes.iter().position(follows);
        replica.unwrap_or_else(|| panic!("no node follows node {node}"))
    }

    /// Ends a node at once, as a power cut would. Its replica takes its place after some two seconds.
    pub fn stop(&mut self, node: usize) {
        self.nodes[node].stop();
    }

    /// Starts a node again, with the same ports, options and files; it answers when this returns, and
    /// [`wait_until_ok`](Self::wait_until_ok) waits until it has its part in the cluster.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self, node: usize) {
        self.nodes[node].restart();
    }

    /// Halts a node: it holds its connections and answers nothing.
    pub fn pause(&mut self, node: usize) {
        self.nodes[node].pause();
    }

    /// Lets a halted node go on.
    pub fn resume(&mut self, node: usize) {
        self.nodes[node].resume();
    }

    /// Waits until the nodes that run are at one, every slot has a primary that runs, and every replica that
    /// runs follows its primary.
    ///
    /// # Panics
    /// When it is not so for long.
    pub fn wait_until_ok(&self) {
        self.wait("the cluster is well", || is_settled(&self.nodes, &self.ids));
    }

    /// Makes a replica the primary, by the cluster's own means and without loss, and waits until all have it so.
    ///
    /// # Panics
    /// When it does not come to be one.
    pub fn failover(&mut self, replica: usize) {
        let is_primary =
            || itself(&self.nodes[replica].redis).is_some_and(|member| member.is_primary);
        self.wait("the replica is the primary", || {
            // Given up by the nodes after five seconds, and then to be asked for again.
            is_primary() || {
                self.try_command(replica, &["CLUSTER", "FAILOVER"]);
                holds_within(Duration::from_secs(6), is_primary)
            }
        });
        self.wait_until_ok();
    }

    pub(super) fn wait(&self, what: &str, holds: impl FnMut() -> bool) {
        wait(what, &self.nodes, holds);
    }

    fn certificates(&self) -> &Path {
        let folder = self.tls.as_deref();
        folder.unwrap_or_else(|| panic!("it was not started with TLS"))
    }

    fn own(path: &Path, options: &[&str], tls: bool) -> Self {
        Self::launch(
            path,
            Lifetime::of_this_process("redis-cluster"),
            options,
            tls,
        )
    }

    fn share(name: &str, path: fn() -> PathBuf) -> Self {
        let path = path();
        Run::current().share(name, Self::find, |lifetime| {
            let mut cluster = Self::launch(&path, lifetime, &[], false);
            for node in &mut cluster.nodes {
                node.redis
                    .command(&["CONFIG", "SET", "cluster-node-timeout", "15000"]);
                node.leave();
            }
            let ports = cluster
                .nodes
                .iter()
                .map(|node| node.ports.plain.to_string());
            let note = ports.collect::<Vec<_>>().join("\n");
            (cluster, note)
        })
    }
}
