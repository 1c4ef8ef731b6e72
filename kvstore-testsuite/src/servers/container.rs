//! Servers in containers, where Docker is there and the program is not.

use std::mem;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::process::{Command, Stdio};
use std::thread;

use testcontainers_modules::redis::{REDIS_PORT, Redis};
use testcontainers_modules::testcontainers::ImageExt as _;
use testcontainers_modules::testcontainers::runners::SyncRunner as _;

use super::program;
use super::run::Run;

/// The release that Debian 12 has as well.
const REDIS_TAG: &str = "7.0.15";

/// The run's Redis in a container; `None` where no Docker engine answers to the command `docker`,
/// which removes the container when the run has ended.
pub(crate) fn redis(run: &Run) -> Option<SocketAddr> {
    let mut docker = Command::new("docker");
    docker
        .arg("info")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    docker.status().ok().filter(|status| status.success())?;
    let find = |note: &str| {
        let address = note.parse().ok()?;
        super::redis::is_up(address).then_some(address)
    };
    Some(run.share("redis", find, |lifetime| {
        // Named, so that the guard is there before the container is.
        let name = lifetime.container();
        drop(program::spawn(&lifetime, Some(&name), &program::nothing()));
        // On a thread of its own, since it brings a runtime, and a test may be in one already.
        let address = thread::spawn(move || {
            let container = Redis::default()
                .with_tag(REDIS_TAG)
                .with_container_name(name)
                .start()?;
            let address = (
                container.get_host()?.to_string(),
                container.get_host_port_ipv4(REDIS_PORT)?,
            );
            // It would be removed with the value; that is for the guard to do.
            mem::forget(container);
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(address)
        });
        let address = address
            .join()
            .unwrap_or_else(|_| panic!("the container was not started"));
        let address = address.and_then(|a| a.to_socket_addrs()?.next().ok_or("no address".into()));
        let address = address.unwrap_or_else(|e| panic!("Redis in a container: {e}"));
        (address, address.to_string())
    }))
}
