//! The driver, made with the first call, and what every call has: a place among the connections, a deadline,
//! further attempts where these cannot do harm.
//!
//! - The driver's futures must not be dropped half-way (RUST-937), and callers may drop ours: see [`Insistent`].
//! - It has no deadline for a call, and waits for a free connection without end. So calls wait here, before
//!   anything is sent.
//! - It repeats commands of its own making only, and no batch of updates is among these before MongoDB 8. Ours
//!   carry a transaction number, by which a replica set does a repeated write once.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use kvstore_core::{Error, ErrorKind, Result};
use mongodb::bson::{Document, RawDocumentBuf, cstr};
use mongodb::error::Error as DriverError;
use mongodb::raw_batch_cursor::RawBatch;
use mongodb::{ClientSession, Database};
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::MongoDbConfig;
use crate::command::Fields;
use crate::error::{self, Failure};
use crate::found;
use crate::options::{self, Concerns};

pub(crate) struct Client {
    pub(crate) config: MongoDbConfig,
    pub(crate) concerns: Concerns,
    driver: OnceCell<Driver>,
    permits: Arc<Semaphore>,
    max_calls: u32,
    /// Greater with each write, so also with each write of one session.
    transactions: AtomicI64,
    /// Not on a standalone server, which the first write tells.
    repeat_writes: AtomicBool,
    repeat_reads: bool,
    /// There are documents with an expiry: one was written or seen.
    expiring: AtomicBool,
}

impl Client {
    /// Makes it without touching the network.
    pub(crate) fn new(config: MongoDbConfig) -> Result<Arc<Self>> {
        config.check()?;
        let concerns = options::concerns(&config)?;
        let max_calls = options::max_pool_size(&config);
        let is_on = |name| config.options.get(name).is_none_or(|value| value == "true");
        let (repeat_reads, repeat_writes) = (is_on("retryreads"), is_on("retrywrites"));
        Ok(Arc::new(Self {
            config,
            concerns,
            driver: OnceCell::new(),
            permits: Arc::new(Semaphore::new(max_calls as usize)),
            max_calls,
            transactions: AtomicI64::new(1),
            repeat_writes: AtomicBool::new(repeat_writes),
            repeat_reads,
            expiring: AtomicBool::new(false),
        }))
    }

