//! The callers' side of the threads.

use std::sync::Arc;
use std::time::Duration;

use kvstore_core::{Error, ErrorKind, Result};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::call::{Pending, call};
use crate::change::WEIGHT;
use crate::config::FileConfig;
use crate::data::Snapshot;
use crate::disk;
use crate::engine::{Engine, Write};
use crate::error::is_open_elsewhere;
use crate::tables::Tables;

/// How long connecting waits for another who has the file open, and may be about to close it.
const GRACE: Duration = Duration::from_secs(1);

/// What all clones of a provider share. The last one to go lets the threads end, and does not wait for them.
pub(crate) struct Client(Arc<Engine>);

impl Client {
    pub(crate) fn start(config: FileConfig) -> Result<Self> {
        config.check()?;
        Engine::start(config).map(Self)
    }

    pub(crate) fn config(&self) -> &FileConfig {
        &self.0.config
    }

    /// When a call that begins now has to end.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.config().timeout
    }

    /// Opens the file, and makes sure that it is there and ours.
    pub(crate) async fn connect(config: FileConfig) -> Result<Self> {
        let client = Self::start(config)?;
        let begin = Instant::now();
        let opened = timeout_at(begin + client.config().connect_timeout, async {
            loop {
                let opened = client.send_read(1, |_| Ok(()))?;
                match opened.wait_without_deadline().await {
                    Err(error) if is_open_elsewhere(&error) && begin.elapsed() < GRACE => {
                        sleep(Duration::from_millis(20)).await;
                    }
                    done => return done,
                }
            }
        });
        let Ok(opened) = opened.await else {
            let message = "the file was not opened within `connect_timeout`: after a crash it is checked as a whole, \
                           which goes on now; connect again, or raise the time";
            return Err(Error::new(ErrorKind::Timeout, message));
        };
        opened.map(|()| client)
    }

    /// Puts a call into the queue of those that read so many keys.
    pub(crate) fn send_read<T: Send + 'static>(
        &self,
        keys: usize,
        work: impl FnMut(&mut Snapshot) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<Pending<T>> {
        let (work, pending) = call(work, false);
        self.0.reads.push(keys, Box::new(work))?;
        Ok(pending)
    }

    /// Puts a call into the queue of those that write so many bytes.
    pub(crate) fn send_write<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl for<'t> FnMut(&mut Tables<'t>) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<Pending<T>> {
        let (call, pending) = call(work, true);
        let (call, removes) = (Box::new(call), false);
        self.0.writes.push(bytes, Write { call, removes })?;
        Ok(pending)
    }

    /// Puts a call into the queue of those that write, which only removes so many keys.
    pub(crate) fn send_removal<T: Send + 'static>(
        &self,
        keys: usize,
        work: impl for<'t> FnMut(&mut Tables<'t>) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<Pending<T>> {
        let (call, pending) = call(work, true);
        let (call, removes) = (Box::new(call), true);
        self.0.writes.push(WEIGHT * keys, Write { call, removes })?;
        Ok(pending)
    }

    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut Snapshot) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T> {
        let deadline = self.deadline();
        self.send_read(1, work)?.wait(deadline).await
    }

    pub(crate) async fn write<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl for<'t> FnMut(&mut Tables<'t>) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T> {
        let deadline = self.deadline();
        self.send_write(bytes, work)?.wait(deadline).await
    }

    pub(crate) async fn remove<T: Send + 'static>(
        &self,
        work: impl for<'t> FnMut(&mut Tables<'t>) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T> {
        let deadline = self.deadline();
        self.send_removal(1, work)?.wait(deadline).await
    }

    /// What the system says of the file, once the file has been read.
    pub(crate) async fn warnings(&self) -> Result<Vec<String>> {
        let (path, health) = (self.config().path.clone(), Arc::clone(&self.0.health));
        let warnings = move |_: &mut Snapshot| Ok(disk::warnings(&path, &health));
        self.read(warnings).await
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.reads.is_closed()
    }

    /// Lets the calls under way be done, and waits until the file is closed.
    pub(crate) async fn close(&self) -> Result<()> {
        self.0.close();
        let ended = timeout(self.config().timeout, self.0.wait_for_end()).await;
        ended.map_err(|_| {
            let message = "the deadline passed before the disk was done with the calls under way; the file is closed after them";
            Error::new(ErrorKind::Timeout, message)
        })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.0.close();
    }
}
