//! The servers for tests: shared by a run, stopped, paused, gone afterwards.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use kvstore_testsuite::servers::{Redis, RedisServer, Reply};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

#[test]
fn the_shared_redis_answers() {
    let redis = Redis::shared();
    assert_eq!(redis.command(&["PING"]).text(), "PONG");
    assert!(redis.url().starts_with("redis://"), "{}", redis.url());
    assert_eq!(Redis::shared().address(), redis.address());
}

#[test]
fn commands_carry_any_bytes() {
    let redis = RedisServer::start();
    let value = b"a\r\n\0\xff";
    assert_eq!(redis.command(&[&b"SET"[..], b"key", value]).text(), "OK");
    assert_eq!(redis.command(&["GET", "key"]), Reply::Data(value.to_vec()));
    assert_eq!(redis.command(&["GET", "other"]), Reply::Nil);
    assert_eq!(redis.command(&["STRLEN", "key"]), Reply::Integer(5));
    assert!(
        matches!(redis.try_command(&["LPUSH", "key", "x"]), Reply::Error(e) if e.starts_with("WRONGTYPE"))
    );
}

#[test]
#[should_panic(expected = "Redis refused CONFIG: ERR")]
fn a_refused_command_is_a_panic() {
    RedisServer::start().command(&["CONFIG", "SET", "nonsense", "1"]);
}

#[test]
#[should_panic(expected = "'nonsense \"1\"'")]
fn an_option_that_redis_does_not_know_is_a_panic_with_its_log() {
    RedisServer::start_with(&["--nonsense", "1"]);
}

#[test]
fn options_win_over_those_of_the_suite() {
    let redis = RedisServer::start_with(&["--maxmemory", "10mb", "--save", "60 1"]);
    let value = |name| match redis.command(&["CONFIG", "GET", name]) {
        Reply::List(pair) => pair[1].text(),
        other => panic!("{other:?}"),
    };
    assert_eq!(value("maxmemory"), "10485760");
    assert_eq!(value("save"), "60 1");
}

#[test]
fn a_server_starts_again_with_its_port_and_its_files() {
    let mut redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let (address, tls) = (redis.address(), redis.tls_url());
    redis.command(&["SET", "key", "value"]);
    for _ in 0..3 {
        redis.stop();
        for address in [redis.address(), redis.tls_address()] {
            assert_eq!(
                TcpStream::connect(address).unwrap_err().kind(),
                io::ErrorKind::ConnectionRefused
            );
        }
        redis.restart();
        assert_eq!(redis.command(&["GET", "key"]).text(), "value");
    }
    assert_eq!((redis.address(), redis.tls_url()), (address, tls));
    // Without a stop first: a crash.
    redis.restart();
    assert_eq!(redis.command(&["GET", "key"]).text(), "value");
}

#[test]
fn a_server_without_a_log_forgets() {
    let mut redis = RedisServer::start();
    redis.command(&["SET", "key", "value"]);
    redis.restart();
    assert_eq!(redis.command(&["GET", "key"]), Reply::Nil);
}

