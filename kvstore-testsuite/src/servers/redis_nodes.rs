//! Redis servers that belong together: what a cluster and a group with sentinels share.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, thread};

use super::program::{self, Program};
use super::redis::Redis;
use super::redis_server::{ADMIN, answers, started};
use super::run::Lifetime;

/// How long they may take to come to what is waited for: on a busy machine, all takes its time.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// The file of a server's configuration, in its folder. Servers write into it what they are to keep.
const CONFIG: &str = "redis.conf";

/// One server of several.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) redis: Redis,
    pub(super) ports: Ports,
    /// Neither stopped nor halted by its test, so that it is to be asked.
    pub(super) runs: bool,
    /// `None` for a shared server, which only its guard ends.
    own: Option<Own>,
}

/// What a test needs to end its own server and start it again.
#[derive(Debug)]
struct Own {
    program: Program,
    line: Vec<OsString>,
}

/// The ports of a server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) plain: u16,
    /// Nobody listens there unless the configuration says so.
    pub(super) tls: u16,
    /// Where the nodes of a cluster speak with one another.
    pub(super) bus: u16,
}

impl Node {
    /// Starts a server; `config` is asked for its configuration for each attempt.
    pub(super) fn start(
        path: &Path,
        lifetime: Lifetime,
        arguments: &[&str],
        config: impl Fn(Ports) -> Config,
    ) -> Self {
        let mut program = Program::new(lifetime);
        let line = |folder: &Path| {
            let mut line: Vec<OsString> = vec![path.into(), folder.join(CONFIG).into()];
            line.extend(arguments.iter().map(OsString::from));
            line
        };
        let [plain, tls, bus] = program.start(
            |folder, [plain, tls, bus]| {
                let mut config = config(Ports { plain, tls, bus });
                config.path("dir", folder);
                let file = folder.join(CONFIG);
                fs::write(&file, config.0).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
                line(folder)
            },
            |program, [plain, ..]| answers(&started(plain), program),
        );
        let line = line(program.folder());
        Self {
            own: Some(Own { program, line }),
            ..Self::found(Ports { plain, tls, bus })
        }
    }

    /// A server that another process started.
    pub(super) fn found(ports: Ports) -> Self {
        Self {
            redis: started(ports.plain),
            ports,
            runs: true,
            own: None,
        }
    }

    /// The lifetime for one more server that belongs to this one.
    pub(super) fn lifetime(&mut self) -> Lifetime {
        self.own().program.another()
    }

    /// Leaves it to its guard: it lives on when this process ends.
    pub(super) fn leave(&mut self) {
        if let Some(own) = self.own.take() {
            own.program.leave();
        }
    }

    pub(super) fn stop(&mut self) {
        self.own().program.stop();
        self.runs = false;
    }

    pub(super) fn restart(&mut self) {
        let redis = self.redis.clone();
        let own = self.own();
        let up = own
            .program
            .restart(&own.line, |program| answers(&redis, program));
        up.unwrap_or_else(|log| panic!("Redis did not start again; its log ends:\n{log}"));
        self.runs = true;
    }

    pub(super) fn pause(&mut self) {
        self.own().program.halt();
        self.runs = false;
    }

    pub(super) fn resume(&mut self) {
        self.own().program.signal("CONT");
        self.runs = true;
    }

    pub(super) fn tls_address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.tls))
    }

    /// The end of its log.
    pub(super) fn log(&self) -> String {
        let log = self
            .own
            .as_ref()
            .and_then(|own| fs::read(own.program.folder().join("log")).ok())
            .unwrap_or_default();
        let log = String::from_utf8_lossy(&log[log.len().saturating_sub(1500)..]).into_owned();
        format!("{}:\n{log}", self.redis.address())
    }

    fn own(&mut self) -> &mut Own {
        self.own
            .as_mut()
            .unwrap_or_else(|| unreachable!("a shared server is never lent mutably"))
    }
}

/// What is in the file of a server's configuration.
#[derive(Clone, Default)]
pub(super) struct Config(String);

