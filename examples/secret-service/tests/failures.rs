//! What the service answers while its store fails: 503, and never 404.

mod client;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use client::{Answer, CALLERS, Client, PROGRAM, in_this_process};
use example_service::testing::Running;
use kvstore_core::ErrorKind;
use kvstore_memory::MemoryProvider;
use kvstore_testsuite::servers::VaultServer;
use kvstore_testsuite::{Faulty, unique_root};

/// Everything that can be asked, at the same time.
async fn all(client: &Client) -> [u16; 8] {
    let answers = tokio::join!(
        client.fetch("name"),
        client.fetch("other"),
        client.create("other", b"x"),
        client.rotate("name", b"x"),
        client.rotate("other", b"x"),
        client.take("other"),
        client.delete("other"),
        client.list(""),
    );
    <[Answer; 8]>::from(answers).map(|answer| answer.0)
}

#[tokio::test]
async fn each_failure_of_each_call_is_503() {
    let (provider, faults) = Faulty::new(MemoryProvider::new());
    let (client, log) = in_this_process(provider).await;
    client.create("name", b"secret").await.status(201);
    for kind in [
        ErrorKind::Unavailable,
        ErrorKind::Timeout,
        ErrorKind::Busy,
        ErrorKind::Unauthenticated,
        ErrorKind::PermissionDenied,
        ErrorKind::StorageFull,
        ErrorKind::Closed,
        ErrorKind::Other,
    ] {
        faults.fail(usize::from(u16::MAX), kind);
        assert_eq!(all(&client).await, [503; 8], "{kind:?}");
        faults.heal();
    }
    faults.lose_answers(1);
    let answer = client.rotate("name", b"rotated").await;
    answer.status(503);
    assert_eq!(
        client.fetch("name").await.bytes(),
        b"secret",
        "only a read was lost"
    );
    faults.delay(1, std::time::Duration::ZERO);
    faults.lose_answers(1);
    let answer = client.rotate("name", b"rotated").await;
    answer.status(503);
    assert!(String::from_utf8_lossy(&answer.1).contains(r#""outcome_unknown":true"#));
    assert_eq!(client.fetch("name").await.bytes(), b"rotated");
    assert!(
        !log.text().contains("rotated\""),
        "no value is written down"
    );
}

#[tokio::test]
async fn a_vault_that_is_down_or_sealed_is_503_and_the_secrets_outlive_it() {
    let mut vault = VaultServer::start();
    let url = vault.url(&format!("path={}&timeout=1s", unique_root()));
    let running = Running::start(PROGRAM, &url, &[CALLERS]);
    let client = Client::new(running.base());
    client.create("name", b"hunter2").await.status(201);
    vault.seal();
    assert_eq!(all(&client).await, [503; 8]);
    vault.unseal();
    let fetched = loop {
        match client.fetch("name").await {
            answer if answer.0 == 503 => {}
            answer => break answer,
        }
    };
    assert_eq!(fetched.bytes(), b"hunter2");
    vault.stop();
    assert_eq!(all(&client).await, [503; 8]);
    // An instance that starts now answers, and does not end.
    let late = Running::start(PROGRAM, &url, &[CALLERS]);
    assert_eq!(all(&Client::new(late.base())).await, [503; 8]);
    for running in [running, late] {
        let (_, printed) = running.stop();
        assert!(
            !printed.contains("hunter2") && !printed.contains(vault.token()),
            "{printed}"
        );
    }
}

/// Else the service would make a caller of its own.
#[cfg(unix)]
#[test]
fn callers_that_are_no_text_are_told() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    let callers = OsStr::from_bytes(b"m\xfcller:0123456789abcdef");
    let mut command = Command::new(PROGRAM);
    command.env("CALLERS", callers).env("LISTEN", "127.0.0.1:0");
    command.arg("memory:").stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut listens = String::new();
    let stdout = child.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut listens).unwrap();
    // It may have ended.
    let _ = child.kill();
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(listens, "", "{told}");
    assert!(told.contains("CALLERS is not UTF-8"), "{told}");
    assert!(!told.contains("0123456789"), "{told}");
}
