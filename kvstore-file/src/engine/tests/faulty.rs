//! A disk on which everything can go wrong.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Mutex, MutexGuard};

use redb::StorageBackend;

use super::*;
use crate::data::{self, Kind};

/// What a disk writes as a whole or not at all.
const SECTOR: usize = 512;
/// How long it takes to confirm what was written.
const SYNC: Duration = Duration::from_millis(2);
/// What the system finds room for as a whole.
const BLOCK: usize = 4096;

/// What the last step is that each task was told to be done.
pub(super) type Acknowledged = HashMap<u64, u64>;

#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
pub(super) struct State {
    /// What is read: the system has it, and the disk perhaps not yet.
    pub(super) seen: Vec<u8>,
    /// What the disk has confirmed.
    pub(super) kept: Vec<u8>,
    /// What was written since, in any order on the disk.
    pub(super) since: Vec<Change>,
    pub(super) acknowledged: Acknowledged,
    /// What was acknowledged, and is on the disk, at moments in which the power might have failed.
    pub(super) failures: Vec<(Acknowledged, Vec<u8>)>,
    pub(super) chance: u64,
    pub(super) syncs: u64,
    pub(super) opens: u64,
    /// How long the file may be.
    pub(super) room: Option<usize>,
    /// What there was room for until now.
    pub(super) blocks: HashSet<usize>,
    /// Whether there is room for nothing else, which shows as it is written, and not as the file is made longer.
    pub(super) is_full: bool,
    pub(super) confirms_nothing: bool,
    /// How many changes the disk takes before it fails, until it is opened anew.
    pub(super) changes_left: Option<u64>,
}

#[derive(Debug)]
pub(super) enum Change {
    Len(usize),
    Sector(usize, Vec<u8>),
}

impl Change {
    fn apply(&self, disk: &mut Vec<u8>) {
        match self {
            Self::Len(len) => disk.resize(*len, 0),
            Self::Sector(offset, data) => {
                let end = offset + data.len();
                if disk.len() < end {
                    disk.resize(end, 0);
                }
                disk[*offset..end].copy_from_slice(data);
            }
        }
    }
}

impl State {
    /// One of so many, by a well-known generator, the same in each run.
    fn is_one_of(&mut self, count: u64) -> bool {
        self.chance = self
            .chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.chance >> 33).is_multiple_of(count)
    }

    /// Now and then the power fails here: of what was not confirmed the disk has any half.
    fn may_fail(&mut self) {
        if self.acknowledged.is_empty() || !self.is_one_of(20) || self.failures.len() == 100 {
            return;
        }
        let mut disk = self.kept.clone();
        for change in std::mem::take(&mut self.since) {
            if self.is_one_of(2) {
                change.apply(&mut disk);
            }
            self.since.push(change);
        }
        self.failures.push((self.acknowledged.clone(), disk));
    }

    fn change(&mut self, change: Change) -> io::Result<()> {
        match &mut self.changes_left {
            None => {}
            Some(0) => return Err(io::ErrorKind::StorageFull.into()),
            Some(left) => *left -= 1,
        }
        change.apply(&mut self.seen);
        self.since.push(change);
        self.may_fail();
        Ok(())
    }
}

impl Disk {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// A disk that has this.
    pub(super) fn new(content: Vec<u8>) -> Self {
        let state = State {
            blocks: (0..content.len().div_ceil(BLOCK)).collect(),
            kept: content.clone(),
            seen: content,
            ..State::default()
        };
        Self(Arc::new(Mutex::new(state)))
    }

    pub(super) fn open(&self, health: &Arc<Health>) -> Open {
        Open::new(self.database(&Self::config(), health).unwrap())
    }

    fn database(&self, config: &FileConfig, health: &Arc<Health>) -> Result<Database> {
        {
            let mut state = self.state();
            state.opens += 1;
            state.changes_left = None;
        }
        let database = disk::build_on(config, health, self.clone())?;
        if data::kind(&database).unwrap() == Kind::Foreign {
            data::create(&database).unwrap();
        }
        Ok(database)
    }

    pub(super) fn config() -> FileConfig {
        FileConfig::new("/nowhere/store.redb")
    }

    /// The threads that work on what is on it.
    pub(super) fn start(&self) -> Arc<Engine> {
        self.start_with(Self::config())
    }

    pub(super) fn start_with(&self, config: FileConfig) -> Arc<Engine> {
        let disk = self.clone();
        let opens = move |config: &FileConfig, health: &Arc<Health>| disk.database(config, health);
        Engine::start_on(config, Box::new(opens), IDLE).unwrap()
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        out.copy_from_slice(&self.state().seen[offset..offset + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).unwrap();
        let mut state = self.state();
        if len > state.seen.len() && state.room.is_some_and(|room| len > room) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.change(Change::Len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        // It takes its time, and others go on.
        thread::sleep(SYNC);
        let mut state = self.state();
        state.syncs += 1;
        if state.confirms_nothing {
            return Err(io::Error::other("the disk is worn out"));
        }
        state.may_fail();
        for change in std::mem::take(&mut state.since) {
            change.apply(&mut state.kept);
        }
        Ok(())
    }

    fn write(&self, offset: u64, mut data: &[u8]) -> io::Result<()> {
        let mut offset = usize::try_from(offset).unwrap();
        while !data.is_empty() {
            let len = (SECTOR - offset % SECTOR).min(data.len());
            let (sector, rest) = data.split_at(len);
            let sector = Change::Sector(offset, sector.to_vec());
            let mut state = self.state();
            let block = offset / BLOCK;
            if state.is_full && !state.blocks.contains(&block) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            state.change(sector)?;
            state.blocks.insert(block);
            drop(state);
            (offset, data) = (offset + len, rest);
        }
        Ok(())
    }
}

/// What a step of a task writes, from a few bytes to several pages.
pub(super) fn value(step: u64) -> Vec<u8> {
    let len = usize::try_from(step * 7919 % 9000).unwrap();
    format!("{step} {}", "x".repeat(len)).into()
}
