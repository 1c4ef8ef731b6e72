//! The tour, taken as a reader takes it: by `cargo run --example tour`, and judged by what it prints.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use kvstore_testsuite::servers::{
    Memcached, MongoDb, Redis, RedisServer, Reply, S3, Vault, ZooKeeper,
};

fn tour(arguments: &[&str]) -> Output {
    command(arguments).output().expect("cargo runs")
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "--example", "tour", "--"]);
    command.args(arguments);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    command.current_dir(root.expect("the examples are in the workspace's folder"));
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("the tour prints UTF-8")
}

/// What a tour prints that everything went well on, wherever it was taken.
fn succeeds(output: &Output) -> String {
    let (printed, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{printed}\n{errors}");
    for outcome in [
        "equal to what was set",
        "a missing key: None",
        "a package as a number: Decode error",
        "stored in one call",
        "read back in one call",
        "kvstore-core ",
        "kvstore-memory ",
        "Apache-2.0",
        "may live for an hour now",
        "is gone after",
        "2 of the three are left",
        "64 tasks create the same key at once: task ",
        "63 were refused",
        "8 tasks count to 200",
        "64 tasks redeem a one-time token: 1 has it, 63 have nothing",
    ] {
        assert!(printed.contains(outcome), "no `{outcome}` in:\n{printed}");
    }
    let packages = number(&printed, " packages from `cargo metadata`");
    assert!(packages > 20, "{printed}");
    assert_eq!(number(&printed, " in all"), packages, "{printed}");
    // All packages twice, two that have not expired, a lock and a counter.
    assert_eq!(
        number(&printed, " keys, 0 left"),
        2 * packages + 4,
        "{printed}"
    );
    assert_eq!(printed.matches(" a second").count(), 6, "{printed}");
    printed
}

/// The number that stands before a text.
fn number(printed: &str, text: &str) -> usize {
    let (before, _) = printed.split_once(text).expect("the text is there");
    let number = before.rsplit(|c: char| !c.is_ascii_digit()).next();
    number
        .unwrap_or_default()
        .parse()
        .expect("a number stands before it")
}

#[test]
fn on_a_file_which_is_gone_afterwards() {
    let printed = succeeds(&tour(&[]));
    assert!(printed.trim_start().starts_with("redb"), "{printed}");
    assert!(!printed.contains("warning"), "{printed}");
    let file = printed
        .lines()
        .find_map(|line| line.strip_prefix("  file "));
    let file = Path::new(file.expect("it says where the file is").trim());
    assert!(file.is_absolute(), "{printed}");
    assert!(!file.parent().is_some_and(Path::exists), "{printed}");
}

#[test]
fn in_memory() {
    let printed = succeeds(&tour(&["memory:"]));
    assert!(printed.trim_start().starts_with("memory "), "{printed}");
    assert!(
        printed.contains("warning"),
        "it tells that nothing is kept: {printed}"
    );
}

#[test]
fn on_redis_and_nothing_is_left_there() {
    let redis = Redis::shared();
    let printed = succeeds(&tour(&[redis.url()]));
    assert!(!printed.trim_start().starts_with("memory"), "{printed}");
    let (_, name) = printed
        .split_once("all begin with `")
        .expect("it names its namespace");
    let name = name.split('`').next().unwrap_or_default();
    assert!(name.starts_with("tour-") && name.ends_with(':'), "{name}");
    assert_eq!(
        redis.command(&["KEYS", &format!("{name}*")]),
        Reply::List(Vec::new())
    );
}

#[test]
fn output_that_nobody_reads_leaves_nothing_there_either() {
    let redis = Redis::shared();
    let mut child = command(&[redis.url()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("cargo runs");
    let output = child.stdout.take().expect("it prints");
    // Until there are keys.
    let mut name = None;
    for line in BufReader::with_capacity(16, output).lines() {
        let line = line.expect("the tour prints UTF-8");
        if let Some((_, rest)) = line.split_once("all begin with `") {
            name = rest.strip_suffix('`').map(str::to_owned);
        }
        if line.contains("stored as JSON") {
            break;
        }
    }
    let name = name.expect("it names its namespace");
    let output = child.wait_with_output().expect("it ends");
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.starts_with("tour: "), "{errors}");
    assert_eq!(
        redis.command(&["KEYS", &format!("{name}*")]),
        Reply::List(Vec::new()),
        "{errors}"
    );
}

#[test]
fn on_memcached_which_has_no_listing() {
    let printed = succeeds(&tour(&[&Memcached::shared().url()]));
    assert!(printed.trim_start().starts_with("memcached "), "{printed}");
    assert!(printed.contains("forgets"), "{printed}");
    assert!(printed.contains("cannot list its keys"), "{printed}");
}

#[test]
fn on_zookeeper() {
    let root = kvstore_testsuite::unique_root();
    let printed = succeeds(&tour(&[&ZooKeeper::shared().url(&format!("/{root}"))]));
    assert!(printed.trim_start().starts_with("zookeeper "), "{printed}");
    assert!(printed.contains("open ACL"), "{printed}");
}

#[test]
fn on_mongodb() {
    let printed = succeeds(&tour(&[&MongoDb::shared().url("")]));
    assert!(printed.trim_start().starts_with("mongodb "), "{printed}");
    assert!(!printed.contains("warning"), "{printed}");
}

#[test]
fn on_vault() {
    let printed = succeeds(&tour(&[&Vault::shared().url("")]));
    assert!(printed.trim_start().starts_with("openbao "), "{printed}");
}

#[test]
fn on_s3() {
    let prefix = format!("prefix={}/", kvstore_testsuite::unique_root());
    let printed = succeeds(&tour(&[&S3::shared().url(&prefix)]));
    assert!(printed.trim_start().starts_with("seaweedfs "), "{printed}");
}

/// What a tour says that fails.
fn fails(arguments: &[&str]) -> String {
    let output = tour(arguments);
    let errors = text(&output.stderr);
    assert!(!output.status.success(), "{arguments:?}: {errors}");
    errors
}

#[test]
fn mistakes_are_told_and_secrets_are_not() {
    assert!(fails(&["nonsense"]).contains("the URL has no scheme"));
    assert!(fails(&["memory://somewhere"]).contains("the URL has a host"));
    assert!(fails(&["--help"]).contains("usage: cargo run --example tour [URL]"));
    assert!(fails(&["memory:", "memory:"]).contains("usage"));
    let errors = fails(&["redis://:hunter2@127.0.0.1/nonsense"]);
    assert!(
        errors.contains("tour: redis") && !errors.contains("hunter2"),
        "{errors}"
    );
}

#[test]
fn a_server_that_is_down_is_told() {
    let mut server = RedisServer::start();
    let url = server.url().to_owned();
    server.stop();
    let errors = fails(&[&url]);
    assert!(errors.contains("tour: redis connect"), "{errors}");
    let address = url.trim_start_matches("redis://");
    assert!(errors.contains(address), "{errors}");
}
