//! The servers of one part of the keys, or of all: a primary, and its replicas.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use crate::command::Command;
use crate::node::Node;

pub(crate) struct Shard {
    pub(crate) primary: Arc<Node>,
    /// The same server, over a connection for writes alone where they wait for replicas: what came after one that
    /// waits would wait as well.
    pub(crate) writes: Arc<Node>,
    /// Those that are read from.
    pub(crate) replicas: Vec<Arc<Node>>,
}

impl Shard {
    /// Who is asked: a replica that is connected, where the command and `replicas` admit it, else the primary.
    pub(crate) fn node(&self, command: &Command, replicas: bool) -> &Arc<Node> {
        if command.is_write() {
            return &self.writes;
        }
        let count = self.replicas.len();
        if count > 0 && replicas && command.may_ask_replica() {
            let first = turn(count);
            let mut others = (0..count).map(|next| &self.replicas[(first + next) % count]);
            if let Some(replica) = others.find(|replica| replica.link().is_some()) {
                return replica;
            }
        }
        &self.primary
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        [&self.primary, &self.writes]
            .into_iter()
            .chain(&self.replicas)
    }
}

/// One of so many, each in its turn.
pub(crate) fn turn(count: usize) -> usize {
    static NEXT: LazyLock<AtomicUsize> = LazyLock::new(|| {
        // Not all programs begin with the same one.
        let random = RandomState::new().hash_one(0);
        AtomicUsize::new(usize::try_from(random % 65_536).unwrap_or(0))
    });
    NEXT.fetch_add(1, Ordering::Relaxed) % count.max(1)
}
