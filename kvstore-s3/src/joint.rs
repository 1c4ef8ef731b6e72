//! Work that is done once for all who wait for it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use kvstore_core::{ErrorKind, Result};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

type Done<T> = watch::Receiver<Option<Result<T>>>;

/// Work that callers wait for, each until its own deadline. It is a task of its own, and goes on where they do not.
pub(crate) struct Joint<T>(Mutex<Option<Done<T>>>);

impl<T: Clone + Send + Sync + 'static> Joint<T> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// What comes of the work, which is begun where none is under way; `None` when that takes too long.
    pub(crate) async fn wait<W>(&self, deadline: Instant, work: impl Fn() -> W) -> Option<Result<T>>
    where
        W: Future<Output = Result<T>> + Send + 'static,
    {
        let mut again = true;
        loop {
            let (mut done, begun) = self.begin(&work);
            let Ok(ended) = timeout_at(deadline, done.wait_for(Option::is_some)).await else {
                if !begun {
                    // Its runtime may stand still.
                    self.forget(&done);
                }
                return None;
            };
            match ended.ok().and_then(|result| result.clone()) {
                // It may have begun before the server came back.
                Some(Err(_)) if !begun && again => again = false,
                Some(result) => return Some(result),
                // It panicked.
                None if begun => return Some(Err(ErrorKind::Other.into())),
                // Its runtime went away.
                None => {}
            }
        }
    }

    /// Begins the work, unless it is under way; and whether it was begun.
    pub(crate) fn begin<W>(&self, work: impl Fn() -> W) -> (Done<T>, bool)
    where
        W: Future<Output = Result<T>> + Send + 'static,
    {
        let mut under_way = self.under_way();
        // It ends with what sends its result.
        if let Some(done) = &*under_way
            && done.has_changed().is_ok()
        {
            return (done.clone(), false);
        }
        let (sender, done) = watch::channel(None);
        let work = work();
        tokio::spawn(async move { sender.send_replace(Some(work.await)) });
        *under_way = Some(done.clone());
        (done, true)
    }

    /// Waits until nothing is under way.
    pub(crate) async fn ended(&self) {
        let under_way = self.under_way().clone();
        if let Some(mut done) = under_way {
            while done.changed().await.is_ok() {}
        }
    }

    fn forget(&self, done: &Done<T>) {
        let mut under_way = self.under_way();
        if under_way.as_ref().is_some_and(|now| now.same_channel(done)) {
            *under_way = None;
        }
    }

    fn under_way(&self) -> MutexGuard<'_, Option<Done<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;
    use tokio::time::sleep;

    fn soon(millis: u64) -> Instant {
        Instant::now() + Duration::from_millis(millis)
    }

    #[tokio::test]
    async fn is_done_once_and_goes_on_where_nobody_waits() {
        let (joint, begun) = (Joint::new(), Arc::new(AtomicUsize::new(0)));
        let work = || {
            let begun = Arc::clone(&begun);
            async move {
                let number = begun.fetch_add(1, Ordering::AcqRel) + 1;
                sleep(Duration::from_millis(200)).await;
                Ok(number)
            }
        };
        assert!(joint.wait(soon(20), work).await.is_none());
        let (one, other) = tokio::join!(
            joint.wait(soon(10_000), work),
            joint.wait(soon(10_000), work)
        );
        assert_eq!((one.unwrap().unwrap(), other.unwrap().unwrap()), (1, 1));
        assert_eq!(joint.wait(soon(10_000), work).await.unwrap().unwrap(), 2);
        joint.begin(work);
        joint.ended().await;
        assert_eq!(begun.load(Ordering::Acquire), 3);
        assert!(!joint.begin(work).0.has_changed().unwrap());
    }

    #[tokio::test]
    async fn who_came_later_tries_again_what_failed_once() {
        let (joint, begun) = (Joint::<()>::new(), Arc::new(AtomicUsize::new(0)));
        let work = || {
            begun.fetch_add(1, Ordering::AcqRel);
            async {
                sleep(Duration::from_millis(50)).await;
                Err(ErrorKind::Unavailable.into())
            }
        };
        let calls = (0..10).map(|_| joint.wait(soon(10_000), work));
        let failed = futures_util::future::join_all(calls).await;
        assert!(failed.into_iter().all(|failed| failed.unwrap().is_err()));
        assert_eq!(begun.load(Ordering::Acquire), 2);
    }

    #[test]
    fn a_runtime_that_stands_still_or_is_gone_holds_nobody_up() {
        let runtime = || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_time().build().unwrap()
        };
        let joint = Joint::new();
        let never = || std::future::pending::<Result<u8>>();
        let still = runtime();
        still.block_on(async { joint.begin(never) });
        runtime().block_on(async {
            assert!(joint.wait(soon(20), || async { Ok(1) }).await.is_none());
            let done = joint.wait(soon(10_000), || async { Ok(1) }).await;
            assert_eq!(done.unwrap().unwrap(), 1);
            joint.begin(never);
        });
        runtime().block_on(async {
            let done = joint.wait(soon(10_000), || async { Ok(2) }).await;
            assert_eq!(done.unwrap().unwrap(), 2);
        });
    }
}
