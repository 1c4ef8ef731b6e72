//! What the token lets us do, and what the server says of itself.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::Method;
use kvstore_core::{Error, ErrorKind, Result, ServerInfo};
use serde::Deserialize;

use crate::client::Call;
use crate::error::{Refusal, not_understood};
use crate::http::{Ask, Effect};
use crate::login;
use crate::mount::Product;

/// Makes sure that the token has the rights, as far as it may ask for that. Listing is not among them:
/// without the right, listings fail and nothing else.
pub(crate) async fn check(call: &Call<'_>) -> Result<()> {
    #[derive(Deserialize)]
    struct Rights {
        data: HashMap<String, Vec<String>>,
    }
    let config = &call.client.config;
    let secret = format!("{}/kvstore-check", config.path);
    let path = |endpoint: &str| format!("{}/{endpoint}/{secret}", config.mount);
    let mut needed = vec![(path("data"), vec!["create", "read", "update", "patch"])];
    let mut metadata = Vec::new();
    match config.keep_counter {
        true => needed.push((path("delete"), vec!["update"])),
        false => metadata.extend(["read", "delete"]),
    }
    if config.max_versions.is_some() {
        metadata.extend(["create", "update"]);
    }
    needed.push((path("metadata"), metadata));
    let paths: Vec<_> = needed.iter().map(|(path, _)| path).collect();
    let body = serde_json::json!({ "paths": paths }).to_string().into();
    let ask = Ask::post("sys/capabilities-self".to_owned(), body, Effect::None);
    let answer = call.ask(&ask).await?;
    if !answer.status.is_success() {
        let refusal = Refusal::new(&answer, &ask);
        return match refusal.is_of_a_right() {
            true => Ok(()),
            false => Err(refusal.into()),
        };
    }
    let Rights { data: found } =
        serde_json::from_slice(&answer.text).map_err(|error| not_understood(&error))?;
    let mut lacking = Vec::new();
    for (path, needed) in &needed {
        let found = found.get(path).map(Vec::as_slice).unwrap_or_default();
        let has = |right: &&str| found.iter().any(|found| found == right || found == "root");
        let missing: Vec<_> = needed.iter().copied().filter(|right| !has(right)).collect();
        if !missing.is_empty() {
            let path = path.replace("kvstore-check", "*");
            lacking.push(format!("{} on `{path}`", missing.join(", ")));
        }
    }
    if lacking.is_empty() {
        return Ok(());
    }
    let message = format!("the token's policies lack rights: {}", lacking.join("; "));
    Err(Error::new(ErrorKind::PermissionDenied, message))
}

#[derive(Deserialize)]
struct Health {
    initialized: bool,
    sealed: bool,
    standby: bool,
    server_time_utc: Option<u64>,
    version: Option<String>,
}

#[derive(Deserialize)]
struct Storage {
    storage_type: Option<String>,
}

/// Asks what the server is, and for what may bite; with a token that it takes.
pub(crate) async fn ping(call: &Call<'_>) -> Result<ServerInfo> {
    let ask = Ask::read(Method::GET, "auth/token/lookup-self".to_owned());
    let answer = call.ask(&ask).await?;
    let life = match answer.status.is_success() {
        true => login::life(&answer)?,
        false => {
            let refusal = Refusal::new(&answer, &ask);
            if !refusal.is_of_a_right() {
                return Err(refusal.into());
            }
            (None, false)
        }
    };
    let health: Health = ask_for(call, "sys/health").await?;
    if !health.initialized || health.sealed {
        return Err(Error::new(
            ErrorKind::Unavailable,
            "the server is sealed, or not initialized",
        ));
    }
    let product = match call.client.auth.product() {
        Some(Product::OpenBao) => "openbao",
        _ => "vault",
    };
    let mut info = ServerInfo::new(product);
    info.version = health.version;
    let config = &call.client.config;
    if config.is_remote() && !config.tls {
        info = info.with_warning("no TLS: values and the token cross the network in the clear");
    }
    if health.standby {
        info = info
            .with_warning("the server is a standby: what was written may not be there to read yet");
    }
    let skew = health.server_time_utc.and_then(skew);
    if let Some(skew) = skew.filter(|skew| *skew > TOLERATED) {
        let seconds = skew.as_secs();
        info = info.with_warning(format!(
            "this machine's clock and the server's are {seconds} s apart: keys expire by the clock of each client"
        ));
    }
    if let (Some(left), false) = life
        && !config.logs_in()
    {
        let seconds = left.as_secs();
        info = info.with_warning(format!(
            "the token ends in {seconds} s, and cannot be renewed"
        ));
    }
    let storage: Storage = ask_for(call, "sys/seal-status").await?;
    if storage.storage_type.as_deref() == Some("inmem") {
        info = info.with_warning("the server keeps everything in memory: a restart loses it");
    }
    Ok(info)
}

/// By how much clocks may differ before it is worth a warning; the server tells whole seconds.
const TOLERATED: Duration = Duration::from_secs(3);

fn skew(server: u64) -> Option<Duration> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(now.abs_diff(Duration::from_secs(server)))
}

/// Asks for a state that comes with a status of its own, such as 429 for a standby.
async fn ask_for<T: for<'de> Deserialize<'de>>(call: &Call<'_>, path: &str) -> Result<T> {
    let ask = Ask::state(path);
    let answer = call.ask(&ask).await?;
    serde_json::from_slice(&answer.text).map_err(|_| Refusal::new(&answer, &ask).into())
}
