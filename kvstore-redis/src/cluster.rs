//! A cluster: who serves which keys, asked for anew whenever it seems to have changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use kvstore_core::{Error, ErrorKind, Result};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::RedisConfig;
use crate::address::Address;
use crate::command::Command;
use crate::error::not_understood;
use crate::link::{Link, Opener, Role};
use crate::node::{Node, Place, ended};
use crate::shard::{Shard, turn};
use crate::slots::{Map, Nodes, Part, SLOTS, Use, parts};

/// How long it is at least until the nodes are asked again: at first, and while nothing changes. And at most: a
/// primary that has gone is noticed, but not a replica that has come.
const AGAIN: Duration = Duration::from_millis(100);
const SELDOM: Duration = Duration::from_secs(1);
const SOMETIMES: Duration = Duration::from_secs(60);
const SOMETIMES_FOR_REPLICAS: Duration = Duration::from_secs(10);

/// How many nodes are asked at once: one of them may be gone.
const ASKED: usize = 3;

pub(crate) struct Cluster {
    shared: Arc<Shared>,
    keeper: AbortHandle,
}

struct Shared {
    state: watch::Sender<State>,
    /// Told when the map seems to be wrong.
    wanted: Notify,
    /// Told when somebody waits for what the nodes say now.
    urgent: Notify,
    /// How many looks were begun.
    begun: AtomicU64,
    seeds: Vec<Address>,
    opener: Arc<Opener>,
    runtime: Handle,
    timeout: Duration,
    replicas: bool,
    waits: bool,
}

#[derive(Clone)]
struct State {
    map: Arc<Map>,
    /// The last look that has ended.
    look: u64,
    /// Why it failed.
    error: Option<Error>,
}

impl Cluster {
    pub(crate) fn new(
        seeds: &[(String, u16)],
        config: &RedisConfig,
        opener: Arc<Opener>,
        runtime: &Handle,
    ) -> Self {
        let seeds = seeds.iter();
        let begin = State {
            map: Arc::new(Map::empty()),
            look: 0,
            error: None,
        };
        let shared = Arc::new(Shared {
            state: watch::Sender::new(begin),
            wanted: Notify::new(),
            urgent: Notify::new(),
            begun: AtomicU64::new(0),
            seeds: seeds
                .map(|(host, port)| Address::Tcp(host.clone(), *port))
                .collect(),
            opener,
            runtime: runtime.clone(),
            timeout: config.timeout,
            replicas: config.read_from_replicas,
            waits: config.wait_replicas > 0,
        });
        // At once.
        shared.wanted.notify_one();
        let keeper = runtime.spawn(keep(Arc::clone(&shared)));
        Self {
            shared,
            keeper: keeper.abort_handle(),
        }
    }

    /// Waits for the first map, or for why there is none.
    pub(crate) async fn connected(&self) -> Result<()> {
        let mut state = self.shared.state.subscribe();
        let known = state.wait_for(|state| !state.map.shards().is_empty() || state.error.is_some());
        match known.await.map(|state| state.error.clone()) {
            Ok(Some(error)) => Err(error),
            _ => Ok(()),
        }
    }

    pub(crate) fn map(&self) -> Arc<Map> {
        Arc::clone(&self.shared.state.borrow().map)
    }

    /// Who is asked for a command on a key of that slot.
    pub(crate) fn node(&self, slot: u16, command: &Command, replicas: bool) -> Option<Arc<Node>> {
        let state = self.shared.state.borrow();
        let shard = state.map.shard(slot)?;
        Some(Arc::clone(shard.node(command, replicas)))
    }

