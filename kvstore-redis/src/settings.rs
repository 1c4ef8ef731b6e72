//! The settings that fred gets.

use std::time::Duration;

use fred::clients::Client;
use fred::types::config::{
    Config, ConnectionConfig, PerformanceConfig, ReconnectPolicy, Server, ServerConfig,
};
use kvstore_core::Result;

use crate::RedisConfig;
use crate::config::Address;

/// A client that is not connected yet. `once`: it gives up when the first attempt fails.
pub(crate) fn client(config: &RedisConfig, once: bool) -> Result<Client> {
    config.check()?;
    let server = match &config.address {
        Address::Tcp(host, port) => {
            // fred looks it up as `host:port`, and takes it as the name in the server's certificate.
            let in_brackets = if host.contains(':') {
                format!("[{host}]")
            } else {
                host.clone()
            };
            let mut server = Server::new(in_brackets, *port);
            server.tls_server_name = Some(host.as_str().into());
            ServerConfig::Centralized { server }
        }
        #[cfg(unix)]
        Address::Unix(path) => ServerConfig::Unix { path: path.clone() },
        #[cfg(not(unix))]
        Address::Unix(_) => unreachable!("`check` refuses it"),
    };
    let tls = config
        .tls
        .then(|| crate::tls::connector(config))
        .transpose()?;
    let fred_config = Config {
        server,
        tls,
        fail_fast: once,
        username: config.username.clone(),
        password: config.password.clone(),
        // Where it is 0, the right to SELECT is not needed.
        database: (config.database != 0).then_some(config.database),
        ..Config::default()
    };
    let mut connection = ConnectionConfig {
        connection_timeout: config.connect_timeout,
        internal_command_timeout: config.connect_timeout,
        max_command_attempts: 1,
        ..ConnectionConfig::default()
    };
    connection.tcp.nodelay = Some(true);
    // Keeps an idle connection open in between, or finds that it is not.
    connection.tcp.keepalive =
        Some(socket2::TcpKeepalive::new().with_time(Duration::from_secs(30)));
    let performance = PerformanceConfig {
        default_command_timeout: config.timeout,
        ..PerformanceConfig::default()
    };
    // From 10 ms to 2 s, for ever.
    let mut policy = ReconnectPolicy::new_exponential(0, 10, 2_000, 2);
    policy.set_jitter(20);
    Ok(Client::new(
        fred_config,
        Some(performance),
        Some(connection),
        Some(policy),
    ))
}
