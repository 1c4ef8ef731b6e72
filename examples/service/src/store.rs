use std::sync::Arc;

use kvstore_core::{Capabilities, Error, ErrorKind, Provider, Registry, Result};
use kvstore_file::FileProvider;
use kvstore_memcached::MemcachedProvider;
use kvstore_memory::MemoryProvider;
use kvstore_mongodb::MongoDbProvider;
use kvstore_redis::RedisProvider;
use kvstore_s3::S3Provider;
use kvstore_vault::VaultProvider;
use kvstore_zookeeper::ZooKeeperProvider;

use crate::failure::chain;
use crate::say;

/// Where a service keeps what it stores when no URL is given: in a file in the working folder.
pub(crate) fn default_url(name: &str) -> String {
    format!("file:{name}.redb")
}

/// The servers that a URL can choose.
fn registry() -> Registry {
    Registry::new()
        .with::<FileProvider>()
        .with::<MemcachedProvider>()
        .with::<MemoryProvider>()
        .with::<MongoDbProvider>()
        .with::<RedisProvider>()
        .with::<S3Provider>()
        .with::<VaultProvider>()
        .with::<ZooKeeperProvider>()
}

/// Opens the store's provider: of one server, or of two by `fallback:NEW OLD`.
///
/// A service starts while its server is down: it answers 503, and recovers with the server.
///
/// # Errors
/// Where starting again later would not help: the URL, the credentials or the rights are wrong.
pub async fn open(url: &str) -> Result<Arc<dyn Provider>> {
    match kvstore_fallback::open(&registry(), url).await {
        Err(error) if error.is_retryable() => {
            say(&format!("the store does not answer yet: {}", chain(&error)));
            kvstore_fallback::open_lazy(&registry(), url)
        }
        opened => opened,
    }
}

/// Refuses a provider that cannot do what a service is nothing without: names, and whether it can.
///
/// # Errors
/// [`ErrorKind::Unsupported`], with what it lacks.
pub fn require(capabilities: &Capabilities, needs: &[(&str, bool)]) -> Result<()> {
    let lacking = needs.iter().filter(|(_, can)| !can).map(|(name, _)| *name);
    let lacking: Vec<&str> = lacking.collect();
    if lacking.is_empty() {
        return Ok(());
    }
    let message = format!("this service needs what it lacks: {}", lacking.join(", "));
    Err(Error::new(ErrorKind::Unsupported, message).with_provider(capabilities.provider))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lacking_is_named() {
        let capabilities = Capabilities::new("small");
        require(&capabilities, &[("listings", true)]).unwrap();
        let needs = [("listings", true), ("expiry", false), ("versions", false)];
        let error = require(&capabilities, &needs).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let told = error.to_string();
        assert!(told.contains("small"), "{told}");
        assert!(told.ends_with("lacks: expiry, versions"), "{told}");
    }
}
