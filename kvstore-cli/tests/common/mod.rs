//! The real binary, and the stores that it is run on.
#![allow(dead_code, reason = "no test file needs all of it")]

pub(crate) mod copying;
pub(crate) mod values;

use std::ffi::OsStr;
use std::io::Write as _;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, OnceLock};

use kvstore_testsuite::servers::{
    Memcached, MongoDb, RedisCluster, RedisSentinel, RedisServer, S3, UpstashFront, Vault,
    ZooKeeper,
};
use kvstore_testsuite::unique_root;
use serde_json::Value;

/// A Redis of this test program alone: so many keys are left there that whoever lists another's would wait for them.
pub(crate) fn redis() -> &'static RedisServer {
    static OWN: OnceLock<RedisServer> = OnceLock::new();
    OWN.get_or_init(RedisServer::start)
}

/// The command, without what the environment of the tests says.
pub(crate) fn command<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvstore"));
    command.args(args);
    for name in [
        "KVSTORE_URL",
        "NO_COLOR",
        "CLICOLOR",
        "CLICOLOR_FORCE",
        // Where it is set, terminals of any kind are taken to have colours.
        "CI",
        "TERM",
        "XDG_DATA_HOME",
    ] {
        command.env_remove(name);
    }
    // A test that names no store is not to find the one of whoever runs it.
    command.env("HOME", "/dev/null");
    command.stdin(Stdio::null());
    command
}

/// What a run of the command gave.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).expect("messages are UTF-8"),
        }
    }
}

impl Ran {
    /// Checks the exit code.
    #[track_caller]
    pub(crate) fn ends(self, code: i32) -> Self {
        let out = String::from_utf8_lossy(&self.stdout[..self.stdout.len().min(4000)]);
        assert_eq!(
            self.code,
            Some(code),
            "stdout: {out}\nstderr: {}",
            self.stderr
        );
        self
    }

    /// Standard output as text.
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("it is UTF-8")
    }

    /// Standard output as one JSON value.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(self.text()).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Standard output as JSON, a value a line.
    #[track_caller]
    pub(crate) fn jsons(&self) -> Vec<Value> {
        let lines = self.text().lines();
        lines
            .map(|line| serde_json::from_str(line).expect(line))
            .collect()
    }
}

/// Runs the command.
pub(crate) fn kvstore<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Ran {
    command(args).output().expect("the command runs").into()
}

/// Runs the command with this on its standard input.
pub(crate) fn kvstore_reading<S: AsRef<OsStr>>(
    args: impl IntoIterator<Item = S>,
    input: &[u8],
) -> Ran {
    let mut child: Child = command(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command runs");
    let mut stdin = child.stdin.take().expect("it was asked for");
    let input = input.to_vec();
    // A command that does not read to the end is no failure here: its exit code tells.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("the command ends");
    writer.join().expect("writing does not panic");
    output.into()
}

/// A store that nobody else uses.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) name: &'static str,
    pub(crate) url: String,
    /// What it is in, where that is not on a server.
    folder: Option<Arc<Folder>>,
    /// The old one of two, where keys that are new begin.
    pub(crate) old: Option<Box<Self>>,
}

impl Place {
    pub(crate) fn at(name: &'static str, url: String) -> Self {
        Self {
            name,
            url,
            folder: None,
            old: None,
        }
    }

    pub(crate) fn redis() -> Self {
        let url = format!("{}?prefix={}:", redis().url(), unique_root());
        Self::at("redis", url)
    }

    pub(crate) fn redis_cluster() -> Self {
        let prefix = format!("?prefix={}:", unique_root());
        Self::at("redis", RedisCluster::shared().url(&prefix))
    }

    pub(crate) fn redis_sentinel() -> Self {
        let prefix = format!("&prefix={}:", unique_root());
        Self::at("redis", RedisSentinel::shared().url(&prefix))
    }

    pub(crate) fn upstash() -> Self {
        let front = UpstashFront::shared();
        let (token, address, root) = (front.token(), front.address(), unique_root());
        let url = format!("upstash+http://:{token}@{address}?prefix={root}:");
        Self::at("redis", url)
    }

    pub(crate) fn mongodb() -> Self {
        let collection = format!("collection={}", unique_root());
        Self::at("mongodb", MongoDb::shared().url(&collection))
    }

