//! One HTTP request and its answer.

use std::error::Error as StdError;
use std::time::Duration;

use futures_util::StreamExt as _;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, StatusCode, Uri};
use kvstore_core::{Bytes, Error, ErrorKind, Result};
use object_store::client::{HttpClient, HttpError, HttpRequest};
use tokio::time::{Instant, timeout_at};

use crate::S3Config;
use crate::error::{connecting, lost, not_understood};
use crate::login::Signer;
use crate::tls::{self, Trust};

/// How long a connection is kept that nobody uses: shorter than what stands between usually keeps it.
const IDLE: Duration = Duration::from_secs(30);

/// What is asked of the bucket.
pub(crate) struct Ask {
    pub(crate) method: Method,
    /// An object, beginning with a slash, or a query: percent-encoded.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Whether the answer is a value, which may be as long as a value may be.
    pub(crate) gives_value: bool,
    /// Whether it changes something: then it is not asked twice, and when its answer is lost the outcome is
    /// unknown.
    pub(crate) writes: bool,
}

impl Ask {
    pub(crate) fn read(method: Method, target: String) -> Self {
        Self {
            method,
            target,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            gives_value: false,
            writes: false,
        }
    }

    pub(crate) fn value(target: String) -> Self {
        Self {
            gives_value: true,
            ..Self::read(Method::GET, target)
        }
    }

    pub(crate) fn write(method: Method, target: String, headers: HeaderMap, body: Bytes) -> Self {
        Self {
            method,
            target,
            headers,
            body,
            gives_value: false,
            writes: true,
        }
    }
}

/// What is answered, whatever it is.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Why there is no answer.
enum Failed {
    /// The connection was lost after it had been made.
    Lost(Error),
    Other(Error),
}

/// A bucket to ask, over connections that are kept.
pub(crate) struct Http {
    client: HttpClient,
    signer: Signer,
    /// `https://s3.example/bucket`.
    bucket: String,
    /// Without the bucket.
    base: String,
    timeout: Duration,
    max_value_len: usize,
}

impl Http {
    pub(crate) fn new(config: &S3Config) -> Result<Self> {
        let trust = match (config.tls, &config.ca) {
            (false, _) => Trust::Nobody,
            (true, Some(ca)) => Trust::Named(ca),
            (true, None) => Trust::System,
        };
        let base = config.base();
        Ok(Self {
            client: HttpClient::new(client(config, tls::client(trust)?)?),
            signer: Signer::new(config)?,
            bucket: format!("{base}/{}", config.bucket),
            base,
            timeout: config.timeout,
            max_value_len: config.max_value_len,
        })
    }

    /// Asks. A read whose connection is lost is asked once more: the connection may have been closed by a
    /// server that was started anew.
    pub(crate) async fn ask(&self, ask: &Ask, deadline: Instant) -> Result<Answer> {
        let mut answered = self.exchange(ask, deadline).await;
        if matches!(answered, Err(Failed::Lost(_))) && !ask.writes {
            answered = self.exchange(ask, deadline).await;
        }
        answered.map_err(|(Failed::Lost(error) | Failed::Other(error))| error)
    }

    async fn exchange(&self, ask: &Ask, deadline: Instant) -> Result<Answer, Failed> {
        if Instant::now() >= deadline {
            let message = "there was no time left to ask; nothing was sent";
            return Err(Failed::Other(Error::new(ErrorKind::Timeout, message)));
        }
        let request = async {
            let mut request = self.request(ask)?;
            self.signer.sign(&mut request, deadline).await?;
            Ok(request)
        };
        let request = request.await.map_err(Failed::Other)?;
        // To find that there is a value its first byte is asked for.
        let limit = match ask.gives_value {
            true => self.max_value_len.max(1),
            false => ANSWER,
        };
        let answer = timeout_at(deadline, receive(&self.client, request, limit)).await;
        let Ok(answer) = answer else {
            let message = format!("no answer within {:?}", self.timeout);
            let error = Error::new(ErrorKind::Timeout, message);
            return Err(Failed::Other(match ask.writes {
                true => error.with_outcome_unknown(),
                false => error,
            }));
        };
        answer.map_err(|error| match error {
            Broken::Http(error) if is_connect(&error) => {
                Failed::Other(connecting(error, &self.base))
            }
            Broken::Http(error) => Failed::Lost(lost(error, ask.writes)),
            Broken::TooLong => Failed::Other(match (ask.gives_value, ask.writes) {
                (true, _) => {
                    let message = "the value that is there is longer than `max_value_len`";
                    Error::new(ErrorKind::ValueTooLarge, message)
                }
                (false, true) => not_understood().with_outcome_unknown(),
                (false, false) => not_understood(),
            }),
        })
    }

    fn request(&self, ask: &Ask) -> Result<HttpRequest> {
        let uri = Uri::try_from(format!("{}{}", self.bucket, ask.target)).map_err(|source| {
            let message = "the address, the bucket and the key make no URL";
            Error::new(ErrorKind::InvalidConfig, message).with_source(source)
        })?;
        let mut request = HttpRequest::new(ask.body.clone().into());
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = ask.headers.clone();
        if ask.writes {
            // Of an empty body it would not be told otherwise.
            let headers = request.headers_mut();
            headers.insert(CONTENT_LENGTH, ask.body.len().into());
        }
        Ok(request)
    }
}

/// How long answers may be but for values: a listing is of up to some MiB.
pub(crate) const ANSWER: usize = 16 << 20;

/// Why there is no whole answer.
pub(crate) enum Broken {
    Http(HttpError),
    TooLong,
}

impl From<HttpError> for Broken {
    fn from(error: HttpError) -> Self {
        Self::Http(error)
    }
}

/// Sends a request. What is answered where it is done has a limit of its own.
pub(crate) async fn receive(
    client: &HttpClient,
    request: HttpRequest,
    limit: usize,
) -> Result<Answer, Broken> {
    let (parts, body) = client.execute(request).await?.into_parts();
    let limit = match parts.status.is_success() {
        true => limit,
        false => ANSWER,
    };
    let (mut pieces, mut length) = (Vec::new(), 0);
    let mut body = body.bytes_stream();
    while let Some(piece) = body.next().await {
        let piece = piece?;
        length += piece.len();
        if length > limit {
            return Err(Broken::TooLong);
        }
        pieces.push(piece);
    }
    Ok(Answer {
        status: parts.status,
        headers: parts.headers,
        body: match pieces.len() {
            1 => pieces.remove(0),
            _ => pieces.concat().into(),
        },
    })
}

/// A client that does what it is told and no more: no proxies from the environment, no redirects that would
/// take signed requests elsewhere, nothing sent twice, and nothing unpacked, whatever features of the client another
/// crate of the program switches on.
pub(crate) fn client(config: &S3Config, tls: rustls::ClientConfig) -> Result<reqwest::Client> {
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .http1_only()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
        .tcp_nodelay(true)
        .connect_timeout(config.connect_timeout)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(config.max_connections);
    client.build().map_err(|source| {
        let message = "the HTTP client cannot be set up";
        Error::new(ErrorKind::InvalidConfig, message).with_source(source.without_url())
    })
}

pub(crate) fn is_connect(error: &HttpError) -> bool {
    cause::<reqwest::Error>(error).is_some_and(reqwest::Error::is_connect)
}

/// The error of this kind that it is, or comes from.
pub(crate) fn cause<'a, E: StdError + 'static>(
    error: &'a (dyn StdError + 'static),
) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // What an I/O error wraps it does not name as its source.
        next = match error
            .downcast_ref::<std::io::Error>()
            .and_then(|io| io.get_ref())
        {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}
