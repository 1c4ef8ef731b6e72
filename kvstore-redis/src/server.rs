//! What the server lets us do, and what it says of itself.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use futures_util::future::join_all;
use kvstore_core::{Error, ErrorKind, Result, ServerInfo};

use crate::RedisConfig;
use crate::address::Servers;
use crate::call::Call;
use crate::client::{Client, Topology};
use crate::command::{Command, FullKey, Only, Reply, Ttl};
use crate::error::{Failure, not_understood};
use crate::node::Node;
use crate::script::CHECK;
use crate::shard::Shard;
use crate::slots::{Map, slot};

/// How many keys are tried to find one for each node of a cluster, or that a server is in a cluster.
const MANY: u64 = 10_000;
const SOME: u64 = 8;

/// Makes sure that the user may give the commands, on keys that do not exist.
///
/// MGET and MSET are not among them: where they are refused, there are GET and SET. Neither is SCAN,
/// which only listings need.
pub(crate) async fn check(client: &Client) -> Result<()> {
    let call = client.call()?;
    check_replicas(client, &call).await?;
    let prefix = &client.config().prefix;
    let random = RandomState::new();
    let name = |number: u64| {
        let [one, other] = [2 * number, 2 * number + 1].map(|number| random.hash_one(number));
        format!("kvstore-check-{one:016x}{other:016x}")
    };
    let mut names = vec![name(0)];
    let mut lacking = Vec::new();
    match client.servers() {
        Topology::Cluster(cluster) => {
            let map = cluster.map();
            names = for_each_node(&map, prefix, (0..MANY).map(name));
            let nodes = map.shards().iter().map(|shard| &shard.primary);
            let question = Command::other("CLUSTER").word("NODES");
            for answer in join_all(nodes.map(|node| call.ask(node, &question))).await {
                match answer {
                    Err(failure) if failure.code() == "NOPERM" => {
                        lacking = vec!["+cluster|nodes".to_owned()];
                    }
                    answer => drop(answer?),
                }
            }
        }
        Topology::One(_) => {
            // A node of a cluster sends those away that are not its own.
            let elsewhere = (1..=SOME).map(name);
            let elsewhere = elsewhere.map(async |name| {
                let exists = Command::exists(FullKey(prefix, &name));
                call.send(exists).await
            });
            for answer in join_all(elsewhere).await {
                match answer {
                    Err(failure) if failure.code() == "MOVED" => return Err(failure.into()),
                    _ => {}
                }
            }
        }
        #[cfg(feature = "rest")]
        Topology::Rest(rest) => rest.check(call.deadline).await?,
    }
    for result in join_all(
        names
            .iter()
            .map(|name| check_key(&call, client.config(), name)),
    )
    .await
    {
        for right in result? {
            if !lacking.contains(&right) {
                lacking.push(right);
            }
        }
    }
    if lacking.is_empty() {
        return Ok(());
    }
    let message = format!("the ACL user lacks commands: allow {}", lacking.join(" "));
    Err(Error::new(ErrorKind::PermissionDenied, message))
}

/// Makes sure that replicas may be read from, and that there are as many as writes wait for.
async fn check_replicas(client: &Client, call: &Call<'_>) -> Result<()> {
    let map = match client.servers() {
        Topology::Cluster(cluster) => cluster.map(),
        _ => Arc::new(Map::empty()),
    };
    let shards: Vec<&Shard> = match client.servers() {
        Topology::One(shard) => vec![shard],
        _ => map.shards().iter().map(|shard| &**shard).collect(),
    };
    let replicas = shards.iter().flat_map(|shard| &shard.replicas);
    for tried in join_all(replicas.map(|replica| replica.first_link())).await {
        match tried {
            Err(error) if !error.is_retryable() => return Err(error),
            // The primary answers while it is away.
            _ => {}
        }
    }
    let Some(wait) = call.wait() else {
        return Ok(());
    };
    for answer in join_all(shards.iter().map(|shard| call.ask(&shard.writes, &wait))).await {
        call.confirmed(&answer)?;
    }
    Ok(())
}

/// One of the names for each node of a cluster: rights are each node's own. With a prefix that has braces, all
/// keys are on one.
fn for_each_node(map: &Map, prefix: &str, names: impl Iterator<Item = String>) -> Vec<String> {
    let mut found: Vec<(Option<&Arc<Shard>>, String)> = Vec::new();
    for name in names {
        let owner = map.shard(slot(format!("{prefix}{name}").as_bytes()));
        let is_same = |other: Option<&Arc<Shard>>| other.map(Arc::as_ptr) == owner.map(Arc::as_ptr);
        if !found.iter().any(|(other, _)| is_same(*other)) {
            found.push((owner, name));
        }
        if found.len() == map.shards().len() {
            break;
        }
    }
    found.into_iter().map(|(_, name)| name).collect()
}

