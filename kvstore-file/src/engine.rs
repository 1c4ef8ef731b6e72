//! The threads that the calls are done on, and the database that they share.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant};

use kvstore_core::{Error, ErrorKind, Result};
use redb::Database;
use tokio::sync::watch;

use crate::call::Call;
use crate::config::FileConfig;
use crate::data::Snapshot;
use crate::disk::{self, Health};
use crate::error::{storage, unconfirmed};
use crate::queue::Queue;
use crate::tables::{Lost, Mark, Open, Tables};

/// How many threads read. They spend their time waiting for the disk, or for callers.
const READERS: usize = 4;
/// How many keys a thread reads before others may help.
const READ: usize = 32;
/// How many bytes are written in one transaction, unless one call has more.
const WRITE: usize = 16 << 20;
/// How many expired keys are removed with the writes of one transaction, besides as many as it adds.
const SWEEP: usize = 64;
/// How many are removed at once where nothing is to be written.
const IDLE_SWEEP: usize = 1000;
/// How long nothing is written until expired keys are looked for.
const IDLE: Duration = Duration::from_secs(60);
/// How long nothing is written after the disk was full; or so many times as long as it then took to open the file anew,
/// so that most of the time is left for reads.
const FULL: (Duration, u32) = (Duration::from_secs(1), 4);

pub(crate) type Read = Box<dyn Call<Snapshot>>;
pub(crate) type Write = Box<dyn for<'t> Call<Tables<'t>>>;
/// How the database is opened.
type Opens = Box<dyn Fn(&FileConfig, &Arc<Health>) -> Result<Database> + Send + Sync>;

/// What the threads share. They end, and the file is closed, once the queues are closed and empty.
pub(crate) struct Engine {
    pub(crate) config: FileConfig,
    pub(crate) reads: Queue<Read>,
    pub(crate) writes: Queue<Write>,
    /// The file, where it is open.
    database: RwLock<Option<Open>>,
    opens: Opens,
    /// Until when nothing is written, and why.
    full: Mutex<Option<(Instant, Error)>>,
    pub(crate) health: Arc<Health>,
    threads: AtomicUsize,
    /// Whether all threads have ended.
    ended: watch::Sender<bool>,
}

impl Engine {
    /// Starts the threads. The file is opened with the first call.
    pub(crate) fn start(config: FileConfig) -> Result<Arc<Self>> {
        Self::start_on(config, Box::new(disk::open))
    }

    /// On whatever is opened in this way: a file, but for tests.
    fn start_on(config: FileConfig, opens: Opens) -> Result<Arc<Self>> {
        let engine = Arc::new(Self {
            reads: Queue::new(config.max_pending),
            writes: Queue::new(config.max_pending),
            config,
            database: RwLock::new(None),
            opens,
            full: Mutex::default(),
            health: Arc::default(),
            threads: AtomicUsize::new(0),
            ended: watch::Sender::new(false),
        });
        let spawn = |name: String, work: fn(&Self)| {
            let running = Running::of(&engine);
            let thread = thread::Builder::new().name(name);
            let spawned = thread.spawn(move || work(&running.0));
            spawned.map(drop).map_err(|error| {
                engine.close();
                let message = "the system gives no thread for the file";
                Error::new(ErrorKind::Unavailable, message).with_source(error)
            })
        };
        spawn("kvstore-file-write".to_owned(), Self::write)?;
        for number in 0..READERS {
            spawn(format!("kvstore-file-{number}"), Self::read)?;
        }
        Ok(engine)
    }

    /// Takes no calls any more. Those in the queues are still done; then the file is closed.
    pub(crate) fn close(&self) {
        self.reads.close();
        self.writes.close();
    }

