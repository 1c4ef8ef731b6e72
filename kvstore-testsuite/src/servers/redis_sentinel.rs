//! Redis with sentinels for tests.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use super::redis_nodes::{Node, Ports, holds_within, valkey, wait};
use super::redis_server::installed;
use super::redis_watch::{Wanted, follows, hurry, leads};
use super::resp::Reply;
use super::run::{Lifetime, Run};

/// How many servers hold data: a primary and its replicas.
pub(super) const NODES: usize = 3;

/// How many sentinels there are; two are a quorum.
pub(super) const SENTINELS: usize = 3;

/// The sentinels' option of how long a server may be silent before they take it for dead.
pub(super) const DOWN_AFTER: &str = "down-after-milliseconds";

/// What the primary is called unless a test wants another name.
const NAME: &str = "mymaster";

/// Three Redis servers on this machine, of which at first 0 is the primary and 1 and 2 are its replicas, and three
/// sentinels that make a replica the primary when it is gone.
///
/// ```no_run
/// use kvstore_testsuite::servers::RedisSentinel;
///
/// let mut redis = RedisSentinel::start();
/// let url = redis.url("&timeout=5s");
/// // … connect a store to `url`, and write …
/// let old = redis.primary();
/// redis.stop(old);
/// redis.wait_for_new_primary(old);
/// // … the store works …
/// ```
#[derive(Debug)]
pub struct RedisSentinel {
    pub(super) name: String,
    pub(super) nodes: Vec<Node>,
    pub(super) sentinels: Vec<Node>,
    /// Where the certificates are, if they speak TLS.
    pub(super) tls: Option<PathBuf>,
}