/// The rights that are lacking for a key.
async fn check_key(call: &Call<'_>, config: &RedisConfig, name: &str) -> Result<Vec<String>> {
    let key = FullKey(&config.prefix, name);
    let by_sha1 = Command::script(&CHECK, key);
    let by_text = by_sha1.by_text();
    let mut commands = vec![
        ("get", Command::get(key)),
        (
            "set",
            Command::set(key, b"", Ttl::Millis(1), Some(Only::IfPresent)),
        ),
        ("del", Command::delete([key].into_iter())),
        ("exists", Command::exists(key)),
        ("getdel", Command::take(key)),
        ("pexpire", Command::expire(key, 1)),
        ("persist", Command::other("PERSIST").key(key)),
        ("pttl", Command::other("PTTL").key(key)),
        ("evalsha", by_sha1),
    ];
    commands.extend(by_text.map(|command| ("eval", command)));
    let mut lacking = Vec::new();
    let mut no_key = None;
    let answers = commands.into_iter();
    let answers = answers.map(async |(name, command)| (name, call.send(command).await));
    for (name, answer) in join_all(answers).await {
        let Err(failure) = answer else { continue };
        match (failure.code(), &failure) {
            // `… no permissions to access one of the keys …`, and not `… to run the 'get' command`.
            ("NOPERM", Failure::Refused(refusal))
                if !refusal.to_string().contains("to run the") =>
            {
                no_key = Some(failure);
            }
            // A script that is not known by its SHA-1 is sent as `EVAL`.
            ("NOPERM", Failure::Refused(refusal)) if refusal.to_string().contains("'eval'") => {
                lacking.push("+eval".to_owned());
            }
            ("NOPERM", _) => lacking.push(format!("+{name}")),
            // States that come and go, while reading and deleting may work.
            ("OOM" | "MISCONF" | "NOREPLICAS", _) => {}
            _ => return Err(failure.into()),
        }
    }
    match no_key {
        // Without a prefix, the user may be allowed the namespaces that are used and nothing else.
        Some(failure) if !config.prefix.is_empty() && lacking.is_empty() => {
            let message = "the ACL user may not use the keys that begin with `prefix`: allow `~` followed by it and `*`";
            Err(Error::new(ErrorKind::PermissionDenied, message).with_source(Error::from(failure)))
        }
        _ => Ok(lacking),
    }
}

/// Asks all primaries for an answer, and for what INFO tells of dangers.
pub(crate) async fn ping(client: &Client) -> Result<ServerInfo> {
    let call = client.call()?;
    let answer = match client.servers() {
        Topology::Cluster(cluster) => {
            let map = cluster.looked_at(call.deadline).await?;
            let nodes = map.shards().iter().map(|shard| &shard.primary);
            let answers = nodes.map(|node| ping_one(&call, client.config(), Some(node)));
            let answers = join_all(answers).await;
            let mut answers = answers.into_iter();
            let first = answers.next().ok_or_else(not_understood)??;
            answers.try_fold(first, |all, one| one.map(|one| with_warnings(all, &one)))?
        }
        _ => ping_one(&call, client.config(), None).await?,
    };
    Ok(of_config(client.config(), answer))
}

async fn ping_one(
    call: &Call<'_>,
    config: &RedisConfig,
    node: Option<&Arc<Node>>,
) -> Result<ServerInfo> {
    let ask = async |command: Command| match node {
        Some(node) => call.ask(node, &command).await,
        None => call.send(command).await,
    };
    ask(Command::other("PING")).await?;
    match ask(Command::other("INFO")).await {
        Ok(Reply::Data(text)) => {
            let mut info = read(&String::from_utf8_lossy(&text));
            if config.is_upstash() {
                // What it says is the version of Redis that it is compatible with.
                info.product = "upstash".to_owned();
            }
            Ok(info)
        }
        Ok(_) => Err(not_understood()),
        Err(failure) if failure.code() == "NOPERM" => Ok(ServerInfo::new("redis").with_warning(
            "the ACL user may not ask for INFO: the version, eviction and durability are not known",
        )),
        Err(failure) => Err(failure.into()),
    }
}

/// Adds what another node warns of.
fn with_warnings(all: ServerInfo, one: &ServerInfo) -> ServerInfo {
    let new: Vec<_> = one
        .warnings
        .iter()
        .filter(|warning| !all.warnings.contains(warning))
        .collect();
    new.into_iter().cloned().fold(all, ServerInfo::with_warning)
}

fn read(info: &str) -> ServerInfo {
    let field = |name: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim_end)
    };
    // Valkey gives the version of Redis that it is compatible with as `redis_version`.
    let (product, version) = match field("valkey_version") {
        Some(version) => ("valkey", Some(version)),
        None => ("redis", field("redis_version")),
    };
    let mut answer = ServerInfo::new(product);
    if let Some(version) = version {
        answer = answer.with_version(version);
    }
    let limited = field("maxmemory").is_some_and(|bytes| bytes != "0");
    if let Some(policy) =
        field("maxmemory_policy").filter(|policy| limited && *policy != "noeviction")
    {
        let warning =
            format!("short of memory, the server evicts keys (`maxmemory-policy {policy}`)");
        answer = answer.with_warning(warning);
    }
    if field("aof_enabled") == Some("0") {
        answer =
            answer.with_warning("the append-only file is off: a crash loses acknowledged writes");
    }
    if field("role") == Some("slave") {
        answer = answer.with_warning("the server is a replica: what is written here is not kept");
    }
    answer
}

/// Adds what the configuration warns of.
fn of_config(config: &RedisConfig, mut answer: ServerInfo) -> ServerInfo {
    let is_local = match &config.servers {
        Servers::One(address) => address.is_local(),
        Servers::Cluster(hosts)
        | Servers::Sentinel {
            sentinels: hosts, ..
        } => hosts.iter().all(|(host, _)| crate::address::is_local(host)),
        #[cfg(feature = "rest")]
        Servers::Rest(host, _) => crate::address::is_local(host),
    };
    if !is_local && !config.tls {
        answer =
            answer.with_warning("no TLS: values and the password cross the network in the clear");
    }
    if config.is_upstash() {
        answer = answer.with_warning(
            "Upstash is eventually consistent: a read may miss a write that has returned",
        );
    }
    if config.read_from_replicas {
        answer = answer
            .with_warning("replicas are read from: a read may miss a write that has returned");
    }
    answer
}
