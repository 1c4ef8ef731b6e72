//! Redis with sentinels: that they know one another, fail over, and leave nothing.

use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use kvstore_testsuite::servers::{RedisSentinel, Reply};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

#[test]
fn there_are_a_primary_two_replicas_and_three_sentinels() {
    let own = [RedisSentinel::start(), RedisSentinel::start_valkey(&[])];
    for redis in own.iter().chain([RedisSentinel::shared()]) {
        assert_eq!(redis.primary(), 0);
        assert_eq!(redis.replicas(), [1, 2]);
        let sentinels = [0, 1, 2].map(|i| redis.sentinel_address(i).to_string());
        let sentinels = sentinels.join(",");
        let url = format!("redis-sentinel://{sentinels}?master=mymaster&a=b");
        assert_eq!(redis.url("&a=b"), url);
        for sentinel in 0..3 {
            let primary = redis.sentinel_command(
                sentinel,
                &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"],
            );
            let port = redis.address(0).port().to_string();
            assert_eq!(primary, Reply::List(vec![data("127.0.0.1"), data(&port)]));
        }
    }
}

#[test]
fn a_killed_primary_is_replaced_and_comes_back_as_a_replica() {
    for mut redis in [RedisSentinel::start(), RedisSentinel::start_valkey(&[])] {
        redis.command(0, &["SET", "fruit", "apple"]);
        for replica in redis.replicas() {
            eventually("the replica has the value", || {
                redis.command(replica, &["GET", "fruit"]) == data("apple")
            });
        }
        redis.stop(0);
        let new = redis.wait_for_new_primary(0);
        assert_ne!(new, 0);
        assert_eq!(redis.primary(), new);
        redis.command(new, &["SET", "fruit", "pear"]);
        redis.restart(0);
        redis.wait_until_ok();
        assert_eq!(
            redis.replicas(),
            [0, 1, 2]
                .into_iter()
                .filter(|i| *i != new)
                .collect::<Vec<_>>()
        );
        assert_eq!(redis.command(0, &["GET", "fruit"]), data("pear"));
        assert!(
            matches!(redis.try_command(0, &["SET", "fruit", "plum"]), Reply::Error(e) if e.starts_with("READONLY"))
        );
        // What it became it remembers, though no sentinel tells it again.
        for sentinel in 0..3 {
            redis.stop_sentinel(sentinel);
        }
        for node in 0..3 {
            redis.restart(node);
        }
        eventually("the new primary leads", || {
            let role = redis.command(new, &["ROLE"]);
            matches!(role, Reply::List(role) if role[0] == data("master"))
        });
    }
}

#[test]
fn the_sentinels_fail_over_when_told() {
    let mut redis = RedisSentinel::start_named("fruits");
    assert!(redis.url("").ends_with("?master=fruits"));
    let mut old = 0;
    for _ in 0..2 {
        let new = redis.failover();
        assert_ne!(new, old);
        assert_eq!(redis.primary(), new);
        assert!(redis.replicas().contains(&old));
        old = new;
    }
}

#[test]
fn a_halted_primary_is_replaced_and_steps_back() {
    let mut redis = RedisSentinel::start();
    redis.pause(0);
    let new = redis.wait_for_new_primary(0);
    redis.resume(0);
    redis.wait_until_ok();
    assert_eq!(redis.primary(), new);
    assert!(redis.replicas().contains(&0));
}

#[test]
fn two_sentinels_are_enough_and_the_third_catches_up() {
    let mut redis = RedisSentinel::start();
    redis.stop_sentinel(0);
    redis.stop(0);
    let new = redis.wait_for_new_primary(0);
    redis.restart_sentinel(0);
    redis.wait_until_ok();
    assert_eq!(redis.primary(), new);
}

