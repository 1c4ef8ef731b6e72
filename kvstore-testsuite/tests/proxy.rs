//! The proxy, in front of a server that answers each line, and of Redis.

use std::io;
use std::time::{Duration, Instant};

use kvstore_testsuite::proxy::Proxy;
use kvstore_testsuite::servers::{RedisServer, Reply};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{sleep, timeout};

/// A server that answers each line with the same line, and tells which lines it got.
async fn echo() -> (Proxy, UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (got, lines) = unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let got = got.clone();
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                let mut read = BufReader::new(read).lines();
                while let Ok(Some(line)) = read.next_line().await {
                    let _ = got.send(line.clone());
                    if write
                        .write_all(format!("{line}\n").as_bytes())
                        .await
                        .is_err()
                    {
                        break;
                    }
                }
            });
        }
    });
    (Proxy::start(address).await.unwrap(), lines)
}

async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(proxy.address()).await.unwrap()
}

/// Sends text, and reads an answer of the same length.
async fn ask(stream: &mut TcpStream, text: &str) -> io::Result<String> {
    stream.write_all(text.as_bytes()).await?;
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).await?;
    Ok(String::from_utf8(answer).unwrap())
}

/// Reads until the connection is closed, by whichever means.
async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let end = stream.read_to_end(&mut answer);
    let _ = timeout(Duration::from_secs(5), end)
        .await
        .expect("the connection was not closed");
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn round_trips_and_bytes_are_counted() {
    let (proxy, _lines) = echo().await;
    let mut first = connect(&proxy).await;
    let mut second = connect(&proxy).await;
    assert_eq!(proxy.round_trips(), 0);
    for _ in 0..3 {
        assert_eq!(ask(&mut first, "hello\n").await.unwrap(), "hello\n");
    }
    assert_eq!(ask(&mut second, "you\n").await.unwrap(), "you\n");
    assert_eq!(proxy.round_trips(), 4);
    assert_eq!((proxy.bytes_sent(), proxy.bytes_received()), (22, 22));
    proxy.reset();
    assert_eq!(
        (
            proxy.round_trips(),
            proxy.bytes_sent(),
            proxy.bytes_received()
        ),
        (0, 0, 0)
    );
    ask(&mut first, "hello\n").await.unwrap();
    assert_eq!(proxy.round_trips(), 1);
}

#[tokio::test]
async fn a_batch_is_one_round_trip_even_if_it_comes_in_pieces() {
    let (proxy, _lines) = echo().await;
    proxy.delay(Duration::from_millis(100));
    let mut stream = connect(&proxy).await;
    stream.set_nodelay(true).unwrap();
    for _ in 0..5 {
        stream.write_all(b"line\n").await.unwrap();
        sleep(Duration::from_millis(5)).await;
    }
    let mut answers = [0; 25];
    stream.read_exact(&mut answers).await.unwrap();
    assert_eq!(proxy.round_trips(), 1);
}

#[tokio::test]
async fn much_goes_both_ways_at_once() {
    let (proxy, _lines) = echo().await;
    let mut stream = connect(&proxy).await;
    let (mut read, mut write) = stream.split();
    let line = [&b"x".repeat(1_000_000)[..], b"\n"].concat();
    let send = async {
        for _ in 0..20 {
            write.write_all(&line).await.unwrap();
        }
        write.shutdown().await.unwrap();
    };
    let mut answers = Vec::new();
    // The end that the client sends reaches the server, and all the answers still come.
    let (_, received) = tokio::join!(send, read.read_to_end(&mut answers));
    assert_eq!(received.unwrap(), 20 * line.len());
}

#[tokio::test]
async fn a_delay_holds_each_reply_back_once() {
    let (proxy, _lines) = echo().await;
    let mut stream = connect(&proxy).await;
    let delay = Duration::from_millis(60);
    proxy.delay(delay);
    let start = Instant::now();
    let long = "y".repeat(1_000_000) + "\n";
    ask(&mut stream, &long).await.unwrap();
    assert!(start.elapsed() >= delay);
    // It comes in sixteen pieces or more.
    assert!(start.elapsed() < delay * 8, "{:?}", start.elapsed());
    proxy.heal();
    let start = Instant::now();
    ask(&mut stream, "a\n").await.unwrap();
    assert!(start.elapsed() < delay);
}

