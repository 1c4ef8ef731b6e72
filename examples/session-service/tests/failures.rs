//! What the service answers while its store fails: 503, and never 401.

mod client;

use std::sync::Arc;
use std::time::{Duration, Instant};

use client::{Answer, Client, PROGRAM, in_this_process};
use example_service::testing::{Folder, Running};
use kvstore_core::{
    Bytes, Capabilities, DeleteRequest, ErrorKind, GetRequest, Outcome, Provider, Result,
    SetRequest, async_trait,
};
use kvstore_memory::MemoryProvider;
use kvstore_testsuite::Faulty;
use kvstore_testsuite::servers::{RedisServer, Vault};
use session_service::{Sessions, TTL};

const FAILURES: [ErrorKind; 8] = [
    ErrorKind::Unavailable,
    ErrorKind::Timeout,
    ErrorKind::Busy,
    ErrorKind::Unauthenticated,
    ErrorKind::PermissionDenied,
    ErrorKind::StorageFull,
    ErrorKind::Closed,
    ErrorKind::Other,
];

/// Everything that can be asked, of a user with this token, at the same time.
async fn all(client: &Client, token: &str) -> [u16; 6] {
    let id = format!("/sessions/{}", "0".repeat(64));
    let answers = tokio::join!(
        client.session(token),
        client.get("/sessions", token),
        client.delete(&id, token),
        client.delete("/sessions", token),
        client.post("/logout", token),
        client.try_login("ada", "phone"),
    );
    <[Answer; 6]>::from(answers).map(|answer| answer.code())
}

#[tokio::test]
async fn each_failure_of_each_call_is_503() {
    let (provider, faults) = Faulty::new(MemoryProvider::new());
    let client = in_this_process(provider, TTL).await;
    let token = client.login("ada", "phone").await;
    for kind in FAILURES {
        faults.fail(usize::from(u16::MAX), kind);
        assert_eq!(all(&client, &token).await, [503; 6], "{kind:?}");
        faults.heal();
        client.session(&token).await.status(200);
    }
    // Where the first call of a request succeeds, and the second fails.
    for path in ["/sessions", "/sessions/0"] {
        for kind in FAILURES {
            faults.delay(1, Duration::ZERO);
            faults.fail(1, kind);
            let answer = match path {
                "/sessions" => client.get(path, &token).await,
                _ => client.delete(path, &token).await,
            };
            answer.status(503);
        }
    }
    // What is there and no session is neither.
    faults.fail(1, ErrorKind::Decode);
    client.session(&token).await.status(500);
    client.session(&token).await.status(200);
}

#[tokio::test]
async fn a_logout_whose_answer_is_lost_is_503_and_may_be_repeated() {
    let (provider, faults) = Faulty::new(MemoryProvider::new());
    let client = in_this_process(provider, TTL).await;
    let token = client.login("ada", "phone").await;
    faults.lose_answers(1);
    let answer = client.post("/logout", &token).await.json(503);
    assert_eq!(answer["outcome_unknown"], true);
    client.post("/logout", &token).await.status(204);
    client.session(&token).await.status(401);
}

/// As who finds a thief's session in the list does.
#[tokio::test]
async fn ending_all_that_fails_in_the_middle_may_be_repeated() {
    for lost in [false, true] {
        let (provider, faults) = Faulty::new(MemoryProvider::new());
        let client = in_this_process(provider, TTL).await;
        let thief = client.login("ada", "thief").await;
        let token = client.login("ada", "phone").await;
        let laptop = client.login("ada", "laptop").await;
        // It finds the session, lists, and deletes.
        faults.delay(2, Duration::ZERO);
        match lost {
            true => faults.lose_answers(1),
            false => faults.fail(1, ErrorKind::Timeout),
        }
        client.delete("/sessions", &token).await.status(503);
        client.delete("/sessions", &token).await.status(204);
        for token in [thief, token, laptop] {
            client.session(&token).await.status(401);
        }
    }
}

/// Says of each write that its condition does not hold.
struct Taken(Capabilities);

#[async_trait]
impl Provider for Taken {
    fn capabilities(&self) -> &Capabilities {
        &self.0
    }

    async fn get(&self, _: GetRequest<'_>) -> Result<Option<Bytes>> {
        Ok(None)
    }

    async fn set(&self, request: SetRequest<'_>) -> Result<Outcome> {
        assert!(
            request.condition.is_some(),
            "a session may be written over another"
        );
        Ok(Outcome::Unmet)
    }