    /// The deadline of a call that begins now.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.config.timeout
    }

    async fn driver(&self) -> Result<&Driver, Failure> {
        let make = || async {
            let options = options::client_options(&self.config).await?;
            let client = mongodb::Client::with_options(options)?;
            Ok(Driver {
                sessions: Mutex::default(),
                database: client.database(&self.config.database),
            })
        };
        self.driver
            .get_or_try_init(make)
            .await
            .map_err(Failure::read)
    }

    /// Knows from now on that documents expire.
    pub(crate) fn expects_expiry(&self) {
        self.expiring.store(true, Ordering::Relaxed);
    }

    /// Reads documents, with the server's clock where it is needed: that takes the server a fifth longer, so
    /// it is not asked for where no document has an expiry.
    pub(crate) async fn read_found(
        self: &Arc<Self>,
        command: impl Fn(Fields) -> RawDocumentBuf,
        deadline: Instant,
    ) -> Result<Vec<RawBatch>> {
        if !self.expiring.load(Ordering::Relaxed) {
            let batches = self.read(command(Fields::Document), deadline).await?;
            if !found::expires(&batches)? {
                return Ok(batches);
            }
            self.expects_expiry();
        }
        self.read(command(Fields::All), deadline).await
    }

    pub(crate) async fn read_one(
        self: &Arc<Self>,
        key: &str,
        deadline: Instant,
    ) -> Result<Vec<RawBatch>> {
        self.read_found(|fields| self.find_one(key, fields), deadline)
            .await
    }

    /// Gives a command that answers with documents, and waits for all of them.
    pub(crate) async fn read(
        self: &Arc<Self>,
        command: RawDocumentBuf,
        deadline: Instant,
    ) -> Result<Vec<RawBatch>> {
        let client = Arc::clone(self);
        let attempts = async move {
            let driver = client.driver().await?;
            let attempts = if client.repeat_reads { ATTEMPTS } else { 1 };
            let mut pauses = Pauses::new(attempts, deadline);
            loop {
                match driver.find(command.clone()).await {
                    Err(error) if error::is_transient(&error) && pauses.next().await => {}
                    answer => return answer.map_err(Failure::read),
                }
            }
        };
        self.call(deadline, false, attempts).await
    }

    /// Gives a command that writes this many documents; a replica set does it once, however often it arrives.
    pub(crate) async fn write(
        self: &Arc<Self>,
        command: RawDocumentBuf,
        documents: usize,
        deadline: Instant,
    ) -> Result<Document> {
        let client = Arc::clone(self);
        let attempts = async move { client.write_once(command, documents, deadline).await };
        self.call(deadline, true, attempts).await
    }

    async fn write_once(
        &self,
        command: RawDocumentBuf,
        documents: usize,
        deadline: Instant,
    ) -> Result<Document, Failure> {
        let failure = |error| Failure::write(error, documents);
        let driver = self.driver().await?;
        if !self.repeat_writes.load(Ordering::Relaxed) {
            return driver.run(command).await.map_err(failure);
        }
        let mut session = driver.session().await.map_err(Failure::read)?;
        // Once the session is ours: a session takes no number below one that it had.
        let number = self.transactions.fetch_add(1, Ordering::Relaxed);
        let mut numbered = command.clone();
        numbered.append(cstr!("txnNumber"), number);
        let mut send = async |command| {
            let command = driver.database.run_raw_command(command);
            command.session(&mut session).await
        };
        let mut pauses = Pauses::new(ATTEMPTS, deadline);
        let mut failed: Option<Failure> = None;
        loop {
            let last = match send(numbered.clone()).await {
                Ok(answer) if error::asks_to_repeat(&answer) && pauses.next().await => {
                    Failure::unacknowledged()
                }
                Ok(answer) => {
                    if failed.is_none() {
                        driver.give_back(session);
                    }
                    return Ok(answer);
                }
                Err(error) if failed.is_none() && error::is_of_standalone(&error) => {
                    self.repeat_writes.store(false, Ordering::Relaxed);
                    return driver.run(command).await.map_err(failure);
                }
                Err(error) if error::is_transient(&error) && pauses.next().await => failure(error),
                Err(error) => return Err(failure(error).after(failed.as_ref())),
            };
            failed = Some(last.after(failed.as_ref()));
        }
    }

    /// Gives a command that is sent once, and changes no key.
    pub(crate) async fn ask(self: &Arc<Self>, command: RawDocumentBuf) -> Result<Document> {
        let client = Arc::clone(self);
        let answer = async move {
            let driver = client.driver().await?;
            driver.run(command).await.map_err(Failure::read)
        };
        self.call(self.deadline(), false, answer).await
    }

    async fn call<T: Send + 'static>(
        &self,
        deadline: Instant,
        writes: bool,
        operation: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Result<T> {
        let runtime = Handle::try_current().map_err(|source| {
            let message = "MongoDB's driver needs a tokio runtime: make the call where one runs";
            Error::new(ErrorKind::Other, message).with_source(source)
        })?;
        let permits = Arc::clone(&self.permits);
        let permit = match Arc::clone(&permits).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => match timeout_at(deadline, permits.acquire_owned()).await {
                Ok(Ok(permit)) => permit,
                Ok(Err(_)) => return Err(ErrorKind::Closed.into()),
                Err(_) => return Err(self.busy()),
            },
        };
        let operation = Insistent::new(runtime, async move {
            let answer = operation.await;
            drop(permit);
            answer
        });
        match timeout_at(deadline, operation).await {
            Ok(answer) => answer.map_err(|failure| failure.into_error(&self.config)),
            Err(_) => Err(error::timeout(self.config.timeout, writes)),
        }
    }

    fn busy(&self) -> Error {
        let message = format!(
            "{} calls are under way, which is `maxPoolSize`, and none ended in time",
            self.max_calls
        );
        Error::new(ErrorKind::Busy, message)
    }

    /// Refuses further calls, lets those under way end, and closes the connections.
    pub(crate) async fn close(&self) {
        // Without a runtime no call is under way.
        if let Ok(runtime) = Handle::try_current() {
            let deadline = self.deadline();
            // All places: no call is under way, and none begins.
            let all = timeout_at(deadline, self.permits.acquire_many(self.max_calls)).await;
            self.permits.close();
            drop(all);
            if let Some(driver) = self.driver.get() {
                driver.idle().clear();
                let shutdown = driver
                    .database
                    .client()
                    .clone()
                    .shutdown()
                    .immediate(true)
                    .into_future();
                // What is left of the connections after that ends with the process.
                drop(timeout_at(deadline, Insistent::new(runtime, shutdown)).await);
            }
        }
        self.permits.close();
    }
}