#[tokio::test]
async fn a_cut_loses_the_answer_and_not_the_request() {
    let (proxy, mut lines) = echo().await;
    let mut other = connect(&proxy).await;
    let mut stream = connect(&proxy).await;
    ask(&mut stream, "one\n").await.unwrap();
    proxy.cut_after_request();
    stream.write_all(b"two\n").await.unwrap();
    assert_eq!(rest(&mut stream).await, "");
    assert_eq!(lines.recv().await.unwrap(), "one");
    assert_eq!(lines.recv().await.unwrap(), "two");
    // Once, and on one connection.
    ask(&mut other, "three\n").await.unwrap();
    ask(&mut connect(&proxy).await, "four\n").await.unwrap();
}

#[tokio::test]
async fn a_cut_within_a_reply_leaves_its_beginning() {
    let (proxy, _lines) = echo().await;
    let mut stream = connect(&proxy).await;
    proxy.cut_mid_reply(3);
    stream.write_all(b"abcdef\n").await.unwrap();
    assert_eq!(rest(&mut stream).await, "abc");
}

#[tokio::test]
async fn refusing_closes_old_and_new_connections() {
    let (proxy, mut lines) = echo().await;
    let mut stream = connect(&proxy).await;
    ask(&mut stream, "one\n").await.unwrap();
    proxy.refuse();
    assert_eq!(rest(&mut stream).await, "");
    let mut stream = connect(&proxy).await;
    let _ = stream.write_all(b"two\n").await;
    assert_eq!(rest(&mut stream).await, "");
    proxy.heal();
    ask(&mut connect(&proxy).await, "three\n").await.unwrap();
    assert_eq!(lines.recv().await.unwrap(), "one");
    assert_eq!(lines.recv().await.unwrap(), "three");
}

#[tokio::test]
async fn stalling_swallows_on_old_and_new_connections() {
    let (proxy, mut lines) = echo().await;
    let (mut old, mut idle) = (connect(&proxy).await, connect(&proxy).await);
    ask(&mut old, "one\n").await.unwrap();
    ask(&mut idle, "one\n").await.unwrap();
    proxy.stall();
    let mut new = connect(&proxy).await;
    for stream in [&mut old, &mut new] {
        // More than the system would hold for a reader that does not read.
        stream.write_all(&b"two\n".repeat(5_000_000)).await.unwrap();
        let answered = timeout(Duration::from_millis(200), stream.read_u8()).await;
        assert!(answered.is_err(), "{answered:?}");
    }
    proxy.heal();
    assert_eq!(rest(&mut old).await, "");
    assert_eq!(rest(&mut new).await, "");
    ask(&mut idle, "three\n").await.unwrap();
    for expected in ["one", "one", "three"] {
        assert_eq!(lines.recv().await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_reply_under_way_when_a_stall_begins_is_swallowed() {
    let (proxy, mut lines) = echo().await;
    let mut stream = connect(&proxy).await;
    proxy.delay(Duration::from_millis(100));
    stream.write_all(b"one\n").await.unwrap();
    assert_eq!(lines.recv().await.unwrap(), "one");
    proxy.stall();
    let answered = timeout(Duration::from_millis(300), stream.read_u8()).await;
    assert!(answered.is_err(), "{answered:?}");
    proxy.heal();
    assert_eq!(rest(&mut stream).await, "");
}

#[tokio::test]
async fn a_dropped_proxy_closes_everything() {
    let (proxy, _lines) = echo().await;
    let mut stream = connect(&proxy).await;
    ask(&mut stream, "one\n").await.unwrap();
    let address = proxy.address();
    drop(proxy);
    assert_eq!(rest(&mut stream).await, "");
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_server_that_is_down_closes_the_clients() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    drop(listener);
    let proxy = Proxy::start(target).await.unwrap();
    assert_eq!(rest(&mut connect(&proxy).await).await, "");
}

#[tokio::test]
async fn redis_applied_what_was_cut() {
    let redis = RedisServer::start();
    let proxy = Proxy::start(redis.address()).await.unwrap();
    let mut stream = connect(&proxy).await;
    proxy.delay(Duration::from_millis(20));
    stream.write_all(&b"SET a 1\r\n".repeat(100)).await.unwrap();
    let mut answers = vec![0; 500];
    stream.read_exact(&mut answers).await.unwrap();
    assert_eq!(answers, b"+OK\r\n".repeat(100));
    assert_eq!(proxy.round_trips(), 1);
    proxy.cut_after_request();
    stream.write_all(b"INCR a\r\n").await.unwrap();
    assert_eq!(rest(&mut stream).await, "");
    assert_eq!(redis.command(&["GET", "a"]), Reply::Data(b"2".to_vec()));
}
