//! Credentials, and what is signed with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kvstore_core::{Error, ErrorKind, Result, async_trait};
use object_store::aws::{
    AmazonS3Builder, AmazonS3ConfigKey, AwsAuthorizer, AwsCredential, AwsCredentialProvider,
};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService,
};
use object_store::{ClientOptions, RetryConfig, StaticCredentialProvider};

use crate::config::Login;
use crate::{Credential, S3Config, http, profile, tls};

/// Signs requests.
pub(crate) struct Signer {
    /// `None` where nothing is signed.
    credentials: Option<AwsCredentialProvider>,
    region: String,
    /// Whether who gives credentials refused the last time.
    refused: Arc<AtomicBool>,
}

impl Signer {
    pub(crate) fn new(config: &S3Config) -> Result<Self> {
        let refused = Arc::default();
        let credentials = match &config.login {
            None | Some(Login::Anonymous) => None,
            Some(Login::Key { id, secret }) => {
                Some(given(id.clone(), secret, config.session_token.as_ref())?)
            }
            Some(Login::AwsChain) => Some(of_aws(config, &refused)?),
        };
        let region = config.signing_region().to_owned();
        Ok(Self {
            credentials,
            region,
            refused,
        })
    }

    /// Signs a request as it is now, with its body.
    pub(crate) async fn sign(&self, request: &mut HttpRequest) -> Result<()> {
        let Some(credentials) = &self.credentials else {
            return Ok(());
        };
        // What it says of the failure may hold what was answered in place of credentials.
        let credential = credentials.get_credential().await.map_err(|_| {
            let (kind, message) = match self.refused.load(Ordering::Acquire) {
                true => (ErrorKind::Unauthenticated, REFUSED),
                false => (ErrorKind::Unavailable, NOT_HAD),
            };
            Error::new(kind, message)
        })?;
        // What comes from elsewhere becomes part of headers.
        let parts = [Some(&credential.key_id), credential.token.as_ref()];
        let is_visible = |text: &String| text.bytes().all(|byte| byte.is_ascii_graphic());
        if !parts.into_iter().flatten().all(is_visible) {
            let message =
                "the credentials that were found have characters other than visible ASCII";
            return Err(Error::new(ErrorKind::Unauthenticated, message));
        }
        let authorizer = AwsAuthorizer::new(&credential, "s3", &self.region);
        authorizer
            .try_authorize(request, None)
            .map_err(|_| Error::new(ErrorKind::Other, "the request could not be signed"))
    }
}

const REFUSED: &str = "where AWS puts credentials for programs none were given, but a refusal: look at the role, and \
    at the token that asks for it";
const NOT_HAD: &str = "no credentials could be had from where AWS puts them for programs";

fn given(
    key_id: String,
    secret: &Credential,
    token: Option<&Credential>,
) -> Result<AwsCredentialProvider> {
    let credential = AwsCredential {
        key_id,
        secret_key: secret.read("the access key's secret")?,
        token: token
            .map(|token| token.read("`session_token`"))
            .transpose()?,
    };
    Ok(Arc::new(StaticCredentialProvider::new(credential)))
}

/// Where AWS puts credentials for programs; the variables are those of its own libraries.
fn of_aws(config: &S3Config, refused: &Arc<AtomicBool>) -> Result<AwsCredentialProvider> {
    const SET: [(&str, AmazonS3ConfigKey); 7] = [
        (
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            AmazonS3ConfigKey::WebIdentityTokenFile,
        ),
        ("AWS_ROLE_ARN", AmazonS3ConfigKey::RoleArn),
        ("AWS_ROLE_SESSION_NAME", AmazonS3ConfigKey::RoleSessionName),
        (
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            AmazonS3ConfigKey::ContainerCredentialsRelativeUri,
        ),
        (
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            AmazonS3ConfigKey::ContainerCredentialsFullUri,
        ),
        (
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            AmazonS3ConfigKey::ContainerAuthorizationTokenFile,
        ),
        (
            "AWS_EC2_METADATA_SERVICE_ENDPOINT",
            AmazonS3ConfigKey::MetadataEndpoint,
        ),
    ];
    if let Some(id) = variable("AWS_ACCESS_KEY_ID") {
        let id = Credential::from(id).read("`AWS_ACCESS_KEY_ID`")?;
        let token = variable("AWS_SESSION_TOKEN").map(Credential::from);
        return given(
            id,
            &Credential::env("AWS_SECRET_ACCESS_KEY"),
            token.as_ref(),
        );
    }
    // Half of a pair would be passed over, and other credentials be taken, with other rights.
    for (one, other) in [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"),
        (
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        ),
    ] {
        if variable(one).is_some() && variable(other).is_none() {
            let message = format!("`{one}` is set and `{other}` is not");
            return Err(Error::new(ErrorKind::InvalidConfig, message));
        }
    }
    if variable("AWS_WEB_IDENTITY_TOKEN_FILE").is_none()
        && let Some(found) = profile::find()?
    {
        let id = Credential::from(found.id).read("the profile's `aws_access_key_id`")?;
        let token = found.token.map(Credential::from);
        return given(id, &found.secret.into(), token.as_ref());
    }
    let retries = RetryConfig {
        max_retries: 2,
        retry_timeout: config.timeout,
        ..RetryConfig::default()
    };
    // Its own services are asked, whatever authority the S3 server has.
    let client = http::client(config, tls::client(tls::Trust::System)?)?;
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&config.bucket)
        .with_region(config.signing_region())
        .with_retry(retries)
        .with_http_connector(Connector(Service {
            client,
            refused: Arc::clone(refused),
        }));
    for (name, key) in SET {
        if let Some(value) = variable(name) {
            builder = builder.with_config(key, value);
        }
    }
    let built = builder.build().map_err(|source| {
        let message = "the variables that say where AWS puts credentials do not go together";
        Error::new(ErrorKind::InvalidConfig, message).with_source(source)
    })?;
    Ok(Arc::clone(built.credentials()))
}

/// What a variable holds that is set to something.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Asks for credentials, and notes whether they are refused: the error that comes of it does not tell, but for
/// texts with what was answered.
#[derive(Clone, Debug)]
struct Service {
    client: reqwest::Client,
    refused: Arc<AtomicBool>,
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.refused.store(false, Ordering::Release);
        let answer = HttpService::call(&self.client, request).await?;
        // Those that were too many, or too slow, may ask again.
        let refused =
            answer.status().is_client_error() && ![408, 429].contains(&answer.status().as_u16());
        self.refused.store(refused, Ordering::Release);
        Ok(answer)
    }
}

/// Hands out one client, whoever asks.
#[derive(Debug)]
struct Connector(Service);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}