#[test]
fn a_paused_server_answers_later() {
    let mut redis = RedisServer::start();
    let mut stream = TcpStream::connect(redis.address()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    redis.pause();
    let halted = ping(&mut stream).unwrap_err();
    assert!(
        matches!(
            halted.kind(),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
        ),
        "{halted}"
    );
    redis.resume();
    stream.set_read_timeout(None).unwrap();
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+PONG\r\n");
}

#[test]
fn a_paused_server_can_be_stopped_and_dropped() {
    let mut redis = RedisServer::start();
    redis.pause();
    redis.restart();
    redis.command(&["PING"]);
    redis.pause();
    let folder = redis.unix_socket().parent().unwrap().to_owned();
    drop(redis);
    assert!(!folder.exists());
}

#[test]
fn a_dropped_server_is_gone_at_once() {
    let redis = RedisServer::start();
    let (address, folder) = (
        redis.address(),
        redis.unix_socket().parent().unwrap().to_owned(),
    );
    assert!(folder.exists());
    drop(redis);
    assert!(TcpStream::connect(address).is_err());
    assert!(!folder.exists());
}

#[test]
fn servers_of_tests_own_are_apart() {
    let servers: Vec<_> = std::thread::scope(|scope| {
        let starting: Vec<_> = (0..8).map(|_| scope.spawn(RedisServer::start)).collect();
        starting.into_iter().map(|s| s.join().unwrap()).collect()
    });
    for (i, redis) in servers.iter().enumerate() {
        redis.command(&["SET", "key", &i.to_string()]);
    }
    for (i, redis) in servers.iter().enumerate() {
        assert_eq!(redis.command(&["GET", "key"]).text(), i.to_string());
    }
}

#[test]
fn the_unix_socket_answers() {
    for redis in [RedisServer::shared(), &RedisServer::start()] {
        ping(&mut UnixStream::connect(redis.unix_socket()).unwrap()).unwrap();
    }
}

#[test]
fn tls_is_with_the_authority_s_certificate() {
    for redis in [RedisServer::shared(), &RedisServer::start()] {
        for host in ["localhost", "127.0.0.1"] {
            ping(&mut tls(redis, &redis.ca_path(), host, false)).unwrap();
            ping(&mut tls(redis, &redis.ca_path(), host, true)).unwrap();
        }
        let other = RedisServer::start();
        ping(&mut tls(redis, &other.ca_path(), "localhost", false)).unwrap_err();
        ping(&mut tls(redis, &redis.ca_path(), "example.com", false)).unwrap_err();
    }
}

#[test]
fn tls_clients_can_be_made_to_show_a_certificate() {
    let redis = RedisServer::start_with(&["--tls-auth-clients", "yes"]);
    ping(&mut tls(&redis, &redis.ca_path(), "localhost", false)).unwrap_err();
    ping(&mut tls(&redis, &redis.ca_path(), "localhost", true)).unwrap();
}

#[test]
fn a_replica_follows() {
    let primary = RedisServer::start_with(&["--repl-diskless-sync-delay", "0"]);
    let port = primary.address().port().to_string();
    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &port]);
    primary.command(&["SET", "key", "value"]);
    eventually("the replica has the value", || {
        replica.command(&["GET", "key"]) == Reply::Data(b"value".to_vec())
    });
    assert!(
        matches!(replica.try_command(&["SET", "key", "x"]), Reply::Error(e) if e.starts_with("READONLY"))
    );
}

#[test]
fn the_suite_keeps_its_rights_when_a_test_takes_all() {
    let mut redis = RedisServer::start_with(&["--requirepass", "secret"]);
    assert!(ping(&mut TcpStream::connect(redis.address()).unwrap()).is_err());
    redis.command(&["ACL", "SETUSER", "default", "off"]);
    redis.restart();
    redis.command(&["ACL", "SETUSER", "app", "on", ">word", "~app:*", "+get"]);
    assert!(redis.command(&["ACL", "USERS"]) != Reply::List(Vec::new()));
}

#[test]
fn debug_tells_no_password() {
    let redis = RedisServer::start_with(&["--requirepass", "swordfish"]);
    let url = format!("redis://:swordfish@{}/3", redis.address());
    let told = Task::run("debug", &[("KVSTORE_TEST_REDIS_URL", &url)]).line();
    assert!(
        told.contains(&redis.address().to_string()) && !told.contains("swordfish"),
        "{told}"
    );
}

#[test]
fn an_address_in_the_environment_comes_first() {
    let redis = RedisServer::start_with(&["--requirepass", "secret"]);
    let report = Scratch::new("report");
    let url = format!("redis://:secret@{}/3", redis.address());
    let variables = [
        ("KVSTORE_TEST_REDIS_URL", url.as_str()),
        ("KVSTORE_TEST_REPORT", report.path()),
    ];
    let mut task = Task::run("shared", &variables);
    assert_eq!(task.line(), url);
    assert_eq!(
        redis.command(&["INFO", "keyspace"]).text().lines().nth(1),
        Some("db3:keys=1,expires=0,avg_ttl=0")
    );
    let report = fs::read_to_string(report.path()).unwrap();
    let end = format!(" at {}, from KVSTORE_TEST_REDIS_URL\n", redis.address());
    assert!(
        report.starts_with("Redis ") && report.ends_with(&end),
        "{report:?}"
    );
}

