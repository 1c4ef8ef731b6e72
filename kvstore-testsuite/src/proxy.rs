//! A TCP proxy between a client and a server that counts round trips and makes faults (feature
//! `servers`).

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

/// A TCP proxy in front of a server; dropping it closes its connections.
///
/// It knows no protocol. A *request* is what a client sends after an answer (or at first) until the
/// server answers, so a pipelined batch is one request, and so are commands that happen to be under
/// way together on one connection. Give replies a small [`delay`](Self::delay) where a batch is
/// counted: else the server may answer its beginning before the client has sent its end.
///
/// Faults concern all connections, open or new, until [`heal`](Self::heal). A cut concerns the one
/// connection on which the next request comes.
///
/// ```
/// # async fn example() -> std::io::Result<()> {
/// use std::time::Duration;
/// use kvstore_testsuite::proxy::Proxy;
///
/// let proxy = Proxy::start("127.0.0.1:6379".parse().unwrap()).await?;
/// let url = format!("redis://{}", proxy.address());
/// // … connect a store to `url` …
/// proxy.delay(Duration::from_millis(5));
/// proxy.reset();
/// // … ask it for a hundred keys at once …
/// assert_eq!(proxy.round_trips(), 1);
/// proxy.cut_after_request();
/// // … a write now has an unknown outcome …
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    mode: watch::Sender<Mode>,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Forward,
    Stall,
    Refuse,
}

#[derive(Debug, Default)]
struct State {
    round_trips: usize,
    bytes_sent: u64,
    bytes_received: u64,
    delay: Duration,
    /// After how many bytes of its reply the next request's connection is to be cut.
    cut: Option<usize>,
}

impl Proxy {
    /// Starts a proxy on a free port of 127.0.0.1, on the runtime it is called in.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let state = Mutex::default();
        let shared = Arc::new(Shared {
            target,
            mode: watch::Sender::new(Mode::Forward),
            state,
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            accepting,
        })
    }

    /// The address for clients.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests came since the last [`reset`](Self::reset), on all connections.
    pub fn round_trips(&self) -> usize {
        self.shared.state().round_trips
    }

    /// How many bytes clients sent to the server since the last [`reset`](Self::reset).
    pub fn bytes_sent(&self) -> u64 {
        self.shared.state().bytes_sent
    }

    /// How many bytes clients received from the server since the last [`reset`](Self::reset).
    pub fn bytes_received(&self) -> u64 {
        self.shared.state().bytes_received
    }

    /// Counts from zero again.
    pub fn reset(&self) {
        let mut state = self.shared.state();
        (state.round_trips, state.bytes_sent, state.bytes_received) = (0, 0, 0);
    }

    /// Passes the next request on, and closes its connection when the reply begins to arrive: the
    /// server did what it was asked, and the client cannot know.
    ///
    /// Answers to requests sent before on the same connection may be lost in its place.
    pub fn cut_after_request(&self) {
        self.cut_mid_reply(0);
    }

    /// Passes the next request on, and this many bytes of what the server answers from then on, and
    /// closes the connection.
    pub fn cut_mid_reply(&self, bytes: usize) {
        self.shared.state().cut = Some(bytes);
    }

    /// Closes all connections, new ones as soon as they are made: the server is down.
    ///
    /// Clients find the port open at first; the server's own, when it is stopped, is closed.
    pub fn refuse(&self) {
        self.shared.mode.send_replace(Mode::Refuse);
    }

    /// Accepts connections and bytes, and passes nothing on: the network swallows everything.
    ///
    /// [`heal`](Self::heal) closes the connections on which something was swallowed.
    pub fn stall(&self) {
        self.shared.mode.send_replace(Mode::Stall);
    }

    /// Passes a reply on no sooner than this after it begins to arrive.
    pub fn delay(&self, delay: Duration) {
        self.shared.state().delay = delay;
    }

    /// Ends all faults, cuts that did not come about included.
    pub fn heal(&self) {
        let mut state = self.shared.state();
        (state.delay, state.cut) = (Duration::ZERO, None);
        drop(state);
        self.shared.mode.send_replace(Mode::Forward);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mode(&self) -> Mode {
        *self.mode.borrow()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Ended with this task.
    let mut connections = JoinSet::new();
    loop {
        // Without it clients are refused, so a test sees it.
        let Ok((client, _)) = listener.accept().await else {
            return;
        };
        while connections.try_join_next().is_some() {}
        connections.spawn(serve(client, Arc::clone(&shared)));
    }
}

/// What is known of one connection.
#[derive(Default)]
struct Connection {
    /// The last that was passed on was a request.
    requesting: bool,
    /// When the reply to it may be passed on.
    due: Option<Instant>,
    /// How many bytes of replies may still be passed on.
    cut: Option<usize>,
    /// Something was not passed on.
    swallowed: bool,
}

/// Passes bytes on until one side closes, or a fault does.
///
/// Errors are not told: here, too, both connections are closed, which is how a client learns.
async fn serve(client: TcpStream, shared: Arc<Shared>) {
    let mut mode = shared.mode.subscribe();
    let Ok(server) = TcpStream::connect(shared.target).await else {
        return;
    };
    for stream in [&client, &server] {
        // Fails on a connection that is closed already, which shows below.
        let _ = stream.set_nodelay(true);
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let connection = Mutex::default();
    let fault = async {
        loop {
            let now = *mode.borrow_and_update();
            if now == Mode::Refuse || (now == Mode::Forward && lock(&connection).swallowed) {
                return;
            }
            if mode.changed().await.is_err() {
                return;
            }
        }
    };
    let requests = async {
        if pass_requests(from_client, to_server, &shared, &connection)
            .await
            .is_ok()
        {
            // The client has nothing more to send, and may wait for replies.
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = fault => {}
        () = requests => {}
        _ = pass_replies(from_server, to_client, &shared, &connection) => {}
    }
}

fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn pass_requests(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    shared: &Shared,
    connection: &Mutex<Connection>,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = client.read(&mut buffer).await?;
        if length == 0 {
            // The server learns of it when its half is dropped here.
            return Ok(());
        }
        {
            let (mut state, mut connection) = (shared.state(), lock(connection));
            if shared.mode() != Mode::Forward {
                connection.swallowed = true;
                continue;
            }
            if !connection.requesting {
                connection.requesting = true;
                connection.due = None;
                state.round_trips += 1;
            }
            if let Some(bytes) = state.cut.take() {
                connection.cut = Some(bytes);
            }
            state.bytes_sent += length as u64;
        }
        server.write_all(&buffer[..length]).await?;
    }
}

async fn pass_replies(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    shared: &Shared,
    connection: &Mutex<Connection>,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let mut length = server.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        let due = {
            let delay = shared.state().delay;
            *lock(connection)
                .due
                .get_or_insert_with(|| Instant::now() + delay)
        };
        sleep_until(due).await;
        let cut = {
            let (mut state, mut connection) = (shared.state(), lock(connection));
            if shared.mode() != Mode::Forward {
                connection.swallowed = true;
                continue;
            }
            if let Some(left) = &mut connection.cut {
                length = length.min(*left);
                *left -= length;
            }
            connection.requesting = false;
            state.bytes_received += length as u64;
            connection.cut == Some(0)
        };
        client.write_all(&buffer[..length]).await?;
        if cut {
            return Ok(());
        }
    }
}
