//! Wrong command lines, and where passwords come from.

mod common;

use common::{Folder, Place, command, kvstore};
use kvstore_testsuite::servers::{MemcachedServer, MongoDb, RedisServer, ZooKeeper};

#[test]
fn a_command_line_that_is_wrong_is_two() {
    let folder = Folder::new();
    let small = format!("file:{}?max_value_len=100", folder.file("small.redb"));
    for (args, what) in [
        (&["get"][..], "<KEY>"),
        (&["get", "k", "--store", "gopher://secret@h"], "`gopher`"),
        (&["get", "k", "--store", "secret"], "no scheme"),
        (
            &["get", "k", "--store", "redis://h?secre=secret"],
            "`secre`",
        ),
        (
            &["get", "k", "--store", "memory:", "--as", "number"],
            "it takes bytes, text, json",
        ),
        (&["get", "", "--store", "memory:"], "the key is empty"),
        (
            &["get", "k", "--store", "memory:", "--namespace", "a::b"],
            "namespace",
        ),
        (
            &["set", "k", "v", "--store", "memory:", "--ttl", "0s"],
            "more than zero",
        ),
        (
            &["set", "k", "v", "--store", "memory:", "--ttl", "soon"],
            "--ttl",
        ),
        (
            &["set", "k", "v", "--if-absent", "--if-present"],
            "--if-present",
        ),
        (
            &["set", "k", "v", "--ttl", "1s", "--keep-ttl"],
            "--keep-ttl",
        ),
        (&["touch", "k", "--store", "memory:"], "--ttl"),
        (&["copy", "memory:", "memory:"], "--as"),
        (
            &["copy", "memory:", "memory:", "--as", "text", "--jobs", "0"],
            "1 to 1000",
        ),
        (
            &[
                "copy",
                "memory:",
                "memory:",
                "--as",
                "text",
                "--verify",
                "--dry-run",
            ],
            "--dry-run",
        ),
        (&["conform", "memory:", "no such case"], "no case"),
        (&["bench", "memory:", "--time", "500000000000y"], "a day"),
        (
            &["bench", "memory:", "--size", "18446744073709551615"],
            "0 to",
        ),
        (&["bench", "memory:", "--size", "536870913"], "0 to"),
        (&["bench", &small, "--size", "101"], "up to 100 bytes"),
    ] {
        let ran = kvstore(args).ends(2);
        assert_eq!(ran.text(), "", "{args:?}");
        assert!(ran.stderr.contains(what), "{args:?}: {}", ran.stderr);
        assert!(
            !ran.stderr.contains("=secret") && !ran.stderr.contains("secret@"),
            "{}",
            ran.stderr
        );
    }
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 0);
}

/// What a command does not use says that it was meant otherwise.
#[test]
fn an_option_that_is_not_used_is_refused() {
    let copy = ["copy", "memory:", "memory:", "--as", "text"];
    let diff = ["diff", "memory:", "memory:", "--as", "text"];
    for (args, option) in [
        (&copy[..], "--store"),
        (&diff, "--store"),
        (&["conform", "memory:", "k4_"], "--store"),
        (&["conform", "memory:", "k4_"], "--namespace"),
        (&["bench", "memory:", "--time", "1ms"], "--store"),
        (&["bench", "memory:", "--time", "1ms"], "--namespace"),
        (&["completions", "bash"], "--namespace"),
        (&["man"], "--store"),
    ] {
        for given in [
            [args, &[option, "hunter2"]].concat(),
            [&[option, "hunter2"], args].concat(),
        ] {
            let ran = kvstore(given).ends(2);
            let expected = format!("kvstore: {option} cannot be used together with {}", args[0]);
            assert!(ran.stderr.starts_with(&expected), "{}", ran.stderr);
            assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
        }
        // In the environment it is for the commands that use it.
        let mut other = command(args);
        let ran = common::Ran::from(other.env("KVSTORE_URL", "memory:").output().unwrap());
        ran.ends(0);
    }
    kvstore([&copy[..], &["--namespace", "a"]].concat()).ends(0);
}

