//! Where servers are.

use std::fmt;
use std::path::PathBuf;

/// The servers of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Servers {
    One(Address),
    /// Some nodes of a cluster.
    Cluster(Vec<(String, u16)>),
    Sentinel {
        sentinels: Vec<(String, u16)>,
        name: String,
    },
    /// Upstash by HTTP.
    #[cfg(feature = "rest")]
    Rest(String, u16),
}

/// Where one server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    /// The host as a person writes it, an IPv6 address without brackets.
    Tcp(String, u16),
    Unix(PathBuf),
}

impl Address {
    /// Reads `host:port`, as Redis writes it: an IPv6 address has no brackets. Without a host it is that of
    /// the node who said it.
    pub(crate) fn said_by(&self, text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        Some(Self::Tcp(self.or_own(host)?, port.parse().ok()?))
    }

    /// The host, or where a node names none, its own. A node whose host is not known has a question mark.
    pub(crate) fn or_own(&self, host: &str) -> Option<String> {
        match (host, self) {
            ("?", _) | ("", Self::Unix(_)) => None,
            ("", Self::Tcp(own, _)) => Some(own.clone()),
            _ => Some(host.trim_matches(['[', ']']).to_owned()),
        }
    }

    /// Whether what is sent there stays on this machine, as far as can be told.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp(host, _) => is_local(host),
        }
    }
}

pub(crate) fn is_local(host: &str) -> bool {
    let address: Result<std::net::IpAddr, _> = host.parse();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) => write_host(f, host, *port),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(address) => address.fmt(f),
            Self::Cluster(nodes) => write_hosts(f, "the cluster of ", nodes),
            Self::Sentinel { sentinels, name } => {
                write_hosts(f, &format!("`{name}` of the sentinels "), sentinels)
            }
            #[cfg(feature = "rest")]
            Self::Rest(host, port) => write_host(f, host, *port),
        }
    }
}

fn write_hosts(f: &mut fmt::Formatter<'_>, what: &str, hosts: &[(String, u16)]) -> fmt::Result {
    f.write_str(what)?;
    for (place, (host, port)) in hosts.iter().enumerate() {
        f.write_str(if place == 0 { "" } else { "," })?;
        write_host(f, host, *port)?;
    }
    Ok(())
}

fn write_host(f: &mut fmt::Formatter<'_>, host: &str, port: u16) -> fmt::Result {
    match host.contains(':') {
        true => write!(f, "[{host}]:{port}"),
        false => write!(f, "{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nodes_say() {
        let own = Address::Tcp("own".to_owned(), 1);
        let tcp = |host: &str, port| Some(Address::Tcp(host.to_owned(), port));
        assert_eq!(own.said_by("127.0.0.1:7000"), tcp("127.0.0.1", 7000));
        assert_eq!(own.said_by("::1:7000"), tcp("::1", 7000));
        assert_eq!(own.said_by(":7000"), tcp("own", 7000));
        for strange in ["", "h", "h:", "h:99999", "?:7000"] {
            assert_eq!(own.said_by(strange), None, "{strange}");
        }
    }

    #[test]
    fn what_people_read() {
        let address = Address::Tcp("::1".to_owned(), 7000);
        assert_eq!(address.to_string(), "[::1]:7000");
        let nodes = vec![("a".to_owned(), 1), ("b".to_owned(), 2)];
        let cluster = Servers::Cluster(nodes.clone());
        assert_eq!(cluster.to_string(), "the cluster of a:1,b:2");
        let sentinel = Servers::Sentinel {
            sentinels: nodes,
            name: "main".to_owned(),
        };
        assert_eq!(sentinel.to_string(), "`main` of the sentinels a:1,b:2");
    }
}
