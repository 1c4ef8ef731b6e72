//! The server of the front: requests taken, carried out by the Redis behind, and answered.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinSet, spawn_blocking};

use super::super::redis::Redis;
use super::super::resp::{Answer, Connection};
use super::commands::{Command, Rights, adapt, check};
use super::reply::{self, Sent};
use super::request::{self, Form, Request};

/// What Upstash's plans begin with.
const MAX_REQUEST: usize = 10 * 1024 * 1024;

/// What the front and its server know together.
#[derive(Debug)]
pub(super) struct Shared {
    redis: Redis,
    /// Connections to it that nobody uses now.
    idle: Mutex<Vec<Connection>>,
    token: String,
    read_token: String,
    /// Requests get no answer.
    pub(super) stalled: watch::Sender<bool>,
    state: Mutex<State>,
}

/// What tests set and ask.
#[derive(Debug)]
pub(super) struct State {
    pub(super) requests: usize,
    /// The headers of the last request.
    pub(super) headers: HeaderMap,
    /// The answers to the next requests.
    pub(super) told: VecDeque<(StatusCode, String)>,
    /// The next request gets no answer when it is done.
    pub(super) cut: bool,
    /// The bytes of the largest command, and of the largest answer.
    pub(super) max_request: usize,
    /// How many commands may be given in all, and how many were.
    pub(super) quota: Option<(usize, usize)>,
    /// How many answers had a token to read one's writes.
    tokens: u64,
}

