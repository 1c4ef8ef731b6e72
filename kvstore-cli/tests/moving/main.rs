//! A service moves from Vault to MongoDB in two restarts, while callers create, fetch, rotate, take and delete, and
//! `kvstore copy` brings the rest.
//!
//! The service is `secret-service`, in this process and over HTTP; of a restart nothing stays but the two servers.

#[path = "../common/mod.rs"]
mod common;
mod service;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use common::kvstore;
use kvstore_core::KeyValueStore;
use kvstore_mongodb::MongoDbProvider;
use kvstore_testsuite::servers::{MongoDb, Vault};
use kvstore_testsuite::unique_root;
use reqwest::Method;
use serde_json::Value;
use service::{Answer, Client, Running};

const CALLERS_AT_ONCE: u64 = 6;

/// How many names each caller has to itself.
const NAMES: u64 = 40;

/// Longer than the copy takes from reading a key to writing it, also on a machine with much else to do.
const TOMBSTONES: Duration = Duration::from_secs(10);

/// Where the service is at the moment, and what is known of the callers' work.
struct Traffic {
    client: RwLock<Client>,
    stop: AtomicBool,
    done: AtomicU64,
}

/// A caller who is alone with some names, and so knows what is stored under them.
struct Caller {
    traffic: Arc<Traffic>,
    number: u64,
    state: u64,
    known: BTreeMap<String, Vec<u8>>,
}

