//! What the reference provider's clients share: the keys.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::time::Duration;

use kvstore_core::{
    Bytes, Capabilities, Condition, DeleteRequest, Error, ErrorKind, Expiry, Format, GetRequest,
    Outcome, Result, SetRequest, TouchRequest, Version, Versions,
};
use serde_json::Value;
use tokio::time::Instant;

use super::bug::Bug;

pub(crate) struct Server {
    pub(crate) bug: Option<Bug>,
    pub(crate) slots: BTreeMap<String, Slot>,
    capabilities: Capabilities,
    writes: u64,
}

#[derive(Clone)]
pub(crate) struct Slot {
    pub(crate) value: Bytes,
    pub(crate) deadline: Option<Instant>,
    pub(crate) version: Version,
    format: Format,
    /// Which write it was, for the bug of evicting the oldest.
    write: u64,
}

impl Slot {
    pub(crate) fn live(&self) -> bool {
        self.deadline
            .is_none_or(|deadline| Instant::now() < deadline)
    }
}

impl Server {
    pub(crate) fn new(capabilities: Capabilities, bug: Option<Bug>) -> Self {
        Self {
            bug,
            slots: BTreeMap::new(),
            capabilities,
            writes: 0,
        }
    }

    fn is(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    pub(crate) fn stored(&self, key: &str) -> String {
        self.bug
            .map_or_else(|| key.to_owned(), |bug| bug.stored(key))
    }

    /// The slot of a key, where it is live, or where this bug takes no notice of that.
    pub(crate) fn slot(&self, key: &str, bug: Bug) -> Option<&Slot> {
        let slot = self.slots.get(&self.stored(key));
        slot.filter(|slot| slot.live() || self.is(bug))
    }

    /// The slot of a live key, in the form asked for.
    pub(crate) fn read(&self, request: GetRequest<'_>, bug: Bug) -> Result<Option<Slot>> {
        let slot = self.slot(request.key.as_str(), bug);
        match slot {
            Some(slot) if slot.format != request.format => {
                if self.is(Bug::OtherTypeIsMissing) {
                    return Ok(None);
                }
                let told = match self.bug {
                    Some(Bug::ErrorShowsKey) => {
                        format!("not of the type: {}", request.key.as_str())
                    }
                    _ => "not of the type".to_owned(),
                };
                let error = Error::new(ErrorKind::Decode, told);
                if self.is(Bug::ErrorShowsValueInSource) {
                    let value = String::from_utf8_lossy(&slot.value).into_owned();
                    return Err(error.with_source(value));
                }
                Err(error)
            }
            Some(slot) if slot.value.is_empty() && self.is(Bug::EmptyIsMissing) => Ok(None),
            slot => Ok(slot.cloned()),
        }
    }

    fn deadline(&self, expiry: Expiry, old: Option<&Slot>) -> Option<Instant> {
        let kept = old.and_then(|slot| slot.deadline);
        let Expiry::After(ttl) = expiry else {
            let keeps = expiry == Expiry::Keep && !self.is(Bug::KeepDropsTtl);
            return kept.filter(|_| keeps || self.is(Bug::OverwriteKeepsTtl));
        };
        let ttl = match self.bug {
            Some(Bug::TtlDropped) => return None,
            Some(Bug::TtlInSeconds) if ttl.as_secs() == 0 => return None,
            Some(Bug::TtlInSeconds) => Duration::from_secs(ttl.as_secs()),
            Some(Bug::TtlRoundedUpToSeconds) => Duration::from_secs(ttl.as_secs() + 1),
            Some(Bug::TtlOver30DaysIsADate) if ttl > Duration::from_secs(30 * 86_400) => {
                Duration::ZERO
            }
            _ => ttl,
        };
        let unit = self.capabilities.expiry.unwrap().as_nanos();
        let units = ttl.as_nanos().div_ceil(unit) * unit;
        Some(Instant::now() + Duration::from_nanos(units.try_into().unwrap_or(u64::MAX)))
    }

    fn version(&mut self, old: Option<&Slot>, value: &Bytes) -> Version {
        self.writes += 1;
        match (self.capabilities.versions, self.bug) {
            (Some(Versions::Content), _) | (_, Some(Bug::VersionsByContent)) => {
                let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(value);
                Version::new(&format!("h{hash:016x}")).unwrap()
            }
            (Some(Versions::Counter), _) | (_, Some(Bug::VersionsRestart)) => {
                let last = old.and_then(|slot| slot.version.as_u64());
                Version::from(last.unwrap_or_default() + 1)
            }
            _ => Version::from(self.writes),
        }
    }

    /// Whether a write may be done, and over what.
    pub(crate) fn holds(&self, request: &SetRequest<'_>) -> Result<bool> {
        let key = request.key.as_str();
        let found = |bug| self.slot(key, bug);
        Ok(match &request.condition {
            None => true,
            Some(Condition::Absent) => {
                found(Bug::ExpiredBlocksAbsent).is_none() || self.is(Bug::AbsentOverwrites)
            }
            Some(Condition::Present) => {
                found(Bug::ExpiredIsPresent).is_some() || self.is(Bug::PresentCreates)
            }
            Some(Condition::Version(version)) => {
                if self.is(Bug::ForeignVersionFails) && version.as_u64().is_none() {
                    return Err(Error::new(ErrorKind::Other, "not a number"));
                }
                match found(Bug::ExpiredHasVersion) {
                    Some(slot) => slot.version == *version || self.is(Bug::VersionIgnored),
                    None => self.is(Bug::VersionCreates),
                }
            }
            Some(_) => unreachable!("no other condition is claimed"),
        })
    }

    pub(crate) fn write(&mut self, request: &SetRequest<'_>) -> Outcome {
        let key = self.stored(request.key.as_str());
        let old = self
            .slots
            .get(&key)
            .filter(|slot| slot.live() || self.is(Bug::KeepKeepsPastDeadline))
            .cloned();
        let mut value = request.value.clone();
        match self.bug {
            Some(Bug::SetKeepsOldValue) => {
                value = old.as_ref().map_or(value, |old| old.value.clone())
            }
            Some(Bug::NumbersRounded) if request.format == Format::Json => value = rounded(&value),
            Some(Bug::DollarMembersDropped) if request.format == Format::Json => {
                value = without_dollars(&value)
            }
            Some(Bug::NulDropped) => value = value.into_iter().filter(|byte| *byte != 0).collect(),
            Some(Bug::BytesMadeText) => value = String::from_utf8_lossy(&value).into_owned().into(),
            Some(Bug::CutAtTheLimit) => {
                value.truncate(self.capabilities.max_value_len.unwrap_or(usize::MAX) - 1)
            }
            _ => {}
        }
        let version = self.version(old.as_ref(), &value);
        let slot = Slot {
            value,
            format: request.format,
            deadline: self.deadline(request.expiry, old.as_ref()),
            version: version.clone(),
            write: self.writes,
        };
        self.slots.insert(key, slot);
        if self.is(Bug::EvictsOldest) && self.slots.len() > 400 {
            let oldest = self.slots.iter().min_by_key(|(_, slot)| slot.write);
            let oldest = oldest.map(|(key, _)| key.clone()).unwrap_or_default();
            self.slots.remove(&oldest);
        }
        Outcome::Applied(self.capabilities.versions.map(|_| version))
    }

    pub(crate) fn set(&mut self, request: &SetRequest<'_>) -> Result<Outcome> {
        if self.holds(request)? {
            return Ok(self.write(request));
        }
        if self.is(Bug::UnmetWriteSetsTtl) {
            self.touch(&TouchRequest::new(
                request.key,
                request.format,
                request.expiry,
            ));
        }
        if self.is(Bug::SaysAppliedWhenUnmet) {
            return Ok(Outcome::Applied(None));
        }
        Ok(Outcome::Unmet)
    }

    pub(crate) fn delete_holds(&self, request: &DeleteRequest<'_>) -> Result<bool> {
        let found = self.slot(request.key.as_str(), Bug::ExpiredHasVersion);
        let Some(version) = &request.version else {
            return match found {
                None if self.is(Bug::DeleteOfMissingFails) => Err(ErrorKind::Other.into()),
                _ => Ok(true),
            };
        };
        Ok(
            found
                .is_some_and(|slot| slot.version == *version || self.is(Bug::DeleteIgnoresVersion)),
        )
    }

    pub(crate) fn remove(&mut self, key: &str) {
        let key = self.stored(key);
        self.slots.remove(&key);
        if self.is(Bug::DeletesBelow) {
            self.slots
                .retain(|other, _| !other.starts_with(&format!("{key}/")));
        }
    }

    pub(crate) fn delete(&mut self, request: &DeleteRequest<'_>) -> Result<Outcome> {
        if !self.delete_holds(request)? {
            return Ok(Outcome::Unmet);
        }
        self.remove(request.key.as_str());
        Ok(Outcome::Applied(None))
    }

    pub(crate) fn touch(&mut self, request: &TouchRequest<'_>) -> bool {
        let key = request.key.as_str();
        if self.slot(key, Bug::TouchRevivesExpired).is_none() {
            if self.is(Bug::TouchCreates) {
                let _ = self.write(
                    &SetRequest::new(request.key, Format::Text, Bytes::new())
                        .with_expiry(request.expiry),
                );
            }
            return self.is(Bug::TouchCreates);
        }
        let ignored = match request.expiry {
            Expiry::Never => Bug::PersistIgnored,
            _ => Bug::TouchIgnored,
        };
        if !self.is(ignored) {
            let deadline = match request.expiry {
                Expiry::Never => None,
                expiry => self.deadline(expiry, None),
            };
            let key = self.stored(key);
            self.slots
                .entry(key)
                .and_modify(|slot| slot.deadline = deadline);
        }
        true
    }
}

fn rounded(json: &[u8]) -> Bytes {
    fn round(value: &mut Value) {
        match value {
            Value::Number(number) => *value = number.as_f64().into(),
            Value::Array(items) => items.iter_mut().for_each(round),
            Value::Object(members) => members.values_mut().for_each(round),
            _ => {}
        }
    }
    let mut value = serde_json::from_slice(json).unwrap();
    round(&mut value);
    value.to_string().into()
}

fn without_dollars(json: &[u8]) -> Bytes {
    match serde_json::from_slice(json).unwrap() {
        Value::Object(members) => {
            let kept = members
                .into_iter()
                .filter(|(name, _)| !name.starts_with('$'));
            Value::Object(kept.collect()).to_string().into()
        }
        other => other.to_string().into(),
    }
}
