//! Servers that answer what ZooKeeper would not, and what it would at odd moments.

use std::time::Duration;

use kvstore_core::{ErrorKind, KeyValueStore};
use kvstore_zookeeper::{ZooKeeperConfig, ZooKeeperProvider};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

mod common;
use common::{HANGS, ends, failed};

/// Answers each request of each connection, whatever it is, by what stands here, in turn; and then nothing.
async fn server(answers: &[&'static [u8]]) -> (ZooKeeperConfig, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answers = answers.to_vec();
    let serving = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            for answer in &answers {
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream.write_all(answer).await;
            }
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    let config = ZooKeeperConfig::new("127.0.0.1", port).timeout(Duration::from_millis(500));
    (config, serving)
}

#[tokio::test]
async fn a_server_that_is_no_zookeeper() {
    let answers: [&[u8]; 4] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\xff\xff\xff\xff",
        b"\0\0\0\x03abc",
        b"\0\0\0\x28\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\0\x01\x7f\xff\xff\xff0123456789abcdef0123",
    ];
    for answer in answers {
        let (config, serving) = server(&[answer]).await;
        let connected = ends("connect", ZooKeeperProvider::connect(config)).await;
        let error = failed(connected, ErrorKind::Unavailable, "no ZooKeeper");
        assert!(error.to_string().contains("no ZooKeeper"), "{error}");
        serving.abort();
    }
}

/// The answer to what begins a session.
const SESSION: &[u8] =
    b"\0\0\0\x25\0\0\0\0\0\0\x27\x10\0\0\0\0\0\0\0\x07\0\0\0\x100123456789abcdef\0";

/// The answer to a `sync` that is the first request.
const SYNCED: &[u8] = b"\0\0\0\x15\0\0\0\x01\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x01/";

/// That there is no node, to the second.
const MISSING: &[u8] = b"\0\0\0\x10\0\0\0\x02\0\0\0\0\0\0\0\x09\xff\xff\xff\x9b";

#[tokio::test]
async fn answers_that_make_no_sense_are_errors() {
    let answers: [&[u8]; 5] = [
        // Data longer than the frame.
        b"\0\0\0\x14\0\0\0\x02\0\0\0\0\0\0\0\x09\0\0\0\0\x7f\0\0\0",
        // The number of the one before, and one that nobody gave.
        b"\0\0\0\x10\0\0\0\x01\0\0\0\0\0\0\0\x09\xff\xff\xff\x9b",
        b"\0\0\0\x10\0\0\0\x07\0\0\0\0\0\0\0\x09\xff\xff\xff\x9b",
        // A frame too short for a header, and one that is longer than any.
        b"\0\0\0\x02\0\0",
        b"\x7f\xff\xff\xff\0\0\0\x02",
    ];
    for answer in answers {
        let answers = [SESSION, &[SYNCED, answer].concat().leak()[..]];
        let (config, serving) = server(&answers).await;
        let texts = KeyValueStore::text(ZooKeeperProvider::lazy(config).unwrap());
        let error = ends("get", texts.get("key")).await.unwrap_err();
        let kinds = [ErrorKind::Unavailable, ErrorKind::Timeout, ErrorKind::Other];
        assert!(kinds.contains(&error.kind()), "{error:?}");
        serving.abort();
    }
}

/// What nobody asked for comes between two answers, and belongs to none of them.
#[tokio::test]
async fn pings_and_events_between_answers() {
    let ping = b"\0\0\0\x10\xff\xff\xff\xfe\0\0\0\0\0\0\0\x09\0\0\0\0";
    // A node was deleted.
    let event =
        b"\0\0\0\x1e\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\x02\0\0\0\x03\0\0\0\x02/a";
    let answer = [
        &event[..],
        &ping[..],
        SYNCED,
        &event[..],
        &ping[..],
        MISSING,
    ]
    .concat();
    let (config, serving) = server(&[SESSION, answer.leak()]).await;
    let texts = KeyValueStore::text(ZooKeeperProvider::lazy(config).unwrap());
    assert_eq!(ends("get", texts.get("key")).await.unwrap(), None);
    serving.abort();
}

/// Begins a session with the next client, or goes on with it.
async fn greet(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    request(&mut stream).await;
    stream.write_all(SESSION).await.unwrap();
    stream
}

/// The number of the next request.
async fn request(stream: &mut TcpStream) -> i32 {
    let length = stream.read_i32().await.unwrap();
    let mut request = vec![0; length.try_into().unwrap()];
    stream.read_exact(&mut request).await.unwrap();
    i32::from_be_bytes(*request.first_chunk().unwrap())
}

/// Answers a request without an error.
async fn answer(stream: &mut TcpStream, number: i32, body: &[u8]) {
    let mut answer = Vec::new();
    answer.extend(i32::try_from(16 + body.len()).unwrap().to_be_bytes());
    answer.extend(number.to_be_bytes());
    answer.extend(9_i64.to_be_bytes());
    answer.extend(0_i32.to_be_bytes());
    answer.extend(body);
    stream.write_all(&answer).await.unwrap();
}

async fn listening() -> (TcpListener, KeyValueStore<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = ZooKeeperConfig::new("127.0.0.1", port).timeout(HANGS / 2);
    let provider = ZooKeeperProvider::lazy(config).unwrap();
    (listener, KeyValueStore::text(provider))
}

/// A follower knows its answers by session and number: those of a connection that is lost may still come.
#[tokio::test]
async fn a_session_gives_no_number_twice() {
    let (listener, texts) = listening().await;
    let serving = async {
        let mut last = 0;
        for _ in 0..3 {
            let mut stream = greet(&listener).await;
            let number = request(&mut stream).await;
            assert!(number > last, "{number} after {last}");
            last = number;
        }
    };
    let set = async {
        for _ in 0..3 {
            let set = failed(texts.set("key", "v").await, ErrorKind::Unavailable, "set");
            assert!(set.outcome_unknown());
        }
    };
    ends("the calls", async { tokio::join!(serving, set) }).await;
}

/// A session that expires under several writes that are one: the answer is no error but within.
#[tokio::test]
async fn a_session_that_expires_under_a_multi() {
    let (listener, texts) = listening().await;
    let serving = async {
        let mut stream = greet(&listener).await;
        let number = request(&mut stream).await;
        // An error for each of the two.
        let expired = b"\xff\xff\xff\xff\0\xff\xff\xff\x90\xff\xff\xff\x90";
        let inconsistent = b"\xff\xff\xff\xff\0\xff\xff\xff\xfe\xff\xff\xff\xfe";
        let end = b"\xff\xff\xff\xff\x01\xff\xff\xff\xff";
        let body = [&expired[..], inconsistent, end].concat();
        answer(&mut stream, number, &body).await;
        let mut stream = greet(&listener).await;
        let number = request(&mut stream).await;
        let stat = [0; 68];
        let written = b"\0\0\0\x05\0\0\0\0\0";
        let deleted = b"\0\0\0\x02\0\0\0\0\0";
        let body = [&written[..], &stat, deleted, end].concat();
        answer(&mut stream, number, &body).await;
        stream
    };
    let call = async { tokio::join!(serving, texts.delete("key")) };
    ends("the call", call).await.1.unwrap();
}
