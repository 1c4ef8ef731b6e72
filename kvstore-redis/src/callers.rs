//! The waiting for fred's answers.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use fred::clients::{Client, WithOptions};
use fred::interfaces::FredResult;
use fred::types::Value;
use tokio::runtime::Handle;

use crate::command::Command;

/// How many callers are kept while there is nothing to do for them: 7 MB.
const KEPT: usize = 1000;

/// Callers that have nothing to do.
///
/// A future of fred's has 7 KB. To allocate that for each call, and to move it there, is up to a tenth of
/// all that a call costs. So it is made inside of another that never ends, and does one call after another.
#[derive(Clone, Default)]
pub(crate) struct Callers(Arc<Mutex<Vec<Caller>>>);

struct Caller {
    future: Pin<Box<dyn Future<Output = Infallible> + Send>>,
    desk: Arc<Mutex<Desk>>,
}

/// What a caller is given, and what it gives back.
#[derive(Default)]
struct Desk {
    command: Option<(Command, WithOptions<Client>)>,
    answer: Option<FredResult<Value>>,
}

impl Caller {
    fn new() -> Self {
        let desk = Arc::<Mutex<Desk>>::default();
        let own = Arc::clone(&desk);
        let future = async move {
            loop {
                let next = poll_fn(|_| match lock(&own).command.take() {
                    Some(next) => Poll::Ready(next),
                    // Nobody needs waking: whoever gives it a command polls it then.
                    None => Poll::Pending,
                });
                let (command, client) = next.await;
                let answer = command.run(client).await;
                lock(&own).answer = Some(answer);
            }
        };
        Self {
            future: Box::pin(future),
            desk,
        }
    }
}

impl Callers {
    /// Gives fred a command.
    ///
    /// When the future is dropped before its end, a write goes on until its deadline, on this runtime.
    pub(crate) fn call(
        &self,
        command: Command,
        client: WithOptions<Client>,
        runtime: &Handle,
    ) -> Calling {
        let goes_on = command.writes().then(|| runtime.clone());
        let caller = lock(&self.0).pop().unwrap_or_else(Caller::new);
        lock(&caller.desk).command = Some((command, client));
        Calling {
            caller: Some(caller),
            callers: self.clone(),
            goes_on,
        }
    }
}

/// A call that is under way.
pub(crate) struct Calling {
    caller: Option<Caller>,
    callers: Callers,
    goes_on: Option<Handle>,
}

impl Future for Calling {
    type Output = FredResult<Value>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(mut caller) = self.caller.take() else {
            return Poll::Pending;
        };
        let Poll::Pending = caller.future.as_mut().poll(context);
        let answer = lock(&caller.desk).answer.take();
        let Some(answer) = answer else {
            self.caller = Some(caller);
            return Poll::Pending;
        };
        let mut callers = lock(&self.callers.0);
        if callers.len() < KEPT {
            callers.push(caller);
        }
        Poll::Ready(answer)
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        if let (Some(runtime), Some(caller)) = (self.goes_on.take(), self.caller.take()) {
            let call = Self {
                caller: Some(caller),
                callers: self.callers.clone(),
                goes_on: None,
            };
            runtime.spawn(call);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
