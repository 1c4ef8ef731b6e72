use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use futures_core::Stream;
use kvstore_core::{
    BoxStream, Bytes, Capabilities, DeleteRequest, Entry, Error, ErrorKind, GetRequest,
    KeysRequest, Outcome, Provider, Result, ServerInfo, SetRequest, TouchRequest,
};
use tokio::time::{Sleep, sleep};

/// A provider around a provider that fails when told to, for tests of what an application does then.
///
/// Its [`Faults`] say how the next calls go wrong; without any it changes nothing. A call is one of a
/// method of the provider, so a batch is one call, and in a failed one each item fails.
///
/// ```
/// use kvstore_core::{ErrorKind, KeyValueStore, Provider, Result};
/// use kvstore_testsuite::Faulty;
///
/// # async fn example(provider: impl Provider) -> Result<()> {
/// let (provider, faults) = Faulty::new(provider);
/// let store = KeyValueStore::text(provider);
///
/// faults.fail(1, ErrorKind::Unavailable);
/// assert!(store.get("key").await.unwrap_err().is_retryable());
/// assert_eq!(store.get("key").await?, None, "the next call succeeds");
///
/// faults.lose_answers(1);
/// assert!(store.set("key", "value").await.unwrap_err().outcome_unknown());
/// assert!(store.has("key").await?, "it was applied");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Faulty<P> {
    inner: P,
    capabilities: Capabilities,
    faults: Faults,
}

/// How the next calls to a [`Faulty`] go wrong; its clones are one.
///
/// What is asked for is done in that order, one fault a call, whatever the call is.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    next: VecDeque<Fault>,
    calls: usize,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Fail(ErrorKind),
    Delay(Duration),
    LoseAnswer,
}

impl Faults {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, calls: usize, fault: Fault) {
        self.state().next.extend(std::iter::repeat_n(fault, calls));
    }

    /// The next calls fail with this kind of error, and do not reach the provider inside.
    pub fn fail(&self, calls: usize, kind: ErrorKind) {
        self.add(calls, Fault::Fail(kind));
    }

    /// The next calls begin this much later.
    pub fn delay(&self, calls: usize, by: Duration) {
        self.add(calls, Fault::Delay(by));
    }

    /// The next calls are done, and fail all the same, as `Unavailable`: of writes the outcome is unknown.
    pub fn lose_answers(&self, calls: usize) {
        self.add(calls, Fault::LoseAnswer);
    }

    /// Forgets all faults that have not come yet.
    pub fn heal(&self) {
        self.state().next.clear();
    }

    /// How many calls there were, those that failed included.
    pub fn calls(&self) -> usize {
        self.state().calls
    }

    /// Takes part in a call: what goes wrong before it, and whether its answer is lost.
    async fn begin(&self) -> Result<bool> {
        match self.next() {
            None => Ok(false),
            Some(Fault::LoseAnswer) => Ok(true),
            Some(Fault::Fail(kind)) => Err(failed(kind)),
            Some(Fault::Delay(by)) => {
                sleep(by).await;
                Ok(false)
            }
        }
    }

    fn next(&self) -> Option<Fault> {
        let mut state = self.state();
        state.calls += 1;
        state.next.pop_front()
    }
}

fn failed(kind: ErrorKind) -> Error {
    Error::new(kind, "the test asked for this failure")
}

fn lost() -> Error {
    Error::new(ErrorKind::Unavailable, "the test asked to lose this answer")
}

impl<P: Provider> Faulty<P> {
    /// Wraps a provider.
    pub fn new(inner: P) -> (Self, Faults) {
        let faults = Faults::default();
        let own = inner.capabilities();
        // Built up: what core may add later is not claimed before it is forwarded.
        let mut capabilities = Capabilities::new(own.provider);
        capabilities.max_key_len = own.max_key_len;
        capabilities.max_value_len = own.max_value_len;
        capabilities.expiry = own.expiry;
        capabilities.touch = own.touch;
        capabilities.if_absent = own.if_absent;
        capabilities.if_present = own.if_present;
        capabilities.versions = own.versions;
        capabilities.take = own.take;
        capabilities.keys = own.keys;
        capabilities.strong_reads = own.strong_reads;
        capabilities.retains = own.retains;
        let faulty = Self {
            inner,
            capabilities,
            faults: faults.clone(),
        };
        (faulty, faults)
    }

