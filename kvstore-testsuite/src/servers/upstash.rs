//! A front before a Redis that speaks Upstash's REST API.

mod commands;
mod reply;
mod request;
mod serve;

use std::convert::Infallible;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

use http::StatusCode;
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::sync::oneshot;

use self::serve::{Shared, serve};
use super::redis::Redis;

/// A small HTTP server that speaks Upstash's REST API, in front of a real Redis; dropping it closes its port
/// and its connections.
///
/// It is written from Upstash's documentation, as of August 2026, and was held against its official client for
/// Python, never against Upstash. It has: the token in the header and in `_token`, a second one that may only
/// read; a command as the JSON array that is posted to `/`, or in the path, with the body as its last argument and
/// the query after it; `/pipeline` and `/multi-exec`; `Upstash-Encoding: base64`, `Upstash-Response-Format: resp2`
/// and `Upstash-Sync-Token`. Of commands it passes on those that Upstash documents for REST, and no others; what a
/// script calls it does not look at.
///
/// Where the documentation is silent, this is our reading of it:
///
/// - A body that is empty is no argument, and a part of a path that is empty is one.
/// - A query is read as a form has it: a `+` is a space. A name without `=` is an argument without another.
/// - In base64 the status `OK` stays as it is; other statuses and the value `OK` are encoded. A client
///   should take either.
/// - Without base64, bytes that are not UTF-8 come as U+FFFD, one or a few.
/// - `resp2` gives the answers to a pipeline one after another, an error with the status that JSON has; at `/multi-exec`
///   the header says nothing. Other values of the two headers are refused.
/// - Of JSON, strings and numbers are arguments, and nothing else.
/// - A command over the [limit](Self::set_max_request_size), or beyond the [quota](Self::set_quota), is a command that
///   fails: a status of 400 if it is alone, an item of a pipeline, and the end of a transaction. So is an answer over
///   the limit: that command was carried out.
/// - The words of a refusal are those that Upstash documents or others quote. None are known for a method that is not
///   allowed, or where Redis does not answer, which here is a status of 503.
///
/// Upstash's own commands, and those of a Redis newer than the one behind, are answered as that Redis does. It has no
/// `/monitor`, `/subscribe` and limit to keys, and is never behind what was written.
///
/// ```no_run
/// use kvstore_testsuite::servers::{Redis, UpstashFront};
///
/// let front = UpstashFront::start(Redis::shared());
/// let (url, token) = (front.url(), front.token());
/// // … connect a store to `url` with `token` …
/// front.reset();
/// // … ask it for a hundred keys at once …
/// assert_eq!(front.requests(), 1);
/// front.fail_next(429, r#"{"error":"ERR max daily request limit exceeded"}"#);
/// // … the next call is an error …
/// ```
pub struct UpstashFront {
    address: SocketAddr,
    redis: Redis,
    token: String,
    read_only_token: String,
    shared: Arc<Shared>,
    /// The thread that serves until this is dropped.
    serving: Option<(oneshot::Sender<Infallible>, JoinHandle<()>)>,
}