    pub(crate) fn vault() -> Self {
        let path = format!("path={}", unique_root());
        Self::at("vault", Vault::shared().url(&path))
    }

    pub(crate) fn memcached() -> Self {
        let url = format!("{}?prefix={}:", Memcached::shared().url(), unique_root());
        Self::at("memcached", url)
    }

    pub(crate) fn zookeeper() -> Self {
        let root = format!("/cli/{}", unique_root());
        Self::at("zookeeper", ZooKeeper::shared().url(&root))
    }

    pub(crate) fn s3() -> Self {
        let prefix = format!("prefix={}/", unique_root());
        Self::at("s3", S3::shared().url(&prefix))
    }

    pub(crate) fn file() -> Self {
        let folder = Folder::new();
        Self {
            name: "file",
            url: format!("file:{}", folder.file("store.redb")),
            folder: Some(Arc::new(folder)),
            old: None,
        }
    }

    /// Two: a plain `set` of a key that the new one does not have goes to the old one, as it did before the move.
    pub(crate) fn fallback() -> Self {
        let (new, old) = (Self::mongodb(), Self::vault());
        Self {
            old: Some(Box::new(old.clone())),
            ..Self::at("fallback", format!("fallback:{} {}", new.url, old.url))
        }
    }

    /// The store that a command is to work on, and what it is to be told besides.
    fn told(&self, args: &[&str]) -> (String, Vec<String>) {
        let mut told: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let Some(old) = &self.old else {
            return (self.url.clone(), told);
        };
        let is_plain = |arg: &&str| !arg.starts_with("--if-") && *arg != "--keep-ttl";
        let is_plain = args.iter().all(is_plain);
        match args[0] {
            "set" if is_plain => {
                let (new, _) = self
                    .url
                    .strip_prefix("fallback:")
                    .unwrap()
                    .split_once(' ')
                    .unwrap();
                let namespace = args.iter().position(|&arg| arg == "--namespace");
                let inside = namespace.map_or(&[][..], |at| &args[at..at + 2]);
                let has = [&["has", "--store", new], inside, &["--", args[1]]].concat();
                if kvstore(has).code == Some(1) {
                    return (old.url.clone(), told);
                }
            }
            "set" | "take" | "touch" if !args.contains(&"--as") => {
                told.extend(["--as".to_owned(), "text".to_owned()]);
            }
            _ => {}
        }
        (self.url.clone(), told)
    }

    /// One for each provider that can list its keys, and whose data outlives the command.
    pub(crate) fn listing() -> Vec<Self> {
        vec![
            Self::redis(),
            Self::mongodb(),
            Self::vault(),
            Self::zookeeper(),
            Self::s3(),
            Self::file(),
            Self::fallback(),
        ]
    }

    /// One for each provider whose data outlives the command.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Self::listing();
        all.push(Self::memcached());
        all
    }

    /// Runs a command on it.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        let (url, mut args) = self.told(args);
        args.extend(["--store".to_owned(), url]);
        kvstore(args)
    }

    /// The same, with this on standard input.
    pub(crate) fn run_reading(&self, args: &[&str], input: &[u8]) -> Ran {
        let (url, mut args) = self.told(args);
        args.extend(["--store".to_owned(), url]);
        kvstore_reading(args, input)
    }

    #[track_caller]
    pub(crate) fn set(&self, key: &str, value: &str) {
        let (url, _) = self.told(&["set", key]);
        kvstore(["set", "--literal", "--store", &url, "--", key, value]).ends(0);
    }

    /// The keys, sorted.
    #[track_caller]
    pub(crate) fn keys(&self) -> Vec<String> {
        let ran = self.run(&["keys", "--json"]).ends(0);
        let mut keys: Vec<String> = ran
            .jsons()
            .into_iter()
            .map(|key| key.as_str().expect("keys are text").to_owned())
            .collect();
        keys.sort();
        keys.dedup();
        keys
    }
}

/// A folder of the test's own, which is gone when it is dropped.
pub(crate) struct Folder(pub(crate) std::path::PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique_root());
        std::fs::create_dir(&path).expect("the folder can be made");
        Self(path)
    }

    /// The path of a file in it.
    pub(crate) fn file(&self, name: &str) -> String {
        let path = self.0.join(name);
        path.to_str().expect("it is UTF-8").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
