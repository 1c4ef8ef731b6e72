//! Vault URLs. What is not understood is an error, and no error shows a value.

use std::borrow::Cow;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use kvstore_core::{Error, ErrorKind, Result};
use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::config::{JWT, Login};
use crate::{Credential, VaultConfig};

/// The schemes that [`parse`] understands.
pub(crate) const SCHEMES: &[&str] = &["vault", "vault+http", "openbao", "openbao+http"];

pub(crate) fn parse(text: &str) -> Result<VaultConfig> {
    // The parser below would drop some of these without a word.
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(invalid(
            "the URL has a space or a control character; percent-encode it (%20)",
        ));
    }
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
    let mut config = VaultConfig::new(host(&url)?);
    config.tls = match url.scheme() {
        "vault" | "openbao" => true,
        "vault+http" | "openbao+http" => false,
        _ => {
            let message = format!("the URL's scheme is none of {}", SCHEMES.join(", "));
            return Err(invalid(message));
        }
    };
    if let Some(port) = url.port() {
        config.port = port;
    }
    let mount = url.path().strip_prefix('/').unwrap_or_default();
    if !mount.is_empty() {
        config.mount = decode("the path", mount)?;
    }
    let mut logins = Logins::default();
    logins.of_the_user(&url)?;
    let mut seen = Vec::new();
    let pairs = url.query().filter(|query| !query.is_empty());
    for pair in pairs.into_iter().flat_map(|query| query.split('&')) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if seen.contains(&name) {
            return Err(invalid(format!(
                "the URL has the parameter {} twice",
                show(name)
            )));
        }
        seen.push(name);
        let value = decode("a parameter", value)?;
        if !logins.parameter(name, &value)? {
            parameter(&mut config, name, &value)?;
        }
    }
    config.login = logins.one()?;
    config.check()?;
    Ok(config)
}

/// The parts of a URL that say how to log in.
#[derive(Default)]
struct Logins {
    token: Option<Credential>,
    role_id: Option<String>,
    secret_id: Option<Credential>,
    kubernetes_role: Option<String>,
    jwt: Option<PathBuf>,
}

impl Logins {
    fn of_the_user(&mut self, url: &Url) -> Result<()> {
        let secret = url
            .password()
            .map(|text| decode("the password", text))
            .transpose()?;
        if !url.username().is_empty() {
            self.role_id = Some(decode("the user name", url.username())?);
            self.secret_id = secret.map(Credential::from);
        } else {
            self.token = secret.map(Credential::from);
        }
        Ok(())
    }

    /// Takes a parameter, if it is for this.
    fn parameter(&mut self, name: &str, value: &str) -> Result<bool> {
        let known = [
            "token_file",
            "token_env",
            "role_id",
            "secret_id_file",
            "secret_id_env",
            "kubernetes_role",
            "jwt_file",
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
            "token_file" | "token_env" => self.token.replace(credential()).is_some(),
            "secret_id_file" | "secret_id_env" => self.secret_id.replace(credential()).is_some(),
            "role_id" => self.role_id.replace(value.to_owned()).is_some(),
            "kubernetes_role" => self.kubernetes_role.replace(value.to_owned()).is_some(),
            _ => self.jwt.replace(value.into()).is_some(),
        };
        match second {
            true => Err(invalid(format!(
                "what the URL's `{name}` gives is in the URL twice"
            ))),
            false => Ok(true),
        }
    }

    fn one(self) -> Result<Option<Login>> {
        match (
            self.token,
            self.role_id,
            self.secret_id,
            self.kubernetes_role,
            self.jwt,
        ) {
            (None, None, None, None, None) => Ok(None),
            (Some(token), None, None, None, None) => Ok(Some(Login::Token(token))),
            (None, Some(role_id), Some(secret_id), None, None) => {
                Ok(Some(Login::AppRole { role_id, secret_id }))
            }
            (None, None, None, Some(role), jwt) => Ok(Some(Login::Kubernetes {
                role,
                jwt: jwt.unwrap_or_else(|| JWT.into()),
            })),
            (None, Some(_), None, None, None) => Err(invalid(
                "the URL has a role id without a secret id: `secret_id_file`, `secret_id_env`, or after the role id and a `:`",
            )),
            (None, None, Some(_), None, None) => {
                Err(invalid("the URL has a secret id without a `role_id`"))
            }
            (None, None, None, None, Some(_)) => {
                Err(invalid("the URL has `jwt_file` without `kubernetes_role`"))
            }
            _ => Err(invalid("the URL has more than one way to log in")),
        }
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

fn parameter(config: &mut VaultConfig, name: &str, value: &str) -> Result<()> {
    let wanted = |what: &str| invalid(format!("the URL's `{name}` is not {what}"));
    let file = || match value.is_empty() {
        true => Err(wanted("the path of a PEM file")),
        false => Ok(Some(PathBuf::from(value))),
    };
    let duration = || duration(value).ok_or_else(|| wanted(DURATION));
    let count = || number(value).ok_or_else(|| wanted("a number"));
    match name {
        "path" => config.path = value.to_owned(),
        "namespace" => config.namespace = Some(value.to_owned()),
        "auth_mount" => config.auth_mount = Some(value.to_owned()),
        "ca" => config.ca = file()?,
        "client_cert" => config.client_cert = file()?,
        "client_key" => config.client_key = file()?,
        "timeout" => config.timeout = duration()?,
        "connect_timeout" => config.connect_timeout = duration()?,
        "max_connections" => config.max_connections = count()?,
        "max_pending" => config.max_pending = count()?,
        "max_value_len" => {
            config.max_value_len = number(value).ok_or_else(|| wanted("a number of bytes"))?
        }
        "max_versions" => {
            config.max_versions = Some(number(value).ok_or_else(|| wanted("a number"))?)
        }
        "keep_counter" => {
            config.keep_counter = match value {
                "true" => true,
                "false" => false,
                _ => return Err(wanted("`true` or `false`")),
            }
        }
        _ => {
            let name = show(name);
            return Err(invalid(format!(
                "the URL has the parameter {name}, which is none of {KNOWN}"
            )));
        }
    }
    Ok(())
}

const KNOWN: &str = "path, namespace, token_file, token_env, role_id, secret_id_file, secret_id_env, \
    kubernetes_role, jwt_file, auth_mount, ca, client_cert, client_key, timeout, connect_timeout, \
    max_connections, max_pending, max_value_len, max_versions, keep_counter";

const DURATION: &str = "a number followed by `ms`, `s` or `m`, as `5s`";

fn duration(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit);
    let number = self::number(number)?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        _ => None,
    }
}

/// Digits and nothing else: `parse` alone would take a plus sign.
fn number<N: FromStr>(text: &str) -> Option<N> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

fn decode(what: &str, text: &str) -> Result<String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| {
        invalid(format!(
            "{what} of the URL is not UTF-8 when percent-decoded"
        ))
    })
}

/// A parameter's name, unless it may be a piece of something else that was not encoded.
fn show(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_lowercase() || b"_-".contains(&byte);
    match name.len() <= 30 && name.bytes().all(plain) {
        true => format!("`{name}`"),
        false => "with a strange name".to_owned(),
    }
}

fn invalid(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}

#[cfg(test)]
mod tests;
