//! A queue of calls, which threads take in groups.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kvstore_core::{Error, ErrorKind, Result};

/// A bounded queue. Nobody waits to put something in: it is full, and says so.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
    limit: usize,
    /// How much they may weigh together, unless one weighs more.
    heaviest: usize,
}

struct State<T> {
    /// Each with its weight.
    items: VecDeque<(usize, T)>,
    weight: usize,
    closed: bool,
}

impl<T> Queue<T> {
    /// A queue of up to so many, which weigh so much together, or of one that weighs more.
    pub(crate) fn new(limit: usize, heaviest: usize) -> Self {
        let state = State {
            items: VecDeque::new(),
            weight: 0,
            closed: false,
        };
        Self {
            state: Mutex::new(state),
            filled: Condvar::new(),
            limit,
            heaviest,
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, weight: usize, item: T) -> Result<()> {
        let mut state = self.state();
        if state.closed {
            return Err(ErrorKind::Closed.into());
        }
        if state.items.len() >= self.limit {
            let message = "as many calls as `max_pending` allows are waiting for the disk";
            return Err(Error::new(ErrorKind::Busy, message));
        }
        let sum = state.weight.saturating_add(weight);
        if !state.items.is_empty() && sum > self.heaviest {
            let message = "as many bytes as may wait for the disk are waiting";
            return Err(Error::new(ErrorKind::Busy, message));
        }
        state.weight = sum;
        state.items.push_back((weight, item));
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Waits for something, and takes what is there: one item, and more as long as their weight together is
    /// within this. Nothing, where nothing came for so long; `None` once the queue is closed and empty.
    pub(crate) fn pop(&self, weight: usize, wait: Duration) -> Option<Vec<T>> {
        let empty = |state: &mut State<T>| state.items.is_empty() && !state.closed;
        let waited = self.filled.wait_timeout_while(self.state(), wait, empty);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.closed && state.items.is_empty() {
            return None;
        }
        let mut left = weight;
        let mut taken = Vec::new();
        while let Some((weight, item)) = state
            .items
            .pop_front_if(|(weight, _)| taken.is_empty() || *weight <= left)
        {
            left = left.saturating_sub(weight);
            state.weight -= weight;
            taken.push(item);
        }
        if !state.items.is_empty() {
            self.filled.notify_one();
        }
        Some(taken)
    }

    /// Takes nothing any more. What is in it is still done.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.filled.notify_all();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn a_group_is_as_heavy_as_allowed_and_never_empty() {
        let queue = Queue::new(10, usize::MAX);
        for weight in [7, 3, 2, 20, 1] {
            queue.push(weight, weight).unwrap();
        }
        assert_eq!(queue.pop(10, NOW).unwrap(), [7, 3]);
        assert_eq!(queue.pop(10, NOW).unwrap(), [2]);
        assert_eq!(queue.pop(10, NOW).unwrap(), [20]);
        assert_eq!(queue.pop(10, NOW).unwrap(), [1]);
        assert!(queue.pop(10, NOW).unwrap().is_empty());
    }

    #[test]
    fn a_full_queue_refuses_and_a_closed_one_is_emptied() {
        let queue = Queue::new(2, usize::MAX);
        queue.push(0, 'a').unwrap();
        queue.push(0, 'b').unwrap();
        assert_eq!(queue.push(0, 'c').unwrap_err().kind(), ErrorKind::Busy);
        queue.close();
        assert_eq!(queue.push(0, 'c').unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(queue.pop(10, NOW).unwrap(), ['a', 'b']);
        assert_eq!(queue.pop(10, NOW), None);
    }

    #[test]
    fn what_waits_is_as_heavy_as_allowed_or_alone() {
        let queue = Queue::new(10, 5);
        for _ in 0..2 {
            queue.push(3, 3).unwrap();
            queue.push(2, 2).unwrap();
            assert_eq!(queue.push(1, 1).unwrap_err().kind(), ErrorKind::Busy);
            assert_eq!(queue.pop(3, NOW).unwrap(), [3]);
            queue.push(1, 1).unwrap();
            assert_eq!(queue.pop(10, NOW).unwrap(), [2, 1]);
        }
        queue.push(20, 20).unwrap();
        assert_eq!(queue.push(0, 0).unwrap_err().kind(), ErrorKind::Busy);
        assert_eq!(queue.pop(10, NOW).unwrap(), [20]);
    }

    #[test]
    fn who_waits_is_woken() {
        let queue = Queue::new(1, usize::MAX);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let first = queue.pop(1, Duration::from_secs(60));
                (first, queue.pop(1, Duration::from_secs(60)))
            });
            queue.push(1, 'a').unwrap();
            queue.close();
            assert_eq!(waiting.join().unwrap(), (Some(vec!['a']), None));
        });
    }
}
