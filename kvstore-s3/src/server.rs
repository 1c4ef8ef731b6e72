//! Whether the bucket is there and lets itself be read, and what the server says of itself.

use std::time::Duration;

use http::header::{DATE, SERVER};
use http::{HeaderMap, Method};
use kvstore_core::{Error, ErrorKind, Result, ServerInfo};
use serde::Deserialize;

use crate::api::parse;
use crate::client::Call;
use crate::conditions::{Conditions, number};
use crate::error::Refusal;
use crate::http::{Answer, Ask};
use crate::name::encode_path;
use crate::time::Moment;

/// Makes sure that a missing key is told to be missing, which needs the address, the credentials, the bucket
/// and the right to read to be right.
pub(crate) async fn check(call: &Call<'_>) -> Result<()> {
    miss(call).await.map(drop)
}

async fn miss(call: &Call<'_>) -> Result<Answer> {
    let object = call.client.names.of_no_key(&number());
    let ask = Ask::read(Method::GET, format!("/{}", encode_path(&object)));
    let answer = call.ask(&ask).await?;
    let refusal = Refusal::new(&answer, &ask);
    if refusal.is_missing() {
        return Ok(answer);
    }
    if answer.status.is_success() {
        let message = "the server has an object where there can be none; does it speak S3?";
        return Err(Error::new(ErrorKind::Other, message));
    }
    Err(match refusal.is_of_a_right() {
        true => refusal.into_error(ErrorKind::PermissionDenied, READING),
        false => refusal.into(),
    })
}

const READING: &str = "the credentials lack the right to read, `s3:GetObject`, or to know that a key is missing, `s3:ListBucket`, or there is no such bucket";

/// Asks what the server is, and for what may bite.
pub(crate) async fn ping(call: &Call<'_>) -> Result<ServerInfo> {
    let answer = miss(call).await?;
    let (product, version) = product(&answer.headers);
    let mut info = ServerInfo::new(product);
    info.version = version;
    let config = &call.client.config;
    if config.is_remote() && !config.tls {
        info = info.with_warning("no TLS: values cross the network in the clear");
    }
    if let Some(skew) = skew(&answer.headers).filter(|skew| *skew > TOLERATED) {
        let seconds = skew.as_secs();
        info = info.with_warning(format!(
            "this machine's clock and the server's are {seconds} s apart: keys expire by the clock of each client"
        ));
    }
    let found = call.client.conditions.get();
    if found.is_some_and(|found| *found != Conditions::ALL) {
        info = info.with_warning(
            "the server ignores some conditions, so what would rely on them is not supported",
        );
    }
    if is_versioned(call).await? {
        info = info.with_warning(
            "the bucket keeps old versions: what is deleted, replaced or expired stays readable",
        );
    }
    Ok(info)
}

/// By how much clocks may differ before it is worth a warning; the server tells whole seconds.
const TOLERATED: Duration = Duration::from_secs(3);

fn skew(headers: &HeaderMap) -> Option<Duration> {
    let date = Moment::from_header(headers.get(DATE)?.to_str().ok()?)?;
    Some(Moment::now().apart(date))
}

/// As in `SeaweedFS 8000GB 4.48`, `MinIO` or `AmazonS3`; the last word is a version where it looks like one.
pub(crate) fn product(headers: &HeaderMap) -> (String, Option<String>) {
    let server = headers.get(SERVER).and_then(|server| server.to_str().ok());
    let words = server.unwrap_or_default();
    let mut words = words.split([' ', '/']).filter(|word| !word.is_empty());
    let product = words.next().unwrap_or("s3").to_lowercase();
    let is_version =
        |word: &&str| word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.');
    let version = words.next_back().filter(is_version).map(str::to_owned);
    (product, version)
}

/// Whether the bucket keeps old versions; `false` where the server does not say, or not to us.
async fn is_versioned(call: &Call<'_>) -> Result<bool> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Versioning {
        status: Option<String>,
    }
    let ask = Ask::read(Method::GET, "?versioning=".to_owned());
    let answer = call.ask(&ask).await?;
    if !answer.status.is_success() {
        return Ok(false);
    }
    let versioning = parse::<Versioning>(&answer, "VersioningConfiguration");
    Ok(versioning.is_ok_and(|versioning| versioning.status.is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_named() {
        for (server, product, version) in [
            ("SeaweedFS 8000GB 4.48", "seaweedfs", Some("4.48")),
            ("AmazonS3", "amazons3", None),
            ("MinIO", "minio", None),
            ("RustFS/1.0.0", "rustfs", Some("1.0.0")),
            ("", "s3", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(SERVER, server.parse().unwrap());
            let found = super::product(&headers);
            assert_eq!(found, (product.to_owned(), version.map(str::to_owned)));
        }
        assert_eq!(super::product(&HeaderMap::new()), ("s3".to_owned(), None));
    }
}
