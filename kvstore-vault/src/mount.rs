//! Whether what is mounted is what it should be.

use http::Method;
use http::header::HeaderValue;
use kvstore_core::{Error, ErrorKind, Result};
use serde::Deserialize;
use tokio::time::Instant;

use crate::VaultConfig;
use crate::error::{Refusal, not_understood};
use crate::http::Ask;
use crate::path::{Root, encode};
use crate::transport::Transport;

/// What the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Product {
    Vault,
    OpenBao,
}

#[derive(Deserialize)]
struct Mounted {
    data: Mount,
}

#[derive(Deserialize)]
struct Mount {
    r#type: String,
    options: Option<Options>,
    #[serde(default)]
    running_plugin_version: String,
}

#[derive(Deserialize)]
struct Options {
    #[serde(default)]
    version: String,
}

/// Makes sure that a KV version 2 secrets engine is mounted: on one of version 1, each key would seem to be
/// missing, and writes to succeed.
pub(crate) async fn check(
    transport: &Transport,
    config: &VaultConfig,
    token: &HeaderValue,
    deadline: Instant,
) -> Result<Product> {
    let path = format!("sys/internal/ui/mounts/{}", encode(&config.mount));
    let ask = Ask::read(Method::GET, path);
    let answer = transport.ask(&ask, Some(token), deadline).await?;
    if !answer.status.is_success() {
        let refusal = Refusal::new(&answer, &ask);
        return match refusal.is_of_a_right() {
            true => Err(no_mount(transport, config, token, deadline).await?),
            false => Err(refusal.into()),
        };
    }
    let Mounted { data } =
        serde_json::from_slice(&answer.text).map_err(|error| not_understood(&error))?;
    let version = data
        .options
        .map(|options| options.version)
        .unwrap_or_default();
    if data.r#type != "kv" || version != "2" {
        let what = match data.r#type.as_str() {
            "kv" => "KV version 1".to_owned(),
            other => format!("`{other}`"),
        };
        let message = format!(
            "what is mounted at `{}` is {what}, and not KV version 2",
            config.mount
        );
        return Err(Error::new(ErrorKind::InvalidConfig, message));
    }
    Ok(match data.running_plugin_version.contains("bao") {
        true => Product::OpenBao,
        false => Product::Vault,
    })
}

/// The server says alike that there is no such mount and that the token has no right in it; reading a secret
/// tells.
async fn no_mount(
    transport: &Transport,
    config: &VaultConfig,
    token: &HeaderValue,
    deadline: Instant,
) -> Result<Error> {
    let root = Root::new(&config.mount, &config.path);
    let ask = Ask::read(Method::GET, root.api("data", &root.secret("kvstore-check")));
    let answer = transport.ask(&ask, Some(token), deadline).await?;
    let refusal = Refusal::new(&answer, &ask);
    if refusal.is_of_a_right() {
        let message = format!(
            "the token has no right in `{}`, or there is no such mount; the README lists the rights needed",
            config.mount
        );
        return Ok(refusal.into_error(ErrorKind::PermissionDenied, message));
    }
    let message = format!("there is no secrets engine mounted at `{}`", config.mount);
    Ok(refusal.into_error(ErrorKind::InvalidConfig, message))
}
