//! How Redis servers for tests come under the watch of sentinels, and what those say of them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::certificates;
use super::redis::Redis;
use super::redis_nodes::{Config, Node, Ports, start_all};
use super::redis_sentinel::{DOWN_AFTER, NODES, RedisSentinel, SENTINELS};
use super::redis_server::ADMIN;
use super::resp::Reply;
use super::run::Lifetime;

/// What a test wants.
pub(super) struct Wanted<'a> {
    pub(super) path: &'a Path,
    /// The name by which the sentinels know the primary.
    pub(super) name: &'a str,
    /// Options of the servers that hold data.
    pub(super) options: &'a [&'a str],
    /// Options of the sentinels.
    pub(super) of_sentinels: &'a [&'a str],
    pub(super) tls: bool,
}

impl RedisSentinel {
    pub(super) fn launch(wanted: &Wanted<'_>, lifetime: Lifetime) -> Self {
        let tls = wanted.tls.then(|| lifetime.folder.clone());
        if let Some(folder) = &tls {
            certificates::write(folder);
        }
        let tls = tls.as_deref();
        let data = |lifetime, primary: Option<&str>| {
            Node::start(wanted.path, lifetime, &[], |ports| {
                let mut config = with_tls(Config::data(ports), ports, tls);
                if let Some(port) = primary {
                    config.line("replicaof", &["127.0.0.1", port]);
                }
                config.options(wanted.options);
                config
            })
        };
        let mut primary = data(lifetime, None);
        let port = port_among(&primary, tls.is_some()).to_string();
        let lifetime = primary.lifetime();
        let replicas = start_all(lifetime, NODES - 1, |_, lifetime| {
            data(lifetime, Some(&port))
        });
        let lifetime = primary.lifetime();
        let mut deployment = Self {
            name: wanted.name.to_owned(),
            nodes: [primary].into_iter().chain(replicas).collect(),
            sentinels: Vec::new(),
            tls: tls.map(PathBuf::from),
        };
        // Sentinels ask seldom who follows: it is to be so when they begin.
        deployment.wait("the replicas follow", || {
            deployment.nodes[1..]
                .iter()
                .all(|node| follows(&node.redis, &port))
        });
        deployment.sentinels = start_all(lifetime, SENTINELS, |_, lifetime| {
            Node::start(wanted.path, lifetime, &["--sentinel"], |ports| {
                let mut config = with_tls(Config::new(ports), ports, tls);
                watch(&mut config, wanted.name, &port);
                config.options(wanted.of_sentinels);
                config
            })
        });
        for sentinel in &deployment.sentinels {
            hurry(&sentinel.redis);
        }
        deployment.wait_until_ok();
        let origin = format!("with sentinels, from {}", wanted.path.display());
        deployment.nodes[0].redis.report(&origin);
        deployment
    }

    /// The port by which the servers know one of them.
    pub(super) fn port(&self, node: &Node) -> u16 {
        port_among(node, self.tls.is_some())
    }

    /// The one that all sentinels that run name as the primary.
    pub(super) fn agreed(&self) -> Option<usize> {
        let mut named = self
            .sentinels
            .iter()
            .filter(|s| s.runs)
            .map(|s| self.named(s));
        let (epoch, first) = named.next()??;
        named
            .all(|other| other == Some((epoch, first)))
            .then_some(first)
    }

    /// The primary that a sentinel names, after the number of the failover that made it one.
    pub(super) fn named(&self, sentinel: &Node) -> Option<(u64, usize)> {
        let primary = self.seen_by(sentinel)?;
        let port: u16 = primary.get("port")?.parse().ok()?;
        let index = self.nodes.iter().position(|node| self.port(node) == port)?;
        Some((primary.get("config-epoch")?.parse().ok()?, index))
    }

    /// Whether the sentinels that run are at one and know one another, the primary runs, and all others that run
    /// follow it, also in their eyes.
    pub(super) fn is_settled(&self) -> bool {
        let Some(primary) = self.agreed() else {
            return false;
        };
        let port = self.port(&self.nodes[primary]).to_string();
        let nodes = self.nodes.iter().enumerate().filter(|(_, node)| node.runs);
        let mut in_place = nodes.map(|(i, node)| match i == primary {
            true => leads(&node.redis),
            false => follows(&node.redis, &port),
        });
        let mut sentinels = self.sentinels.iter().filter(|sentinel| sentinel.runs);
        self.nodes[primary].runs
            && in_place.all(|is| is)
            && sentinels.all(|sentinel| self.sees_all(sentinel, &port))
    }

