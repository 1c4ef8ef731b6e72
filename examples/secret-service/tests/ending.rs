//! How the service ends, and that it goes on when nobody reads what it says.

mod client;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use client::{CALLERS, Client, Log, PROGRAM, TOKEN};
use example_service::serve_until;
use example_service::testing::Running;
use kvstore_memory::MemoryProvider;
use kvstore_testsuite::Faulty;
use secret_service::{Audit, Callers, Secrets, app};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// A request whose body does not come to its end.
fn half_a_request(base: &str) -> TcpStream {
    let address = base.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "PUT /secrets/name HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Length: 10\r\n\r\nhalf"
    )
    .unwrap();
    stream
}

/// A service with such a request, that is told to end and waits for it.
async fn waiting() -> (Running, TcpStream) {
    let running = Running::start(PROGRAM, "memory:", &[CALLERS]);
    let client = Client::new(running.base());
    client.create("name", b"secret").await.status(201);
    let request = half_a_request(running.base());
    // What was sent before this has come by now, on the same machine.
    client.fetch("name").await.status(200);
    running.tell();
    let address = running.base().strip_prefix("http://").unwrap();
    while TcpStream::connect(address).is_ok() {
        tokio::task::yield_now().await;
    }
    (running, request)
}

#[tokio::test]
async fn what_is_under_way_is_answered() {
    let (mut running, mut request) = waiting().await;
    request.write_all(b" more.").unwrap();
    let mut answer = String::new();
    request.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    let status = running.wait();
    assert_eq!(status.code(), Some(0), "{}", running.printed());
    let printed = running.printed();
    let line = printed.lines().last().unwrap();
    assert!(
        line.contains(r#""rotate""#) && line.contains("204"),
        "{line}"
    );
}

#[tokio::test]
async fn what_was_asked_by_who_hung_up_is_done_and_written_down() {
    let (provider, faults) = Faulty::new(MemoryProvider::new());
    let secrets = Secrets::new(Arc::new(provider)).unwrap();
    let (callers, log) = (Callers::parse(CALLERS.1).unwrap(), Log::default());
    let app = app(secrets, callers, Audit::new(log.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(&format!("http://{}", listener.local_addr().unwrap()));
    let (stop, stopped) = oneshot::channel::<()>();
    let until = async { drop(stopped.await) };
    let served = tokio::spawn(serve_until(listener, app, until));

    faults.delay(1, Duration::from_secs(1));
    let asked = tokio::spawn(async move { client.create("name", b"secret").await });
    while faults.calls() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    asked.abort();
    assert!(asked.await.unwrap_err().is_cancelled());
    stop.send(()).unwrap();
    served.await.unwrap().unwrap();
    let written = log.text();
    assert!(
        written.contains(r#""create""#) && written.contains("201"),
        "{written}"
    );
}

#[tokio::test]
async fn told_twice_it_ends_at_once() {
    let (running, _request) = waiting().await;
    let (status, printed) = running.stop();
    assert_eq!(status.code(), Some(130), "{printed}");
}

#[tokio::test]
async fn told_once_it_does_not_wait_for_ever() {
    let (mut running, _request) = waiting().await;
    let status = running.wait();
    assert_eq!(status.code(), Some(0), "{}", running.printed());
}

#[tokio::test]
async fn nobody_has_to_read_what_it_says() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    // There is no store at that address, which is said at the start and at each request.
    let url = "redis://127.0.0.1:1?timeout=300ms&connect_timeout=200ms";
    let mut running = Running::start_unheard(PROGRAM, url, &address, &[CALLERS]);
    let client = Client::new(running.base());
    let answer = loop {
        match client.ask(reqwest::Method::GET, "/secrets/name", b"").await {
            Ok(answer) => break answer,
            Err(_) => assert!(running.is_running(), "it has ended"),
        }
    };
    answer.status(503);
    client.fetch("name").await.status(503);
    assert!(running.is_running());
}
