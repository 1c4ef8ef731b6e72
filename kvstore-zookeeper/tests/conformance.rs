//! The contract, on a server alone and on an ensemble, and as a user whose nodes are nobody else's.

use std::sync::OnceLock;

use kvstore_testsuite::servers::{ZooKeeper, ZooKeeperEnsemble};
use kvstore_testsuite::{Fixture, unique_root};
use kvstore_zookeeper::{ZooKeeperConfig, ZooKeeperProvider};

async fn fixture(first: ZooKeeperConfig, second: ZooKeeperConfig) -> Fixture {
    let root = format!("/conformance/{}", unique_root());
    let first = ZooKeeperProvider::connect(first.root(&root)).await.unwrap();
    let second = ZooKeeperProvider::connect(second.root(&root))
        .await
        .unwrap();
    Fixture::new(first).with_other(second)
}

fn shared() -> ZooKeeperConfig {
    ZooKeeper::shared().url("").parse().unwrap()
}

mod alone {
    use super::*;
    kvstore_testsuite::conformance!(|| fixture(shared(), shared()));
}

mod with_credentials {
    use super::*;
    async fn connect() -> Fixture {
        let config = shared().credentials("app", "secret");
        fixture(config.clone(), config).await
    }
    kvstore_testsuite::conformance!(connect);
}

/// Each of the two clients on a server of its own, where what the other wrote comes a little later.
mod ensemble {
    use super::*;
    async fn connect() -> Fixture {
        static ENSEMBLE: OnceLock<ZooKeeperEnsemble> = OnceLock::new();
        let ensemble = ENSEMBLE.get_or_init(ZooKeeperEnsemble::start);
        let followers = (0..3).filter(|server| *server != ensemble.leader());
        let mut configs = followers.map(|server| {
            let address = ensemble.address(server);
            ZooKeeperConfig::new(address.ip().to_string(), address.port())
        });
        fixture(configs.next().unwrap(), configs.next().unwrap()).await
    }
    kvstore_testsuite::conformance!(connect);
}
