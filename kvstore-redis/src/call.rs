//! A call: its commands are given to the servers for their keys, again where that is right, until it has its answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use kvstore_core::{Error, ErrorKind, Result};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::client::{Client, Topology};
use crate::command::{Command, Reply};
use crate::error::{Failure, not_understood};
use crate::link::{Link, Role};
use crate::node::{Node, Place};
use crate::slots::Use;

/// How often a read is asked again whose connection was lost.
const READS: u32 = 2;

/// How long it is until a command is given again that was refused for the moment.
const AGAIN: Duration = Duration::from_millis(50);

/// One call of the provider, which may give several commands.
pub(crate) struct Call<'a> {
    pub(crate) client: &'a Client,
    /// Where it is counted.
    pending: &'a AtomicUsize,
    pub(crate) deadline: Instant,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.pending.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A command on its way to an answer.
struct Item<'a> {
    command: &'a Command,
    answer: Option<Result<Reply, Failure>>,
    /// Whom to ask instead, this once, while the slot moves.
    asking: Option<Arc<Node>>,
    replicas: bool,
    /// Why it is given again.
    last: Option<Failure>,
    /// How often its connection was lost, and how often it was sent elsewhere.
    cuts: u32,
    moves: u32,
}

impl<'a> Item<'a> {
    fn new(command: &'a Command) -> Self {
        Self {
            command,
            answer: None,
            asking: None,
            replicas: true,
            last: None,
            cuts: 0,
            moves: 0,
        }
    }
}

/// When a command that has no answer is given again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Again {
    AtOnce,
    Soon,
}

impl<'a> Call<'a> {
    /// A call that is counted already.
    pub(crate) fn new(client: &'a Client, pending: &'a AtomicUsize) -> Self {
        Self {
            client,
            pending,
            deadline: Instant::now() + client.config().timeout,
        }
    }
}