impl Config {
    /// What all servers have, data nodes and sentinels.
    pub(super) fn new(ports: Ports) -> Self {
        let mut config = Self::default();
        config.line("bind", &["127.0.0.1"]);
        config.line("port", &[&ports.plain.to_string()]);
        config.line("user", &ADMIN);
        config.line("set-proc-title", &["no"]);
        config
    }

    /// What a server has that holds data.
    pub(super) fn data(ports: Ports) -> Self {
        let mut config = Self::new(ports);
        config.line("save", &[""]);
        config.line("enable-debug-command", &["yes"]);
        config.line("repl-diskless-sync-delay", &["0"]);
        // Replicas come as the suite does, whichever password a test wants.
        config.line("masteruser", &[ADMIN[0]]);
        config.line("masterauth", &["any"]);
        config
    }

    /// A port with TLS, and TLS between the servers; the certificates lie in this folder.
    pub(super) fn tls(&mut self, ports: Ports, folder: &Path) {
        self.line("tls-port", &[&ports.tls.to_string()]);
        self.line("tls-auth-clients", &["optional"]);
        self.line("tls-replication", &["yes"]);
        for (name, file) in [
            ("tls-ca-cert-file", "ca.pem"),
            ("tls-cert-file", "server.pem"),
            ("tls-key-file", "server.key"),
            // They show one another certificates, and each is a client as well.
            ("tls-client-cert-file", "client.pem"),
            ("tls-client-key-file", "client.key"),
        ] {
            self.path(name, &folder.join(file));
        }
    }

    pub(super) fn line(&mut self, name: &str, values: &[&str]) {
        self.0.push_str(name);
        for value in values {
            let value = value.replace('\\', r"\\").replace('"', "\\\"");
            self.0.push_str(&format!(" \"{value}\""));
        }
        self.0.push('\n');
    }

    fn path(&mut self, name: &str, path: &Path) {
        self.line(name, &[&path.to_string_lossy()]);
    }

    /// Options as on a command line, `["--maxmemory", "10mb"]`; they win over what comes before.
    pub(super) fn options(&mut self, options: &[&str]) {
        let starts = |option: &str| option.starts_with("--");
        for option in options.chunk_by(|_, next| !starts(next)) {
            self.line(option[0].trim_start_matches("--"), &option[1..]);
        }
    }
}

/// Waits until something holds.
///
/// # Panics
/// When it does not for long, with what was waited for and the logs of the servers.
pub(super) fn wait<'a>(
    what: &str,
    nodes: impl IntoIterator<Item = &'a Node>,
    holds: impl FnMut() -> bool,
) {
    if !holds_within(LIMIT, holds) {
        let logs: Vec<_> = nodes.into_iter().map(Node::log).collect();
        panic!("not so after {LIMIT:?}: {what}\n{}", logs.join("\n"));
    }
}

/// Whether something comes to hold within this time.
pub(super) fn holds_within(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    while !holds() {
        if begin.elapsed() > limit {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    true
}

/// Starts several servers at once, each as `start` does with its index and the lifetime that is its own.
pub(super) fn start_all(
    lifetime: Lifetime,
    count: usize,
    start: impl Fn(usize, Lifetime) -> Node + Sync,
) -> Vec<Node> {
    let others: Vec<_> = (1..count).map(|_| lifetime.another()).collect();
    let start = &start;
    thread::scope(|scope| {
        let starting: Vec<_> = [lifetime]
            .into_iter()
            .chain(others)
            .enumerate()
            .map(|(i, lifetime)| scope.spawn(move || start(i, lifetime)))
            .collect();
        let nodes = starting.into_iter().map(|node| node.join());
        nodes
            .collect::<Result<_, _>>()
            .unwrap_or_else(|cause| std::panic::resume_unwind(cause))
    })
}

/// Where Valkey is.
pub(super) fn valkey() -> PathBuf {
    program::find("valkey-server").unwrap_or_else(|| {
        panic!(
            "no `valkey-server` in the tool folder or on the PATH: `cargo xtask servers` installs it"
        )
    })
}
