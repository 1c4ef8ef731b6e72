//! All servers of a provider, and how many calls are under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use kvstore_core::{Error, ErrorKind, Result};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use crate::RedisConfig;
use crate::address::{Address, Servers};
use crate::call::Call;
use crate::cluster::Cluster;
use crate::command::Command;
use crate::link::{Opener, Role};
use crate::node::{Node, Place};
use crate::sentinel::Sentinel;
use crate::shard::Shard;
use crate::slots::slot;

/// All servers of a provider.
pub(crate) struct Client {
    servers: Topology,
    config: RedisConfig,
    /// How many calls are under way, and whether there may be more.
    pending: AtomicUsize,
    is_closed: AtomicBool,
}

pub(crate) enum Topology {
    /// One server, or who the sentinels say it is.
    One(Shard),
    Cluster(Cluster),
    #[cfg(feature = "rest")]
    Rest(Box<crate::rest::Rest>),
}

impl Client {
    /// Connects, and fails when that fails.
    pub(crate) async fn connect(config: RedisConfig) -> Result<Arc<Self>> {
        config.check()?;
        let opener = Arc::new(Opener::new(&config)?);
        let runtime = runtime()?;
        let servers = match &config.servers {
            Servers::Cluster(seeds) => {
                let cluster = Cluster::new(seeds, &config, opener, &runtime);
                cluster.connected().await?;
                Topology::Cluster(cluster)
            }
            _ => {
                let servers = Topology::new(&config, &opener, &runtime)?;
                if let Topology::One(shard) = &servers {
                    shard.primary.first_link().await?;
                }
                servers
            }
        };
        Ok(Self::new(config, servers))
    }

    /// Begins to connect, and goes on until that succeeds.
    pub(crate) fn lazy(config: RedisConfig) -> Result<Arc<Self>> {
        config.check()?;
        let runtime = runtime()?;
        let opener = Arc::new(Opener::new(&config)?);
        let servers = Topology::new(&config, &opener, &runtime)?;
        Ok(Self::new(config, servers))
    }

    fn new(config: RedisConfig, servers: Topology) -> Arc<Self> {
        Arc::new(Self {
            servers,
            pending: AtomicUsize::new(0),
            is_closed: AtomicBool::new(false),
            config,
        })
    }

    pub(crate) fn config(&self) -> &RedisConfig {
        &self.config
    }

    pub(crate) fn servers(&self) -> &Topology {
        &self.servers
    }

    /// Whether one command may name several keys: in a cluster they are on several nodes.
    pub(crate) fn takes_many_keys(&self) -> bool {
        !matches!(self.servers, Topology::Cluster(_))
    }

    /// Begins a call: its deadline runs from here, over all of its commands.
    pub(crate) fn call(&self) -> Result<Call<'_>> {
        // From here on it is counted, and dropping it counts it no more.
        let before = self.pending.fetch_add(1, Ordering::SeqCst);
        let call = Call::new(self, &self.pending);
        if self.is_closed.load(Ordering::SeqCst) {
            return Err(ErrorKind::Closed.into());
        }
        if before >= self.config.max_pending {
            let message = format!(
                "{} calls are under way, which is `max_pending`",
                self.config.max_pending
            );
            return Err(Error::new(ErrorKind::Busy, message));
        }
        Ok(call)
    }

    /// Refuses new calls, waits for those under way until their deadlines, and ends the connections.
    pub(crate) async fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        let deadline = Instant::now() + self.config.timeout + Duration::from_millis(100);
        while self.pending.load(Ordering::SeqCst) > 0 && Instant::now() < deadline {
            sleep(Duration::from_millis(5)).await;
        }
        match &self.servers {
            Topology::One(shard) => shard.nodes().for_each(|node| node.close()),
            Topology::Cluster(cluster) => cluster.close(),
            #[cfg(feature = "rest")]
            Topology::Rest(_) => {}
        }
    }
}

impl Topology {
    fn new(config: &RedisConfig, opener: &Arc<Opener>, runtime: &Handle) -> Result<Self> {
        let node = |place| Node::new(place, config.timeout, runtime);
        let (place, replica): (Box<dyn Fn() -> Place>, _) = match &config.servers {
            Servers::Cluster(seeds) => {
                let opener = Arc::clone(opener);
                return Ok(Self::Cluster(Cluster::new(seeds, config, opener, runtime)));
            }
            #[cfg(feature = "rest")]
            Servers::Rest(..) => return Ok(Self::Rest(Box::new(crate::rest::Rest::new(config)?))),
            Servers::One(address) => {
                let at = || Place::At {
                    address: address.clone(),
                    role: Role::Any,
                    opener: Arc::clone(opener),
                };
                (Box::new(at), None)
            }
            Servers::Sentinel { sentinels, name } => {
                let sentinels = sentinels.iter();
                let sentinel = Arc::new(Sentinel {
                    sentinels: sentinels
                        .map(|(host, port)| Address::Tcp(host.clone(), *port))
                        .collect(),
                    name: name.clone(),
                    opener: Arc::clone(opener),
                    asking: opener.for_sentinels(config),
                });
                let replica = config
                    .read_from_replicas
                    .then(|| Place::Replica(Arc::clone(&sentinel)));
                (
                    Box::new(move || Place::Primary(Arc::clone(&sentinel))),
                    replica,
                )
            }
        };
        let primary = node(place());
        Ok(Self::One(Shard {
            writes: match config.wait_replicas {
                0 => Arc::clone(&primary),
                _ => node(place()),
            },
            primary,
            replicas: replica.map(node).into_iter().collect(),
        }))
    }

    /// Who is asked.
    pub(crate) fn node(&self, command: &Command, replicas: bool) -> Option<Arc<Node>> {
        match self {
            Self::One(shard) => Some(Arc::clone(shard.node(command, replicas))),
            Self::Cluster(cluster) => cluster.node(
                slot(command.routing_key().unwrap_or_default()),
                command,
                replicas,
            ),
            #[cfg(feature = "rest")]
            Self::Rest(_) => None,
        }
    }
}

/// The runtime on which connections live.
fn runtime() -> Result<Handle> {
    Handle::try_current().map_err(|source| {
        let message = "a provider connects in the background: make it where a tokio runtime runs";
        Error::new(ErrorKind::InvalidConfig, message).with_source(source)
    })
}
