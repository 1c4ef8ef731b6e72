//! A small provider that keeps the whole contract, unless a bug is planted in it.

pub(crate) mod bug;
mod pages;
mod server;

use std::collections::{HashMap, HashSet};
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use kvstore_core::{
    BoxStream, Bytes, Capabilities, DeleteRequest, Entry, Error, ErrorKind, Expiry, GetRequest,
    KeysRequest, Listing, Outcome, Provider, Result, ServerInfo, SetRequest, TouchRequest, Version,
    Versions, async_trait,
};
use kvstore_testsuite::Fixture;
use tokio::task::yield_now;
use tokio::time::Instant;

use bug::Bug;
use pages::Pages;
use server::Server;

/// All that a provider can claim, with versions that are unique.
pub(crate) fn full() -> Capabilities {
    let mut full = Capabilities::new("reference");
    full.max_key_len = 300;
    full.max_value_len = Some(200_000);
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
pub(crate) fn fixture(capabilities: Capabilities, bug: Option<Bug>) -> Fixture {
    let server = Arc::new(Mutex::new(Server::new(capabilities.clone(), bug)));
    let client = |number| Reference {
        capabilities: capabilities.clone(),
        bug,
        server: Arc::clone(&server),
        closed: AtomicBool::new(false),
        blocked: AtomicBool::new(false),
        cache: Mutex::default(),
        number,
    };
    Fixture::new(client(1)).with_other(client(2))
}

pub(crate) struct Reference {
    capabilities: Capabilities,
    bug: Option<Bug>,
    server: Arc<Mutex<Server>>,
    closed: AtomicBool,
    /// Whether a call was dropped, for the bug that takes it ill.
    blocked: AtomicBool,
    /// What was read, for the bug of reading it again.
    cache: Mutex<HashMap<String, Option<Bytes>>>,
    number: u64,
}

impl Reference {
    fn is(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    fn lock(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap()
    }

    /// As each call to a server: other tasks run before it is done.
    async fn server(&self) -> Result<MutexGuard<'_, Server>> {
        if self.is(Bug::DroppedCallBlocks) && self.blocked.load(Ordering::Relaxed) {
            return Err(ErrorKind::Busy.into());
        }
        let mut dropped = Dropped(Some(&self.blocked));
        yield_now().await;
        dropped.0 = None;
        if self.closed.load(Ordering::Relaxed) {
            if self.is(Bug::CallsUnderWayHangAtClose) {
                pending::<()>().await;
            }
            return Err(ErrorKind::Closed.into());
        }
        Ok(self.lock())
    }

    /// What bugs make of a key before any call.
    fn check(&self, key: &str) -> Result<()> {
        match self.bug {
            Some(Bug::ShortKeysOnly) if key.len() > 250 => Err(ErrorKind::InvalidKey.into()),
            Some(Bug::ControlCharactersRefused) if key.contains(char::is_control) => {
                Err(ErrorKind::InvalidKey.into())
            }
            Some(Bug::PanicsAtNul) if key.contains('\0') => panic!("a planted panic"),
            _ => Ok(()),
        }
    }

    /// The version as this client gives it and takes it.
    fn own(&self, version: Version) -> Version {
        match (self.bug, version.as_u64()) {
            (Some(Bug::VersionsOfTheClient), Some(number)) => {
                Version::from(number ^ self.number << 32)
            }
            _ => version,
        }
    }

    async fn get_expired(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        let found = self
            .server()
            .await?
            .read(request, Bug::GetsExpiredInBatches)?;
        Ok(found.map(|slot| slot.value))
    }

    /// A check in one call and the write in another, as the races have it.
    async fn set_racing(&self, request: &SetRequest<'_>) -> Result<Outcome> {
        if !self.server().await?.holds(request)? {
            return Ok(Outcome::Unmet);
        }
        Ok(self.server().await?.write(request))
    }
}

#[async_trait]
impl Provider for Reference {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn get(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        self.check(request.key.as_str())?;
        let found = match self.server().await {
            Ok(server) => server.read(request, Bug::EntryOfExpired),
            Err(_) if self.is(Bug::CloseEndsReadsAsMisses) => Ok(None),
            Err(error) => Err(error),
        };
        let found = match found {
            Err(_) if self.is(Bug::ErrorsAreMisses) => None,
            found => found?,
        };
        if request.key.as_str() == "missing" && self.is(Bug::HangsWhenMissing) {
            pending::<()>().await;
        }
        let value = found.map(|slot| slot.value);
        if self.is(Bug::ReadsFromCache) {
            let mut cache = self.cache.lock().unwrap();
            return Ok(cache
                .entry(request.key.as_str().to_owned())
                .or_insert(value)
                .clone());
        }
        Ok(value)
    }

    async fn set(&self, mut request: SetRequest<'_>) -> Result<Outcome> {
        self.check(request.key.as_str())?;
        self.cache.lock().unwrap().remove(request.key.as_str());
        if let Some(kvstore_core::Condition::Version(version)) = &mut request.condition {
            *version = self.own(version.clone());
        }
        let races = match request.condition {
            Some(kvstore_core::Condition::Absent) => self.is(Bug::AbsentRaces),
            Some(kvstore_core::Condition::Version(_)) => self.is(Bug::VersionRaces),
            _ => false,
        };
        if races {
            return self.set_racing(&request).await;
        }
        let plain = request.condition.is_none() && request.expiry == Expiry::Never;
        if self.is(Bug::DroppedSetDeletes) && plain {
            self.server().await?.remove(request.key.as_str());
        }
        if self.is(Bug::TtlSetInASecondStep) && matches!(request.expiry, Expiry::After(_)) {
            let set = request.clone().with_expiry(Expiry::Never);
            let outcome = self.server().await?.set(&set)?;
            if outcome == Outcome::Unmet {
                return Ok(outcome);
            }
            self.server().await?.touch(&TouchRequest::new(
                request.key,
                request.format,
                request.expiry,
            ));
            return Ok(outcome);
        }
        let outcome = self.server().await?.set(&request)?;
        Ok(match outcome {
            Outcome::Applied(Some(_)) if self.is(Bug::ToldVersionIsWrong) => {
                Outcome::Applied(Some(0.into()))
            }
            Outcome::Applied(Some(version)) => Outcome::Applied(Some(self.own(version))),
            outcome => outcome,
        })
    }

    async fn delete(&self, request: DeleteRequest<'_>) -> Result<Outcome> {
        self.check(request.key.as_str())?;
        self.cache.lock().unwrap().remove(request.key.as_str());
        let version = request.version.clone().map(|version| self.own(version));
        let mut own = DeleteRequest::new(request.key);
        own.version = version;
        if self.is(Bug::DeleteRaces) {
            let holds = self.server().await?.delete_holds(&own)?;
            yield_now().await;
            if !holds {
                return Ok(Outcome::Unmet);
            }
            own.version = None;
        }
        self.server().await?.delete(&own)
    }

    async fn has(&self, request: GetRequest<'_>) -> Result<bool> {
        self.check(request.key.as_str())?;
        let server = self.server().await?;
        Ok(server.slot(request.key.as_str(), Bug::HasExpired).is_some())
    }

    async fn get_entry(&self, request: GetRequest<'_>) -> Result<Option<Entry<Bytes>>> {
        self.check(request.key.as_str())?;
        let Some(slot) = self.server().await?.read(request, Bug::EntryOfExpired)? else {
            return Ok(None);
        };
        let mut entry = Entry::new(slot.value);
        let claimed = self.capabilities.versions.is_some() && !self.is(Bug::VersionNotGiven);
        entry.version = claimed.then(|| self.own(slot.version));
        let left = slot
            .deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()));
        entry.expires_in = left.filter(|_| !self.is(Bug::TimeLeftUnknown));
        Ok(Some(entry))
    }

    async fn take(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        if self.is(Bug::ClaimsTakeInVain) {
            return Err(ErrorKind::Unsupported.into());
        }
        self.check(request.key.as_str())?;
        if self.is(Bug::TakeRaces) {
            let slot = self.server().await?.read(request, Bug::TakesExpired);
            self.server().await?.remove(request.key.as_str());
            return Ok(slot?.map(|slot| slot.value));
        }
        let mut server = self.server().await?;
        let slot = server.read(request, Bug::TakesExpired);
        let kept = match slot {
            Ok(_) => self.is(Bug::TakeKeeps),
            Err(_) => self.is(Bug::TakeKeeps) || self.is(Bug::TakeKeepsOtherType),
        };
        if !kept {
            server.remove(request.key.as_str());
        }
        Ok(slot?.map(|slot| slot.value))
    }

    async fn touch(&self, request: TouchRequest<'_>) -> Result<bool> {
        if self.is(Bug::ClaimsTouchInVain) {
            return Err(ErrorKind::Unsupported.into());
        }
        self.check(request.key.as_str())?;
        Ok(self.server().await?.touch(&request))
    }

    async fn get_many(&self, requests: &[GetRequest<'_>]) -> Vec<Result<Option<Bytes>>> {
        if requests.is_empty() && self.is(Bug::EmptyBatchFails) {
            return vec![Err(ErrorKind::Other.into())];
        }
        let mut asked = requests.to_vec();
        match self.bug {
            Some(Bug::BatchSorted) => asked.sort_by_key(|request| request.key.as_str()),
            Some(Bug::BatchLacksDuplicates) => {
                let mut seen = HashSet::new();
                asked.retain(|request| seen.insert(request.key));
            }
            Some(Bug::BatchCutAt1000) => asked.truncate(1000),
            _ => {}
        }
        let mut results = Vec::new();
        for request in &asked {
            results.push(match self.is(Bug::GetsExpiredInBatches) {
                true => self.get_expired(*request).await,
                false => self.get(*request).await,
            });
        }
        match self.bug {
            Some(Bug::BatchLacksMissing) => results.retain(|result| !matches!(result, Ok(None))),
            Some(Bug::BatchCutAt1000) => results.resize(requests.len(), Ok(None)),
            Some(Bug::BatchErrorsAreMisses) => results
                .iter_mut()
                .filter(|result| result.is_err())
                .for_each(|result| *result = Ok(None)),
            Some(Bug::BatchFailsAsAWhole) => fail_as_a_whole(&mut results),
            _ => {}
        }
        results
    }

    async fn set_many(&self, requests: &[SetRequest<'_>]) -> Vec<Result<Outcome>> {
        let mut results = Vec::new();
        for (index, request) in requests.iter().enumerate() {
            let mut request = request.clone();
            match self.bug {
                Some(Bug::TtlDroppedInBatches) => request.expiry = Expiry::Never,
                Some(Bug::BatchIgnoresConditions) => request.condition = None,
                _ => {}
            }
            results.push(match index {
                1000.. if self.is(Bug::BatchCutAt1000) => Ok(Outcome::Applied(None)),
                _ => self.set(request).await,
            });
        }
        results
    }

    async fn delete_many(&self, requests: &[DeleteRequest<'_>]) -> Vec<Result<Outcome>> {
        let mut results = Vec::new();
        for request in requests {
            let missing = self
                .lock()
                .slot(request.key.as_str(), Bug::HasExpired)
                .is_none();
            results.push(match missing && self.is(Bug::BatchDeletesOneMissingFails) {
                true => Err(ErrorKind::Other.into()),
                false => self.delete(request.clone()).await,
            });
        }
        results
    }

    fn keys(&self, request: KeysRequest) -> BoxStream<'static, Result<String>> {
        let error = match self.closed.load(Ordering::Relaxed) {
            true => Some(Error::from(ErrorKind::Closed)),
            false => self
                .is(Bug::ClaimsListingInVain)
                .then(|| ErrorKind::Unsupported.into()),
        };
        Box::pin(Pages {
            server: Arc::clone(&self.server),
            error,
            prefix: request.prefix,
            twice: self.capabilities.keys == Some(Listing::AtLeastOnce) || self.is(Bug::ListsTwice),
            page: Vec::new(),
            after: None,
            read: 0,
        })
    }

    async fn ping(&self) -> Result<ServerInfo> {
        drop(self.server().await?);
        if self.is(Bug::PingNamesNothing) {
            return Ok(ServerInfo::default());
        }
        Ok(ServerInfo::new("reference").with_version("1"))
    }

    async fn close(&self) -> Result<()> {
        let again = self
            .closed
            .swap(!self.is(Bug::CloseIgnored), Ordering::Relaxed);
        if again && self.is(Bug::SecondCloseFails) {
            return Err(ErrorKind::Closed.into());
        }
        Ok(())
    }
}

/// Tells that it was dropped midway.
struct Dropped<'a>(Option<&'a AtomicBool>);

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        if let Some(dropped) = self.0 {
            dropped.store(true, Ordering::Relaxed);
        }
    }
}

fn fail_as_a_whole<T>(results: &mut [Result<T>]) {
    let error = results
        .iter()
        .find_map(|result| result.as_ref().err().cloned());
    if let Some(error) = error {
        results
            .iter_mut()
            .for_each(|result| *result = Err(error.clone()));
    }
}
