//! Redis as a cluster: that it forms, fails over, moves slots, and leaves nothing.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use kvstore_testsuite::servers::{RedisCluster, Reply};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

#[test]
fn a_cluster_has_three_primaries_and_a_replica_of_each() {
    for cluster in [RedisCluster::start(), RedisCluster::start_valkey(&[])] {
        has_its_shape(&cluster);
        let hosts: Vec<_> = (0..6).map(|i| cluster.address(i).to_string()).collect();
        let url = format!("redis-cluster://{}?timeout=1s", hosts.join(","));
        assert_eq!(cluster.url("?timeout=1s"), url);
        cluster.command_for("fruit", &["SET", "fruit", "apple"]);
        let primary = cluster.node_of("fruit");
        let other = (primary + 1) % 3;
        let moved = format!(
            "MOVED {} {}",
            cluster.slot("fruit"),
            cluster.address(primary)
        );
        assert_eq!(
            cluster.try_command(other, &["GET", "fruit"]),
            Reply::Error(moved)
        );
        // A replica answers itself.
        let replica = cluster.replica_of(primary);
        eventually("the replica has the value", || {
            cluster.command(replica, &["GET", "fruit"]) == data("apple")
        });
    }
}

#[test]
fn the_shared_clusters_are_there() {
    for cluster in [RedisCluster::shared(), RedisCluster::shared_valkey()] {
        has_its_shape(cluster);
    }
    assert_ne!(
        RedisCluster::shared().hosts(),
        RedisCluster::shared_valkey().hosts()
    );
}

#[test]
fn options_are_those_of_every_node_and_passwords_do_not_shut_out_the_suite() {
    let options = [
        "--requirepass",
        r#"a "b" \c"#,
        "--appendonly",
        "yes",
        "--save",
        "60 1",
    ];
    let mut cluster = RedisCluster::start_with(&options);
    for node in 0..6 {
        for (name, expected) in [
            ("requirepass", options[1]),
            ("appendonly", "yes"),
            ("save", "60 1"),
        ] {
            let value = cluster.command(node, &["CONFIG", "GET", name]);
            assert_eq!(value, Reply::List(vec![data(name), data(expected)]));
        }
    }
    cluster.command_for("fruit", &["SET", "fruit", "apple"]);
    let (slot, target) = (cluster.slot("fruit"), (cluster.node_of("fruit") + 1) % 3);
    cluster.migrate_slot(slot, target);
    assert_eq!(
        cluster.command_for("fruit", &["GET", "fruit"]),
        data("apple")
    );
}

#[test]
fn a_killed_primary_s_replica_is_promoted_and_the_primary_comes_back_as_a_replica() {
    let mut cluster = RedisCluster::start();
    cluster.command_for("fruit", &["SET", "fruit", "apple"]);
    let old = cluster.node_of("fruit");
    let replica = cluster.replica_of(old);
    eventually("the replica has the value", || {
        cluster.command(replica, &["GET", "fruit"]) == data("apple")
    });
    cluster.stop(old);
    cluster.wait_until_ok();
    assert_eq!(cluster.node_of("fruit"), replica);
    assert_eq!(
        cluster.command_for("fruit", &["GET", "fruit"]),
        data("apple")
    );
    cluster.restart(old);
    cluster.wait_until_ok();
    assert_eq!(cluster.replica_of(replica), old);
    assert_eq!(cluster.command(old, &["GET", "fruit"]), data("apple"));
    // And the places are changed back, without loss.
    cluster.failover(old);
    assert_eq!(cluster.node_of("fruit"), old);
    assert_eq!(cluster.replica_of(old), replica);
    assert_eq!(
        cluster.command_for("fruit", &["GET", "fruit"]),
        data("apple")
    );
}

#[test]
fn a_halted_primary_is_replaced_and_steps_back() {
    let mut cluster = RedisCluster::start();
    let old = cluster.node_of("fruit");
    let replica = cluster.replica_of(old);
    cluster.pause(old);
    cluster.wait_until_ok();
    assert_eq!(cluster.node_of("fruit"), replica);
    cluster.resume(old);
    cluster.wait_until_ok();
    assert_eq!(cluster.replica_of(replica), old);
}