/// How often a command is sent at most. The driver waits for a new primary, but takes the old one for it for a
/// moment after it has stepped down.
const ATTEMPTS: u32 = 5;

/// What is between attempts.
struct Pauses {
    left: u32,
    next: Duration,
    deadline: Instant,
}

impl Pauses {
    fn new(attempts: u32, deadline: Instant) -> Self {
        Self {
            left: attempts - 1,
            next: Duration::from_millis(10),
            deadline,
        }
    }

    /// Waits; `false` when there is to be no other attempt. There is none after the deadline: the caller knows by
    /// then that the write may or may not be applied.
    async fn next(&mut self) -> bool {
        let at = Instant::now() + self.next;
        if self.left == 0 || at >= self.deadline {
            return false;
        }
        self.left -= 1;
        self.next *= 2;
        sleep_until(at).await;
        true
    }
}

/// What calls are made with.
struct Driver {
    /// Such as are not in use. The driver makes one for each call else, and three tasks with it.
    sessions: Mutex<Vec<ClientSession>>,
    database: Database,
}

impl Driver {
    async fn session(&self) -> Result<ClientSession, DriverError> {
        let idle = self.idle().pop();
        match idle {
            Some(session) => Ok(session),
            None => {
                self.database
                    .client()
                    .start_session()
                    .causal_consistency(false)
                    .await
            }
        }
    }

    /// Keeps a session for the next call; not after a failure, when the driver does not use it again either.
    fn give_back(&self, session: ClientSession) {
        self.idle().push(session);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<ClientSession>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn find(&self, command: RawDocumentBuf) -> Result<Vec<RawBatch>, DriverError> {
        let mut session = self.session().await?;
        let command = self.database.run_raw_cursor_command(command);
        let mut cursor = command.session(&mut session).batch().await?;
        let batches = cursor.stream(&mut session).try_collect().await?;
        self.give_back(session);
        Ok(batches)
    }

    async fn run(&self, command: RawDocumentBuf) -> Result<Document, DriverError> {
        let mut session = self.session().await?;
        let command = self.database.run_raw_command(command);
        let answer = command.session(&mut session).await?;
        self.give_back(session);
        Ok(answer)
    }
}

/// A future that goes on by itself when its caller drops it.
pub(crate) struct Insistent<T: Send + 'static> {
    runtime: Handle,
    operation: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
}

impl<T: Send + 'static> Insistent<T> {
    fn new(runtime: Handle, operation: impl Future<Output = T> + Send + 'static) -> Self {
        Self {
            runtime,
            operation: Some(Box::pin(operation)),
        }
    }
}

impl<T: Send + 'static> Future for Insistent<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        // Taken out, so that it is not polled again should it panic.
        let Some(mut operation) = self.operation.take() else {
            return Poll::Pending;
        };
        let polled = operation.as_mut().poll(context);
        if polled.is_pending() {
            self.operation = Some(operation);
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Insistent<T> {
    fn drop(&mut self) {
        if let Some(operation) = self.operation.take() {
            self.runtime.spawn(operation);
        }
    }
}
