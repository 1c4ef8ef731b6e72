//! Which of the two failed, and what that means for the call.

use kvstore_core::{Error, ErrorKind, Provider};

/// An error of one of the two, as `the old provider, vault, failed`.
pub(crate) fn of(which: &str, provider: &dyn Provider, error: Error) -> Error {
    if is_about_the_request(error.kind()) {
        return error;
    }
    let name = provider.capabilities().provider;
    let unknown = error.outcome_unknown();
    let message = format!("the {which} provider, {name}, failed");
    let error = Error::new(error.kind(), message).with_source(error);
    match unknown {
        true => error.with_outcome_unknown(),
        false => error,
    }
}

/// An error of moving a key up, after which the call itself was not begun: whatever became of the move, what is
/// read is the same as before.
pub(crate) fn not_begun(error: Error) -> Error {
    if is_about_the_request(error.kind()) {
        return error;
    }
    let message =
        "the key could not be moved from the old provider to the new one, and was left as it was";
    Error::new(error.kind(), message).with_source(error)
}

/// These say what is wrong better than any word about the two providers could.
fn is_about_the_request(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::InvalidKey
            | ErrorKind::InvalidValue
            | ErrorKind::InvalidTtl
            | ErrorKind::ValueTooLarge
            | ErrorKind::Decode
            | ErrorKind::Unsupported
            | ErrorKind::Closed
    )
}
