//! The contract, by all the ways there are to a server.

use kvstore_memcached::{MemcachedConfig, MemcachedProvider};
use kvstore_testsuite::servers::{Memcached, MemcachedServer};
use kvstore_testsuite::{Fixture, unique_root};

async fn fixture(config: MemcachedConfig) -> Fixture {
    let config = config.prefix(unique_root());
    let first = MemcachedProvider::connect(config.clone()).await.unwrap();
    Fixture::new(first).with_other(MemcachedProvider::connect(config).await.unwrap())
}

fn first() -> MemcachedConfig {
    Memcached::shared().url().parse().unwrap()
}

fn both() -> MemcachedConfig {
    let [_, second] = Memcached::shared_pair();
    first().server(second.address().ip().to_string(), second.address().port())
}

mod one_server {
    use super::*;
    kvstore_testsuite::conformance!(|| fixture(first()));
}

mod two_servers {
    use super::*;
    kvstore_testsuite::conformance!(|| fixture(both()));
}

mod several_connections {
    use super::*;
    kvstore_testsuite::conformance!(|| fixture(both().connections(3)));
}

mod tls {
    use super::*;
    async fn connect() -> Fixture {
        let server = MemcachedServer::shared();
        let config: MemcachedConfig = server.tls_url().parse().unwrap();
        let config = config.client_cert(server.client_cert_path(), server.client_key_path());
        fixture(config.ca(server.ca_path())).await
    }
    kvstore_testsuite::conformance!(connect);
}