    fn sees_all(&self, sentinel: &Node, port: &str) -> bool {
        let Some(primary) = self.seen_by(sentinel) else {
            return false;
        };
        let is = |field: &str, value: &str| primary.get(field).is_some_and(|is| is == value);
        let Ok(Reply::List(replicas)) = sentinel.redis.ask(&["SENTINEL", "REPLICAS", &self.name])
        else {
            return false;
        };
        let replicas: Vec<_> = replicas.into_iter().filter_map(fields).collect();
        let sees = |node: &Node| {
            let own = self.port(node).to_string();
            own == port
                || replicas.iter().any(|replica| {
                    let is =
                        |field: &str, value: &str| replica.get(field).is_some_and(|is| is == value);
                    is("port", &own)
                        && is("flags", "slave")
                        && is("master-link-status", "ok")
                        && is("master-port", port)
                })
        };
        let mut running = self.nodes.iter().filter(|node| node.runs);
        is("flags", "master")
            && is("num-slaves", &(NODES - 1).to_string())
            && is("num-other-sentinels", &(SENTINELS - 1).to_string())
            && running.all(sees)
    }

    /// What a sentinel says of the primary.
    fn seen_by(&self, sentinel: &Node) -> Option<HashMap<String, String>> {
        let asked = sentinel.redis.ask(&["SENTINEL", "MASTER", &self.name]);
        asked.ok().and_then(fields)
    }
}

/// Names and values, as Redis lists them.
fn fields(reply: Reply) -> Option<HashMap<String, String>> {
    let Reply::List(words) = reply else {
        return None;
    };
    let pair = |pair: &[Reply]| (pair[0].text(), pair[1].text());
    Some(words.chunks_exact(2).map(pair).collect())
}

/// Whether a server takes itself for a primary.
pub(super) fn leads(redis: &Redis) -> bool {
    redis.info_of("replication", "role").as_deref() == Some("master")
}

/// Whether a server has its data from the one at this port.
pub(super) fn follows(redis: &Redis, port: &str) -> bool {
    let is = |field, value| redis.info_of("replication", field).as_deref() == Some(value);
    is("role", "slave") && is("master_port", port) && is("master_link_status", "up")
}

/// Has a sentinel look and tell more often than it would, so that tests need not wait for that. It does not keep it.
///
/// Without, it would ask a primary that is new to it for the first time just when it takes it for dead.
pub(super) fn hurry(sentinel: &Redis) {
    let periods = [
        // And not less: a replica is good enough to be promoted if what it said of itself, once a second, is not
        // older than five of these.
        ["PING-PERIOD", "250"],
        ["INFO-PERIOD", "500"],
        ["PUBLISH-PERIOD", "200"],
    ];
    sentinel.command(&[&["SENTINEL", "DEBUG"], &*periods.concat()].concat());
}

fn port_among(node: &Node, tls: bool) -> u16 {
    if tls {
        node.ports.tls
    } else {
        node.ports.plain
    }
}

fn with_tls(mut config: Config, ports: Ports, folder: Option<&Path>) -> Config {
    if let Some(folder) = folder {
        config.tls(ports, folder);
    }
    config
}

/// What a sentinel is told of the servers.
fn watch(config: &mut Config, name: &str, port: &str) {
    config.line("sentinel", &["monitor", name, "127.0.0.1", port, "2"]);
    for (option, value) in [
        // Long, so that they form as they are told; a test's own are made quick after that.
        (DOWN_AFTER, "15000"),
        ("failover-timeout", "2000"),
        ("parallel-syncs", "1"),
        // As the suite, whichever passwords a test wants.
        ("auth-user", ADMIN[0]),
        ("auth-pass", "any"),
    ] {
        config.line("sentinel", &[option, name, value]);
    }
    config.line("sentinel", &["sentinel-user", ADMIN[0]]);
    config.line("sentinel", &["sentinel-pass", "any"]);
}