#[test]
fn a_slot_moves_with_its_keys_in_steps() {
    for mut cluster in [RedisCluster::start(), RedisCluster::start_valkey(&[])] {
        let keys = ["{fruit}a", "{fruit}b", "{fruit}c"];
        for key in keys {
            cluster.command_for(key, &["SET", key, key]);
        }
        let (slot, source) = (cluster.slot("fruit"), cluster.node_of("fruit"));
        let target = (source + 1) % 3;
        cluster.begin_migration(slot, target);
        cluster.migrate_key(keys[0], target);
        assert_eq!(cluster.node_of("fruit"), source);
        let ask = format!("ASK {slot} {}", cluster.address(target));
        assert_eq!(
            cluster.try_command(source, &["GET", keys[0]]),
            Reply::Error(ask)
        );
        assert_eq!(cluster.command(source, &["GET", keys[1]]), data(keys[1]));
        assert!(
            matches!(cluster.try_command(source, &["MGET", keys[0], keys[1]]), Reply::Error(e) if e.starts_with("TRYAGAIN"))
        );
        assert_eq!(cluster.keys_in_slot(target, slot), [keys[0].as_bytes()]);
        cluster.migrate_key(keys[1], target);
        cluster.migrate_key(keys[2], target);
        cluster.end_migration(slot, target);
        assert_eq!(cluster.node_of("fruit"), target);
        cluster.wait_until_ok();
        for key in keys {
            assert_eq!(cluster.command(target, &["GET", key]), data(key));
        }
        // Back at once, with more keys than go in one command.
        for i in 0..250 {
            let key = format!("{{fruit}}{i}");
            cluster.command(target, &["SET", &key, "x"]);
        }
        cluster.migrate_slot(slot, source);
        assert_eq!(cluster.node_of("fruit"), source);
        assert_eq!(
            cluster.command(source, &["CLUSTER", "COUNTKEYSINSLOT", &slot.to_string()]),
            Reply::Integer(253)
        );
        assert!(cluster.keys_in_slot(target, slot).is_empty());
    }
}

#[test]
fn with_tls_clients_are_sent_to_ports_with_tls() {
    let mut cluster = RedisCluster::start_tls(&[]);
    has_its_shape(&cluster);
    assert!(cluster.url("").starts_with("rediss-cluster://localhost:"));
    let primary = cluster.node_of("fruit");
    let answer = |node, host, command: &str| {
        let mut stream = tls(&cluster, node, host);
        stream.write_all(command.as_bytes()).unwrap();
        let mut answer = [0; 40];
        let length = stream.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..length]).into_owned()
    };
    let moved = format!(
        "-MOVED {} {}\r\n",
        cluster.slot("fruit"),
        cluster.tls_address(primary)
    );
    for host in ["localhost", "127.0.0.1"] {
        assert_eq!(answer((primary + 1) % 3, host, "GET fruit\r\n"), moved);
        assert_eq!(answer(primary, host, "SET fruit apple\r\n"), "+OK\r\n");
    }
    let replica = cluster.replica_of(primary);
    cluster.failover(replica);
    cluster.migrate_slot(cluster.slot("fruit"), (primary + 1) % 3);
    assert_eq!(
        cluster.command_for("fruit", &["GET", "fruit"]),
        data("apple")
    );
}

#[test]
fn a_dropped_cluster_is_gone_at_once() {
    let mut cluster = RedisCluster::start_tls(&[]);
    let folders: Vec<PathBuf> = (0..6)
        .map(
            |node| match cluster.command(node, &["CONFIG", "GET", "dir"]) {
                Reply::List(pair) => pair[1].text().into(),
                other => panic!("{other:?}"),
            },
        )
        .collect();
    let addresses: Vec<_> = (0..6).map(|node| cluster.address(node)).collect();
    assert!(folders.iter().all(|folder| folder.exists()));
    cluster.stop(0);
    cluster.pause(1);
    drop(cluster);
    assert!(!folders.iter().any(|folder| folder.exists()), "{folders:?}");
    assert!(
        !addresses
            .iter()
            .any(|address| TcpStream::connect(address).is_ok())
    );
}

fn has_its_shape(cluster: &RedisCluster) {
    assert_eq!(cluster.primaries(), [0, 1, 2]);
    assert_eq!([0, 1, 2].map(|node| cluster.replica_of(node)), [3, 4, 5]);
    assert_eq!(
        [0, 8191, 16_383].map(|slot| cluster.node_of_slot(slot)),
        [0, 1, 2]
    );
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

fn tls(
    cluster: &RedisCluster,
    node: usize,
    host: &'static str,
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(cluster.ca_path()).unwrap();
    roots.add(authority).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = ClientConnection::new(Arc::new(config), host.try_into().unwrap()).unwrap();
    StreamOwned::new(
        client,
        TcpStream::connect(cluster.tls_address(node)).unwrap(),
    )
}