#[test]
fn passwords_do_not_shut_out_the_suite() {
    let mut redis = RedisSentinel::start_with_passwords("swordfish", r#"a "b" \c"#);
    let asked = |address| {
        use std::io::{Read as _, Write as _};
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"PING\r\n").unwrap();
        let mut answer = [0; 7];
        stream.read_exact(&mut answer).unwrap();
        answer
    };
    for i in 0..3 {
        assert_eq!(&asked(redis.address(i)), b"-NOAUTH");
        assert_eq!(&asked(redis.sentinel_address(i)), b"-NOAUTH");
    }
    redis.stop(0);
    redis.stop_sentinel(1);
    let new = redis.wait_for_new_primary(0);
    redis.restart(0);
    redis.restart_sentinel(1);
    redis.wait_until_ok();
    assert_eq!(redis.primary(), new);
    for i in 0..3 {
        assert_eq!(&asked(redis.address(i)), b"-NOAUTH");
        assert_eq!(&asked(redis.sentinel_address(i)), b"-NOAUTH");
    }
    assert!(!format!("{redis:?}").contains("swordfish"));
}

#[test]
fn options_are_those_of_the_servers_with_data_and_stay() {
    let options = ["--min-replicas-to-write", "1", "--appendonly", "yes"];
    let mut redis = RedisSentinel::start_with(&options);
    let new = redis.failover();
    redis.restart(new);
    for node in 0..3 {
        for option in options.chunks(2) {
            let name = option[0].trim_start_matches('-');
            let value = redis.command(node, &["CONFIG", "GET", name]);
            assert_eq!(value, Reply::List(vec![data(name), data(option[1])]));
        }
    }
}

#[test]
fn with_tls_clients_are_sent_to_ports_with_tls() {
    let mut redis = RedisSentinel::start_tls(&[]);
    let url = redis.url("");
    let hosts = url.strip_prefix("rediss-sentinel://").unwrap();
    let sentinel = hosts.split([',', '/']).next().unwrap();
    let ask = |command: &str, address: &str| {
        let mut stream = tls(&redis, address);
        use std::io::{Read as _, Write as _};
        stream.write_all(command.as_bytes()).unwrap();
        let mut answer = [0; 100];
        let length = stream.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..length]).into_owned()
    };
    let told = ask("SENTINEL GET-MASTER-ADDR-BY-NAME mymaster\r\n", sentinel);
    let port = told.lines().nth(4).unwrap();
    let set = ask("SET fruit apple\r\n", &format!("127.0.0.1:{port}"));
    assert_eq!(set, "+OK\r\n");
    assert_eq!(redis.command(0, &["GET", "fruit"]), data("apple"));
    redis.stop(0);
    redis.wait_for_new_primary(0);
    redis.restart(0);
    redis.wait_until_ok();
}

#[test]
fn dropped_servers_are_gone_at_once() {
    let mut redis = RedisSentinel::start();
    let folder = |reply| match reply {
        Reply::List(pair) => PathBuf::from(pair[1].text()),
        other => panic!("{other:?}"),
    };
    let folders: Vec<_> = (0..3)
        .map(|node| folder(redis.command(node, &["CONFIG", "GET", "dir"])))
        .collect();
    let addresses: Vec<_> = (0..3)
        .flat_map(|i| [redis.address(i), redis.sentinel_address(i)])
        .collect();
    assert!(folders.iter().all(|folder| folder.exists()));
    redis.pause(0);
    redis.stop(1);
    redis.stop_sentinel(0);
    redis.pause_sentinel(1);
    drop(redis);
    assert!(!folders.iter().any(|folder| folder.exists()), "{folders:?}");
    assert!(
        !addresses
            .iter()
            .any(|address| TcpStream::connect(address).is_ok())
    );
}

#[test]
#[should_panic(expected = "'nonsense \"1\"'")]
fn an_option_that_redis_does_not_know_is_a_panic_with_its_log() {
    RedisSentinel::start_with(&["--nonsense", "1"]);
}

fn data(text: &str) -> Reply {
    Reply::Data(text.as_bytes().to_vec())
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "not so after twenty seconds: {what}"
        );
        sleep(Duration::from_millis(10));
    }
}

fn tls(redis: &RedisSentinel, address: &str) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(redis.ca_path()).unwrap();
    roots.add(authority).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let host = address
        .split(':')
        .next()
        .unwrap()
        .to_owned()
        .try_into()
        .unwrap();
    let client = ClientConnection::new(Arc::new(config), host).unwrap();
    StreamOwned::new(client, TcpStream::connect(address).unwrap())
}
