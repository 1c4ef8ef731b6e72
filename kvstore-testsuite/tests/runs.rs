//! Where servers come from, how long they live, and that nothing is left of them.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use kvstore_testsuite::servers::{Redis, RedisCluster, RedisSentinel, RedisServer};

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
    let no_number = format!("redis://:secret@{}/x", redis.address());
    let wrong = format!("redis://:wrong@{}", redis.address());
    for (url, expected) in [
        ("rediss://localhost", "must begin with"),
        ("redis://localhost?x=y", "not understood"),
        (&no_number, "not an integer"),
        ("redis://127.0.0.1:1", "no Redis at 127.0.0.1:1"),
        (&wrong, "WRONGPASS"),
    ] {
        let error = Task::run("shared", &[("KVSTORE_TEST_REDIS_URL", url)]).failure();
        assert!(
            error.contains("KVSTORE_TEST_REDIS_URL") && error.contains(expected),
            "{url}: {error}"
        );
        assert!(!error.contains("@"), "{error}");
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
        leaves_nothing(task.child.id());
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
    leaves_nothing(run.id());
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

#[test]
fn a_killed_test_leaves_nothing_of_servers_that_belong_together() {
    for task in ["cluster", "sentinel", "shared cluster", "shared sentinel"] {
        let mut task = Task::run(task, &[]);
        let hosts = task.line();
        assert!(
            hosts
                .split(',')
                .all(|host| TcpStream::connect(host).is_ok())
        );
        task.child.kill().unwrap();
        task.child.wait().unwrap();
        leaves_nothing(task.child.id());
        assert!(
            !hosts
                .split(',')
                .any(|host| TcpStream::connect(host).is_ok())
        );
    }
}

#[test]
fn the_processes_of_a_run_share_servers_that_belong_together() {
    let mut run = Command::new("sleep").arg("60").spawn().unwrap();
    let id = run.id().to_string();
    let variables = [("KVSTORE_TEST_RUN", id.as_str())];
    for name in ["shared cluster", "shared sentinel"] {
        let mut tasks = [(); 2].map(|()| Task::run(name, &variables));
        let [hosts, others] = tasks.each_mut().map(Task::line);
        assert_eq!(hosts, others);
        // If one of them died, all are started again.
        let first = hosts.split(',').next().unwrap();
        let mut stream = TcpStream::connect(first).unwrap();
        stream.write_all(b"SHUTDOWN NOSAVE\r\n").unwrap();
        eventually("it is dead", || TcpStream::connect(first).is_err());
        let after = Task::run(name, &variables).line();
        assert!(
            !after.split(',').any(|host| hosts.contains(host)),
            "{after}"
        );
    }
    run.kill().unwrap();
    leaves_nothing(run.id());
    run.wait().unwrap();
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
        "shared cluster" => tell(&RedisCluster::shared().hosts(), None),
        "shared sentinel" => tell(&RedisSentinel::shared().hosts(), None),
        "cluster" => {
            let cluster = RedisCluster::start();
            tell(&cluster.hosts(), None);
            sleep(Duration::from_secs(60));
        }
        "sentinel" => {
            let redis = RedisSentinel::start();
            tell(&redis.hosts(), None);
            sleep(Duration::from_secs(60));
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
    output: BufReader<ChildStdout>,
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
}

/// Checks that soon no file and no process is left of a run.
fn leaves_nothing(run: u32) {
    let name = format!("kvstore-test-{run}");
    let of_run = |text: &str| {
        let mut ends = text
            .match_indices(&name)
            .map(|(i, _)| &text[i + name.len()..]);
        ends.any(|end| !end.starts_with(|c: char| c.is_ascii_digit()))
    };
    eventually("the files of the run are gone", || {
        let files = fs::read_dir(std::env::temp_dir()).unwrap();
        let mut names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        !names.any(|name| of_run(&name))
    });
    // Command lines, each in a file where the system is Linux: those of guards and servers name
    // the run's folder.
    eventually("the processes of the run are gone", || {
        let processes = fs::read_dir("/proc").into_iter().flatten();
        let mut lines = processes.map(|process| fs::read(process.unwrap().path().join("cmdline")));
        !lines.any(|line| of_run(&String::from_utf8_lossy(&line.unwrap_or_default())))
    });
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
