//! Servers that answer what ZooKeeper would not, and what it would at odd moments.

use std::time::Duration;

use kvstore_core::{ErrorKind, KeyValueStore};
use kvstore_zookeeper::{ZooKeeperConfig, ZooKeeperProvider};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

mod common;
use common::{HANGS, ends, failed};

/// Answers each request of each session, whatever it is, by what stands here, in turn; and then nothing.
async fn server(answers: &[&'static [u8]]) -> (ZooKeeperConfig, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answers = answers.to_vec();
    let serving = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answers = answers.clone();
            tokio::spawn(async move {
                for answer in answers {
                    let mut request = [0; 1024];
                    let _ = stream.read(&mut request).await;
                    if request.starts_with(b"srvr") {
                        let _ = stream.write_all(ALONE).await;
                        return;
                    }
                    let _ = stream.write_all(answer).await;
                }
                let _ = stream.read_to_end(&mut Vec::new()).await;
            });
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

/// The answer to `srvr`.
const ALONE: &[u8] = b"Zookeeper version: 3.8.0-1, built on 2022\nMode: standalone\n";

/// That there is no node, to the first request.
const MISSING: &[u8] = b"\0\0\0\x10\0\0\0\x01\0\0\0\0\0\0\0\x09\xff\xff\xff\x9b";

#[tokio::test]
async fn answers_that_make_no_sense_are_errors() {
    let answers: [&[u8]; 5] = [
        // Data longer than the frame.
        b"\0\0\0\x14\0\0\0\x01\0\0\0\0\0\0\0\x09\0\0\0\0\x7f\0\0\0",
        // The number of none so far, and one that nobody gave.
        b"\0\0\0\x10\0\0\0\0\0\0\0\0\0\0\0\x09\xff\xff\xff\x9b",
        b"\0\0\0\x10\0\0\0\x07\0\0\0\0\0\0\0\x09\xff\xff\xff\x9b",
        // A frame too short for a header, and one that is longer than any.
        b"\0\0\0\x02\0\0",
        b"\x7f\xff\xff\xff\0\0\0\x02",
    ];
    for answer in answers {
        let (config, serving) = server(&[SESSION, answer]).await;
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
    let answer = [&event[..], &ping[..], MISSING].concat();
    let (config, serving) = server(&[SESSION, answer.leak()]).await;
    let texts = KeyValueStore::text(ZooKeeperProvider::lazy(config).unwrap());
    assert_eq!(ends("get", texts.get("key")).await.unwrap(), None);
    serving.abort();
}

/// Begins a session with the next client, or goes on with it, and is alone.
async fn greet(listener: &TcpListener) -> TcpStream {
    greet_as(listener, ALONE).await.0
}

/// Begins a session with the next client, or goes on with it, and says what it is; and how often that was asked before.
async fn greet_as(listener: &TcpListener, status: &[u8]) -> (TcpStream, usize) {
    let mut asked = 0;
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut word = [0; 4];
        stream.peek(&mut word).await.unwrap();
        if &word == b"srvr" {
            stream.read_exact(&mut word).await.unwrap();
            stream.write_all(status).await.unwrap();
            asked += 1;
            continue;
        }
        request(&mut stream).await;
        stream.write_all(SESSION).await.unwrap();
        let (mut asking, _) = listener.accept().await.unwrap();
        asking.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"srvr");
        asking.write_all(status).await.unwrap();
        return (stream, asked);
    }
}

/// The number of the next request.
async fn request(stream: &mut TcpStream) -> i32 {
    request_of_kind(stream).await.0
}

/// The number of the next request, and what it is.
async fn request_of_kind(stream: &mut TcpStream) -> (i32, i32) {
    let length = stream.read_i32().await.unwrap();
    let mut request = vec![0; length.try_into().unwrap()];
    stream.read_exact(&mut request).await.unwrap();
    let ([number, kind], _) = request[..8].as_chunks() else {
        panic!("a request begins with its number and kind");
    };
    (i32::from_be_bytes(*number), i32::from_be_bytes(*kind))
}

/// Answers a request without an error.
async fn answer(stream: &mut TcpStream, number: i32, body: &[u8]) {
    answer_with(stream, number, 0, body).await;
}

/// Answers a request with this error.
async fn answer_with(stream: &mut TcpStream, number: i32, error: i32, body: &[u8]) {
    let mut answer = Vec::new();
    answer.extend(i32::try_from(16 + body.len()).unwrap().to_be_bytes());
    answer.extend(number.to_be_bytes());
    answer.extend(9_i64.to_be_bytes());
    answer.extend(error.to_be_bytes());
    answer.extend(body);
    stream.write_all(&answer).await.unwrap();
}

async fn listening() -> (TcpListener, KeyValueStore<String>) {
    listening_as(1).await
}

/// A server by so many names.
async fn listening_as(names: usize) -> (TcpListener, KeyValueStore<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = ZooKeeperConfig::new("127.0.0.1", port).timeout(HANGS / 2);
    let config = (1..names).fold(config, |config, _| config.server("127.0.0.1", port));
    let provider = ZooKeeperProvider::lazy(config).unwrap();
    (listener, KeyValueStore::text(provider))
}

/// What is sent ahead of a read, and what is made of its answer.
#[tokio::test]
async fn a_server_that_may_be_behind_catches_up_first() {
    let [sync, get_data, multi] = [9, 4, 14];
    // What a multi of one check is answered with that was done, or was not allowed, or failed.
    let checked = b"\0\0\0\x0d\0\0\0\0\0\xff\xff\xff\xff\x01\xff\xff\xff\xff";
    let refused = |code: &[u8; 4]| {
        let end = b"\xff\xff\xff\xff\x01\xff\xff\xff\xff";
        [&b"\xff\xff\xff\xff\0"[..], code, code, end].concat()
    };
    let not_allowed = refused(b"\xff\xff\xff\x9a");
    let failed = refused(b"\xff\xff\xff\xfc");
    let case = |names: usize, mode, ahead: i32, answer| (names, mode, ahead, answer);
    // How many names it has, what it is, what comes ahead, what that is answered with, and whether the read is answered then.
    let cases = [
        (case(2, "follower", sync, (0, &b"\0\0\0\x01/"[..])), true),
        (case(2, "observer", sync, (0, b"\0\0\0\x01/")), true),
        (case(2, "follower", sync, (-4, b"")), false),
        // One name may be that of another server when it is asked what it is.
        (case(1, "follower", multi, (0, checked)), true),
        (case(1, "leader", multi, (0, checked)), true),
        (case(1, "leader", multi, (0, &not_allowed)), true),
        (case(1, "leader", multi, (0, &failed)), false),
        (case(1, "leader", multi, (-4, b"")), false),
        // It is passed over by each name, since there may be one that follows, and taken then.
        (case(2, "leader", multi, (0, checked)), true),
    ];
    for ((names, mode, ahead, (error, body)), is_answered) in cases {
        let asks = match mode {
            "leader" if names > 1 => names,
            _ => names - 1,
        };
        let (listener, texts) = listening_as(names).await;
        let serving = async {
            let status = format!("Mode: {mode}\n");
            let (mut stream, asked) = greet_as(&listener, status.as_bytes()).await;
            assert_eq!(asked, asks, "{mode}");
            let (number, kind) = request_of_kind(&mut stream).await;
            assert_eq!(kind, ahead, "{mode}");
            answer_with(&mut stream, number, error, body).await;
            let (number, kind) = request_of_kind(&mut stream).await;
            assert_eq!(kind, get_data, "{mode}");
            // There is no such node.
            answer_with(&mut stream, number, -101, b"").await;
            stream
        };
        let get = async { tokio::join!(serving, texts.get("key")).1 };
        match ends("get", get).await {
            Ok(found) => assert!(found.is_none() && is_answered, "{mode} {error}"),
            Err(found) => assert!(!is_answered, "{mode} {error}: {found:?}"),
        }
    }
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

/// A server that was told to go on with a session, and is silent, may do so later, and then what was sent before
/// on another connection. So the session is ended by the next that answers, and another begins.
#[tokio::test]
async fn a_session_that_a_silent_server_may_go_on_with_is_ended() {
    let (listener, texts) = listening().await;
    let serving = async {
        let session = async || {
            let (mut stream, _) = listener.accept().await.unwrap();
            let length = stream.read_i32().await.unwrap();
            let mut hello = vec![0; length.try_into().unwrap()];
            stream.read_exact(&mut hello).await.unwrap();
            // After the protocol's version, the last transaction and a timeout.
            let session = i64::from_be_bytes(*hello[16..].first_chunk().unwrap());
            (stream, session)
        };
        let mut stream = greet(&listener).await;
        request(&mut stream).await;
        drop(stream);
        let (silent, id) = session().await;
        assert_eq!(id, 7, "it goes on");
        let (mut stream, id) = session().await;
        assert_eq!(id, 7, "it goes on");
        stream.write_all(SESSION).await.unwrap();
        let (number, kind) = request_of_kind(&mut stream).await;
        assert_eq!(kind, -11, "it is ended");
        answer(&mut stream, number, b"").await;
        let (stream, id) = session().await;
        assert_eq!(id, 0, "another begins");
        drop((silent, stream));
    };
    let set = async {
        let set = failed(texts.set("key", "v").await, ErrorKind::Unavailable, "set");
        assert!(set.outcome_unknown());
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
