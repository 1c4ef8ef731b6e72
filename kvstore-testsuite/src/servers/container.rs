//! Servers in containers, where Docker is there and the program is not.

use std::mem;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use testcontainers_modules::mongo::Mongo;
use testcontainers_modules::redis::{REDIS_PORT, Redis};
use testcontainers_modules::testcontainers::core::{ContainerRequest, IntoContainerPort as _};
use testcontainers_modules::testcontainers::runners::SyncRunner as _;
use testcontainers_modules::testcontainers::{GenericImage, Image, ImageExt as _};

use super::program;
use super::run::Run;

/// The release that Debian 12 has as well.
const REDIS_TAG: &str = "7.0.15";

const VALKEY_TAG: &str = "8.1.4";

/// The release that Debian 12 has as well.
const MEMCACHED_TAG: &str = "1.6.18";
const MEMCACHED_PORT: u16 = 11211;

const MONGODB_TAG: &str = "7.0.16";
const MONGODB_PORT: u16 = 27017;

const VAULT_TAG: &str = "1.20.4";
const VAULT_PORT: u16 = 8200;

const ZOOKEEPER_TAG: &str = "3.8.4";
const ZOOKEEPER_PORT: u16 = 2181;

/// How long a server may take to serve once its container is up.
const START: Duration = Duration::from_secs(30);

/// The run's Redis in a container; `None` where no Docker engine answers to the command `docker`,
/// which removes the container when the run has ended.
pub(crate) fn redis(run: &Run) -> Option<SocketAddr> {
    let image = Redis::default().with_tag(REDIS_TAG);
    shared(run, "redis", image, REDIS_PORT, super::redis::is_up)
}

/// The run's Valkey in a container; else as [`redis`].
pub(crate) fn valkey(run: &Run) -> Option<SocketAddr> {
    let image = GenericImage::new("valkey/valkey", VALKEY_TAG).with_exposed_port(REDIS_PORT.tcp());
    shared(run, "valkey", image.into(), REDIS_PORT, super::redis::is_up)
}

/// The run's two Memcached servers in containers; else as [`redis`].
pub(crate) fn memcached(run: &Run) -> [Option<SocketAddr>; 2] {
    ["memcached", "memcached-second"].map(|name| {
        let image =
            GenericImage::new("memcached", MEMCACHED_TAG).with_exposed_port(MEMCACHED_PORT.tcp());
        shared(
            run,
            name,
            image.into(),
            MEMCACHED_PORT,
            super::memcached::is_up,
        )
    })
}

/// The run's MongoDB, a replica set of one, in a container; else as [`redis`].
pub(crate) fn mongodb(run: &Run) -> Option<SocketAddr> {
    let image = Mongo::default()
        .with_tag(MONGODB_TAG)
        .with_cmd(["--replSet", super::mongodb::REPLICA_SET]);
    let is_up = |address| super::mongodb::serves(address, &format!("127.0.0.1:{MONGODB_PORT}"));
    shared(run, "mongodb", image, MONGODB_PORT, is_up)
}

/// The run's Vault, which keeps everything in memory, in a container; else as [`redis`].
pub(crate) fn vault(run: &Run) -> Option<SocketAddr> {
    let image = GenericImage::new("hashicorp/vault", VAULT_TAG)
        .with_exposed_port(VAULT_PORT.tcp())
        .with_env_var("VAULT_DEV_ROOT_TOKEN_ID", super::vault::CONTAINER_TOKEN);
    shared(run, "vault", image, VAULT_PORT, super::vault::is_up)
}

/// The run's ZooKeeper, in a container; else as [`redis`].
pub(crate) fn zookeeper(run: &Run) -> Option<SocketAddr> {
    let image = GenericImage::new("zookeeper", ZOOKEEPER_TAG)
        .with_exposed_port(ZOOKEEPER_PORT.tcp())
        .with_env_var("ZOO_MAX_CLIENT_CNXNS", "0");
    shared(
        run,
        "zookeeper",
        image,
        ZOOKEEPER_PORT,
        super::zookeeper::is_up,
    )
}

fn shared<I: Image + 'static>(
    run: &Run,
    kind: &str,
    image: ContainerRequest<I>,
    port: u16,
    is_up: impl Fn(SocketAddr) -> bool,
) -> Option<SocketAddr> {
    let mut docker = Command::new("docker");
    docker
        .arg("info")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    docker.status().ok().filter(|status| status.success())?;
    let find = |note: &str| {
        let address = note.parse().ok()?;
        is_up(address).then_some(address)
    };
    Some(run.share(kind, find, |lifetime| {
        // Named, so that the guard is there before the container is.
        let name = lifetime.container();
        drop(program::spawn(&lifetime, Some(&name), &program::nothing()));
        // On a thread of its own, since it brings a runtime, and a test may be in one already.
        let address = thread::spawn(move || {
            let container = image.with_container_name(name).start()?;
            let address = (
                container.get_host()?.to_string(),
                container.get_host_port_ipv4(port)?,
            );
            // It would be removed with the value; that is for the guard to do.
            mem::forget(container);
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(address)
        });
        let address = address
            .join()
            .unwrap_or_else(|_| panic!("the container was not started"));
        let address = address.and_then(|a| a.to_socket_addrs()?.next().ok_or("no address".into()));
        let address = address.unwrap_or_else(|e| panic!("{kind} in a container: {e}"));
        let start = Instant::now();
        while !is_up(address) {
            assert!(
                start.elapsed() < START,
                "{kind} in a container does not serve"
            );
            thread::sleep(Duration::from_millis(50));
        }
        (address, address.to_string())
    }))
}
