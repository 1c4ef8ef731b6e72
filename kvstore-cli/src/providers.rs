//! The providers that this program has.

use std::sync::Arc;

use kvstore_core::{Provider, Registry, Result};

/// All providers, by the features that are on.
fn registry() -> Registry {
    let registry = Registry::new();
    #[cfg(feature = "file")]
    let registry = registry.with::<kvstore_file::FileProvider>();
    #[cfg(feature = "memcached")]
    let registry = registry.with::<kvstore_memcached::MemcachedProvider>();
    #[cfg(feature = "memory")]
    let registry = registry.with::<kvstore_memory::MemoryProvider>();
    #[cfg(feature = "mongodb")]
    let registry = registry.with::<kvstore_mongodb::MongoDbProvider>();
    #[cfg(feature = "redis")]
    let registry = registry.with::<kvstore_redis::RedisProvider>();
    #[cfg(feature = "s3")]
    let registry = registry.with::<kvstore_s3::S3Provider>();
    #[cfg(feature = "vault")]
    let registry = registry.with::<kvstore_vault::VaultProvider>();
    #[cfg(feature = "zookeeper")]
    let registry = registry.with::<kvstore_zookeeper::ZooKeeperProvider>();
    registry
}

/// Connects the server that a URL names.
#[cfg(feature = "fallback")]
pub(crate) async fn open(url: &str) -> Result<Arc<dyn Provider>> {
    kvstore_fallback::open(&registry(), url).await
}

/// Connects the server that a URL names.
#[cfg(not(feature = "fallback"))]
pub(crate) async fn open(url: &str) -> Result<Arc<dyn Provider>> {
    registry().open(url).await
}

/// Makes a provider without asking its server.
pub(crate) fn open_lazy(url: &str) -> Result<Arc<dyn Provider>> {
    #[cfg(feature = "fallback")]
    return kvstore_fallback::open_lazy(&registry(), url);
    #[cfg(not(feature = "fallback"))]
    registry().open_lazy(url)
}

/// How a URL is given a root that nobody else uses, where no key is yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Root {
    /// There is nothing to do: each opening is a root of its own.
    Own,
    /// Its name follows what this parameter has, and this follows it.
    Appended(&'static str, &'static str),
    /// It is a part of the path that this parameter has, or of this one where it is not given.
    Below(&'static str, &'static str),
    /// It is what this parameter names.
    Named(&'static str),
    /// It is a part of the URL's path, below this one where there is none.
    Path(&'static str),
    /// It is a file beside the one that the URL's path names, which can be open once at a time.
    File,
}

/// How the URLs of a scheme are given a root.
pub(crate) fn root(scheme: &str) -> Option<Root> {
    Some(match scheme {
        "file" => Root::File,
        "memcached" | "memcacheds" => Root::Appended("prefix", ""),
        "memory" => Root::Own,
        "mongodb" | "mongodb+srv" => Root::Named("collection"),
        "redis" | "rediss" | "redis-cluster" | "rediss-cluster" | "redis-sentinel"
        | "rediss-sentinel" | "redis+unix" | "valkey" | "valkeys" | "valkey-cluster"
        | "valkeys-cluster" | "valkey-sentinel" | "valkeys-sentinel" | "valkey+unix"
        | "upstash+https" | "upstash+http" => Root::Appended("prefix", ""),
        // A folder, so that what is no name in a folder is tried.
        "s3" | "s3+http" => Root::Appended("prefix", "/"),
        "vault" | "vault+http" | "openbao" | "openbao+http" => Root::Below("path", "kvstore"),
        "zookeeper" => Root::Path("/kvstore"),
        _ => return None,
    })
}

/// Removes what a server keeps of a root that holds no key any more, where that is something.
#[cfg_attr(
    not(any(feature = "mongodb", feature = "zookeeper")),
    expect(clippy::unused_async, reason = "none of the servers has such a root")
)]
pub(crate) async fn remove_root(url: &str) -> Result<()> {
    let scheme = url.split(':').next().unwrap_or_default();
    match &scheme.to_ascii_lowercase()[..] {
        #[cfg(feature = "mongodb")]
        "mongodb" | "mongodb+srv" => {
            let mongodb = kvstore_mongodb::MongoDbProvider::lazy(url)?;
            mongodb.drop_collection().await?;
            mongodb.close().await
        }
        #[cfg(feature = "zookeeper")]
        "zookeeper" => {
            let zookeeper = kvstore_zookeeper::ZooKeeperProvider::lazy(url)?;
            zookeeper.remove_root().await?;
            zookeeper.close().await
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_has_every_scheme_in_its_table() {
        let readme = include_str!("../README.md");
        for scheme in registry().schemes() {
            let rows = readme.lines().filter(|line| line.starts_with("| "));
            let named = format!("`{scheme}:");
            assert!(rows.into_iter().any(|row| row.contains(&named)), "{scheme}");
        }
    }

    #[test]
    fn every_provider_can_be_given_a_root() {
        for scheme in registry().schemes() {
            assert!(root(scheme).is_some(), "{scheme}");
        }
    }
}