    /// Has the nodes asked again, and waits for what they say.
    pub(crate) async fn looked_at(&self, deadline: Instant) -> Result<Arc<Map>> {
        let mut wanted = self.shared.begun.load(Ordering::Acquire) + 1;
        let mut state = self.shared.state.subscribe();
        loop {
            self.look_again();
            if state.borrow().error.is_none() {
                self.shared.urgent.notify_one();
            }
            match timeout_at(deadline, state.wait_for(|state| state.look >= wanted)).await {
                Ok(Ok(state)) => match &state.error {
                    None => return Ok(Arc::clone(&state.map)),
                    // Waiting does not help against a wrong password.
                    Some(error) if !error.is_retryable() => return Err(error.clone()),
                    Some(_) => wanted = state.look + 1,
                },
                Ok(Err(_)) => return Err(ended()),
                Err(_) => {
                    let message = "the nodes of the cluster do not say who serves which key";
                    let error = self.error();
                    return Err(
                        error.unwrap_or_else(|| Error::new(ErrorKind::Unavailable, message))
                    );
                }
            }
        }
    }

    /// Waits until the nodes were asked again, which it has them. Gives the error where that failed.
    pub(crate) async fn changed(&self) -> Option<Error> {
        let mut state = self.shared.state.subscribe();
        self.shared.wanted.notify_one();
        match state.changed().await {
            Ok(()) => state.borrow().error.clone(),
            Err(_) => Some(ended()),
        }
    }

    /// Why the last look failed.
    pub(crate) fn error(&self) -> Option<Error> {
        self.shared.state.borrow().error.clone()
    }

    /// Has the nodes asked again soon.
    pub(crate) fn look_again(&self) {
        self.shared.wanted.notify_one();
    }

    /// Takes down that a slot has moved to the node at an address.
    pub(crate) fn moved(&self, slot: u16, address: &Address) {
        self.look_again();
        let shared = &self.shared;
        shared.state.send_if_modified(|state| {
            let owner = state.map.shard(slot);
            if owner.is_some_and(|shard| shard.primary.address() == Some(address)) {
                return false;
            }
            let shards = state.map.shards().iter();
            let mut known = shards
                .filter(|shard| shard.primary.address() == Some(address))
                .map(Arc::clone);
            let mut map = Map::clone(&state.map);
            let shard = known.next_back().unwrap_or_else(|| {
                let mut node = |usage| {
                    let node = shared.find(&state.map, address, usage);
                    map = map.with_node(address, usage, &node);
                    node
                };
                let primary = node(Use::Primary);
                let writes = match shared.waits {
                    true => node(Use::Writes),
                    false => Arc::clone(&primary),
                };
                Arc::new(Shard {
                    primary,
                    writes,
                    replicas: Vec::new(),
                })
            });
            state.map = Arc::new(map.with_owner(slot, &shard));
            true
        });
    }

    /// The node at an address, which may be one that serves no slot so far.
    pub(crate) fn node_at(&self, address: &Address, usage: Use) -> Arc<Node> {
        let shared = &self.shared;
        let mut found = None;
        shared.state.send_if_modified(|state| {
            let node = shared.find(&state.map, address, usage);
            let known = state.map.node(address, usage).is_some();
            if !known {
                state.map = Arc::new(state.map.with_node(address, usage, &node));
            }
            found = Some(node);
            false
        });
        found.unwrap_or_else(|| shared.make(address, usage))
    }

