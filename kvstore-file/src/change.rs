//! What is asked of the thread that writes.

use kvstore_core::{
    Bytes, Condition, DeleteRequest, Error, ErrorKind, Expiry, Outcome, Result, SetRequest, Version,
};

use crate::tables::{Expires, Only, Tables};

/// What a write weighs besides its value: some of the pages that it changes.
pub(crate) const WEIGHT: usize = 256;

/// A value to be written.
pub(crate) struct Set {
    key: Box<str>,
    value: Bytes,
    expires: Expires,
    only: Only,
}

impl Set {
    pub(crate) fn new(request: &SetRequest<'_>) -> Result<Self> {
        Ok(Self {
            key: request.key.as_str().into(),
            value: request.value.clone(),
            expires: expires(request.expiry)?,
            only: match &request.condition {
                None => Only::Always,
                Some(Condition::Absent) => Only::IfAbsent,
                Some(Condition::Present) => Only::IfPresent,
                Some(Condition::Version(version)) => Only::IfVersion(version.clone()),
                Some(_) => return Err(unknown("this release does not know that condition")),
            },
        })
    }

    pub(crate) fn weight(&self) -> usize {
        WEIGHT + self.value.len()
    }

    pub(crate) fn run(&self, tables: &mut Tables<'_>) -> Result<Outcome, redb::Error> {
        tables.set(&self.key, &self.value, self.expires, &self.only)
    }
}

/// A key to be deleted.
pub(crate) struct Delete {
    key: Box<str>,
    version: Option<Version>,
}

impl Delete {
    pub(crate) fn new(request: &DeleteRequest<'_>) -> Self {
        Self {
            key: request.key.as_str().into(),
            version: request.version.clone(),
        }
    }

    pub(crate) fn run(&self, tables: &mut Tables<'_>) -> Result<Outcome, redb::Error> {
        let removed = tables.remove(&self.key, self.version.as_ref(), |_| ())?;
        Ok(match (&self.version, removed) {
            (Some(_), None) => Outcome::Unmet,
            _ => Outcome::Applied(None),
        })
    }
}

pub(crate) fn expires(expiry: Expiry) -> Result<Expires> {
    match expiry {
        Expiry::Never => Ok(Expires::Never),
        Expiry::After(ttl) => Ok(Expires::After(ttl)),
        Expiry::Keep => Ok(Expires::AsBefore),
        _ => Err(unknown("this release does not know that expiry")),
    }
}

fn unknown(message: &'static str) -> Error {
    Error::new(ErrorKind::Unsupported, message)
}
