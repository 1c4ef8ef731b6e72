//! Whether some order of calls explains what they answered.

use std::sync::Mutex;

/// What was asked of the key, and what was answered. A value is a number; each is written once.
#[derive(Clone, Debug)]
pub(crate) enum Did {
    Read(Option<u64>),
    Has(bool),
    Set(u64),
    SetAbsent(u64, bool),
    SetPresent(u64, bool),
    SetVersion(Seen, u64, bool),
    Touch(bool),
    Take(Option<u64>),
    Delete,
    DeleteMany,
    DeleteVersion(Seen, bool),
}

/// The value of a version.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) value: u64,
    /// No other version has that value. Else, by touching or moving, one may.
    pub(crate) only: bool,
}

impl Seen {
    /// Whether its condition may have been unmet.
    fn may_be_unmet(self, value: Option<u64>) -> bool {
        !self.only || value != Some(self.value)
    }
}

/// A call: from when to when, by one clock.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) did: Did,
}

#[derive(Default)]
pub(crate) struct Clock(Mutex<usize>);

impl Clock {
    pub(crate) fn tick(&self) -> usize {
        let mut now = self.0.lock().unwrap();
        *now += 1;
        *now
    }
}

/// What a call does to the value at a step; `None` where its answer says otherwise.
///
/// A delete has three: until it has returned, a copy under way may show the value again that the first has deleted.
fn step(did: &Did, step: u8, value: Option<u64>, before: Option<u64>) -> Vec<Option<u64>> {
    let only = |holds: bool, then| if holds { vec![then] } else { Vec::new() };
    match *did {
        Did::Read(read) => only(read == value, value),
        Did::Has(has) => only(has == value.is_some(), value),
        Did::Set(new) => vec![Some(new)],
        Did::SetAbsent(new, true) => only(value.is_none(), Some(new)),
        Did::SetAbsent(_, false) => only(value.is_some(), value),
        Did::SetPresent(new, true) => only(value.is_some(), Some(new)),
        Did::SetPresent(_, false) => only(value.is_none(), value),
        Did::SetVersion(old, new, true) => only(value == Some(old.value), Some(new)),
        Did::DeleteVersion(old, true) => only(value == Some(old.value), None),
        Did::SetVersion(old, _, false) | Did::DeleteVersion(old, false) => {
            only(old.may_be_unmet(value), value)
        }
        Did::Touch(there) => only(there == value.is_some(), value),
        Did::Take(taken) => only(taken == value, None),
        Did::Delete | Did::DeleteMany => match step {
            0 => vec![value, None],
            1 if value.is_none() => vec![None, before],
            1 => vec![value],
            _ => vec![None],
        },
    }
}

fn steps(did: &Did) -> u8 {
    match did {
        Did::Delete | Did::DeleteMany => 3,
        _ => 1,
    }
}

/// Whether the calls can have been in some order that keeps to the clock, from this value on.
pub(crate) fn explained(calls: &[Call], value: Option<u64>) -> bool {
    explain(calls, value, &mut vec![(0, None); calls.len()])
}

fn explain(calls: &[Call], value: Option<u64>, done: &mut [(u8, Option<u64>)]) -> bool {
    let open = |at: usize, done: &[(u8, Option<u64>)]| done[at].0 < steps(&calls[at].did);
    let Some(first) = (0..calls.len())
        .filter(|&at| open(at, done))
        .map(|at| calls[at].to)
        .min()
    else {
        return true;
    };
    for at in 0..calls.len() {
        if !open(at, done) || calls[at].from > first {
            continue;
        }
        let (number, before) = done[at];
        for then in step(&calls[at].did, number, value, before) {
            let seen = if number == 0 { value } else { before };
            done[at] = (number + 1, seen);
            if explain(calls, then, done) {
                return true;
            }
        }
        done[at] = (number, before);
    }
    false
}
