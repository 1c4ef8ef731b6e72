//! The servers that tests start: what they offer, and their stops, pauses and restarts.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
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
