//! A small provider that keeps the whole contract.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use kvstore_core::{
    BoxStream, Bytes, Capabilities, Condition, DeleteRequest, Entry, Error, ErrorKind, Expiry,
    Format, GetRequest, KeysRequest, Listing, Outcome, Provider, Result, ServerInfo, SetRequest,
    TouchRequest, Version, Versions, async_trait,
};
use kvstore_testsuite::Fixture;
use tokio::task::yield_now;
use tokio::time::Instant;

/// All that a provider can claim, with versions that are unique.
pub fn full() -> Capabilities {
    let mut full = Capabilities::new("reference");
    full.expiry = Some(Duration::from_millis(1));
    full.touch = true;
    full.if_absent = true;
    full.if_present = true;
    full.versions = Some(Versions::Unique);
    full.take = true;
    full.keys = Some(Listing::Once);
    full.strong_reads = true;
    full.retains = true;
    full
}

/// Two clients of a new root.
pub fn fixture(capabilities: Capabilities) -> Fixture {
    let first = Reference::new(capabilities);
    let second = first.second_client();
    Fixture::new(first).with_other(second)
}

pub struct Reference {
    pub capabilities: Capabilities,
    pub server: Arc<Mutex<Server>>,
    closed: AtomicBool,
}

#[derive(Default)]
pub struct Server {
    pub slots: BTreeMap<String, Slot>,
    writes: u64,
}

#[derive(Clone)]
pub struct Slot {
    pub value: Bytes,
    pub format: Format,
    pub deadline: Option<Instant>,
    pub version: Version,
}

impl Slot {
    fn live(&self) -> bool {
        self.deadline
            .is_none_or(|deadline| Instant::now() < deadline)
    }
}

impl Reference {
    pub fn new(capabilities: Capabilities) -> Self {
        Self {
            capabilities,
            server: Arc::default(),
            closed: AtomicBool::new(false),
        }
    }

    pub fn second_client(&self) -> Self {
        Self {
            capabilities: self.capabilities.clone(),
            server: Arc::clone(&self.server),
            closed: AtomicBool::new(false),
        }
    }

    /// As each call to a server: other tasks run before it is done.
    async fn server(&self) -> Result<MutexGuard<'_, Server>> {
        yield_now().await;
        if self.closed.load(Ordering::Relaxed) {
            return Err(ErrorKind::Closed.into());
        }
        Ok(self.server.lock().unwrap())
    }

    fn deadline(&self, expiry: Expiry, old: Option<&Slot>) -> Option<Instant> {
        match expiry {
            Expiry::After(ttl) => {
                let unit = self.capabilities.expiry.unwrap().as_nanos();
                let units = ttl.as_nanos().div_ceil(unit) * unit;
                Some(Instant::now() + Duration::from_nanos(units.try_into().unwrap_or(u64::MAX)))
            }
            Expiry::Keep => old.and_then(|slot| slot.deadline),
            _ => None,
        }
    }

    fn version(&self, server: &mut Server, old: Option<&Slot>, value: &Bytes) -> Version {
        server.writes += 1;
        match self.capabilities.versions {
            Some(Versions::Counter) => {
                let last = old.and_then(|slot| slot.version.as_u64());
                Version::from(last.unwrap_or_default() + 1)
            }
            Some(Versions::Content) => {
                let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(value);
                Version::new(&format!("h{hash:016x}")).unwrap()
            }
            _ => Version::from(server.writes),
        }
    }

    fn write(&self, server: &mut Server, request: &SetRequest<'_>) -> Outcome {
        let key = request.key.as_str();
        let old = server.slots.get(key).filter(|slot| slot.live()).cloned();
        let holds = match &request.condition {
            None => true,
            Some(Condition::Absent) => old.is_none(),
            Some(Condition::Present) => old.is_some(),
            Some(Condition::Version(version)) => {
                old.as_ref().is_some_and(|old| old.version == *version)
            }
            Some(_) => unreachable!("no other condition is claimed"),
        };
        if !holds {
            return Outcome::Unmet;
        }
        let version = self.version(server, old.as_ref(), &request.value);
        let slot = Slot {
            value: request.value.clone(),
            format: request.format,
            deadline: self.deadline(request.expiry, old.as_ref()),
            version: version.clone(),
        };
        server.slots.insert(key.to_owned(), slot);
        Outcome::Applied(self.capabilities.versions.map(|_| version))
    }
}

