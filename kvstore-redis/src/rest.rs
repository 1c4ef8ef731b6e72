//! Upstash by its REST API: commands as JSON over HTTP, several in one request to `/pipeline`.

mod json;

use std::error::Error as StdError;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{HttpConnector, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kvstore_core::{Bytes, Error, ErrorKind, Result};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::RedisConfig;
use crate::check::{BESIDE, MAX_UPSTASH_REQUEST};
use crate::command::{Command, Reply};
use crate::error::{Failure, connecting, not_understood, unknown};

/// The longest answer that is read.
const MAX_ANSWER: usize = 256 << 20;

/// How many bytes of commands go into one request to `/pipeline`, as long as they have room in it.
const PIPELINE: usize = 4 << 20;

/// How many requests may be under way at once, unless the configuration says.
const CONNECTIONS: usize = 64;

/// How long a connection is kept that nobody uses: shorter than what stands between usually keeps it.
const IDLE: Duration = Duration::from_secs(30);

/// Tells a read how much of what was written it has to know; comes with each answer.
const SYNC_TOKEN: HeaderName = HeaderName::from_static("upstash-sync-token");

pub(crate) struct Rest {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    one: Uri,
    pipeline: Uri,
    authorization: HeaderValue,
    /// That of the last answer, so that what was written here is read here.
    sync_token: Mutex<Option<HeaderValue>>,
    connections: Semaphore,
    timeout: Duration,
    max_request: usize,
    tls: bool,
}

impl Rest {
    pub(crate) fn new(config: &RedisConfig) -> Result<Self> {
        let scheme = if config.tls { "https" } else { "http" };
        let base = format!("{scheme}://{}", config.servers);
        let uri = |path: &str| {
            Uri::try_from(format!("{base}{path}")).map_err(|source| {
                let message = "the host and the port make no URL";
                Error::new(ErrorKind::InvalidConfig, message).with_source(source)
            })
        };
        let token = config.password.as_deref().unwrap_or_default();
        let authorization = HeaderValue::try_from(format!("Bearer {token}"));
        let mut authorization = authorization.map_err(|source| {
            let message = "the token has characters that a header cannot hold";
            Error::new(ErrorKind::InvalidConfig, message).with_source(source)
        })?;
        authorization.set_sensitive(true);
        let connections = config.max_connections.unwrap_or(CONNECTIONS);
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(config.connect_timeout));
        tcp.set_keepalive(Some(IDLE));
        let builder = HttpsConnectorBuilder::new().with_tls_config(crate::tls::client(config)?);
        let builder = match config.tls {
            true => builder.https_only(),
            false => builder.https_or_http(),
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(connections)
            .build(builder.enable_http1().wrap_connector(tcp));
        Ok(Self {
            client,
            one: uri("/")?,
            pipeline: uri("/pipeline")?,
            authorization,
            sync_token: Mutex::new(None),
            connections: Semaphore::new(connections),
            timeout: config.timeout,
            max_request: MAX_UPSTASH_REQUEST.max(config.value_limit() / 3 * 4 + BESIDE),
            tls: config.tls,
        })
    }

    /// Gives a command, and waits for its answer until the deadline.
    pub(crate) async fn send(
        &self,
        command: &Command,
        deadline: Instant,
    ) -> Result<Reply, Failure> {
        let body = json::command(command);
        self.has_room(&body)?;
        let answer = self
            .ask(&self.one, body, command.is_write(), deadline)
            .await?;
        json::answer(&answer, command.is_write())
    }

    /// Gives several, in as few requests as they have room in.
    pub(crate) async fn send_all(
        &self,
        commands: &[Command],
        deadline: Instant,
    ) -> Vec<Result<Reply, Failure>> {
        let bodies: Vec<_> = commands.iter().map(json::command).collect();
        let mut answers = Vec::with_capacity(commands.len());
        while answers.len() < commands.len() {
            let first = answers.len();
            let mut bytes = 2;
            let fits = |body: &&Vec<u8>| {
                bytes += body.len() + 1;
                bytes <= PIPELINE
            };
            let count = bodies[first..].iter().take_while(fits).count();
            if count < 2 {
                answers.push(self.send(&commands[first], deadline).await);
                continue;
            }
            let part = first..first + count;
            let given = &commands[part.clone()];
            match self.send_part(given, &bodies[part], deadline).await {
                Ok(part) => answers.extend(part),
                // The answers have no room in one; each by itself may.
                Err(failure) if is_too_large(&failure) => {
                    for command in given {
                        answers.push(self.send(command, deadline).await);
                    }
                }
                Err(failure) => answers.extend(given.iter().map(|_| Err(failure.clone()))),
            }
        }
        answers
    }

    async fn send_part(
        &self,
        commands: &[Command],
        bodies: &[Vec<u8>],
        deadline: Instant,
    ) -> Result<Vec<Result<Reply, Failure>>, Failure> {
        let writes = commands.iter().any(Command::is_write);
        let body = [&b"["[..], &bodies.join(&b','), b"]"].concat();
        let answer = self.ask(&self.pipeline, body, writes, deadline).await?;
        json::answers(&answer, commands.len(), writes)
    }

    /// Makes sure that bytes come through which JSON does not hold.
    pub(crate) async fn check(&self, deadline: Instant) -> Result<()> {
        let all: Vec<u8> = (0..=255).collect();
        let body = json::echo(&all);
        let answer = self.ask(&self.one, body, false, deadline).await;
        match answer.and_then(|answer| json::answer(&answer, false)) {
            Ok(Reply::Data(data)) if data == all => Ok(()),
            // It is told with the other rights.
            Err(failure) if failure.code() == "NOPERM" => Ok(()),
            Err(failure) => Err(failure.into()),
            Ok(_) => {
                let message = "a script does not give back the bytes that it was given";
                Err(Error::new(ErrorKind::Other, message))
            }
        }
    }

    /// Makes sure that a value, as it is sent, is not over the limit.
    fn has_room(&self, body: &[u8]) -> Result<(), Failure> {
        if body.len() <= self.max_request {
            return Ok(());
        }
        let message = format!(
            "as JSON the request has {} bytes, and Upstash takes {}",
            body.len(),
            self.max_request
        );
        Err(Failure::Lost(Error::new(ErrorKind::ValueTooLarge, message)))
    }

    /// Makes a request. A read whose connection is lost is made once more: it may have been closed by a server
    /// that was started anew.
    async fn ask(
        &self,
        uri: &Uri,
        body: Vec<u8>,
        writes: bool,
        deadline: Instant,
    ) -> Result<Bytes, Failure> {
        let body = Bytes::from(body);
        let Ok(_permit) = timeout_at(deadline, self.connections.acquire()).await else {
            let message =
                "no connection was free in time: `max_connections` requests are under way";
            return Err(Failure::Lost(Error::new(ErrorKind::Timeout, message)));
        };
        match self.exchange(uri, &body, writes, deadline).await {
            Err(Failure::Cut(_)) if !writes => self.exchange(uri, &body, writes, deadline).await,
            answer => answer,
        }
    }

    async fn exchange(
        &self,
        uri: &Uri,
        body: &Bytes,
        writes: bool,
        deadline: Instant,
    ) -> Result<Bytes, Failure> {
        if Instant::now() >= deadline {
            return Err(Failure::timed_out(self.timeout, false));
        }
        let mut request = self.request(uri, body);
        let connection = capture_connection(&mut request);
        let exchanging = async {
            let response = self.client.request(request).await;
            let response = response.map_err(|error| match error.is_connect() {
                true => Failure::Lost(connecting(error, uri, self.tls)),
                false => Failure::Cut(lost(error, writes)),
            })?;
            let status = response.status();
            if let Some(token) = response.headers().get(SYNC_TOKEN) {
                *self.lock() = Some(token.clone());
            }
            let answer = receive(response, writes).await?;
            match status {
                StatusCode::OK => Ok(answer),
                _ => Err(refused(status, &answer, writes)),
            }
        };
        let answer = timeout_at(deadline, exchanging).await;
        answer.unwrap_or_else(|_| {
            // Without a connection nothing was sent.
            let sent = connection.connection_metadata().is_some();
            Err(Failure::timed_out(self.timeout, writes && sent))
        })
    }

    fn request(&self, uri: &Uri, body: &Bytes) -> Request<Full<Bytes>> {
        const ENCODING: HeaderName = HeaderName::from_static("upstash-encoding");
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.clone();
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, self.authorization.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // JSON holds no bytes that are not text.
        headers.insert(ENCODING, HeaderValue::from_static("base64"));
        if let Some(token) = &*self.lock() {
            headers.insert(SYNC_TOKEN, token.clone());
        }
        request
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<HeaderValue>> {
        self.sync_token
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

async fn receive(response: Response<Incoming>, writes: bool) -> Result<Bytes, Failure> {
    let mut body = response.into_body();
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::Cut(lost(error, writes)))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if text.len() + data.len() > MAX_ANSWER {
            let message = format!("the server's answer is over {MAX_ANSWER} bytes");
            let error = Error::new(ErrorKind::ValueTooLarge, message);
            return Err(Failure::Lost(unknown(error, writes)));
        }
        text.extend_from_slice(&data);
    }
    Ok(text.into())
}

fn lost(error: impl StdError + Send + Sync + 'static, writes: bool) -> Error {
    let message = "the connection was lost before the answer came";
    let lost = Error::new(ErrorKind::Unavailable, message).with_source(error);
    unknown(lost, writes)
}

/// What an answer says that is not `200 OK`.
fn refused(status: StatusCode, answer: &[u8], writes: bool) -> Failure {
    let said = json::refusal(answer);
    let (kind, message) = match (status, said) {
        // It says what it does not do.
        (status, Some(said)) if status.is_client_error() && said.is_known() => {
            return Failure::Refused(said);
        }
        (StatusCode::UNAUTHORIZED, _) => (ErrorKind::Unauthenticated, "Upstash refused the token"),
        (StatusCode::FORBIDDEN, _) => (ErrorKind::PermissionDenied, "Upstash refused the request"),
        (StatusCode::PAYLOAD_TOO_LARGE, _) => (
            ErrorKind::ValueTooLarge,
            "the request is over the server's limit",
        ),
        (StatusCode::TOO_MANY_REQUESTS, _) => (ErrorKind::Busy, "Upstash takes no more requests"),
        (status, Some(said)) if status.is_client_error() => return Failure::Refused(said),
        // What a server between says may repeat the request, so it is not shown.
        (status, _) if status.is_server_error() => {
            let error = Error::new(ErrorKind::Unavailable, format!("Upstash answers {status}"));
            return Failure::Lost(unknown(error, writes));
        }
        _ => return Failure::Lost(unknown(not_understood(), writes)),
    };
    Failure::Lost(Error::new(kind, message))
}

/// Whether there is no room for a request, or for the answer to one that wrote nothing.
fn is_too_large(failure: &Failure) -> bool {
    let error = Error::from(failure.clone());
    error.kind() == ErrorKind::ValueTooLarge && !error.outcome_unknown()
}