    async fn delete(&self, _: DeleteRequest<'_>) -> Result<Outcome> {
        Ok(Outcome::Applied(None))
    }
}

#[tokio::test]
async fn a_session_is_never_written_over_another() {
    let mut capabilities = Capabilities::new("taken");
    capabilities.if_absent = true;
    capabilities.touch = true;
    capabilities.expiry = Some(Duration::from_millis(1));
    let client = in_this_process(Taken(capabilities), TTL).await;
    client.try_login("ada", "phone").await.status(409);
}

/// Asks until the answer is this.
async fn becomes(client: &Client, token: &str, status: u16) {
    let start = Instant::now();
    loop {
        let code = client.session(token).await.code();
        if code == status {
            return;
        }
        assert_eq!(code, 503);
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{status} does not come"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_stopped_redis_is_503_and_the_session_outlives_it() {
    let mut redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let url = format!("{}?timeout=500ms", redis.url());
    let running = [
        Running::start(PROGRAM, &url, &[]),
        Running::start(PROGRAM, &url, &[]),
    ];
    let clients = running
        .each_ref()
        .map(|running| Client::new(running.base()));
    let token = clients[0].login("ada", "phone").await;

    redis.stop();
    for client in &clients {
        assert_eq!(all(client, &token).await, [503; 6]);
    }
    // An instance that starts now serves when the server does.
    let late = Running::start(PROGRAM, &url, &[]);
    let client = Client::new(late.base());
    assert_eq!(all(&client, &token).await, [503; 6]);
    redis.restart();
    for client in clients.iter().chain([&client]) {
        becomes(client, &token, 200).await;
    }

    redis.pause();
    for client in &clients {
        assert_eq!(all(client, &token).await, [503; 6]);
    }
    redis.resume();
    for client in &clients {
        // What was asked while it was paused may be done now: also the logout.
        let code = client.session(&token).await.code();
        assert!([200, 401, 503].contains(&code), "{code}");
    }
    for running in running.into_iter().chain([late]) {
        let (_, printed) = running.stop();
        let (user, secret) = token.split_once('.').unwrap();
        assert!(
            !printed.contains(user) && !printed.contains(secret),
            "{printed}"
        );
        assert!(
            !printed.contains(&example_service::hashed(&token)),
            "{printed}"
        );
    }
}

#[test]
fn a_store_that_cannot_do_what_is_needed_is_refused() {
    let error = Sessions::new(Arc::new(Taken(Capabilities::new("small"))), TTL).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let told = error.to_string();
    for words in ["small", "expiry", "touch", "absent"] {
        assert!(told.contains(words), "{words}: {told}");
    }
}

/// Starts it with this variable, which is no text, on a store and a port that it would not find.
#[cfg(unix)]
fn told_of_no_text(variable: &str, argument: bool) -> String {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    let no_text = OsStr::from_bytes(b"redis://:hunter2@m\xfcnchen");
    let folder = Folder::new();
    let mut command = std::process::Command::new(PROGRAM);
    command.current_dir(folder.path()).env("LISTEN", "nowhere");
    command.env_remove("KVSTORE_URL").env(variable, no_text);
    if variable == "LISTEN" {
        command.arg("memory:");
    }
    if argument {
        command.arg(no_text);
    }
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
    let files = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(files, 0, "it has taken another store: {told}");
    told
}

#[cfg(unix)]
#[test]
fn what_is_no_text_is_told_and_nothing_else_is_taken() {
    for variable in ["KVSTORE_URL", "LISTEN"] {
        let told = told_of_no_text(variable, false);
        assert!(told.contains(&format!("{variable} is not UTF-8")), "{told}");
    }
    let told = told_of_no_text("UNUSED", true);
    assert!(told.contains("an argument is not UTF-8"), "{told}");
}

#[test]
fn what_cannot_work_is_told_at_the_start() {
    for (url, words) in [
        ("nonsense", "the URL has no scheme"),
        ("fallback:memory:", "a space"),
        ("redis://:hunter2@127.0.0.1/nonsense", "redis"),
    ] {
        let mut command = std::process::Command::new(PROGRAM);
        let output = command.env("KVSTORE_URL", url).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{told}");
        assert!(told.contains(words) && !told.contains("hunter2"), "{told}");
    }
    // A wrong token is wrong for ever.
    let vault = Vault::shared();
    let url = vault.url("").replace(vault.token(), "hunter2");
    let output = std::process::Command::new(PROGRAM).arg(&url).output();
    let output = output.unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && !told.contains("hunter2"),
        "{told}"
    );
}
