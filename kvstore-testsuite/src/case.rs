use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::time::Duration;

use futures_core::future::BoxFuture;
use kvstore_core::{BatchError, Error};

use crate::Fixture;

/// How long a case may take.
const LIMIT: Duration = Duration::from_secs(120);

/// All cases, in the order of the contract's parts: what a command line runs against a server.
///
/// ```
/// # async fn example(setup: impl AsyncFn() -> kvstore_testsuite::Fixture) {
/// for case in kvstore_testsuite::cases() {
///     match case.run(setup().await).await {
///         Ok(()) => println!("ok      {}", case.name),
///         Err(failure) => println!("FAILED  {}: {failure}", case.name),
///     }
/// }
/// # }
/// ```
pub fn cases() -> &'static [Case] {
    CASES
}

crate::__list! { [table] [] }

/// A case: one promise of the contract, tested on any provider.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name, which begins with its first rule: `k1_any_text_is_a_key`.
    pub name: &'static str,
    /// The numbers of the contract's rules that it tests, as `K1`.
    pub rules: &'static [&'static str],
    /// What the contract promises.
    pub sentence: &'static str,
    run: fn(Fixture) -> BoxFuture<'static, Result<(), Failure>>,
}

impl Case {
    /// Runs the case, in a tokio runtime with its timer on.
    ///
    /// # Errors
    /// When the promise is broken: by a wrong answer, an error, a panic, or no answer within two minutes.
    pub async fn run(&self, fixture: Fixture) -> Result<(), Failure> {
        let mut task = tokio::spawn((self.run)(fixture));
        match tokio::time::timeout(LIMIT, &mut task).await {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => Err(Failure::new(match error.try_into_panic() {
                Ok(payload) => format!("panicked: {}", message(&*payload)),
                Err(_) => "the runtime ended before the case did".to_owned(),
            })),
            Err(_) => {
                task.abort();
                Err(Failure::new(format!("hangs: not done within {LIMIT:?}")))
            }
        }
    }
}

fn message(payload: &(dyn std::any::Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref().copied())
        .unwrap_or("with no message")
}

/// How a provider broke a promise.
///
/// It shows keys and values: those of the cases, which are no secrets.
#[derive(Clone)]
pub struct Failure {
    message: String,
    at: &'static Location<'static>,
}

impl Failure {
    #[track_caller]
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            at: Location::caller(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { message, at } = self;
        write!(f, "{message} ({}:{})", at.file(), at.line())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Failure {}

impl From<Error> for Failure {
    #[track_caller]
    fn from(error: Error) -> Self {
        let key = error.key().map(crate::check::shown).unwrap_or_default();
        Self::new(format!(
            "a call failed that must succeed, key {key}: {error:?}"
        ))
    }
}

impl<T> From<BatchError<T>> for Failure {
    #[track_caller]
    fn from(batch: BatchError<T>) -> Self {
        Self::from(Error::from(batch))
    }
}

/// Runs a case as a test: what [`conformance!`](crate::conformance) expands to.
#[doc(hidden)]
pub fn run_as_test<S: Future<Output = Fixture>>(name: &str, setup: impl FnOnce() -> S) {
    let case = CASES.iter().find(|case| case.name == name);
    let case = case.expect("the macro knows the cases by the same list");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .expect("a runtime can be made");
    let result = runtime.block_on(async { case.run(setup().await).await });
    // A thread that hangs must not hold up the end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    if let Err(failure) = result {
        let (rules, sentence) = (case.rules.join(", "), case.sentence);
        panic!("\n{rules}: {sentence}\nBroken: {failure}\n");
    }
}