    async fn read<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let lose = self.faults.begin().await?;
        let answer = call.await?;
        if lose { Err(lost()) } else { Ok(answer) }
    }

    async fn write<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let lose = self.faults.begin().await?;
        let answer = call.await?;
        if lose {
            Err(lost().with_outcome_unknown())
        } else {
            Ok(answer)
        }
    }

    async fn batch<T>(
        &self,
        items: usize,
        lost: Error,
        call: impl Future<Output = Vec<Result<T>>>,
    ) -> Vec<Result<T>> {
        let fail = |error: Error| (0..items).map(|_| Err(error.clone())).collect();
        match self.faults.begin().await {
            Err(error) => fail(error),
            Ok(false) => call.await,
            Ok(true) => {
                drop(call.await);
                fail(lost)
            }
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<P: Provider> Provider for Faulty<P> {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn get(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        self.read(self.inner.get(request)).await
    }

    async fn set(&self, request: SetRequest<'_>) -> Result<Outcome> {
        self.write(self.inner.set(request)).await
    }

    async fn delete(&self, request: DeleteRequest<'_>) -> Result<Outcome> {
        self.write(self.inner.delete(request)).await
    }

    async fn has(&self, request: GetRequest<'_>) -> Result<bool> {
        self.read(self.inner.has(request)).await
    }

    async fn get_entry(&self, request: GetRequest<'_>) -> Result<Option<Entry<Bytes>>> {
        self.read(self.inner.get_entry(request)).await
    }

    async fn take(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        self.write(self.inner.take(request)).await
    }

    async fn touch(&self, request: TouchRequest<'_>) -> Result<bool> {
        self.write(self.inner.touch(request)).await
    }

    async fn get_many(&self, requests: &[GetRequest<'_>]) -> Vec<Result<Option<Bytes>>> {
        let call = self.inner.get_many(requests);
        self.batch(requests.len(), lost(), call).await
    }

    async fn set_many(&self, requests: &[SetRequest<'_>]) -> Vec<Result<Outcome>> {
        let (lost, call) = (lost().with_outcome_unknown(), self.inner.set_many(requests));
        self.batch(requests.len(), lost, call).await
    }

    async fn delete_many(&self, requests: &[DeleteRequest<'_>]) -> Vec<Result<Outcome>> {
        let (lost, call) = (
            lost().with_outcome_unknown(),
            self.inner.delete_many(requests),
        );
        self.batch(requests.len(), lost, call).await
    }

    fn keys(&self, request: KeysRequest) -> BoxStream<'static, Result<String>> {
        match self.faults.next() {
            None => self.inner.keys(request),
            Some(Fault::Fail(kind)) => Box::pin(Failed(Some(failed(kind)))),
            Some(Fault::LoseAnswer) => Box::pin(Failed(Some(lost()))),
            Some(Fault::Delay(by)) => Box::pin(Late {
                by: Some(by),
                sleep: None,
                keys: self.inner.keys(request),
            }),
        }
    }

    async fn ping(&self) -> Result<ServerInfo> {
        self.read(self.inner.ping()).await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

/// A listing of one error.
struct Failed(Option<Error>);

impl Stream for Failed {
    type Item = Result<String>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.take().map(Err))
    }
}

/// A listing that begins late.
struct Late {
    /// By how much, until it has begun.
    by: Option<Duration>,
    /// Made when the listing is read, since only then it is sure that there is a runtime.
    sleep: Option<Pin<Box<Sleep>>>,
    keys: BoxStream<'static, Result<String>>,
}

impl Stream for Late {
    type Item = Result<String>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(by) = self.by {
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(by)));
            ready!(sleep.as_mut().poll(context));
            self.by = None;
        }
        self.keys.as_mut().poll_next(context)
    }
}
