//! Vault URLs. What is not understood is an error, and no error shows a value.

use std::borrow::Cow;
use std::path::PathBuf;

use kvstore_core::url::{Parameter, check, decode, parameters};
use kvstore_core::{Error, ErrorKind, Result};
use url::{Host, Url};

use crate::config::{JWT, Login};
use crate::{Credential, VaultConfig};

/// The schemes that [`parse`] understands.
pub(crate) const SCHEMES: &[&str] = &["vault", "vault+http", "openbao", "openbao+http"];

pub(crate) fn parse(text: &str) -> Result<VaultConfig> {
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
    for parameter in parameters(url.query().unwrap_or_default())? {
        if !logins.set(&parameter)? {
            set(&mut config, &parameter)?;
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
    fn set(&mut self, parameter: &Parameter<'_>) -> Result<bool> {
        let (name, value) = (parameter.name(), parameter.value());
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

fn set(config: &mut VaultConfig, parameter: &Parameter<'_>) -> Result<()> {
    let text = || parameter.value().to_owned();
    match parameter.name() {
        "path" => config.path = text(),
        "namespace" => config.namespace = Some(text()),
        "auth_mount" => config.auth_mount = Some(text()),
        "ca" => config.ca = Some(parameter.file()?),
        "client_cert" => config.client_cert = Some(parameter.file()?),
        "client_key" => config.client_key = Some(parameter.file()?),
        "timeout" => config.timeout = parameter.duration()?,
        "connect_timeout" => config.connect_timeout = parameter.duration()?,
        "max_connections" => config.max_connections = parameter.number()?,
        "max_pending" => config.max_pending = parameter.number()?,
        "max_value_len" => config.max_value_len = parameter.number()?,
        "max_versions" => config.max_versions = Some(parameter.number()?),
        "keep_counter" => config.keep_counter = parameter.flag()?,
        _ => return Err(parameter.unknown(KNOWN)),
    }
    Ok(())
}

const KNOWN: &str = "path, namespace, token_file, token_env, role_id, secret_id_file, secret_id_env, \
    kubernetes_role, jwt_file, auth_mount, ca, client_cert, client_key, timeout, connect_timeout, \
    max_connections, max_pending, max_value_len, max_versions, keep_counter";

fn invalid(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}

#[cfg(test)]
mod tests;