/// What stands in the wrong place may be a secret.
#[test]
fn what_is_not_understood_is_not_shown() {
    for (args, code, what) in [
        (&["set", "k", "--hunter2"][..], 2, "follows `--`"),
        (&["set", "k", "v", "--hunter2=x"], 2, "Usage: kvstore set"),
        (&["get", "k", "redis://:hunter2@h"], 2, "Usage: kvstore get"),
        (&["hunter2"], 2, "no such command"),
        (&["get", "k", "--as", "hunter2"], 2, "--as <TYPE>"),
        (&["set", "k", "v", "--ttl", "hunter2"], 2, "30m"),
        (&["set", "k", "v", "--ttl", "1hunter2"], 2, "30m"),
        (
            &["set", "k", "v", "--if-version", "hunter2 \""],
            2,
            "--if-version",
        ),
        (&["set", "k", "v", "--literal=hunter2"], 2, "--literal"),
        (&["bench", "memory:", "--size", "hunter2"], 2, "--size"),
        (&["bench", "memory:", "--tasks", "hunter2"], 2, "1 to 1000"),
        (
            &["set", "k", "@/nonexistent/hunter2", "--store", "memory:"],
            3,
            "the file of VALUE",
        ),
        (&["import", "/nonexistent/hunter2"], 3, "cannot be read"),
    ] {
        let ran = kvstore(args).ends(code);
        assert_eq!(ran.text(), "", "{args:?}");
        assert!(ran.stderr.contains(what), "{args:?}: {}", ran.stderr);
        assert!(!ran.stderr.contains("unter2"), "{args:?}: {}", ran.stderr);
        let ran = kvstore(["--json"].iter().chain(args)).ends(code);
        let error: serde_json::Value = serde_json::from_str(&ran.stderr).expect(&ran.stderr);
        assert!(error["error"]["message"].is_string(), "{error}");
        let kind = if code == 2 { "Usage" } else { "Data" };
        assert_eq!(error["error"]["kind"], kind, "{error}");
        assert!(!ran.stderr.contains("unter2"), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn the_store_may_be_named_by_a_variable_and_its_password_by_another_or_a_file() {
    let server = RedisServer::start_with(&["--requirepass", "p/w:ü@?"]);
    let host = server
        .url()
        .rsplit('/')
        .next()
        .unwrap()
        .rsplit('@')
        .next()
        .unwrap()
        .to_owned();
    let folder = Folder::new();
    let (file, wrong, empty) = (
        folder.file("password"),
        folder.file("wrong"),
        folder.file("empty"),
    );
    std::fs::write(&file, "p/w:ü@?\n").unwrap();
    std::fs::write(&wrong, "hunter2").unwrap();
    std::fs::write(&empty, "\n").unwrap();
    let get = |url: &str| {
        let mut command = command(["set", "k", "v"]);
        command
            .env("KVSTORE_URL", url)
            .env("THE_PASSWORD", "p/w:ü@?");
        common::Ran::from(command.output().unwrap())
    };
    get(&format!("redis://{host}?password_file={file}")).ends(0);
    get(&format!(
        "redis://default@{host}/0?timeout=5s&password_env=THE_PASSWORD&prefix=a"
    ))
    .ends(0);
    let ran = get(&format!("redis://{host}?password_file={wrong}")).ends(3);
    assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
    for (url, what) in [
        (format!("redis://{host}?password_file={empty}"), "empty"),
        (
            format!("redis://{host}?password_file={file}x"),
            "cannot be read",
        ),
        (
            format!("redis://{host}?password_env=NOT_SET_ANYWHERE"),
            "not set",
        ),
        (
            format!("redis://{host}?password_env=THE_PASSWORD&password_file={file}"),
            "twice",
        ),
        (
            format!("redis://:hunter2@{host}?password_file={file}"),
            "another one",
        ),
        ("memory:?password_env=THE_PASSWORD".to_owned(), "no `//`"),
    ] {
        let ran = get(&url).ends(2);
        assert!(ran.stderr.contains(what), "{}", ran.stderr);
        assert!(
            !ran.stderr.contains("hunter2") && !ran.stderr.contains("p/w"),
            "{}",
            ran.stderr
        );
    }
}

/// With the password in the URL, in a file and in a variable; without it, and with another one, none is let in.
#[test]
fn every_server_with_a_password_takes_it_from_a_file_or_a_variable() {
    let memcached = MemcachedServer::start_with_login();
    let rules = ["enforce.auth.enabled=true", "enforce.auth.schemes=digest"];
    let (zookeeper, mongodb) = (
        ZooKeeper::start_with(&rules),
        MongoDb::start_standalone(&["--auth"]),
    );
    let address = mongodb.address();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let url = format!("mongodb://{address}/?directConnection=true");
        let client = mongodb::Client::with_uri_str(url).await.unwrap();
        let user = mongodb::bson::doc! {
            "createUser": "app", "pwd": "hunter2", "roles": [{ "role": "root", "db": "admin" }],
        };
        client.database("admin").run_command(user).await.unwrap();
    });
    let folder = Folder::new();
    let (file, wrong) = (folder.file("password"), folder.file("wrong"));
    std::fs::write(&wrong, "another").unwrap();
    for url in [
        Place::vault().url,
        Place::s3().url,
        format!("mongodb://app:hunter2@{address}/db?authSource=admin"),
        format!(
            "memcached://{}:{}@{}?timeout=5s",
            MemcachedServer::USER,
            MemcachedServer::PASSWORD,
            memcached.address()
        ),
        format!(
            "zookeeper://app:hunter2@{}/cli?timeout=5s",
            zookeeper.address()
        ),
    ] {
        let (scheme, rest) = url.split_once("://").unwrap();
        let (login, rest) = rest.split_once('@').unwrap();
        let (user, password) = login.split_once(':').unwrap();
        std::fs::write(&file, format!("{password}\n")).unwrap();
        let run = |more: &str| {
            let user = if user.is_empty() {
                String::new()
            } else {
                format!("{user}@")
            };
            let mut command = command(["set", "k", "v"]);
            command
                .env("KVSTORE_URL", format!("{scheme}://{user}{rest}&{more}"))
                .env("THE_PASSWORD", password);
            common::Ran::from(command.output().unwrap())
        };
        run(&format!("password_file={file}")).ends(0);
        run("password_env=THE_PASSWORD").ends(0);
        // ZooKeeper makes whoever comes with another password another user.
        if scheme != "zookeeper" {
            let ran = run(&format!("password_file={wrong}")).ends(3);
            assert!(
                !ran.stderr.contains("another") && !ran.stderr.contains(password),
                "{}",
                ran.stderr
            );
        }
    }
}
