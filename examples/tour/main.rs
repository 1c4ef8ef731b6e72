//! A tour of kvstore, on real data: the packages that this workspace is built from.
//!
//! `cargo run --example tour` takes it on a file, which is gone afterwards; `cargo run --example tour
//! redis://localhost` on a server. It works in a namespace of its own, and deletes what it wrote.

mod packages;
mod place;
mod races;
mod report;
mod values;

use std::error::Error;
use std::ffi::OsString;
use std::process::ExitCode;

use kvstore_core::{KeyValueStore, Registry};
use kvstore_file::FileProvider;
use kvstore_memcached::MemcachedProvider;
use kvstore_memory::MemoryProvider;
use kvstore_mongodb::MongoDbProvider;
use kvstore_redis::RedisProvider;
use kvstore_s3::S3Provider;
use kvstore_vault::VaultProvider;
use kvstore_zookeeper::ZooKeeperProvider;

use crate::packages::Package;
use crate::place::{Folder, Place};
use crate::report::{line, say, title};

/// What a step answers: any error ends the tour.
type Step<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1).map(OsString::into_string);
    let arguments: Vec<Option<String>> = arguments.map(Result::ok).collect();
    let url = match &arguments[..] {
        [] => None,
        [Some(url)] if !url.starts_with('-') => Some(&url[..]),
        _ => {
            say("usage: cargo run --example tour [URL]");
            say(
                "  URL  a server, as redis://localhost; without one it is a file, which is deleted",
            );
            return ExitCode::FAILURE;
        }
    };
    let Err(error) = tour(url).await else {
        return ExitCode::SUCCESS;
    };
    say(&format!("tour: {error}"));
    let mut source = error.source();
    while let Some(cause) = source {
        say(&format!("  because: {cause}"));
        source = cause.source();
    }
    ExitCode::FAILURE
}

async fn tour(url: Option<&str>) -> Step {
    // The server is a matter of configuration: a URL chooses among the providers that the program knows.
    let registry = Registry::new()
        .with::<FileProvider>()
        .with::<MemcachedProvider>()
        .with::<MemoryProvider>()
        .with::<MongoDbProvider>()
        .with::<RedisProvider>()
        .with::<S3Provider>()
        .with::<VaultProvider>()
        .with::<ZooKeeperProvider>();
    // It goes with its file when the tour ends.
    let mut folder = None;
    let place = Place::new(match url {
        Some(url) => registry.open(url).await?,
        None => folder.insert(Folder::new()?).open().await?,
    });
    let server = place.provider.ping().await?;
    let version = server.version.unwrap_or_default();
    title(&format!("{} {version}", server.product))?;
    if let Some(folder) = &folder {
        line("file", &folder.file().display().to_string())?;
    }
    line("keys", &format!("all begin with `{}:`", place.name))?;
    for warning in &server.warnings {
        line("warning", warning)?;
    }

    let packages = tokio::task::spawn_blocking(packages::read).await??;
    let taken = tokio::select! {
        taken = take(&place, &packages) => taken,
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
    };
    // Also after an error, which counts more than one of cleaning up.
    let cleaned = clean_up(&place, &packages).await;
    let closed = place.provider.close().await;
    taken.and(cleaned)?;
    Ok(closed?)
}

async fn take(place: &Place, packages: &[Package]) -> Step {
    values::one_by_one(place, packages).await?;
    values::in_batches(place, packages).await?;
    values::listed(place, packages).await?;
    values::expiring(place, packages).await?;
    races::created_once(place).await?;
    races::counted(place).await?;
    races::taken_once(place).await
}

async fn clean_up(place: &Place, packages: &[Package]) -> Step {
    // The namespace above those of the steps sees all their keys.
    let everything = place.everything()?;
    let keys = left(&everything, packages).await?;
    everything.delete_many(&keys).await?;
    let left = left(&everything, packages).await?.len();
    title("Clean-up")?;
    line("deleted", &format!("{} keys, {left} left", keys.len()))?;
    match left {
        0 => Ok(()),
        _ => Err(format!("{left} keys could not be deleted").into()),
    }
}

/// The keys that are left of the tour.
async fn left(everything: &KeyValueStore<String>, packages: &[Package]) -> Step<Vec<String>> {
    if everything.capabilities().keys.is_some() {
        return values::names(everything, "").await;
    }
    // Without a listing one has to know them.
    let mut keys = values::written(packages);
    keys.extend(races::WRITTEN.map(str::to_owned));
    let found = everything.get_many(&keys).await?;
    let there = keys
        .into_iter()
        .zip(found)
        .filter(|(_, found)| found.is_some());
    Ok(there.map(|(key, _)| key).collect())
}