impl RedisSentinel {
    /// The servers of this test run, for tests that leave them as they are for the others. The sentinels are
    /// slower than those of a test's own to take the primary for dead: other tests keep the machine busy.
    ///
    /// # Panics
    /// When the program is not installed, with what to do, or the servers do not come up.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<RedisSentinel> = OnceLock::new();
        SHARED.get_or_init(|| {
            let path = installed();
            Run::current().share("redis-sentinel", Self::find, |lifetime| {
                let mut redis = Self::launch(&wanted(&path), lifetime);
                let nodes = redis.nodes.iter_mut().chain(&mut redis.sentinels);
                let ports = nodes.map(|node| {
                    node.leave();
                    node.ports.plain.to_string()
                });
                let note = ports.collect::<Vec<_>>().join("\n");
                (redis, note)
            })
        })
    }

    /// Starts servers and sentinels of the test's own, which end when the value is dropped.
    ///
    /// # Panics
    /// As [`shared`](Self::shared).
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts servers and sentinels of the test's own with more options of `redis-server` for the servers that
    /// hold data, which win over those the suite gives: `["--min-replicas-to-write", "1"]`,
    /// `["--appendonly", "yes"]`.
    ///
    /// # Panics
    /// As [`shared`](Self::shared).
    pub fn start_with(options: &[&str]) -> Self {
        let path = installed();
        Self::own(&Wanted {
            options,
            ..wanted(&path)
        })
    }

    /// Starts servers of the test's own, whose primary the sentinels know by this name.
    ///
    /// # Panics
    /// As [`shared`](Self::shared).
    pub fn start_named(name: &str) -> Self {
        let path = installed();
        Self::own(&Wanted {
            name,
            ..wanted(&path)
        })
    }

    /// Starts servers of the test's own that want a password, and sentinels that want another one.
    ///
    /// # Panics
    /// As [`shared`](Self::shared).
    pub fn start_with_passwords(data: &str, sentinel: &str) -> Self {
        let path = installed();
        Self::own(&Wanted {
            options: &["--requirepass", data],
            of_sentinels: &["--requirepass", sentinel],
            ..wanted(&path)
        })
    }

    /// Starts servers and sentinels of the test's own that speak TLS, also with one another, with more options as
    /// [`start_with`](Self::start_with). All have ports without TLS as well, for the suite.
    ///
    /// # Panics
    /// As [`shared`](Self::shared).
    pub fn start_tls(options: &[&str]) -> Self {
        let path = installed();
        Self::own(&Wanted {
            options,
            tls: true,
            ..wanted(&path)
        })
    }

    /// Starts servers and sentinels of Valkey of the test's own, with more options as
    /// [`start_with`](Self::start_with).
    ///
    /// # Panics
    /// As [`shared`](Self::shared).
    pub fn start_valkey(options: &[&str]) -> Self {
        let path = valkey();
        Self::own(&Wanted {
            options,
            ..wanted(&path)
        })
    }

    /// The URL of all sentinels with the primary's name, and with what is to follow, as `&timeout=1s`:
    /// `redis-sentinel://127.0.0.1:7000,…?master=mymaster`, or `rediss-sentinel://localhost:7000,…` if they speak
    /// TLS.
    pub fn url(&self, rest: &str) -> String {
        let scheme = if self.tls.is_some() {
            "rediss"
        } else {
            "redis"
        };
        let hosts = self.hosts();
        format!("{scheme}-sentinel://{hosts}?master={}{rest}", self.name)
    }

    /// The hosts and ports of all sentinels, `127.0.0.1:7000,127.0.0.1:7001,…`, for a URL that a test makes itself.
    pub fn hosts(&self) -> String {
        let host = |node: &Node| match self.tls {
            Some(_) => format!("localhost:{}", node.ports.tls),
            None => node.redis.address().to_string(),
        };
        self.sentinels
            .iter()
            .map(host)
            .collect::<Vec<_>>()
            .join(",")
    }

    /// The name by which the sentinels know the primary.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address of a server that holds data, without TLS.
    pub fn address(&self, node: usize) -> SocketAddr {
        self.nodes[node].redis.address()
    }

    /// The address of a sentinel, from 0 on, without TLS.
    pub fn sentinel_address(&self, sentinel: usize) -> SocketAddr {
        self.sentinels[sentinel].redis.address()
    }

    /// The certificate (PEM) of the authority that signed those of the servers and of the client.
    ///
    /// # Panics
    /// When they do not speak TLS.
    pub fn ca_path(&self) -> PathBuf {
        self.certificates().join("ca.pem")
    }

    /// A certificate (PEM) for a client.
    ///
    /// # Panics
    /// When they do not speak TLS.
    pub fn client_cert_path(&self) -> PathBuf {
        self.certificates().join("client.pem")
    }

    /// The key (PEM) of the client's certificate.
    ///
    /// # Panics
    /// When they do not speak TLS.
    pub fn client_key_path(&self) -> PathBuf {
        self.certificates().join("client.key")
    }

    /// Gives a server that holds data one command, with every right.
    ///
    /// # Panics
    /// When it refuses, with its words, or does not answer.
    pub fn command<A: AsRef<[u8]>>(&self, node: usize, args: &[A]) -> Reply {
        self.nodes[node].redis.command(args)
    }

    /// As [`command`](Self::command), and a refusal is a [`Reply::Error`].
    ///
    /// # Panics
    /// When it does not answer.
    pub fn try_command<A: AsRef<[u8]>>(&self, node: usize, args: &[A]) -> Reply {
        self.nodes[node].redis.try_command(args)
    }

    /// Gives a sentinel one command, with every right.
    ///
    /// # Panics
    /// When it refuses, with its words, or does not answer.
    pub fn sentinel_command<A: AsRef<[u8]>>(&self, sentinel: usize, args: &[A]) -> Reply {
        self.sentinels[sentinel].redis.command(args)
    }

    /// The primary, as the sentinels say now: of those that run, the one that knows the latest failover.
    ///
    /// # Panics
    /// When for long none of them answers.
    pub fn primary(&self) -> usize {
        let mut found = None;
        self.wait("a sentinel names a primary", || {
            let sentinels = self.sentinels.iter().filter(|sentinel| sentinel.runs);
            found = sentinels.filter_map(|sentinel| self.named(sentinel)).max();
            found.is_some()
        });
        found.map_or_else(|| unreachable!("waited for"), |(_, primary)| primary)
    }

    /// The servers that run and follow the primary now.
    pub fn replicas(&self) -> Vec<usize> {
        let port = self.port(&self.nodes[self.primary()]).to_string();
        let nodes = self.nodes.iter().enumerate();
        let replicas = nodes.filter(|(_, node)| node.runs && follows(&node.redis, &port));
        replicas.map(|(i, _)| i).collect()
    }

    /// Ends a server that holds data at once, as a power cut would. If it was the primary, a replica takes its
    /// place after some three seconds.
    pub fn stop(&mut self, node: usize) {
        self.nodes[node].stop();
    }

    /// Starts a server that holds data again, with the same ports and files, and what the sentinels have told it;
    /// it answers when this returns, and [`wait_until_ok`](Self::wait_until_ok) waits until it has its place.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self, node: usize) {
        self.nodes[node].restart();
    }

    /// Halts a server that holds data: it keeps its connections and answers nothing.
    pub fn pause(&mut self, node: usize) {
        self.nodes[node].pause();
    }

    /// Lets a halted server go on.
    pub fn resume(&mut self, node: usize) {
        self.nodes[node].resume();
    }

    /// Ends a sentinel at once.
    pub fn stop_sentinel(&mut self, sentinel: usize) {
        self.sentinels[sentinel].stop();
    }

    /// Starts a sentinel again, with what it knew.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart_sentinel(&mut self, sentinel: usize) {
        self.sentinels[sentinel].restart();
        hurry(&self.sentinels[sentinel].redis);
    }

    /// Halts a sentinel: it keeps its connections and answers nothing.
    pub fn pause_sentinel(&mut self, sentinel: usize) {
        self.sentinels[sentinel].pause();
    }

    /// Lets a halted sentinel go on. It trusts nothing that it sees for some time, as the clock made a leap.
    pub fn resume_sentinel(&mut self, sentinel: usize) {
        self.sentinels[sentinel].resume();
    }

    /// Waits until the sentinels that run are at one and know one another, the primary runs, and all other servers
    /// that run follow it.
    ///
    /// # Panics
    /// When it is not so for long.
    pub fn wait_until_ok(&self) {
        self.wait("the sentinels have all in its place", || self.is_settled());
    }

    /// Waits until the sentinels that run name another primary than `old`, which takes itself for one: which it is.
    ///
    /// # Panics
    /// When it is not so for long.
    pub fn wait_for_new_primary(&self, old: usize) -> usize {
        let mut found = None;
        self.wait("another is the primary", || {
            found = self
                .agreed()
                .filter(|new| *new != old && leads(&self.nodes[*new].redis));
            found.is_some()
        });
        found.unwrap_or_else(|| unreachable!("waited for"))
    }

    /// Has the sentinels make a replica the primary while the old one runs, and waits until all is in its place:
    /// which it is.
    ///
    /// # Panics
    /// When it does not come to be so.
    pub fn failover(&mut self) -> usize {
        self.wait_until_ok();
        let old = self.primary();
        let sentinel = self.sentinels.iter().find(|sentinel| sentinel.runs);
        let sentinel = sentinel.unwrap_or_else(|| panic!("no sentinel runs"));
        self.wait("another is the primary", || {
            // It refuses as long as it has just done so, or takes no replica for good enough.
            sentinel
                .redis
                .try_command(&["SENTINEL", "FAILOVER", &self.name]);
            holds_within(Duration::from_secs(5), || self.primary() != old)
        });
        self.wait_until_ok();
        self.primary()
    }

    pub(super) fn wait(&self, what: &str, holds: impl FnMut() -> bool) {
        wait(what, self.nodes.iter().chain(&self.sentinels), holds);
    }

    fn certificates(&self) -> &Path {
        let folder = self.tls.as_deref();
        folder.unwrap_or_else(|| panic!("they were not started with TLS"))
    }

    fn own(wanted: &Wanted<'_>) -> Self {
        let redis = Self::launch(wanted, Lifetime::of_this_process("redis-sentinel"));
        for sentinel in 0..SENTINELS {
            let quick = ["SENTINEL", "SET", wanted.name, DOWN_AFTER, "500"];
            redis.sentinel_command(sentinel, &quick);
        }
        redis
    }

    /// Finds the servers that another process noted, if they are still there.
    fn find(note: &str) -> Option<Self> {
        let node = |line: &str| {
            let plain = line.parse().ok()?;
            let node = Node::found(Ports {
                plain,
                tls: 0,
                bus: 0,
            });
            node.redis.info("process_id").map(|_| node)
        };
        let mut nodes: Vec<_> = note.lines().map(node).collect::<Option<_>>()?;
        let redis = Self {
            name: NAME.to_owned(),
            sentinels: nodes.split_off(NODES),
            nodes,
            tls: None,
        };
        holds_within(Duration::from_secs(20), || redis.is_settled()).then_some(redis)
    }
}

fn wanted(path: &Path) -> Wanted<'_> {
    Wanted {
        path,
        name: NAME,
        options: &[],
        of_sentinels: &[],
        tls: false,
    }
}