impl Call<'_> {
    /// Gives a command, and waits for its answer until the call's deadline.
    pub(crate) async fn send(&self, command: Command) -> Result<Reply, Failure> {
        let answer = self.give(&command).await;
        match command.by_text() {
            Some(text) if is_unknown_script(&answer) => self.give(&text).await,
            _ => answer,
        }
    }

    /// Gives several, on one key each: those for one server are written together.
    pub(crate) async fn send_all(&self, commands: Vec<Command>) -> Vec<Result<Reply, Failure>> {
        let mut answers = self.give_all(&commands).await;
        let (places, texts): (Vec<usize>, Vec<Command>) = answers
            .iter()
            .zip(&commands)
            .enumerate()
            .filter(|(_, (answer, _))| is_unknown_script(answer))
            .filter_map(|(place, (_, command))| Some((place, command.by_text()?)))
            .unzip();
        if !texts.is_empty() {
            for (place, answer) in places.into_iter().zip(self.give_all(&texts).await) {
                answers[place] = answer;
            }
        }
        answers
    }

    /// Gives a command that is on no key to one server.
    pub(crate) async fn ask(&self, node: &Arc<Node>, command: &Command) -> Result<Reply, Failure> {
        let mut link = node.link_by(self.deadline).await.map_err(Failure::Lost)?;
        node.ask(&mut link, command, self.deadline).await
    }

    async fn give(&self, command: &Command) -> Result<Reply, Failure> {
        let servers = self.client.servers();
        #[cfg(feature = "rest")]
        if let Topology::Rest(rest) = servers {
            return rest.send(command, self.deadline).await;
        }
        let mut item = Item::new(command);
        // The usual way, with nothing in it that is not needed.
        if (!command.is_write() || self.client.config().wait_replicas == 0)
            && let Some(node) = servers.node(command, true)
            && let Some(mut link) = node.link()
        {
            let answer = node.ask(&mut link, command, self.deadline).await;
            self.judge(&mut item, answer, &node, &link);
            if let Some(answer) = item.answer {
                return answer;
            }
        }
        // Apart, so that the future of a usual call is small.
        Box::pin(self.finish(std::iter::once(&mut item))).await;
        item.answer.unwrap_or_else(|| Err(nobody()))
    }

    async fn give_all(&self, commands: &[Command]) -> Vec<Result<Reply, Failure>> {
        #[cfg(feature = "rest")]
        if let Topology::Rest(rest) = self.client.servers() {
            return rest.send_all(commands, self.deadline).await;
        }
        let mut items: Vec<_> = commands.iter().map(Item::new).collect();
        self.finish(items.iter_mut()).await;
        let answers = items.into_iter();
        answers
            .map(|item| item.answer.unwrap_or_else(|| Err(nobody())))
            .collect()
    }

    /// Gives commands to the servers for their keys, again and again, until each has an answer. No server's commands
    /// wait for another's.
    async fn finish<'i, 'c: 'i>(&self, items: impl Iterator<Item = &'i mut Item<'c>>) {
        let mut under_way = FuturesUnordered::new();
        let mut todo: Vec<_> = items.collect();
        loop {
            let mut groups: Vec<(Option<Arc<Node>>, Vec<&'i mut Item<'c>>)> = Vec::new();
            for item in todo {
                let node = item.asking.clone();
                let node = node.or_else(|| self.client.servers().node(item.command, item.replicas));
                let is_same = |other: &Option<Arc<Node>>| match (other, &node) {
                    (Some(other), Some(node)) => Arc::ptr_eq(other, node),
                    (other, node) => other.is_none() && node.is_none(),
                };
                match groups.iter_mut().find(|(other, _)| is_same(other)) {
                    Some((_, group)) => group.push(item),
                    None => groups.push((node, vec![item])),
                }
            }
            let steps = groups
                .into_iter()
                .map(|(node, group)| self.step(node, group));
            under_way.extend(steps);
            match under_way.next().await {
                Some(open) => todo = open,
                None => return,
            }
        }
    }

    /// Gives a server its commands, and comes back with those that are to be given again when it is time for that.
    async fn step<'i, 'c>(
        &self,
        node: Option<Arc<Node>>,
        mut items: Vec<&'i mut Item<'c>>,
    ) -> Vec<&'i mut Item<'c>> {
        let again = match node {
            Some(node) => self.visit(node, &mut items).await,
            None => {
                self.wait_for_home(&mut items).await;
                None
            }
        };
        items.retain(|item| item.answer.is_none());
        if again == Some(Again::Soon) {
            sleep_until(self.deadline.min(Instant::now() + AGAIN)).await;
        }
        items
    }

    /// Waits for a map that has somebody for keys whose slot nobody serves.
    async fn wait_for_home(&self, items: &mut [&mut Item<'_>]) {
        let Topology::Cluster(cluster) = self.client.servers() else {
            return;
        };
        let error = match timeout_at(self.deadline, cluster.changed()).await {
            Ok(None) => return,
            // Waiting does not help against a wrong password.
            Ok(Some(error)) if error.is_retryable() => return,
            Ok(Some(error)) => error,
            Err(_) => {
                let message = "the cluster has nobody who serves the key";
                let error = cluster.error();
                error.unwrap_or_else(|| Error::new(ErrorKind::Unavailable, message))
            }
        };
        for item in items {
            item.answer = Some(Err(Failure::Lost(error.clone())));
        }
    }

    /// Gives a server its commands. Those that have no answer then are to be given again.
    async fn visit(&self, node: Arc<Node>, items: &mut [&mut Item<'_>]) -> Option<Again> {
        let mut link = match self.link(&node).await {
            Ok(Some(link)) => link,
            // There may be another server by now.
            Ok(None) => return Some(Again::AtOnce),
            Err(error) => {
                for item in items {
                    item.answer = Some(Err(Failure::Lost(error.clone())));
                }
                return None;
            }
        };
        if Instant::now() >= self.deadline {
            let message = "there was no time left to ask; nothing was sent";
            for item in items {
                let unsent = || Failure::Lost(Error::new(ErrorKind::Timeout, message));
                item.answer = Some(Err(item.last.take().unwrap_or_else(unsent)));
            }
            return None;
        }
        let (asking, wait) = (Command::other("ASKING"), self.wait());
        let waits = wait
            .as_ref()
            .filter(|_| items.iter().any(|item| item.command.is_write()));
        let mut commands = Vec::with_capacity(items.len() + 1);
        for item in &*items {
            commands.extend(item.asking.is_some().then_some(&asking));
            commands.push(item.command);
        }
        commands.extend(waits);
        let mut answers = node.ask_all(&mut link, &commands, self.deadline).await;
        let confirmed = waits.and_then(|_| answers.pop());
        let mut again = None;
        let mut answers = answers.into_iter();
        for item in items {
            if item.asking.take().is_some() {
                answers.next();
            }
            let answer = answers.next().unwrap_or_else(|| Err(nobody()));
            let next = self.judge(item, answer, &node, &link);
            again = again.max(next);
            if let Some(confirmed) = &confirmed
                && item.command.is_write()
                && matches!(&item.answer, Some(Ok(reply)) if has_written(reply))
                && let Err(error) = self.confirmed(confirmed)
            {
                // The primary has it.
                item.answer = Some(Err(Failure::Lost(error.with_outcome_unknown())));
            }
        }
        again
    }

    /// The connection to a server, or in a cluster `None` when its nodes were asked anew meanwhile.
    async fn link(&self, node: &Arc<Node>) -> Result<Option<Link>> {
        if let Some(link) = node.link() {
            return Ok(Some(link));
        }
        match self.client.servers() {
            Topology::Cluster(cluster) => tokio::select! {
                link = node.link_by(self.deadline) => link.map(Some),
                _ = cluster.changed() => Ok(None),
            },
            _ => node.link_by(self.deadline).await.map(Some),
        }
    }

    /// Takes an answer, unless it says that the command was not carried out, and is to be given again.
    fn judge(
        &self,
        item: &mut Item<'_>,
        answer: Result<Reply, Failure>,
        node: &Arc<Node>,
        link: &Link,
    ) -> Option<Again> {
        let failure = match answer {
            Ok(reply) => {
                item.answer = Some(Ok(reply));
                return None;
            }
            Err(failure) => failure,
        };
        let again = self.again(item, &failure, node, link);
        // A last try without time for its answer would make a refusal an unknown outcome.
        let needs = |again: &Again| match again {
            Again::AtOnce => Duration::ZERO,
            Again::Soon => AGAIN * 2,
        };
        let again = again.filter(|again| Instant::now() + needs(again) < self.deadline);
        let in_cluster = matches!(self.client.servers(), Topology::Cluster(_));
        let failure = match failure.code() {
            "MOVED" | "ASK" if in_cluster => {
                let message = "the cluster's nodes do not agree on who serves the key";
                let error = Error::new(ErrorKind::Unavailable, message);
                Failure::Lost(error.with_source(Error::from(failure)))
            }
            _ => failure,
        };
        match again {
            Some(_) => item.last = Some(failure),
            None => item.answer = Some(Err(failure)),
        }
        again
    }

    fn again(
        &self,
        item: &mut Item<'_>,
        failure: &Failure,
        node: &Arc<Node>,
        link: &Link,
    ) -> Option<Again> {
        let Failure::Refused(refusal) = failure else {
            let is_cut = matches!(failure, Failure::Cut(_));
            let may = is_cut && !item.command.is_write() && item.cuts < READS;
            item.cuts += 1;
            item.replicas = false;
            if let Topology::Cluster(cluster) = self.client.servers() {
                // There may be another in its place already.
                cluster.look_again();
            }
            return may.then_some(Again::AtOnce);
        };
        if matches!(
            node.place(),
            Place::Replica(_)
                | Place::At {
                    role: Role::Replica,
                    ..
                }
        ) {
            // Whatever is wrong with a replica, the primary knows.
            item.replicas = false;
            if let (Topology::Cluster(cluster), "MOVED" | "CLUSTERDOWN") =
                (self.client.servers(), failure.code())
            {
                cluster.look_again();
            }
            return Some(Again::AtOnce);
        }
        match (self.client.servers(), failure.code()) {
            (Topology::Cluster(cluster), code @ ("MOVED" | "ASK")) => {
                let (slot, address) = refusal.redirection()?;
                let address = node.address()?.said_by(address)?;
                match code {
                    "MOVED" => cluster.moved(slot, &address),
                    _ => item.asking = Some(cluster.node_at(&address, self.usage(item.command))),
                }
                // Nodes that do not agree yet are not asked as fast as they can answer.
                item.moves += 1;
                Some(if item.moves > 2 {
                    Again::Soon
                } else {
                    Again::AtOnce
                })
            }
            (Topology::Cluster(cluster), "CLUSTERDOWN" | "TRYAGAIN" | "LOADING" | "READONLY") => {
                cluster.look_again();
                Some(Again::Soon)
            }
            (Topology::One(shard), "READONLY" | "MASTERDOWN")
                if matches!(node.place(), Place::Primary(_)) =>
            {
                // It was the primary; the sentinels know who is.
                link.leave();
                for other in [&shard.primary, &shard.writes] {
                    if let Some(link) = other.link().filter(|_| !Arc::ptr_eq(other, node)) {
                        link.leave();
                    }
                }
                Some(Again::Soon)
            }
            _ => None,
        }
    }

    fn usage(&self, command: &Command) -> Use {
        match command.is_write() && self.client.config().wait_replicas > 0 {
            true => Use::Writes,
            false => Use::Primary,
        }
    }
}

/// Whether a write with this answer has changed something: no condition was unmet, and no key missing.
fn has_written(reply: &Reply) -> bool {
    !matches!(reply, Reply::Nil | Reply::Int(0))
}

fn is_unknown_script(answer: &Result<Reply, Failure>) -> bool {
    matches!(answer, Err(Failure::Refused(refusal)) if refusal.to_string().contains("NOSCRIPT"))
}

/// What does not happen: each command gets an answer.
fn nobody() -> Failure {
    Failure::Lost(not_understood())
}