    pub(crate) fn close(&self) {
        self.keeper.abort();
        for node in self.map().nodes() {
            node.close();
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// Asks the nodes whenever that is wanted, and sometimes when it is not.
async fn keep(shared: Arc<Shared>) {
    let sometimes = match shared.replicas {
        true => SOMETIMES_FOR_REPLICAS,
        false => SOMETIMES,
    };
    let (mut pause, mut known) = (AGAIN, None);
    loop {
        let quiet = Instant::now();
        // Whether it was wanted or is time.
        drop(timeout(sometimes, shared.wanted.notified()).await);
        let look = shared.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let said = shared.look().await.map(Arc::new);
        // While nothing changes, who waits for a change does not keep the nodes busy.
        let same = said.as_ref().ok() == known.as_ref() && quiet.elapsed() < SELDOM;
        pause = if same { (pause * 2).min(SELDOM) } else { AGAIN };
        known = said.as_ref().ok().cloned();
        shared.state.send_modify(|state| {
            state.look = look;
            match said {
                Ok(said) => {
                    state.map = Arc::new(shared.map(&state.map, &said));
                    state.error = None;
                }
                Err(error) => state.error = Some(error),
            }
        });
        drop(timeout(pause, shared.urgent.notified()).await);
    }
}

impl Shared {
    /// Asks nodes who serves which slot.
    async fn look(&self) -> Result<Vec<Part>> {
        let map = Arc::clone(&self.state.borrow().map);
        let mut known: Vec<(&Address, Link)> = map
            .nodes()
            .filter_map(|node| Some((node.address()?, node.link()?)))
            .collect();
        if !known.is_empty() {
            let first = turn(known.len());
            known.rotate_left(first);
            known.truncate(ASKED);
        }
        let mut asking: FuturesUnordered<_> = known
            .iter_mut()
            .map(|(address, link)| self.ask(address, link))
            .collect();
        let mut best: Option<Vec<Part>> = None;
        let slots = |said: &Vec<Part>| said.iter().map(Part::slots).sum::<usize>();
        while let Some(said) = asking.next().await {
            let Ok(said) = said else { continue };
            if slots(&said) == usize::from(SLOTS) {
                return Ok(said);
            }
            // A node that has just come may not know all of them.
            if best.as_ref().is_none_or(|best| slots(best) < slots(&said)) {
                best = Some(said);
            }
        }
        if let Some(best) = best {
            return Ok(best);
        }
        let mut asking: FuturesUnordered<_> =
            self.seeds.iter().map(|seed| self.ask_seed(seed)).collect();
        let mut error = ended();
        while let Some(said) = asking.next().await {
            match said {
                Ok(said) => return Ok(said),
                // What waiting does not mend is worth more than that another cannot be reached.
                Err(failed) if error.is_retryable() => error = failed,
                Err(_) => {}
            }
        }
        Err(error)
    }

    async fn ask_seed(&self, seed: &Address) -> Result<Vec<Part>> {
        let (mut link, _task) = self.opener.open(seed, Role::Any).await?;
        self.ask(seed, &mut link).await
    }

    async fn ask(&self, address: &Address, link: &mut Link) -> Result<Vec<Part>> {
        let slots = Command::other("CLUSTER").word("SLOTS");
        let answer = timeout(self.opener.connect_timeout, link.send(&slots)).await;
        let answer = answer.map_err(|_| {
            let message = format!("the node {address} does not say who serves which key");
            Error::new(ErrorKind::Unavailable, message)
        })?;
        let answer = answer.map_err(|failure| match failure.code() {
            "NOPERM" => {
                let message = "the ACL user lacks commands: allow +cluster|slots";
                Error::new(ErrorKind::PermissionDenied, message).with_source(Error::from(failure))
            }
            _ => failure.into(),
        })?;
        let said = parts(&answer, address).ok_or_else(not_understood)?;
        match said.is_empty() {
            // A node that was not made part of the cluster, or has forgotten it.
            true => Err(Error::new(
                ErrorKind::Unavailable,
                format!("the node {address} knows nobody who serves a key"),
            )),
            false => Ok(said),
        }
    }

    /// The map of what a node said, with the connections that there are.
    fn map(&self, old: &Map, said: &[Part]) -> Map {
        let mut made = Nodes::new();
        let find = |address: &Address, usage| {
            let key = (address.clone(), usage);
            let node = made
                .entry(key)
                .or_insert_with(|| self.find(old, address, usage));
            Arc::clone(node)
        };
        Map::new(said, self.replicas, find, self.waits)
    }

    fn find(&self, map: &Map, address: &Address, usage: Use) -> Arc<Node> {
        let known = map.node(address, usage).map(Arc::clone);
        known.unwrap_or_else(|| self.make(address, usage))
    }

    fn make(&self, address: &Address, usage: Use) -> Arc<Node> {
        let place = Place::At {
            address: address.clone(),
            role: match usage {
                Use::Primary | Use::Writes => Role::Any,
                Use::Replica => Role::Replica,
            },
            opener: Arc::clone(&self.opener),
        };
        Node::new(place, self.timeout, &self.runtime)
    }
}
