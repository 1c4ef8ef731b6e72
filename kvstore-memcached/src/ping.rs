//! What the servers say of themselves.

use std::net::IpAddr;

use futures_util::future::join_all;
use kvstore_core::{Result, ServerInfo};

use crate::MemcachedConfig;
use crate::command::Commands;
use crate::error;
use crate::reply::{Reply, Stats};
use crate::servers::{Call, Route, Servers};

/// Asks all servers.
pub(crate) async fn ping(call: &Call<'_>, servers: &Servers) -> Result<ServerInfo> {
    let asked = (0..servers.all().len()).map(|server| ask(call, Route { server, lane: 0 }));
    let mut versions: Vec<String> = Vec::new();
    let mut warnings = Vec::new();
    let mut evicting = false;
    for (server, answer) in servers.all().iter().zip(join_all(asked).await) {
        let (version, stats, settings) = answer?;
        if !versions.contains(&version) {
            versions.push(version);
        }
        evicting |= settings.get("evictions") != Some("off");
        if let Some(evicted) = stats.number("evictions").filter(|evicted| *evicted > 0) {
            let name = server.name();
            warnings.push(format!(
                "{name} has evicted {evicted} keys since it started: it is short of memory (`-m`)"
            ));
        }
    }
    let forgets = match evicting {
        true => {
            "Memcached forgets: short of memory it evicts keys that have not expired, and a restart loses all"
        }
        false => {
            "a restart loses all keys; short of memory (`-M`) a write fails, and may delete the old value of its key"
        }
    };
    let mut info = ServerInfo::new("memcached")
        .with_version(versions.join(", "))
        .with_warning(forgets);
    for warning in warnings {
        info = info.with_warning(warning);
    }
    Ok(transport(servers.config(), info))
}

async fn ask(call: &Call<'_>, route: Route) -> Result<(String, Stats, Stats)> {
    let mut commands = Commands::default();
    commands.version();
    commands.stats();
    commands.settings();
    match <[Reply; 3]>::try_from(call.ask(route, commands).await?) {
        Ok(
            [
                Reply::Version(version),
                Reply::List(stats, _),
                Reply::List(settings, _),
            ],
        ) => Ok((version, stats, settings)),
        Ok([Reply::Refused(words), ..]) => Err(error::refused(&words)),
        _ => Err(error::not_understood()),
    }
}

fn transport(config: &MemcachedConfig, info: ServerInfo) -> ServerInfo {
    let remote = config.servers.iter().any(|server| {
        let host = server.host.parse::<IpAddr>();
        server.host != "localhost" && !host.is_ok_and(|address| address.is_loopback())
    });
    match remote && !config.tls {
        true => info.with_warning("no TLS: values cross the network in the clear"),
        false => info,
    }
}
