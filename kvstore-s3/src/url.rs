//! S3 URLs. What is not understood is an error, and no error shows a value.

use std::borrow::Cow;

use kvstore_core::url::{Parameter, check, decode, parameters};
use kvstore_core::{Error, ErrorKind, Result};
use url::{Host, Url};

use crate::config::Login;
use crate::{Credential, S3Config};

/// The schemes that [`parse`] understands.
pub(crate) const SCHEMES: &[&str] = &["s3", "s3+http"];

pub(crate) fn parse(text: &str) -> Result<S3Config> {
    // The parser below would drop some of these without a word.
    check(text)?;
    let url = Url::parse(text).map_err(|source| {
        invalid(
            "the URL cannot be read; in secrets, `/`, `?`, `#`, `@` and `:` are percent-encoded",
        )
        .with_source(source)
    })?;
    if url.cannot_be_a_base() {
        return Err(invalid("the URL has no `//` after the scheme"));
    }
    if url.fragment().is_some() {
        return Err(invalid(
            "the URL has a fragment, which means nothing here; a `#` is written %23",
        ));
    }
    if has_dots(text) {
        return Err(invalid(
            "the URL's path has a `.` or `..`, and is to be the bucket alone",
        ));
    }
    let mut config = S3Config::new(host(&url)?, bucket(&url)?);
    config.tls = match url.scheme() {
        "s3" => true,
        "s3+http" => false,
        _ => {
            let message = format!("the URL's scheme is none of {}", SCHEMES.join(", "));
            return Err(invalid(message));
        }
    };
    config.port = url.port();
    let mut logins = Logins::of_the_user(&url)?;
    for parameter in parameters(url.query().unwrap_or_default())? {
        if !logins.set(&parameter)? {
            set(&mut config, &parameter)?;
        }
    }
    (config.login, config.session_token) = logins.one()?;
    config.check()?;
    Ok(config)
}

/// The parts of a URL that say how to sign.
#[derive(Default)]
struct Logins {
    id: Option<String>,
    secret: Option<Credential>,
    session_token: Option<Credential>,
    /// `aws` or `none`.
    other: Option<Login>,
}

impl Logins {
    fn of_the_user(url: &Url) -> Result<Self> {
        let id = match url.username() {
            "" => None,
            name => Some(decode("the user name", name)?),
        };
        let secret = url
            .password()
            .map(|text| decode("the password", text))
            .transpose()?;
        Ok(Self {
            id,
            secret: secret.map(Credential::from),
            ..Self::default()
        })
    }

    /// Takes a parameter, if it is for this.
    fn set(&mut self, parameter: &Parameter<'_>) -> Result<bool> {
        let (name, value) = (parameter.name(), parameter.value());
        let known = [
            "access_key_id",
            "secret_access_key_file",
            "secret_access_key_env",
            "session_token_file",
            "session_token_env",
            "credentials",
        ];
        if !known.contains(&name) {
            return Ok(false);
        }
        if value.is_empty() {
            return Err(invalid(format!("the URL's `{name}` is empty")));
        }
        let credential = || match name.ends_with("_file") {
            true => Credential::file(value),
            false => Credential::env(value),
        };
        let second = match name {
            "access_key_id" => self.id.replace(value.to_owned()).is_some(),
            "credentials" => {
                self.other = Some(match value {
                    "aws" => Login::AwsChain,
                    "none" => Login::Anonymous,
                    _ => return Err(invalid("the URL's `credentials` is not `aws` or `none`")),
                });
                false
            }
            "session_token_file" | "session_token_env" => {
                self.session_token.replace(credential()).is_some()
            }
            _ => self.secret.replace(credential()).is_some(),
        };
        match second {
            true => Err(invalid(format!(
                "what the URL's `{name}` gives is in the URL twice"
            ))),
            false => Ok(true),
        }
    }

    fn one(self) -> Result<(Option<Login>, Option<Credential>)> {
        let login = match (self.id, self.secret, self.other) {
            (None, None, other) => other,
            (Some(id), Some(secret), None) => Some(Login::Key { id, secret }),
            (Some(_), None, None) => {
                return Err(invalid(
                    "the URL has an access key's id without its secret: `secret_access_key_file`, `secret_access_key_env`, or after the id and a `:`",
                ));
            }
            (None, Some(_), None) => {
                return Err(invalid(
                    "the URL has an access key's secret without its id: `access_key_id`, or before the `@`",
                ));
            }
            _ => {
                return Err(invalid(
                    "the URL has an access key, and `credentials` that say to take others",
                ));
            }
        };
        Ok((login, self.session_token))
    }
}

fn host(url: &Url) -> Result<String> {
    match url.host() {
        Some(Host::Domain(name)) if !name.is_empty() => Ok(name.to_owned()),
        Some(Host::Ipv4(address)) => Ok(address.to_string()),
        Some(Host::Ipv6(address)) => Ok(address.to_string()),
        Some(Host::Domain(_)) | None => Err(invalid("the URL has no host")),
    }
}

/// Whether the path has segments that the parser resolves, so that another path would be taken than is written.
fn has_dots(text: &str) -> bool {
    let text = text.split('?').next().unwrap_or_default();
    let segments = text.split('/').skip(3);
    segments
        .map(|segment| segment.to_ascii_lowercase().replace("%2e", "."))
        .any(|segment| matches!(segment.as_str(), "." | ".."))
}

fn bucket(url: &Url) -> Result<String> {
    let path = decode("the path", url.path())?;
    match path.strip_prefix('/').unwrap_or_default() {
        "" => Err(invalid(
            "the URL has no bucket: the server is the host, the bucket its path, as `s3://host/bucket`",
        )),
        bucket if bucket.contains('/') => Err(invalid(
            "the URL's path is more than the bucket; what objects' names begin with is the parameter `prefix`",
        )),
        bucket => Ok(bucket.to_owned()),
    }
}

fn set(config: &mut S3Config, parameter: &Parameter<'_>) -> Result<()> {
    match parameter.name() {
        "prefix" => config.prefix = parameter.value().to_owned(),
        "region" => config.region = Some(parameter.value().to_owned()),
        "ca" => config.ca = Some(parameter.file()?),
        "timeout" => config.timeout = parameter.duration()?,
        "connect_timeout" => config.connect_timeout = parameter.duration()?,
        "max_connections" => config.max_connections = parameter.number()?,
        "max_pending" => config.max_pending = parameter.number()?,
        "max_value_len" => config.max_value_len = parameter.number()?,
        "expiry" => config.expiry = parameter.flag()?,
        "conditions" => config.conditions = parameter.flag()?,
        "strong_reads" => config.strong_reads = parameter.flag()?,
        _ => return Err(parameter.unknown(KNOWN)),
    }
    Ok(())
}

const KNOWN: &str = "prefix, region, access_key_id, secret_access_key_file, secret_access_key_env, \
    session_token_file, session_token_env, credentials, ca, timeout, connect_timeout, max_connections, \
    max_pending, max_value_len, expiry, conditions, strong_reads";

fn invalid(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}

#[cfg(test)]
mod tests;
