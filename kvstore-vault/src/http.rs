//! One HTTP request and its answer.

use std::error::Error as StdError;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kvstore_core::{Bytes, Error, ErrorKind, Result};
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use crate::VaultConfig;
use crate::error::{connecting, lost};
use crate::tls;

/// The longest answer that is read; a secret has some megabytes, a listing may have more.
const MAX_ANSWER: usize = 256 << 20;

/// How long a connection is kept that nobody uses: shorter than what stands between usually keeps it.
const IDLE: Duration = Duration::from_secs(30);

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    /// Below `/v1/`, percent-encoded, with its query.
    pub(crate) path: String,
    pub(crate) body: Option<Bytes>,
    pub(crate) effect: Effect,
    /// Whether it is asked of the server as a whole, which a namespace does not answer.
    pub(crate) of_the_server: bool,
}

/// What asking changes, which says what to do when the answer is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing: it may be asked again.
    None,
    /// A secret: the outcome is unknown.
    Secret,
    /// Nothing that the caller would know of, but it is not asked twice: a login may be the last that is
    /// allowed.
    Login,
}

impl Ask {
    /// Asks for something to be read.
    pub(crate) fn read(method: Method, path: String) -> Self {
        Self {
            method,
            path,
            body: None,
            effect: Effect::None,
            of_the_server: false,
        }
    }

    /// Asks for the state of the server.
    pub(crate) fn state(path: &str) -> Self {
        Self {
            of_the_server: true,
            ..Self::read(Method::GET, path.to_owned())
        }
    }

    /// Asks for a secret to be changed.
    pub(crate) fn write(method: Method, path: String, body: Option<Bytes>) -> Self {
        Self {
            method,
            path,
            body,
            effect: Effect::Secret,
            of_the_server: false,
        }
    }

    /// Asks for something to be done once.
    pub(crate) fn post(path: String, body: Bytes, effect: Effect) -> Self {
        Self {
            method: Method::POST,
            path,
            body: Some(body),
            effect,
            of_the_server: false,
        }
    }

    pub(crate) fn writes(&self) -> bool {
        self.effect == Effect::Secret
    }
}

/// What is answered, whatever it is; its text is overwritten when it is no longer needed.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) text: Zeroizing<Vec<u8>>,
}

/// Why there is no answer.
enum Failed {
    /// The connection was lost after it had been made.
    Lost(Error),
    Other(Error),
}

/// A server to ask, over connections that are kept.
pub(crate) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// `https://vault.example:8200`, without a slash.
    base: String,
    namespace: Option<HeaderValue>,
    timeout: Duration,
}

impl Http {
    pub(crate) fn new(config: &VaultConfig) -> Result<Self> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(config.connect_timeout));
        tcp.set_keepalive(Some(IDLE));
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls::client(config)?);
        let builder = match config.tls {
            true => builder.https_only(),
            false => builder.https_or_http(),
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(config.max_connections)
            .build(builder.enable_http1().wrap_connector(tcp));
        let namespace = config.namespace.as_deref().map(HeaderValue::from_str);
        Ok(Self {
            client,
            base: config.base(),
            namespace: namespace.transpose().map_err(|source| {
                let message = "`namespace` has characters that a header cannot hold";
                Error::new(ErrorKind::InvalidConfig, message).with_source(source)
            })?,
            timeout: config.timeout,
        })
    }

    /// Asks, as the owner of a token. A read whose connection is lost is asked once more: the connection may
    /// have been closed by a server that was started anew.
    pub(crate) async fn ask(
        &self,
        ask: &Ask,
        token: Option<&HeaderValue>,
        deadline: Instant,
    ) -> Result<Answer> {
        let mut answered = self.exchange(ask, token, deadline).await;
        if matches!(answered, Err(Failed::Lost(_))) && ask.effect == Effect::None {
            answered = self.exchange(ask, token, deadline).await;
        }
        answered.map_err(|(Failed::Lost(error) | Failed::Other(error))| error)
    }

    async fn exchange(
        &self,
        ask: &Ask,
        token: Option<&HeaderValue>,
        deadline: Instant,
    ) -> Result<Answer, Failed> {
        if Instant::now() >= deadline {
            let message = "there was no time left to ask; nothing was sent";
            return Err(Failed::Other(Error::new(ErrorKind::Timeout, message)));
        }
        let request = self.request(ask, token).map_err(Failed::Other)?;
        let exchange =
            async {
                let response = self.client.request(request).await.map_err(|error| {
                    match error.is_connect() {
                        true => Failed::Other(connecting(error, &self.base)),
                        false => Failed::Lost(lost(error, ask.writes())),
                    }
                })?;
                receive(response, ask.writes()).await
            };
        timeout_at(deadline, exchange).await.unwrap_or_else(|_| {
            let message = format!("no answer within {:?}", self.timeout);
            let error = Error::new(ErrorKind::Timeout, message);
            Err(Failed::Other(match ask.writes() {
                true => error.with_outcome_unknown(),
                false => error,
            }))
        })
    }

    fn request(&self, ask: &Ask, token: Option<&HeaderValue>) -> Result<Request<Full<Bytes>>> {
        const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
        const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
        // What a proxy that was tricked into asking would not send; agents may insist on it.
        const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");

        let uri = Uri::try_from(format!("{}/v1/{}", self.base, ask.path)).map_err(|source| {
            let message = "the address, the mount and the path make no URL";
            Error::new(ErrorKind::InvalidConfig, message).with_source(source)
        })?;
        let mut request = Request::new(Full::new(ask.body.clone().unwrap_or_default()));
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(REQUEST, HeaderValue::from_static("true"));
        if let Some(token) = token {
            headers.insert(TOKEN, token.clone());
        }
        if let Some(namespace) = &self.namespace
            && !ask.of_the_server
        {
            headers.insert(NAMESPACE, namespace.clone());
        }
        if ask.body.is_some() {
            let kind = match ask.method {
                Method::PATCH => "application/merge-patch+json",
                _ => "application/json",
            };
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        Ok(request)
    }
}

async fn receive(response: Response<Incoming>, writes: bool) -> Result<Answer, Failed> {
    let status = response.status();
    let mut body = response.into_body();
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or_default();
    let mut text = Zeroizing::new(Vec::with_capacity(expected.min(MAX_ANSWER)));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failed::Lost(lost(error, writes)))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if text.len() + data.len() > MAX_ANSWER {
            let message = format!("the server's answer is over {MAX_ANSWER} bytes");
            return Err(Failed::Other(Error::new(ErrorKind::Other, message)));
        }
        append(&mut text, &data);
    }
    Ok(Answer { status, text })
}

/// Appends, and leaves no copy behind where there is no room.
fn append(text: &mut Zeroizing<Vec<u8>>, data: &[u8]) {
    let len = text.len() + data.len();
    if len > text.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(len.max(2 * text.capacity())));
        larger.extend_from_slice(text);
        *text = larger;
    }
    text.extend_from_slice(data);
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
