//! A tour of kvstore, on real data: the packages that this workspace is built from.
//!
//! `cargo run --example tour` takes it in this process's memory; `cargo run --example tour redis://localhost`
//! on a server. It works in a namespace of its own, and deletes what it wrote.

mod packages;
mod races;
mod report;
mod values;

use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;
use std::sync::Arc;

use kvstore_core::{KeyValueStore, Provider, Registry};
use kvstore_memory::MemoryProvider;
use kvstore_mongodb::MongoDbProvider;
use kvstore_redis::RedisProvider;
use kvstore_vault::VaultProvider;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::report::{line, title};

/// Where the tour goes when no server is named.
const DEFAULT: &str = "memory:";

/// What a step answers: any error ends the tour.
type Step<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let url = match &arguments[..] {
        [] => DEFAULT,
        [url] if !url.starts_with('-') => url,
        _ => {
            eprintln!("usage: cargo run --example tour [URL]");
            eprintln!("  URL  a server, as redis://localhost; without one it is `{DEFAULT}`");
            return ExitCode::FAILURE;
        }
    };
    let Err(error) = tour(url).await else {
        return ExitCode::SUCCESS;
    };
    eprintln!("tour: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        eprintln!("  because: {cause}");
        source = cause.source();
    }
    ExitCode::FAILURE
}

async fn tour(url: &str) -> Step {
    // The server is a matter of configuration: a URL chooses among the providers that the program knows.
    let registry = Registry::new()
        .with::<MemoryProvider>()
        .with::<MongoDbProvider>()
        .with::<RedisProvider>()
        .with::<VaultProvider>();
    let place = Place {
        provider: registry.open(url).await?,
        name: format!("tour-{:016x}", RandomState::new().hash_one(())),
    };
    let server = place.provider.ping().await?;
    let version = server.version.unwrap_or_default();
    title(&format!("{} {version}", server.product));
    line("keys", &format!("all begin with `{}:`", place.name));
    for warning in &server.warnings {
        line("warning", warning);
    }

    let taken = tokio::select! {
        taken = take(&place) => taken,
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
    };
    // Also after an error, which counts more than one of cleaning up.
    let cleaned = clean_up(&place).await;
    taken.and(cleaned)?;
    place.provider.close().await?;
    Ok(())
}

async fn take(place: &Place) -> Step {
    let packages = tokio::task::spawn_blocking(packages::read).await??;
    values::one_by_one(place, &packages).await?;
    values::in_batches(place, &packages).await?;
    values::listed(place).await?;
    values::expiring(place, &packages).await?;
    races::created_once(place).await?;
    races::counted(place).await?;
    races::taken_once(place).await
}

async fn clean_up(place: &Place) -> Step {
    title("Clean-up");
    // The namespace above those of the steps sees all their keys.
    let everything = KeyValueStore::text(Arc::clone(&place.provider)).namespace(&place.name)?;
    let keys = values::names(&everything, "").await?;
    everything.delete_many(&keys).await?;
    let left = values::names(&everything, "").await?.len();
    line("deleted", &format!("{} keys, {left} left", keys.len()));
    match left {
        0 => Ok(()),
        _ => Err(format!("{left} keys could not be deleted").into()),
    }
}

/// Where the tour keeps what it stores.
struct Place {
    provider: Arc<dyn Provider>,
    /// The name of its namespace.
    name: String,
}

impl Place {
    /// A store of any serde type, in a namespace within that of the tour. There can be any number of stores on
    /// one provider.
    fn store<T>(&self, part: &str) -> kvstore_core::Result<KeyValueStore<T>>
    where
        T: Serialize + DeserializeOwned + 'static,
    {
        let provider = Arc::clone(&self.provider);
        KeyValueStore::model(provider)
            .namespace(&self.name)?
            .namespace(part)
    }
}
