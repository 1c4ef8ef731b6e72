//! Credentials, and what is signed with them.

use std::sync::Arc;

use kvstore_core::{Error, ErrorKind, Result};
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::HttpRequest;
use tokio::time::Instant;

use crate::config::Login;
use crate::role::{Place, Role};
use crate::{Credential, S3Config, profile};

/// Signs requests.
pub(crate) struct Signer {
    credentials: Credentials,
    region: String,
}

enum Credentials {
    /// Nothing is signed.
    None,
    Given(Arc<AwsCredential>),
    Role(Arc<Role>),
}

impl Signer {
    pub(crate) fn new(config: &S3Config) -> Result<Self> {
        let credentials = match &config.login {
            None | Some(Login::Anonymous) => Credentials::None,
            Some(Login::Key { id, secret }) => {
                given(id.clone(), secret, config.session_token.as_ref())?
            }
            Some(Login::AwsChain) => of_aws(config)?,
        };
        let region = config.signing_region().to_owned();
        Ok(Self {
            credentials,
            region,
        })
    }

    /// Signs a request as it is now, with its body; credentials are to be there by the deadline.
    pub(crate) async fn sign(&self, request: &mut HttpRequest, deadline: Instant) -> Result<()> {
        let credential = match &self.credentials {
            Credentials::None => return Ok(()),
            Credentials::Given(credential) => Arc::clone(credential),
            Credentials::Role(role) => role.credential(deadline).await?,
        };
        let authorizer = AwsAuthorizer::new(&credential, "s3", &self.region);
        authorizer
            .try_authorize(request, None)
            .map_err(|_| Error::new(ErrorKind::Other, "the request could not be signed"))
    }
}

fn given(key_id: String, secret: &Credential, token: Option<&Credential>) -> Result<Credentials> {
    Ok(Credentials::Given(Arc::new(AwsCredential {
        key_id,
        secret_key: secret.read("the access key's secret")?,
        token: token
            .map(|token| token.read("`session_token`"))
            .transpose()?,
    })))
}

/// Where AWS puts credentials for programs.
fn of_aws(config: &S3Config) -> Result<Credentials> {
    if let Some(id) = variable("AWS_ACCESS_KEY_ID") {
        let id = Credential::from(id).read("`AWS_ACCESS_KEY_ID`")?;
        let token = variable("AWS_SESSION_TOKEN").map(Credential::from);
        return given(
            id,
            &Credential::env("AWS_SECRET_ACCESS_KEY"),
            token.as_ref(),
        );
    }
    let place = match Place::web_identity(&variable, config)? {
        Some(place) => place,
        None => {
            // Before a profile, so that what is wrong with it is told.
            let place = Place::container_or_instance(&variable)?;
            if let Some(found) = profile::find()? {
                let id = Credential::from(found.id).read("the profile's `aws_access_key_id`")?;
                let token = found.token.map(Credential::from);
                return given(id, &found.secret.into(), token.as_ref());
            }
            place
        }
    };
    Ok(Credentials::Role(Arc::new(Role::new(place, config)?)))
}

/// What a variable holds that is set to something.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
