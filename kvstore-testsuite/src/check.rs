//! What cases are written with.

use std::fmt::Display;

use kvstore_core::{BatchError, Error, ErrorKind, KeyValueStore};

use crate::Failure;

/// The answer of a case, and of its parts.
pub(crate) type Checked<T = ()> = Result<T, Failure>;

/// Fails the case, with this message, unless something holds.
macro_rules! ensure {
    ($holds:expr, $($message:tt)+) => {
        if !$holds {
            return Err($crate::Failure::new(format!($($message)+)));
        }
    };
}
pub(crate) use ensure;

/// Fails the case unless two things are equal; the message says of what.
macro_rules! ensure_eq {
    ($found:expr, $expected:expr, $($what:tt)+) => {
        match (&$found, &$expected) {
            (found, expected) => if *found != *expected {
                let what = format!($($what)+);
                return Err($crate::Failure::new(format!("{what}: expected {expected:?}, found {found:?}")));
            },
        }
    };
}
pub(crate) use ensure_eq;

/// A key as people can read it: escaped, cut off where long.
pub(crate) fn shown(key: &str) -> String {
    let escaped: String = key.escape_debug().collect();
    let len = key.len();
    match escaped.char_indices().nth(80) {
        Some((cut, _)) => format!("`{}…` ({len} bytes)", &escaped[..cut]),
        None => format!("`{escaped}` ({len} bytes)"),
    }
}

/// Checks that a call fails in this way.
#[track_caller]
pub(crate) fn fails<T>(
    result: Result<T, impl Into<Error>>,
    kind: ErrorKind,
    what: impl Display,
) -> Checked<Error> {
    match result.map_err(Into::into) {
        Err(error) if error.kind() == kind => Ok(error),
        Err(error) => Err(Failure::new(format!(
            "{what}: expected the error {kind:?}, found {error:?}"
        ))),
        Ok(_) => Err(Failure::new(format!(
            "{what}: expected the error {kind:?}, but it succeeded"
        ))),
    }
}

/// Checks that what is not claimed is not supported.
#[track_caller]
pub(crate) fn unsupported<T>(
    result: Result<T, impl Into<Error>>,
    what: impl Display,
) -> Checked<Error> {
    fails(result, ErrorKind::Unsupported, format!("{what}, unclaimed"))
}

/// Checks that of a batch these items fail in this way, each naming its key, and no others.
#[track_caller]
pub(crate) fn items_fail<T>(
    result: Result<impl Sized, BatchError<T>>,
    expected: &[(usize, &str, ErrorKind)],
    what: &str,
) -> Checked<Vec<kvstore_core::Result<T>>> {
    let Err(batch) = result else {
        return Err(Failure::new(format!("{what}: no item failed")));
    };
    let found: Vec<_> = batch
        .failed()
        .map(|(index, error)| (index, error.key().unwrap_or_default(), error.kind()))
        .collect();
    if found != expected {
        return Err(Failure::new(format!(
            "{what}: expected these items to fail: {expected:?}, found {found:?}"
        )));
    }
    Ok(batch.into_results())
}

/// The keys of a listing, sorted, each once.
pub(crate) async fn listed<V: 'static>(
    store: &KeyValueStore<V>,
    prefix: &str,
) -> Checked<Vec<String>> {
    let mut keys = listed_as_often_as_named(store, prefix).await?;
    keys.dedup();
    Ok(keys)
}

/// The keys of a listing, sorted, and those named twice twice.
pub(crate) async fn listed_as_often_as_named<V: 'static>(
    store: &KeyValueStore<V>,
    prefix: &str,
) -> Checked<Vec<String>> {
    let mut keys = store.keys(prefix);
    let mut found = Vec::new();
    while let Some(key) = keys.next().await {
        found.push(key?);
    }
    found.sort();
    Ok(found)
}
