//! The threads that the calls are done on, and the database that they share.

use std::collections::VecDeque;
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
/// How many bytes are written in one transaction, besides those of its last call.
const WRITE: usize = 16 << 20;
/// How many bytes may wait to be written, unless one call has more.
const WAITING: usize = 256 << 20;
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

pub(crate) struct Write {
    pub(crate) call: Box<dyn for<'t> Call<Tables<'t>>>,
    /// Whether it only removes keys.
    pub(crate) removes: bool,
}

/// How the database is opened.
type Opens = Box<dyn Fn(&FileConfig, &Arc<Health>) -> Result<Database> + Send + Sync>;

/// The disk was full, and nothing has been written since.
#[derive(Clone)]
struct Full {
    /// Until when nothing is written.
    until: Instant,
    error: Error,
    /// Whether keys could not be removed either.
    removals: bool,
}

impl Full {
    fn refuses(&self, write: &Write) -> bool {
        (self.removals || !write.removes) && Instant::now() < self.until
    }
}

/// What the threads share. They end, and the file is closed, once the queues are closed and empty.
pub(crate) struct Engine {
    pub(crate) config: FileConfig,
    pub(crate) reads: Queue<Read>,
    pub(crate) writes: Queue<Write>,
    /// The file, where it is open.
    database: RwLock<Option<Open>>,
    opens: Opens,
    full: Mutex<Option<Full>>,
    /// How long nothing is written until expired keys are looked for.
    idle: Duration,
    pub(crate) health: Arc<Health>,
    threads: AtomicUsize,
    /// Whether all threads have ended.
    ended: watch::Sender<bool>,
}

impl Engine {
    /// Starts the threads. The file is opened with the first call.
    pub(crate) fn start(config: FileConfig) -> Result<Arc<Self>> {
        Self::start_on(config, Box::new(disk::open), IDLE)
    }

    /// On whatever is opened in this way: a file, but for tests.
    fn start_on(config: FileConfig, opens: Opens, idle: Duration) -> Result<Arc<Self>> {
        let engine = Arc::new(Self {
            reads: Queue::new(config.max_pending, usize::MAX),
            writes: Queue::new(config.max_pending, WAITING),
            config,
            database: RwLock::new(None),
            opens,
            full: Mutex::default(),
            idle,
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
        if let Some(full) = &mut *self.full_mut()
            && begin < full.until
        {
            full.until = Instant::now() + FULL.0.max(begin.elapsed() * FULL.1);
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
        let mut calls = VecDeque::from(calls);
        // Opening the file may take longer than they wait.
        let begun = self.with(|_| calls.retain(|call| call.begin()));
        let mut read = begun.and_then(|()| self.read_all(&mut calls));
        if let Ok(Err(redb::Error::PreviousIo)) = read {
            // That was another call's, and the file is opened anew now.
            read = self.read_all(&mut calls);
        }
        if let Err(error) = read.and_then(|read| read.map_err(storage)) {
            for call in calls {
                call.finish(Err(error.clone()));
            }
        }
    }

    /// Answers the calls, up to one that cannot be done since something went wrong with the file before.
    fn read_all(&self, calls: &mut VecDeque<Read>) -> Result<Result<(), redb::Error>> {
        self.with(|open| {
            let mut snapshot = Snapshot::new(&open.database)?;
            while let Some(mut call) = calls.pop_front() {
                match call.run(&mut snapshot) {
                    Err(error @ redb::Error::PreviousIo) => {
                        calls.push_front(call);
                        return Err(error);
                    }
                    done => call.finish(done.map_err(storage)),
                }
            }
            Ok(())
        })
    }

    /// The work of the thread that writes: all calls that have come while it was busy are one transaction, and
    /// are answered when that is on the disk.
    fn write(&self) {
        let mut wait = self.idle;
        while let Some(calls) = self.writes.pop(WRITE, wait) {
            wait = self.idle;
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
        let mut calls = VecDeque::from(calls);
        // Since the disk was full, each that adds something is done alone, so that what does not fit fails nothing else.
        let most = match self.full() {
            Some(_) => 1,
            None => WRITE,
        };
        loop {
            self.refuse(&mut calls);
            if calls.is_empty() {
                return;
            }
            // Opening the file may take longer than they wait.
            if let Err(error) = self.with(|_| ()) {
                for write in calls {
                    write.call.finish(Err(error.clone()));
                }
                return;
            }
            self.write_some(&mut calls, most);
        }
    }

    /// Answers those that are not to be tried while the disk is full.
    fn refuse(&self, calls: &mut VecDeque<Write>) {
        let Some(full) = self.full() else {
            return;
        };
        for _ in 0..calls.len() {
            match calls.pop_front() {
                Some(write) if full.refuses(&write) => write.call.finish(Err(full.error.clone())),
                write => calls.extend(write),
            }
        }
    }

    /// Does the first of the calls in one transaction, until they have written so many bytes.
    fn write_some(&self, calls: &mut VecDeque<Write>, most: usize) {
        let mut begun = Vec::new();
        let mut bytes = 0;
        let written = self.with(|open| {
            open.write(SWEEP, |tables| {
                while tables.bytes() < most
                    && let Some(mut write) = calls.pop_front()
                {
                    if write.call.begin() {
                        let run = write.call.run(tables);
                        begun.push(write);
                        run?;
                    }
                }
                bytes = tables.bytes();
                Ok(())
            })
        });
        let removals = begun.iter().all(|write| write.removes);
        let written = match written {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(Lost::Before(error))) => Err(self.failed(error, removals)),
            Ok(Err(Lost::Commit(error, mark))) => self.settle(self.failed(error, removals), &mark),
            Err(error) => Err(error),
        };
        if written.is_ok() && bytes > 0 {
            *self.full_mut() = None;
        }
        if let Err(error) = &written
            && !error.outcome_unknown()
            && (error.kind() != ErrorKind::StorageFull || begun.is_empty())
        {
            // The others would fail too, after the file was opened anew for each.
            begun.extend(calls.drain(..));
        }
        for write in begun {
            write.call.finish(written.clone());
        }
    }

    /// What went wrong with a transaction, and whether it only removed keys. Where the disk is full, the next are not
    /// tried for a while: each that fails lets the file be opened anew, and nobody can read meanwhile.
    fn failed(&self, error: redb::Error, removals: bool) -> Error {
        let error = storage(error);
        if error.kind() == ErrorKind::StorageFull {
            *self.full_mut() = Some(Full {
                until: Instant::now() + FULL.0,
                error: error.clone(),
                removals,
            });
        }
        error
    }

    fn full_mut(&self) -> MutexGuard<'_, Option<Full>> {
        self.full.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the disk was full when something was written last.
    fn full(&self) -> Option<Full> {
        self.full_mut().clone()
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
        let waits = |full: Full| Instant::now() < full.until;
        if self.database().is_none() || self.full().is_some_and(waits) {
            return 0;
        }
        let swept = self.with(|open| open.write(IDLE_SWEEP, |_| Ok(())));
        match swept {
            Ok(Ok(swept)) => swept,
            Ok(Err(Lost::Before(error) | Lost::Commit(error, _))) => {
                self.failed(error, true);
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