/// The slot of a live key, in the form asked for.
fn read(server: &Server, request: GetRequest<'_>) -> Result<Option<Slot>> {
    let slot = server
        .slots
        .get(request.key.as_str())
        .filter(|slot| slot.live());
    match slot {
        Some(slot) if slot.format != request.format => Err(ErrorKind::Decode.into()),
        slot => Ok(slot.cloned()),
    }
}

fn remove(server: &mut Server, request: &DeleteRequest<'_>) -> Outcome {
    let key = request.key.as_str();
    let Some(version) = &request.version else {
        server.slots.remove(key);
        return Outcome::Applied(None);
    };
    match server.slots.get(key) {
        Some(slot) if slot.live() && slot.version == *version => {
            server.slots.remove(key);
            Outcome::Applied(None)
        }
        _ => Outcome::Unmet,
    }
}

#[async_trait]
impl Provider for Reference {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn get(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        Ok(read(&*self.server().await?, request)?.map(|slot| slot.value))
    }

    async fn set(&self, request: SetRequest<'_>) -> Result<Outcome> {
        Ok(self.write(&mut *self.server().await?, &request))
    }

    async fn delete(&self, request: DeleteRequest<'_>) -> Result<Outcome> {
        Ok(remove(&mut *self.server().await?, &request))
    }

    async fn has(&self, request: GetRequest<'_>) -> Result<bool> {
        let server = self.server().await?;
        Ok(server
            .slots
            .get(request.key.as_str())
            .is_some_and(Slot::live))
    }

    async fn get_entry(&self, request: GetRequest<'_>) -> Result<Option<Entry<Bytes>>> {
        let Some(slot) = read(&*self.server().await?, request)? else {
            return Ok(None);
        };
        let mut entry = Entry::new(slot.value);
        entry.version = self.capabilities.versions.map(|_| slot.version);
        entry.expires_in = slot.deadline.map(|deadline| deadline - Instant::now());
        Ok(Some(entry))
    }

    async fn take(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        let mut server = self.server().await?;
        let slot = read(&server, request);
        server.slots.remove(request.key.as_str());
        Ok(slot?.map(|slot| slot.value))
    }

    async fn touch(&self, request: TouchRequest<'_>) -> Result<bool> {
        let mut server = self.server().await?;
        let deadline = self.deadline(request.expiry, None);
        let slot = server
            .slots
            .get_mut(request.key.as_str())
            .filter(|slot| slot.live());
        Ok(slot.map(|slot| slot.deadline = deadline).is_some())
    }

    fn keys(&self, request: KeysRequest) -> BoxStream<'static, Result<String>> {
        Box::pin(Pages {
            server: Arc::clone(&self.server),
            closed: self.closed.load(Ordering::Relaxed),
            prefix: request.prefix,
            page: Vec::new(),
            after: None,
        })
    }

    async fn ping(&self) -> Result<ServerInfo> {
        drop(self.server().await?);
        Ok(ServerInfo::new("reference").with_version("1"))
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// A listing in pages of ten.
struct Pages {
    server: Arc<Mutex<Server>>,
    closed: bool,
    prefix: String,
    page: Vec<String>,
    after: Option<String>,
}

impl Stream for Pages {
    type Item = Result<String>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.closed) {
            return Poll::Ready(Some(Err(Error::from(ErrorKind::Closed))));
        }
        if self.page.is_empty() {
            let server = self.server.lock().unwrap();
            let from = self.after.clone().unwrap_or_else(|| self.prefix.clone());
            let later = server
                .slots
                .range(from..)
                .filter(|(key, _)| Some(*key) != self.after.as_ref());
            let ours = later.take_while(|(key, _)| key.starts_with(&self.prefix));
            let live = ours
                .filter(|(_, slot)| slot.live())
                .map(|(key, _)| key.clone());
            let mut page: Vec<_> = live.take(10).collect();
            drop(server);
            self.after = page.last().cloned().or(self.after.take());
            page.reverse();
            self.page = page;
        }
        Poll::Ready(self.page.pop().map(Ok))
    }
}