#[test]
fn a_bad_address_in_the_environment_is_an_error_that_names_the_variable() {
    let redis = RedisServer::start_with(&["--requirepass", "secret"]);
    let wrong = format!("redis://:wrong@{}", redis.address());
    for (url, expected) in [
        ("rediss://localhost", "must begin with"),
        ("redis://localhost?x=y", "not understood"),
        ("redis://localhost/x", "the number of a database"),
        ("redis://127.0.0.1:1", "no Redis at 127.0.0.1:1"),
        (&wrong, "WRONGPASS"),
    ] {
        let error = Task::run("shared", &[("KVSTORE_TEST_REDIS_URL", url)]).failure();
        assert!(
            error.contains("KVSTORE_TEST_REDIS_URL") && error.contains(expected),
            "{url}: {error}"
        );
        assert!(!error.contains("wrong@"), "{error}");
    }
}

#[test]
fn without_a_server_a_test_fails_and_says_how_to_get_one() {
    let nowhere = [("PATH", "/nowhere"), ("KVSTORE_TOOLS", "/nowhere")];
    for task in ["shared", "own"] {
        let error = Task::run(task, &nowhere).failure();
        assert!(error.contains("cargo xtask servers"), "{error}");
    }
}

#[test]
fn programs_are_looked_for_in_the_tool_folder_first() {
    let tools = Scratch::new("tools");
    fs::create_dir(tools.path()).unwrap();
    let program = PathBuf::from(tools.path()).join("redis-server");
    std::os::unix::fs::symlink("/bin/false", &program).unwrap();
    let error = Task::run("own", &[("KVSTORE_TOOLS", tools.path())]).failure();
    assert!(error.contains("the server did not start"), "{error}");
}

#[test]
fn a_killed_test_leaves_nothing() {
    for task in ["shared", "own", "paused", "stopped"] {
        let mut task = Task::run(task, &[]);
        let address = task.line();
        let folder = PathBuf::from(task.line());
        assert!(folder.exists());
        task.child.kill().unwrap();
        task.child.wait().unwrap();
        eventually("its server and its files are gone", || !folder.exists());
        let address = address.strip_prefix("redis://").unwrap();
        assert!(TcpStream::connect(address).is_err());
        task.leaves_nothing();
    }
}

#[test]
fn the_processes_of_a_run_share_a_server_until_it_ends() {
    let mut run = Command::new("sleep").arg("60").spawn().unwrap();
    let id = run.id().to_string();
    let report = Scratch::new("run-report");
    let variables = [
        ("KVSTORE_TEST_RUN", id.as_str()),
        ("KVSTORE_TEST_REPORT", report.path()),
    ];
    // At once, so that they ask while it starts.
    let mut tasks: Vec<_> = (0..4).map(|_| Task::run("shared", &variables)).collect();
    let places: Vec<_> = tasks
        .iter_mut()
        .map(|task| (task.line(), task.line()))
        .collect();
    let (url, folder) = places[0].clone();
    assert!(places.iter().all(|place| *place == places[0]), "{places:?}");
    for task in &mut tasks {
        task.child.kill().unwrap();
        task.child.wait().unwrap();
    }
    // It stays for those to come, and is started again if it died.
    let mut next = Task::run("shared", &variables);
    assert_eq!(next.line(), url);
    let pid = fs::read_to_string(Path::new(&folder).join("pid")).unwrap();
    assert!(
        Command::new("sh")
            .args(["-c", "kill -s KILL $0", pid.trim()])
            .status()
            .unwrap()
            .success()
    );
    eventually("the server is dead", || {
        TcpStream::connect(url.strip_prefix("redis://").unwrap()).is_err()
    });
    let mut after = Task::run("shared", &variables);
    assert_ne!(after.line(), url);
    let report = fs::read_to_string(report.path()).unwrap();
    assert_eq!(report.lines().count(), 2, "{report}");
    // Killed, and for a while nobody asks how it ended.
    run.kill().unwrap();
    eventually("the run's folder is gone", || {
        !Path::new(&folder).parent().unwrap().exists()
    });
    run.wait().unwrap();
}