/// A request with all that it brought.
struct Whole {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Shared {
    pub(super) fn new(redis: &Redis, token: &str, read_token: &str) -> Self {
        let state = State {
            requests: 0,
            headers: HeaderMap::new(),
            told: VecDeque::new(),
            cut: false,
            max_request: MAX_REQUEST,
            quota: None,
            tokens: 0,
        };
        Self {
            redis: redis.clone(),
            idle: Mutex::default(),
            token: token.to_owned(),
            read_token: read_token.to_owned(),
            stalled: watch::Sender::new(false),
            state: Mutex::new(state),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves until the other end of `end` is dropped.
pub(super) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    end: oneshot::Receiver<Infallible>,
) {
    let accepting = async {
        // Ended with this task.
        let mut connections = JoinSet::new();
        // Without it clients are refused, so a test sees it.
        while let Ok((stream, _)) = listener.accept().await {
            while connections.try_join_next().is_some() {}
            connections.spawn(connection(stream, Arc::clone(&shared)));
        }
    };
    tokio::select! {
        () = accepting => {}
        _ = end => {}
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    // Fails on a connection that is closed already, which shows below.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request: http::Request<Incoming>| {
        let shared = Arc::clone(&shared);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
            let request = Whole {
                method: head.method,
                uri: head.uri,
                headers: head.headers,
                body,
            };
            take(request, shared).await
        }
    });
    // An error is what closes a connection that is to be closed; others are the client's to tell.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// Takes a request; the error closes the connection.
async fn take(request: Whole, shared: Arc<Shared>) -> io::Result<Sent> {
    let mut stalled = shared.stalled.subscribe();
    let stalls = *stalled.borrow_and_update();
    let (told, cut) = {
        let mut state = shared.state();
        state.requests += 1;
        state.headers.clone_from(&request.headers);
        // One fault a request.
        match stalls {
            true => (None, false),
            false => match state.told.pop_front() {
                None => (None, std::mem::take(&mut state.cut)),
                told => (told, false),
            },
        }
    };
    if stalls {
        // Until it is healed, or the front is gone: it was not passed on, and is not any more.
        let _ = stalled.changed().await;
        return Err(io::Error::other("stalled"));
    }
    if let Some((status, body)) = told {
        return Ok(reply::as_told(status, body));
    }
    let sent = spawn_blocking(move || answer(&request, &shared)).await;
    match sent {
        Ok(sent) if !cut => Ok(sent),
        Ok(_) => Err(io::Error::other("cut")),
        Err(e) => Err(io::Error::other(e)),
    }
}

fn answer(request: &Whole, shared: &Shared) -> Sent {
    let Whole {
        method,
        uri,
        headers,
        body,
    } = request;
    if ![Method::HEAD, Method::GET, Method::POST, Method::PUT].contains(method) {
        return reply::refusal(StatusCode::METHOD_NOT_ALLOWED, "ERR method not allowed");
    }
    let token = request::token(uri, headers);
    let rights = match token.as_deref() {
        Some(token) if token == shared.token.as_bytes() => Rights::All,
        Some(token) if token == shared.read_token.as_bytes() => Rights::Read,
        _ => {
            let words = "WRONGPASS invalid or missing auth token";
            return reply::refusal(StatusCode::UNAUTHORIZED, words);
        }
    };
    let asked =
        Form::read(uri, headers).and_then(|form| Ok((form, Request::read(method, uri, body)?)));
    let mut sent = match asked {
        Ok((form, request)) => carry_out(request, form, rights, shared),
        Err(words) => reply::refusal(StatusCode::BAD_REQUEST, &words),
    };
    let token = {
        let mut state = shared.state();
        state.tokens += 1;
        format!("{:x}:{}", shared.redis.address().port(), state.tokens)
    };
    if let Ok(token) = HeaderValue::from_str(&token) {
        sent.headers_mut().insert("upstash-sync-token", token);
    }
    sent
}

fn carry_out(request: Request, form: Form, rights: Rights, shared: &Shared) -> Sent {
    let done = match request {
        Request::Single(command) => {
            one(command, rights, shared).map(|answer| reply::single(&answer, form))
        }
        Request::Pipeline(commands) => commands
            .into_iter()
            .map(|command| one(command, rights, shared))
            .collect::<io::Result<Vec<_>>>()
            .map(|answers| reply::several(&answers, form)),
        Request::Transaction(commands) => {
            transaction(commands, rights, shared).map(|done| match done {
                Ok(answers) => reply::several(&answers, form),
                Err(words) => reply::refusal(StatusCode::BAD_REQUEST, &words),
            })
        }
    };
    done.unwrap_or_else(|e| {
        let words = format!("ERR the Redis behind this front: {e}");
        reply::refusal(StatusCode::SERVICE_UNAVAILABLE, &words)
    })
}

/// Whether commands are to be passed on; the error is Upstash's answer.
fn admit(commands: &[Command], rights: Rights, shared: &Shared) -> Result<(), String> {
    for command in commands {
        check(command, rights)?;
    }
    let mut state = shared.state();
    let size = |command: &Command| command.iter().map(Vec::len).sum();
    if let Some(actual) = commands
        .iter()
        .map(size)
        .find(|size| *size > state.max_request)
    {
        return Err(too_large(state.max_request, actual));
    }
    if let Some((limit, used)) = &mut state.quota {
        if commands.len() > *limit - *used {
            return Err(format!(
                "ERR max requests limit exceeded. Limit: {limit}, Usage: {used}. \
                 See https://upstash.com/docs/redis/troubleshooting/max_requests_limit for details"
            ));
        }
        *used += commands.len();
    }
    Ok(())
}

fn too_large(limit: usize, actual: usize) -> String {
    format!(
        "ERR max request size exceeded. Limit: {limit} bytes, Actual: {actual} bytes. \
         See https://upstash.com/docs/redis/troubleshooting/max_request_size_exceeded for details"
    )
}

/// An answer, if it is not too large.
fn within(answer: Answer, shared: &Shared) -> Answer {
    let (limit, actual) = (shared.state().max_request, size(&answer));
    if actual > limit {
        Answer::Error(too_large(limit, actual))
    } else {
        answer
    }
}

fn size(answer: &Answer) -> usize {
    match answer {
        Answer::Status(text) | Answer::Error(text) => text.len(),
        Answer::Bulk(Some(data)) => data.len(),
        Answer::Array(Some(items)) => items.iter().map(size).sum(),
        Answer::Integer(_) | Answer::Bulk(None) | Answer::Array(None) => 0,
    }
}

fn one(command: Command, rights: Rights, shared: &Shared) -> io::Result<Answer> {
    if let Err(words) = admit(std::slice::from_ref(&command), rights, shared) {
        return Ok(Answer::Error(words));
    }
    match adapt(command) {
        Ok(command) => {
            let answer = with_redis(shared, |redis| redis.ask(&command))?;
            Ok(within(answer, shared))
        }
        Err(answer) => Ok(answer),
    }
}

/// The inner error discards the transaction.
fn transaction(
    commands: Vec<Command>,
    rights: Rights,
    shared: &Shared,
) -> io::Result<Result<Vec<Answer>, String>> {
    if let Err(words) = admit(&commands, rights, shared) {
        return Ok(Err(words));
    }
    let commands: Vec<_> = commands.into_iter().map(adapt).collect();
    let done = with_redis(shared, |redis| {
        redis.ask(&["MULTI"])?;
        for command in commands.iter().flatten() {
            // A refusal comes again, from EXEC.
            redis.ask(command)?;
        }
        redis.ask(&["EXEC"])
    })?;
    let mut done = match done {
        Answer::Array(Some(answers)) => answers.into_iter(),
        Answer::Error(words) => return Ok(Err(words)),
        other => return Err(io::Error::other(format!("it answered EXEC by {other:?}"))),
    };
    let answers = commands.into_iter().map(|command| match command {
        Ok(_) => done.next().map(|answer| within(answer, shared)),
        Err(answer) => Some(answer),
    });
    let answers: Option<Vec<_>> = answers.collect();
    Ok(Ok(answers.ok_or_else(|| {
        io::Error::other("it answered less than it was asked")
    })?))
}

/// Uses a connection to the Redis behind, which is kept for others unless something went wrong on it.
fn with_redis<T>(
    shared: &Shared,
    work: impl FnOnce(&mut Connection) -> io::Result<T>,
) -> io::Result<T> {
    let idle = std::iter::from_fn(|| lock(&shared.idle).pop()).find(Connection::is_open);
    let mut connection = match idle {
        Some(connection) => connection,
        None => shared.redis.open()?.map_err(io::Error::other)?,
    };
    let done = work(&mut connection)?;
    lock(&shared.idle).push(connection);
    Ok(done)
}
