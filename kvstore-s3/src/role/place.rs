//! Which role there is, as the environment tells it: the variables are those of AWS's own libraries.

use http::Uri;
use kvstore_core::{Error, ErrorKind, Result};
use url::Url;

use crate::{Credential, S3Config};

/// Where the credentials of a role are asked for.
pub(crate) enum Place {
    /// AWS's token service, which gives them for a token of another service.
    WebIdentity {
        sts: String,
        token: Credential,
        role: String,
        session: String,
    },
    Container {
        url: String,
        token: Option<Credential>,
    },
    Instance {
        url: String,
    },
}

impl Place {
    /// The web identity that variables tell, if they do.
    pub(crate) fn web_identity(variable: Variable, config: &S3Config) -> Result<Option<Self>> {
        const TOKEN: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
        const STS: &str = "AWS_ENDPOINT_URL_STS";
        let Some((token, role)) = both(variable, TOKEN, "AWS_ROLE_ARN")? else {
            return Ok(None);
        };
        let sts = match variable(STS) {
            Some(url) => checked(STS, url)?,
            None => {
                let country = match config.host.ends_with(".amazonaws.com.cn") {
                    true => ".cn",
                    false => "",
                };
                let region = config.signing_region();
                let url = format!("https://sts.{region}.amazonaws.com{country}");
                checked("the address of the region's token service", url)?
            }
        };
        let session = variable("AWS_ROLE_SESSION_NAME");
        Ok(Some(Self::WebIdentity {
            sts,
            token: Credential::file(token),
            role,
            session: session.unwrap_or_else(|| "kvstore".to_owned()),
        }))
    }

    /// The container or the instance that variables tell; the instance is asked where they tell none.
    pub(crate) fn container_or_instance(variable: Variable) -> Result<Self> {
        const RELATIVE: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
        const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
        const TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
        const INSTANCE: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
        let full = both(variable, FULL, TOKEN)?;
        if let Some(path) = variable(RELATIVE) {
            if !path.starts_with('/') {
                let message = format!("`{RELATIVE}` does not begin with a slash");
                return Err(invalid(message));
            }
            let url = checked(RELATIVE, format!("http://169.254.170.2{path}"))?;
            return Ok(Self::Container { url, token: None });
        }
        if let Some((url, token)) = full {
            let url = checked(FULL, url)?;
            let token = Some(Credential::file(token));
            return Ok(Self::Container { url, token });
        }
        let url = variable(INSTANCE);
        let url = url.unwrap_or_else(|| "http://169.254.169.254".to_owned());
        let url = checked(INSTANCE, url)?;
        Ok(Self::Instance {
            url: url.trim_end_matches('/').to_owned(),
        })
    }

    pub(super) fn url(&self) -> &str {
        match self {
            Self::WebIdentity { sts: url, .. }
            | Self::Container { url, .. }
            | Self::Instance { url } => url,
        }
    }
}

/// What an environment variable holds, if it is set to something.
pub(crate) type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Two variables that belong together. With one alone other credentials would be taken, with other rights.
fn both(variable: Variable, one: &str, other: &str) -> Result<Option<(String, String)>> {
    match (variable(one), variable(other)) {
        (None, _) => Ok(None),
        (Some(first), Some(second)) => Ok(Some((first, second))),
        (Some(_), None) => Err(invalid(format!("`{one}` is set and `{other}` is not"))),
    }
}

/// Makes sure that requests can be sent to an address; `what` is its name in messages.
fn checked(what: &str, url: String) -> Result<String> {
    let is_http = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    let is_uri = Uri::try_from(&url).is_ok();
    match Url::parse(&url).is_ok_and(|url| is_http(&url)) && is_uri {
        true => Ok(url),
        false => {
            let what = match what.contains(' ') {
                true => what.to_owned(),
                false => format!("`{what}`"),
            };
            let message = format!("{what} is not a URL that begins with `http://` or `https://`");
            Err(invalid(message))
        }
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}