    /// Waits until the file is closed.
    pub(crate) async fn wait_for_end(&self) {
        // There is no error: the sender is in here.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    fn database(&self) -> RwLockReadGuard<'_, Option<Open>> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn database_mut(&self) -> RwLockWriteGuard<'_, Option<Open>> {
        self.database
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the database, which is opened if it is not, or if something went wrong with it.
    fn with<T>(&self, work: impl FnOnce(&Open) -> T) -> Result<T> {
        loop {
            if self.health.is_unconfirmed() {
                return Err(unconfirmed());
            }
            if let Some(open) = &*self.database()
                && !self.health.has_failed()
            {
                return Ok(work(open));
            }
            self.reopen()?;
        }
    }

    fn reopen(&self) -> Result<()> {
        let mut database = self.database_mut();
        if database.is_some() && !self.health.has_failed() {
            // Another thread was faster.
            return Ok(());
        }
        // Before it can be opened it must be closed, which gives back the lock.
        *database = None;
        let begin = Instant::now();
        let opened = (self.opens)(&self.config, &self.health)?;
        if let Some((until, _)) = &mut *self.full_mut() {
            *until = Instant::now() + FULL.0.max(begin.elapsed() * FULL.1);
        }
        if self.health.has_failed() {
            // It went wrong again, and redb went on: whoever calls next may try, and nobody for ever.
            return Err(storage(redb::Error::PreviousIo));
        }
        *database = Some(Open::new(opened));
        Ok(())
    }

    /// The work of a thread that reads: all calls that it takes at once are done on one snapshot, which was not
    /// older than any of them.
    fn read(&self) {
        while let Some(calls) = self.reads.pop(READ, Duration::MAX) {
            self.unwinding(|| self.read_group(calls));
        }
    }

    fn read_group(&self, calls: Vec<Read>) {
        let mut calls: Vec<_> = calls.into_iter().filter(|call| call.begin()).collect();
        if calls.is_empty() {
            return;
        }
        let done = self.with(|open| -> Result<(), redb::Error> {
            let mut snapshot = Snapshot::new(&open.database)?;
            for mut call in calls.drain(..) {
                let done = call.run(&mut snapshot).map_err(storage);
                call.finish(done);
            }
            Ok(())
        });
        if let Err(error) = done.and_then(|done| done.map_err(storage)) {
            for call in calls {
                call.finish(Err(error.clone()));
            }
        }
    }

    /// The work of the thread that writes: all calls that have come while it was busy are one transaction, and
    /// are answered when that is on the disk.
    fn write(&self) {
        let mut wait = IDLE;
        while let Some(calls) = self.writes.pop(WRITE, wait) {
            wait = IDLE;
            self.unwinding(|| match calls.is_empty() {
                true => {
                    if self.sweep() == IDLE_SWEEP {
                        wait = Duration::ZERO;
                    }
                }
                false => self.write_group(calls),
            });
        }
    }

    fn write_group(&self, calls: Vec<Write>) {
        let mut calls: Vec<_> = calls.into_iter().filter(|call| call.begin()).collect();
        if calls.is_empty() {
            return;
        }
        let written = match self.full() {
            Some(error) => Err(error),
            None => self.write_all(&mut calls),
        };
        for call in calls {
            call.finish(written.clone());
        }
    }

    fn write_all(&self, calls: &mut [Write]) -> Result<()> {
        let written = self.with(|open| {
            open.write(SWEEP, |tables| {
                calls.iter_mut().try_for_each(|call| call.run(tables))
            })
        });
        match written {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(Lost::Before(error))) => Err(self.failed(error)),
            Ok(Err(Lost::Commit(error, mark))) => self.settle(self.failed(error), &mark),
            Err(error) => Err(error),
        }
    }

    /// What went wrong with a transaction. Where the disk is full, the next are not tried for a while: each that fails
    /// lets the file be opened anew, and nobody can read meanwhile.
    fn failed(&self, error: redb::Error) -> Error {
        let error = storage(error);
        if error.kind() == ErrorKind::StorageFull {
            *self.full_mut() = Some((Instant::now() + FULL.0, error.clone()));
        }
        error
    }

    fn full_mut(&self) -> MutexGuard<'_, Option<(Instant, Error)>> {
        self.full.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why nothing is written now, if that is so.
    fn full(&self) -> Option<Error> {
        let mut full = self.full_mut();
        full.take_if(|(until, _)| Instant::now() >= *until);
        full.as_ref().map(|(_, error)| error.clone())
    }

    /// Finds out what came of a transaction whose commit failed: the file, opened anew, has its mark or not.
    fn settle(&self, error: Error, mark: &Mark) -> Result<()> {
        match self.with(|open| open.has(mark)) {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(error),
            Ok(Err(_)) | Err(_) => Err(error.with_outcome_unknown()),
        }
    }

    /// Removes expired keys from a file that is open. What goes wrong is told to the next call.
    fn sweep(&self) -> usize {
        if self.database().is_none() || self.full().is_some() {
            return 0;
        }
        let swept = self.with(|open| open.write(IDLE_SWEEP, |_| Ok(())));
        match swept {
            Ok(Ok(swept)) => swept,
            Ok(Err(Lost::Before(error) | Lost::Commit(error, _))) => {
                self.failed(error);
                0
            }
            Err(_) => 0,
        }
    }

    /// Lets a panic in the database end the calls that met it, and not the thread. The file is opened anew then.
    fn unwinding(&self, work: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            self.health.fail();
        }
    }
}

/// A thread that is running: the last one to end closes the file.
struct Running(Arc<Engine>);

impl Running {
    fn of(engine: &Arc<Engine>) -> Self {
        engine.threads.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(engine))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.threads.fetch_sub(1, Ordering::AcqRel) == 1 {
            *self.0.database_mut() = None;
            self.0.health.forget();
            self.0.ended.send_replace(true);
        }
    }
}

#[cfg(test)]
mod tests;
