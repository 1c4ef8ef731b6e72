//! Who comes first, of those that write the same key.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// The keys that are under way, each with the last that stands in its queue.
#[derive(Default)]
pub(crate) struct Turns(Arc<Mutex<HashMap<String, watch::Receiver<()>>>>);

impl Turns {
    /// A place at the end of the queue of a key.
    pub(crate) fn queue(&self, key: &str) -> Turn {
        let (ends, end) = watch::channel(());
        let before = lock(&self.0).insert(key.to_owned(), end);
        Turn {
            key: key.to_owned(),
            before,
            ends,
            all: Arc::clone(&self.0),
        }
    }
}

/// A place in the queue of a key, which is the next one's when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    key: String,
    before: Option<watch::Receiver<()>>,
    ends: watch::Sender<()>,
    all: Arc<Mutex<HashMap<String, watch::Receiver<()>>>>,
}

impl Turn {
    /// Waits until none stands before it.
    pub(crate) async fn comes(mut self) -> Self {
        if let Some(mut before) = self.before.take() {
            // An error: its sender is dropped, which is what is waited for.
            while before.changed().await.is_ok() {}
        }
        self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut all = lock(&self.all);
        if all
            .get(&self.key)
            .is_some_and(|last| last.same_channel(&self.ends.subscribe()))
        {
            all.remove(&self.key);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn one_of_a_key_comes_at_a_time_and_in_order() {
        let turns = Turns::default();
        let [first, second, third, other] = ["a", "a", "a", "b"].map(|key| turns.queue(key));
        let first = first.comes().await;
        let mut second = Box::pin(second.comes());
        let mut third = Box::pin(third.comes());
        drop(other.comes().await);
        assert!(third.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        assert!(third.as_mut().now_or_never().is_none());
        drop(second.await);
        drop(third.await);
        assert!(lock(&turns.0).is_empty(), "nothing is kept of what is done");
    }
}