impl UpstashFront {
    /// A front of this process for [`Redis::shared`], for tests that make no faults.
    ///
    /// # Panics
    /// As [`Redis::shared`] and [`start`](Self::start).
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<UpstashFront> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(Redis::shared()))
    }

    /// Starts a front on a free port of 127.0.0.1, on a thread of its own.
    ///
    /// # Panics
    /// When no port or no thread can be had.
    pub fn start(redis: &Redis) -> Self {
        let fail =
            |what: &str, e: std::io::Error| -> ! { panic!("no {what} for Upstash's front: {e}") };
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.unwrap_or_else(|e| fail("runtime", e));
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok((listener.local_addr()?, listener))
        });
        let (address, listener) = listener.unwrap_or_else(|e| fail("port", e));
        let (token, read_only_token) = (new_token(), new_token());
        let shared = Arc::new(Shared::new(redis, &token, &read_only_token));
        let (end, ended) = oneshot::channel();
        let serves = Arc::clone(&shared);
        let serve = move || {
            runtime.block_on(async {
                match TcpListener::from_std(listener) {
                    Ok(listener) => serve(listener, serves, ended).await,
                    Err(e) => fail("port", e),
                }
            });
            // Without waiting for a Redis that does not answer.
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name("upstash-front".to_owned());
        let thread = thread.spawn(serve).unwrap_or_else(|e| fail("thread", e));
        Self {
            address,
            redis: redis.clone(),
            token,
            read_only_token,
            shared,
            serving: Some((end, thread)),
        }
    }

    /// Its URL, `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The token that may do everything. It ends in `=`, as Upstash's do.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The token that may only read, and not list.
    pub fn read_only_token(&self) -> &str {
        &self.read_only_token
    }

    /// The Redis behind it.
    pub fn redis(&self) -> &Redis {
        &self.redis
    }

    /// The commands that Upstash documents, by Redis' protocol too, a bar before subcommands: `GETDEL`,
    /// `CLIENT|SETINFO`. A Redis may know fewer.
    pub fn commands() -> impl Iterator<Item = &'static str> {
        commands::all()
    }

    /// How many requests came since the last [`reset`](Self::reset), refused and stalled ones too.
    pub fn requests(&self) -> usize {
        self.shared.state().requests
    }

    /// Counts from zero again.
    pub fn reset(&self) {
        self.shared.state().requests = 0;
    }

    /// A header of the last request, as `upstash-sync-token`; `None` if it came without.
    pub fn last_header(&self, name: &str) -> Option<String> {
        let value = self.shared.state().headers.get(name)?.clone();
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    }

    /// Refuses commands and answers with more than this many bytes, as Upstash does with those over 10 MB. It
    /// counts the bytes of the arguments, without those that JSON or HTTP adds.
    pub fn set_max_request_size(&self, bytes: usize) {
        self.shared.state().max_request = bytes;
    }

    /// Carries this many more commands out, and refuses all others as Upstash does when the month's are used
    /// up, until [`heal`](Self::heal).
    pub fn set_quota(&self, commands: usize) {
        self.shared.state().quota = Some((commands, 0));
    }

    /// Answers the next request by this, whatever it asks, and does not carry it out. Called twice, it is about
    /// the next two.
    ///
    /// # Panics
    /// When there is no such status.
    pub fn fail_next(&self, status: u16, body: &str) {
        let status = StatusCode::from_u16(status).unwrap_or_else(|e| panic!("{status}: {e}"));
        self.shared
            .state()
            .told
            .push_back((status, body.to_owned()));
    }

    /// Carries the next request out, and closes its connection in place of an answer.
    pub fn cut_after_request(&self) {
        self.shared.state().cut = true;
    }

    /// Takes requests and does nothing with them, until [`heal`](Self::heal), which closes their connections.
    pub fn stall(&self) {
        self.set_stalled(true);
    }

    /// Ends all faults and the quota, faults that did not come about included; not the limit to requests.
    pub fn heal(&self) {
        let mut state = self.shared.state();
        state.told.clear();
        (state.cut, state.quota) = (false, None);
        drop(state);
        self.set_stalled(false);
    }

    fn set_stalled(&self, to: bool) {
        let set = |now: &mut bool| std::mem::replace(now, to) != to;
        self.shared.stalled.send_if_modified(set);
    }
}

impl Drop for UpstashFront {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.serving.take() {
            drop(end);
            // If it panicked, a test has seen that by now.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for UpstashFront {
    /// Prints where it is, and no token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstashFront")
            .field("address", &self.address)
            .field("redis", &self.redis)
            .finish_non_exhaustive()
    }
}

fn new_token() -> String {
    let random = || RandomState::new().hash_one(0);
    format!("A{:016x}{:016x}Q=", random(), random())
}