impl Caller {
    fn roll(&mut self, sides: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) % sides
    }

    /// Asks once; `None` where the service was ended before it answered.
    async fn try_ask(&self, method: Method, path: &str, body: &[u8]) -> Option<Answer> {
        let client = self.traffic.client.read().unwrap().clone();
        client.ask(method, path, body).await.ok()
    }

    /// Reads until there is an answer.
    async fn fetch(&self, name: &str) -> Option<Vec<u8>> {
        loop {
            match self
                .try_ask(Method::GET, &format!("/secrets/{name}"), b"")
                .await
            {
                Some(Answer(200, value)) => return Some(value),
                Some(Answer(404, _)) => return None,
                Some(answer) => panic!("fetch {name}: {answer:?}"),
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Does something, and holds the answer against what is known.
    async fn act(&mut self) {
        let index = self.roll(NAMES);
        let name = format!("caller-{}-{index}", self.number);
        let known = self.known.get(&name).cloned();
        let fresh = format!("{name} \u{0} {}", self.roll(u64::MAX)).into_bytes();
        let path = format!("/secrets/{name}");
        let (action, then, expected) = match (self.roll(10), &known) {
            (0..=3, _) => {
                assert_eq!(self.fetch(&name).await, known, "{name}");
                self.traffic.done.fetch_add(1, Ordering::Relaxed);
                return;
            }
            (4..=6, None) => (Method::POST, Some(fresh.clone()), 201),
            (4, Some(_)) => (Method::POST, known.clone(), 409),
            (5..=6, Some(_)) => (Method::PUT, Some(fresh.clone()), 204),
            (7, None) => (Method::PUT, None, 404),
            (7, Some(_)) => (Method::PUT, Some(fresh.clone()), 204),
            (8, _) => (Method::DELETE, None, 204),
            (_, _) => (Method::PATCH, None, if known.is_some() { 200 } else { 404 }),
        };
        let taking = action == Method::PATCH;
        let asked = match taking {
            true => {
                self.try_ask(Method::POST, &format!("{path}/take"), b"")
                    .await
            }
            false => self.try_ask(action.clone(), &path, &fresh).await,
        };
        match asked {
            Some(Answer(status, value)) => {
                assert_eq!(status, expected, "{action} {name}: {value:?}");
                if taking && status == 200 {
                    assert_eq!(Some(value), known, "{name}");
                }
                self.remember(name, then);
            }
            None => {
                // Cut off by a restart: it was done, or it was not.
                let found = self.fetch(&name).await;
                assert!(
                    found == known || found == then,
                    "{action} {name}: {found:?}"
                );
                self.remember(name, found);
            }
        }
        self.traffic.done.fetch_add(1, Ordering::Relaxed);
    }

    fn remember(&mut self, name: String, value: Option<Vec<u8>>) {
        match value {
            Some(value) => self.known.insert(name, value),
            None => self.known.remove(&name),
        };
    }

    async fn run(mut self) -> BTreeMap<String, Vec<u8>> {
        while !self.traffic.stop.load(Ordering::Relaxed) {
            self.act().await;
        }
        self.known
    }
}

/// What callers did with names that they share: each value is written once.
#[derive(Default)]
struct Shared {
    /// What was written, or may have been where the service was ended before it answered.
    written: BTreeSet<Vec<u8>>,
    surely_written: BTreeSet<Vec<u8>>,
    taken: BTreeSet<Vec<u8>>,
    /// How many may have been taken without an answer.
    lost: usize,
}

const SHARED_NAMES: u64 = 3;

/// Creates and takes secrets of names that another does as well.
async fn share(mut caller: Caller, shared: Arc<Mutex<Shared>>) {
    while !caller.traffic.stop.load(Ordering::Relaxed) {
        let name = caller.roll(SHARED_NAMES);
        let path = format!("/secrets/shared-{name}");
        if caller.roll(2) == 0 {
            let unique = caller.roll(u64::MAX);
            let value = format!("{} \u{0} {unique}", caller.number).into_bytes();
            // Before it can be taken.
            shared.lock().unwrap().written.insert(value.clone());
            match caller.try_ask(Method::POST, &path, &value).await {
                Some(Answer(201, _)) => drop(shared.lock().unwrap().surely_written.insert(value)),
                Some(Answer(409, _)) => drop(shared.lock().unwrap().written.remove(&value)),
                Some(answer) => panic!("create {path}: {answer:?}"),
                None => {}
            }
        } else {
            let path = format!("{path}/take");
            match caller.try_ask(Method::POST, &path, b"").await {
                Some(Answer(200, value)) => {
                    let mut shared = shared.lock().unwrap();
                    assert!(shared.written.contains(&value), "nobody wrote {value:?}");
                    assert!(shared.taken.insert(value), "two took it");
                }
                Some(Answer(404, _)) => {}
                Some(answer) => panic!("take {path}: {answer:?}"),
                None => shared.lock().unwrap().lost += 1,
            }
        }
        caller.traffic.done.fetch_add(1, Ordering::Relaxed);
    }
}

impl Traffic {
    /// Lets the callers go on for a while.
    async fn go_on(&self, calls: u64) {
        let until = self.done.load(Ordering::Relaxed) + calls;
        while self.done.load(Ordering::Relaxed) < until {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn start(&self, url: &str) -> Running {
        let running = Running::start(url).await;
        *self.client.write().unwrap() = Client::new(&running.base);
        running
    }
}

/// Copies what is not in the new one yet, by the command; what it counted.
async fn copy(from: &str, to: &str) -> Value {
    let args = ["copy", from, to, "--as", "bytes", "--if-absent", "--json"].map(str::to_owned);
    let ran = tokio::task::spawn_blocking(|| kvstore(args));
    ran.await.unwrap().ends(0).json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_moves_from_vault_to_mongodb_without_a_lost_write() {
    let root = unique_root();
    let vault = Vault::shared().url(&format!("path={root}"));
    let mongodb = MongoDb::shared().url(&format!("collection={root}"));
    let tombstones = TOMBSTONES.as_secs();
    let both = format!("fallback:?tombstones={tombstones}s {mongodb} {vault}");

    let traffic = Arc::new(Traffic {
        client: RwLock::new(Client::new("http://127.0.0.1:1")),
        stop: AtomicBool::new(false),
        done: AtomicU64::new(0),
    });
    let running = traffic.start(&vault).await;
    // What nobody touches any more.
    let client = Client::new(&running.base);
    let mut known = BTreeMap::new();
    for index in 0..50_u8 {
        let (name, secret) = (format!("quiet-{index}"), vec![index, 0, 255]);
        let path = format!("/secrets/{name}");
        let created = client.ask(Method::POST, &path, &secret).await.unwrap();
        assert_eq!(created.0, 201, "{created:?}");
        known.insert(name, secret);
    }
    let mut callers = Vec::new();
    for number in 0..CALLERS_AT_ONCE {
        let caller = Caller {
            traffic: Arc::clone(&traffic),
            number,
            state: 0x9e37_79b9_7f4a_7c15 ^ (number + 1),
            known: BTreeMap::new(),
        };
        callers.push(tokio::spawn(caller.run()));
    }
    // Two on the same names, which create and take.
    let shared = Arc::new(Mutex::new(Shared::default()));
    let mut sharing = Vec::new();
    for number in CALLERS_AT_ONCE..CALLERS_AT_ONCE + 2 {
        let caller = Caller {
            traffic: Arc::clone(&traffic),
            number,
            state: 0x9e37_79b9_7f4a_7c15 ^ (number + 1),
            known: BTreeMap::new(),
        };
        sharing.push(tokio::spawn(share(caller, Arc::clone(&shared))));
    }
    // Two that expire: before the end, and long after it.
    for (name, ttl) in [("short", 5), ("long", 3600)] {
        let path = format!("/secrets/{name}?ttl={ttl}");
        let created = client.ask(Method::POST, &path, b"\xff").await.unwrap();
        assert_eq!(created.0, 201, "{created:?}");
    }
    known.insert("long".to_owned(), b"\xff".to_vec());
    traffic.go_on(400).await;

    // 1: on the two.
    running.stop().await;
    let running = traffic.start(&both).await;
    traffic.go_on(100).await;

    // 2: the rest, while it serves.
    let first = copy(&vault, &mongodb).await;
    assert!(first["written"].as_u64() >= Some(50), "{first}");
    traffic.go_on(200).await;
    // Nothing is left to copy, since what is written goes to MongoDB alone.
    let second = copy(&vault, &mongodb).await;
    assert_eq!(second["written"], 0, "{second}");
    traffic.go_on(100).await;

    // 3: on MongoDB alone.
    running.stop().await;
    tokio::time::sleep(TOMBSTONES).await;
    let running = traffic.start(&mongodb).await;
    traffic.go_on(400).await;

    traffic.stop.store(true, Ordering::Relaxed);
    for caller in callers {
        known.extend(caller.await.unwrap());
    }
    for caller in sharing {
        caller.await.unwrap();
    }
    // As the service has them, and as they stand there.
    let client = Client::new(&running.base);
    let mut there = BTreeSet::new();
    for name in (0..SHARED_NAMES).map(|index| format!("shared-{index}")) {
        let path = format!("/secrets/{name}");
        let fetched = client.ask(Method::GET, &path, b"").await.unwrap();
        if fetched.0 == 200 {
            there.insert(fetched.1.clone());
            known.insert(name, fetched.1);
        }
    }
    {
        let shared = shared.lock().unwrap();
        assert!(there.is_subset(&shared.written) && there.is_disjoint(&shared.taken));
        let gone = shared.surely_written.iter();
        let gone = gone.filter(|&value| !shared.taken.contains(value) && !there.contains(value));
        assert!(gone.count() <= shared.lost, "a value was lost");
        assert!(shared.taken.len() > 20, "{}", shared.taken.len());
    }
    let listed = client.ask(Method::GET, "/secrets", b"").await.unwrap();
    let listed: Vec<String> = serde_json::from_slice(&listed.1).unwrap();
    assert_eq!(listed, known.keys().cloned().collect::<Vec<_>>());
    for (name, value) in &known {
        let path = format!("/secrets/{name}");
        let fetched = client.ask(Method::GET, &path, b"").await.unwrap();
        assert_eq!((fetched.0, &fetched.1), (200, value), "{name}");
    }
    running.stop().await;
    let mongodb = MongoDbProvider::connect(&mongodb).await.unwrap();
    let store = KeyValueStore::bytes(mongodb).namespace("secrets").unwrap();
    let mut keys = store.keys("");
    let mut stored = BTreeMap::new();
    while let Some(key) = keys.next().await {
        let key = key.unwrap();
        let value = store.get(&key).await.unwrap().unwrap();
        if key == "long" {
            let left = store.get_entry(&key).await.unwrap().unwrap().expires_in;
            assert!(left.is_some_and(|left| left <= Duration::from_secs(3600)));
        }
        stored.insert(key, value.to_vec());
    }
    assert_eq!(stored, known);
}
