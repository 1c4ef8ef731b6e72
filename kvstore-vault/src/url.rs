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
mod tests {
    use super::*;
    use std::error::Error as _;

    #[track_caller]
    fn parsed(url: &str) -> VaultConfig {
        parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    #[test]
    fn every_part_is_read() {
        let config = parsed(
            "vault://role:s%2Fe%3Acret@vault.example:7000/team/kv?path=a/b&namespace=n/m&auth_mount=x%2Fy\
             &ca=/ca.pem&client_cert=/c.pem&client_key=/k%20.pem&timeout=1500ms&connect_timeout=2m\
             &max_connections=3&max_pending=7&max_value_len=99&max_versions=2&keep_counter=true",
        );
        let by_hand = VaultConfig::new("vault.example")
            .port(7000)
            .mount("team/kv")
            .path("a/b")
            .namespace("n/m")
            .approle("role", "s/e:cret")
            .auth_mount("x/y")
            .ca("/ca.pem")
            .client_cert("/c.pem", "/k .pem")
            .timeout(Duration::from_millis(1500))
            .connect_timeout(Duration::from_secs(120))
            .max_connections(3)
            .max_pending(7)
            .max_value_len(99)
            .max_versions(2)
            .keep_counter();
        assert_eq!(config, by_hand);
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        for url in [
            "vault://:t@h",
            "vault://:t@h/",
            "openbao://:t@h?",
            "vault://:t@h:8200/secret?path=kvstore",
        ] {
            assert_eq!(parsed(url), VaultConfig::new("h").token("t"));
        }
        for url in ["vault+http://:t@h", "openbao+http://:t@h"] {
            assert_eq!(parsed(url), VaultConfig::new("h").plain().token("t"));
        }
    }

    #[test]
    fn there_are_many_ways_to_log_in() {
        let server = || VaultConfig::new("h");
        for (login, by_hand) in [
            ("token_file=/t", server().token(Credential::file("/t"))),
            ("token_env=T", server().token(Credential::env("T"))),
            (
                "role_id=r&secret_id_file=/s",
                server().approle("r", Credential::file("/s")),
            ),
            (
                "secret_id_env=S&role_id=r",
                server().approle("r", Credential::env("S")),
            ),
            ("kubernetes_role=r", server().kubernetes("r")),
            (
                "kubernetes_role=r&jwt_file=/j",
                server().kubernetes_with_jwt("r", "/j"),
            ),
        ] {
            assert_eq!(parsed(&format!("vault://h?{login}")), by_hand);
        }
        let config = parsed("vault://role@h?secret_id_file=/s");
        assert_eq!(config, server().approle("role", Credential::file("/s")));
    }

    #[test]
    fn ipv6_hosts_lose_their_brackets() {
        let config = parsed("vault+http://:t@[::1]:7000");
        assert_eq!(
            (config.host.as_str(), config.base().as_str()),
            ("::1", "http://[::1]:7000")
        );
        assert!(!config.is_remote() && parsed("vault://:t@192.0.2.1").is_remote());
    }

    #[test]
    fn what_is_not_understood_is_an_error_that_names_the_part_and_no_value() {
        for (url, part) in [
            ("", "cannot be read"),
            ("secret", "cannot be read"),
            ("vault:secret", "`//`"),
            ("vault://", "host"),
            ("vault:///hidden", "host"),
            ("vault://h", "log in"),
            ("vault://:hid/den@h", "cannot be read"),
            ("vault://:hid den@h", "space"),
            ("vault://h#hidden", "fragment"),
            ("http://:hidden@h", "scheme"),
            ("vault+https://:hidden@h", "scheme"),
            ("vault://:t@h:99999", "cannot be read"),
            ("vault://:t@h%20st", "host"),
            ("vault://%ff:hidden@h", "the user name"),
            ("vault://:hidden%ff@h", "the password"),
            ("vault://:t@h/hidden/", "mount"),
            ("vault://:t@h//hidden", "mount"),
            ("vault://:t@h/hid~den", "mount"),
            ("vault://:t@h?path=", "`path`"),
            ("vault://:t@h?path=/hidden", "`path`"),
            ("vault://:t@h?path=hidden/%2e%2e/b", "`path`"),
            ("vault://:t@h?namespace=", "`namespace`"),
            ("vault://:t@h?namespace=hidd%C3%A9n", "`namespace`"),
            ("vault://:t@h?hidden", "`hidden`"),
            ("vault://:t@h?Hidden=hidden", "strange name"),
            ("vault://:t@h?token=hidden", "`token`"),
            ("vault://:t@h?path=hidden&path=hidden", "`path` twice"),
            ("vault://:t@h?path=hidden%ff", "UTF-8"),
            ("vault://:t@h?token_file=hidden", "twice"),
            ("vault://:t@h?token_env=", "`token_env`"),
            (
                "vault://:t@h?role_id=hidden&secret_id_env=hidden",
                "more than one way",
            ),
            (
                "vault://h?token_file=hidden&kubernetes_role=hidden",
                "more than one way",
            ),
            ("vault://hidden@h", "without a secret id"),
            ("vault://h?secret_id_file=hidden", "`role_id`"),
            ("vault://h?jwt_file=hidden", "`kubernetes_role`"),
            ("vault://:t@h?auth_mount=hidden", "`auth_mount`"),
            ("vault://a:b@h?auth_mount=../hidden", "`auth_mount`"),
            ("vault://:t@h?timeout=hidden", "`timeout`"),
            ("vault://:t@h?timeout=5", "`timeout`"),
            ("vault://:t@h?timeout=0s", "`timeout`"),
            ("vault://:t@h?timeout=9999999999999999999m", "`timeout`"),
            ("vault://:t@h?connect_timeout=25000m", "`connect_timeout`"),
            ("vault://:t@h?max_connections=0", "`max_connections`"),
            ("vault://:t@h?max_pending=9999999999", "`max_pending`"),
            ("vault://:t@h?max_value_len=+1", "`max_value_len`"),
            ("vault://:t@h?max_versions=0", "`max_versions`"),
            ("vault://:t@h?keep_counter=hidden", "`keep_counter`"),
            ("vault://:t@h?ca=", "`ca`"),
            ("vault://:t@h?client_cert=hidden", "go together"),
            ("vault+http://:t@h?ca=hidden", "the scheme `vault`"),
        ] {
            let error = parse(url).expect_err(url);
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}");
            assert!(error.to_string().contains(part), "{url}: {error}");
            if part != "`hidden`" {
                let source = error.source().map(ToString::to_string).unwrap_or_default();
                let shown = format!("{error} {error:?} {source}");
                assert!(
                    !shown.contains("idden") && !shown.contains("den@"),
                    "{url}: {error:?}"
                );
            }
        }
    }

    #[test]
    fn debug_has_no_secret() {
        for url in ["vault://:hunter2@h", "vault://role:hunter2@h"] {
            let config = parsed(url);
            let debug = format!("{config:?} {config:#?}");
            assert!(
                debug.contains("kvstore") && !debug.contains("hunter2"),
                "{debug}"
            );
        }
    }
}