#[test]
fn under_nextest_the_run_is_the_parent() {
    let task = |_| {
        let mut task = Task::run("shared", &[("NEXTEST", "1")]);
        let line = task.line();
        (line, task.line(), task)
    };
    let [first, second] = std::array::from_fn(task);
    assert_eq!((&first.0, &first.1), (&second.0, &second.1));
    let run = format!("kvstore-test-{}", std::process::id());
    assert!(first.1.contains(&run), "{}", first.1);
}

/// What the tests above have a process of its own do: this test binary, started by them.
#[test]
fn task() {
    let Ok(task) = std::env::var("KVSTORE_TASK") else {
        return;
    };
    let tell = |url: &str, server: Option<&RedisServer>| {
        println!("\n> {url}");
        if let Some(server) = server {
            println!("\n> {}", server.unix_socket().parent().unwrap().display());
        }
    };
    match task.as_str() {
        "debug" => tell(&format!("{:?}", Redis::shared()), None),
        "shared" => {
            let redis = Redis::shared();
            redis.command(&["SET", "task", "was here"]);
            let from_environment = std::env::var_os("KVSTORE_TEST_REDIS_URL").is_some();
            tell(redis.url(), (!from_environment).then(RedisServer::shared));
        }
        own => {
            let mut redis = RedisServer::start();
            match own {
                "paused" => redis.pause(),
                "stopped" => redis.stop(),
                _ => {}
            }
            tell(redis.url(), Some(&redis));
            sleep(Duration::from_secs(60));
        }
    }
    // Until it is killed.
    sleep(Duration::from_secs(60));
}

/// A process that runs [`task`].
struct Task {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Task {
    fn run(task: &str, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "task", "--nocapture"]);
        for variable in [
            "KVSTORE_TEST_RUN",
            "KVSTORE_TEST_REPORT",
            "KVSTORE_TEST_REDIS_URL",
            "NEXTEST",
        ] {
            command.env_remove(variable);
        }
        command
            .env("KVSTORE_TASK", task)
            .envs(variables.iter().copied());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// The next that it tells.
    fn line(&mut self) -> String {
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line).unwrap() == 0 {
                panic!("the process ended: {}", self.failure());
            }
            if let Some(told) = line.strip_prefix("> ") {
                return told.trim_end().to_owned();
            }
        }
    }

    /// What it says when it fails.
    fn failure(&mut self) -> String {
        let mut text = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert!(!self.child.wait().unwrap().success());
        text
    }

    /// Checks that nothing of it is in the folder for temporary files, and that no guard watches it.
    fn leaves_nothing(&self) {
        let name = format!("kvstore-test-{}", self.child.id());
        let left: Vec<_> = fs::read_dir(std::env::temp_dir())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|file| *file == name || file.starts_with(&format!("{name}-")))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A place for files of a test, removed with the value.
struct Scratch(String);

impl Scratch {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("kvstore-servers-{}-{name}", std::process::id()));
        Self(path.into_os_string().into_string().unwrap())
    }

    fn path(&self) -> &str {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "not so after five seconds: {what}"
        );
        sleep(Duration::from_millis(10));
    }
}

/// Sends a PING, and is content only with the answer to it.
fn ping(stream: &mut (impl Read + Write)) -> io::Result<()> {
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    if &answer == b"+PONG\r\n" {
        Ok(())
    } else {
        Err(io::Error::other(String::from_utf8_lossy(&answer)))
    }
}

/// A connection with TLS, to which the first bytes are still to be sent.
fn tls(redis: &RedisServer, ca: &Path, host: &str, certificate: bool) -> impl Read + Write + use<> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(ca).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = config.with_root_certificates(roots);
    let config = if certificate {
        let chain = vec![CertificateDer::from_pem_file(redis.client_cert_path()).unwrap()];
        let key = PrivateKeyDer::from_pem_file(redis.client_key_path()).unwrap();
        config.with_client_auth_cert(chain, key).unwrap()
    } else {
        config.with_no_client_auth()
    };
    let host = host.to_owned().try_into().unwrap();
    let client = ClientConnection::new(Arc::new(config), host).unwrap();
    StreamOwned::new(client, TcpStream::connect(redis.tls_address()).unwrap())
}
