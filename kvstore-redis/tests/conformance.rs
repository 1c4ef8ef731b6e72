//! The contract, by all the ways there are to a server.

use std::sync::OnceLock;

use kvstore_redis::{RedisConfig, RedisProvider};
#[cfg(feature = "rest")]
use kvstore_testsuite::servers::UpstashFront;
use kvstore_testsuite::servers::{Redis, RedisCluster, RedisSentinel, RedisServer};
use kvstore_testsuite::{Fixture, unique_root};

mod common;

async fn fixture(config: RedisConfig) -> Fixture {
    let config = config.prefix(unique_root());
    let first = RedisProvider::connect(config.clone()).await.unwrap();
    Fixture::new(first).with_other(RedisProvider::connect(config).await.unwrap())
}

/// A server of these tests alone: each listing looks through all of its keys, and the shared one has those of all
/// tests of the run.
fn own() -> &'static RedisServer {
    static OWN: OnceLock<RedisServer> = OnceLock::new();
    OWN.get_or_init(RedisServer::start)
}

mod plain {
    use super::*;
    kvstore_testsuite::conformance!(|| fixture(Redis::shared().url().parse().unwrap()));
}

mod valkey {
    use super::*;
    kvstore_testsuite::conformance!(|| fixture(Redis::valkey().url().parse().unwrap()));
}

mod tls {
    use super::*;
    async fn connect() -> Fixture {
        let server = own();
        let config: RedisConfig = server.tls_url().parse().unwrap();
        let config = config.ca(server.ca_path());
        fixture(config.client_cert(server.client_cert_path(), server.client_key_path())).await
    }
    kvstore_testsuite::conformance!(connect);
}

mod unix_socket {
    use super::*;
    kvstore_testsuite::conformance!(|| fixture(RedisConfig::unix(own().unix_socket())));
}

/// The rights that the README lists, and no others.
mod least_rights {
    use super::*;
    async fn connect() -> Fixture {
        let server = own();
        let (user, prefix) = (unique_root(), unique_root());
        let keys = format!("~{prefix}*");
        let mut command = vec![
            "ACL",
            "SETUSER",
            &user,
            "on",
            ">secret",
            "resetkeys",
            &keys,
            "-@all",
        ];
        command.extend(common::RIGHTS.split(' ').chain(["+scan"]));
        server.command(&command);
        let config: RedisConfig = server.url().parse().unwrap();
        let config = config.username(user).password("secret").prefix(prefix);
        let first = RedisProvider::connect(config.clone()).await.unwrap();
        Fixture::new(first).with_other(RedisProvider::connect(config).await.unwrap())
    }
    kvstore_testsuite::conformance!(connect);
}

mod cluster {
    use super::*;
    kvstore_testsuite::conformance!(|| fixture(RedisCluster::shared().url("").parse().unwrap()));
}

/// Each write is confirmed by a replica, and goes over a connection of its own.
mod cluster_of_valkey {
    use super::*;
    kvstore_testsuite::conformance!(|| fixture(
        RedisCluster::shared_valkey()
            .url("?wait_replicas=1")
            .parse()
            .unwrap()
    ));
}

mod sentinel {
    use super::*;
    kvstore_testsuite::conformance!(|| fixture(RedisSentinel::shared().url("").parse().unwrap()));
}

/// What Upstash documents of the Redis protocol, and no other command: over TLS, with a password.
mod upstash {
    use super::*;
    kvstore_testsuite::conformance!(|| fixture(common::upstash(own())));
}

#[cfg(feature = "rest")]
mod rest {
    use super::*;
    fn front() -> &'static UpstashFront {
        static FRONT: OnceLock<UpstashFront> = OnceLock::new();
        FRONT.get_or_init(|| UpstashFront::start(own()))
    }
    kvstore_testsuite::conformance!(|| fixture(common::rest(front())));
}
