//! A disk that loses its power, fails, or does not confirm what was written.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, MutexGuard};

use redb::{ReadableTable as _, StorageBackend};
use tokio::task::JoinSet;

use super::*;
use crate::data::{self, Kind};

/// What a disk writes as a whole or not at all.
const SECTOR: usize = 512;
/// How long it takes to confirm what was written.
const SYNC: Duration = Duration::from_millis(2);
const TASKS: u64 = 8;
const STEPS: u64 = 60;

/// What the last step is that each task was told to be done.
type Acknowledged = HashMap<u64, u64>;

#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// What is read: the system has it, and the disk perhaps not yet.
    seen: Vec<u8>,
    /// What the disk has confirmed.
    kept: Vec<u8>,
    /// What was written since, in any order on the disk.
    since: Vec<Change>,
    acknowledged: Acknowledged,
    /// What was acknowledged, and is on the disk, at moments in which the power might have failed.
    failures: Vec<(Acknowledged, Vec<u8>)>,
    chance: u64,
    syncs: u64,
    opens: u64,
    /// How many bytes there is room for.
    room: Option<usize>,
    confirms_nothing: bool,
    /// How many changes the disk takes before it fails.
    changes_left: Option<u64>,
}

#[derive(Debug)]
enum Change {
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
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// A disk that has this.
    fn new(content: Vec<u8>) -> Self {
        let state = State {
            kept: content.clone(),
            seen: content,
            ..State::default()
        };
        Self(Arc::new(Mutex::new(state)))
    }

    fn open(&self, health: &Arc<Health>) -> Open {
        let config = FileConfig::new("/nowhere/store.redb");
        Open::new(self.database(&config, health).unwrap())
    }

    fn database(&self, config: &FileConfig, health: &Arc<Health>) -> Result<Database> {
        self.state().opens += 1;
        let database = disk::build_on(config, health, self.clone())?;
        if data::kind(&database).unwrap() == Kind::Foreign {
            data::create(&database).unwrap();
        }
        Ok(database)
    }

    /// The threads that work on what is on it.
    fn start(&self) -> Arc<Engine> {
        let disk = self.clone();
        let opens = move |config: &FileConfig, health: &Arc<Health>| disk.database(config, health);
        Engine::start_on(FileConfig::new("/nowhere/store.redb"), Box::new(opens)).unwrap()
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
            self.state().change(sector)?;
            (offset, data) = (offset + len, rest);
        }
        Ok(())
    }
}

/// What a step of a task writes, from a few bytes to several pages.
fn value(step: u64) -> Vec<u8> {
    let len = usize::try_from(step * 7919 % 9000).unwrap();
    format!("{step} {}", "x".repeat(len)).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_power_fails() {
    let disk = Disk::default();
    let engine = disk.start();
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (disk, engine) = (disk.clone(), Arc::clone(&engine));
        tasks.spawn(async move {
            for step in 1..=STEPS {
                let set = write(&engine, move |tables| {
                    let key = task.to_string();
                    tables.set(&key, &value(step), Expires::Never, &Only::Always)
                });
                assert!(set.await.unwrap().is_applied());
                disk.state().acknowledged.insert(task, step);
            }
        });
    }
    tasks.join_all().await;
    end(engine).await;

    let failures = std::mem::take(&mut disk.state().failures);
    assert!(failures.len() > 20, "the power failed {}×", failures.len());
    for (acknowledged, content) in failures {
        let engine = Disk::new(content).start();
        for (task, last) in acknowledged {
            let found = get(&engine, task.to_string()).await.unwrap();
            let found = found.unwrap_or_default();
            // What was under way may have been done too.
            assert!(
                found == value(last) || found == value(last + 1),
                "of task {task} step {last} is lost"
            );
        }
        end(engine).await;
    }
}

/// One transaction serves many: a call in it waited for one that was under way, and for its own.
#[tokio::test(flavor = "multi_thread")]
async fn many_writers_share_a_sync() {
    let disk = Disk::default();
    let engine = disk.start();
    set(&engine, "key", Expires::Never).await.unwrap();
    let begin = disk.state().syncs;
    let mut tasks = JoinSet::new();
    for task in 0..64 {
        let engine = Arc::clone(&engine);
        tasks.spawn(async move {
            for _ in 0..20 {
                let set = write(&engine, move |tables| {
                    tables.set(&task.to_string(), b"v", Expires::Never, &Only::Always)
                });
                assert!(set.await.unwrap().is_applied());
            }
        });
    }
    tasks.join_all().await;
    let (syncs, writes) = (disk.state().syncs - begin, 64 * 20);
    assert!(syncs * 10 <= writes, "{syncs} syncs of {writes} writes");
    end(engine).await;
}

/// Each write that fails lets the file be opened anew, which takes long where it is large: so not each is tried.
#[tokio::test]
async fn a_full_disk_is_read_while_writes_fail_and_is_not_opened_for_each() {
    let disk = Disk::default();
    let engine = disk.start();
    set(&engine, "key", Expires::Never).await.unwrap();
    let full = |engine: Arc<Engine>| async move {
        let large = write(&engine, |tables| {
            tables.set("large", &[7; 8 << 20], Expires::Never, &Only::Always)
        });
        let error = large.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{error:?}");
        assert!(!error.outcome_unknown());
        assert!(get(&engine, "key").await.unwrap().is_some());
    };
    let room = disk.state().seen.len();
    disk.state().room = Some(room);
    let (begin, opens) = (Instant::now(), disk.state().opens);
    for _ in 0..100 {
        full(Arc::clone(&engine)).await;
    }
    assert!(get(&engine, "large").await.unwrap().is_none());
    // Once, and perhaps again after each second that all of this took.
    let opens = disk.state().opens - opens;
    let allowed = 1 + begin.elapsed().as_secs();
    assert!(
        (1..=allowed).contains(&opens),
        "{opens} times, and not {allowed}"
    );
    disk.state().room = None;
    while let Err(error) = set(&engine, "key", Expires::Never).await {
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{error:?}");
        assert!(begin.elapsed() < IDLE, "it is written no more");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    end(engine).await;
}

#[tokio::test]
async fn what_the_disk_does_not_confirm_is_not_acknowledged() {
    let disk = Disk::default();
    let engine = disk.start();
    set(&engine, "key", Expires::Never).await.unwrap();
    disk.state().confirms_nothing = true;
    let error = set(&engine, "other", Expires::Never).await.unwrap_err();
    assert!(error.outcome_unknown(), "{error:?}");
    disk.state().confirms_nothing = false;
    for error in [
        get(&engine, "key").await.unwrap_err(),
        set(&engine, "key", Expires::Never).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Other);
        assert!(!error.is_retryable() && !error.outcome_unknown());
        assert!(error.to_string().contains("open the store anew"), "{error}");
    }
    end(engine).await;
}

/// All that is stored: keys, versions, deadlines and values.
fn stored(open: &Open) -> Vec<(String, u64, Option<u64>, Vec<u8>)> {
    let snapshot = open.database.begin_read().unwrap();
    let entries = snapshot.open_table(ENTRIES).unwrap();
    let mut all = Vec::new();
    for entry in entries.iter().unwrap() {
        let (key, entry) = entry.unwrap();
        let (version, deadline, value) = entry.value();
        all.push((key.value().to_owned(), version, deadline, value.to_vec()));
    }
    all
}

/// Wherever the disk fails in a transaction: what is found afterwards is what the mark says.
#[test]
fn after_a_failed_commit_its_mark_tells_whether_it_was_made() {
    type Work = fn(&mut Tables<'_>) -> Result<(), redb::Error>;
    fn set(tables: &mut Tables<'_>, key: &str, expires: Expires) -> Result<(), redb::Error> {
        let set = tables.set(key, &value(3), expires, &Only::Always);
        set.map(|outcome| assert!(outcome.is_applied()))
    }
    const HOUR: Expires = Expires::After(Duration::from_secs(3600));
    let works: [Work; 5] = [
        |tables| set(tables, "key", Expires::Never),
        |tables| tables.remove("key", None, |_| ()).map(drop),
        |tables| tables.touch("key", HOUR).map(drop),
        |tables| {
            set(tables, "new", Expires::Never)?;
            tables.remove("new", None, |_| ())?;
            tables.remove("expiring", None, |_| ()).map(drop)
        },
        |tables| {
            set(tables, "new", Expires::Never)?;
            tables.remove("new", None, |_| ())?;
            set(tables, "new", HOUR)?;
            set(tables, "key", Expires::Never)?;
            set(tables, "new", Expires::Never)
        },
    ];
    let begin = Disk::default();
    let open = begin.open(&Arc::default());
    let filled = open.write(0, |tables| {
        set(tables, "expiring", HOUR)?;
        set(tables, "key", Expires::Never)
    });
    filled.unwrap();
    let before = stored(&open);
    drop(open);
    let content = begin.state().seen.clone();
    for (number, work) in works.into_iter().enumerate() {
        let mut failed = 0;
        for changes in 0.. {
            let disk = Disk::new(content.clone());
            let open = disk.open(&Arc::default());
            disk.state().changes_left = Some(changes);
            let written = open.write(0, work);
            drop(open);
            disk.state().changes_left = None;
            let open = disk.open(&Arc::default());
            let is_made = stored(&open) != before;
            match written {
                Ok(_) => {
                    assert!(is_made);
                    break;
                }
                Err(Lost::Before(_)) => assert!(!is_made, "work {number}, {changes} changes"),
                Err(Lost::Commit(_, mark)) => {
                    failed += 1;
                    assert_eq!(
                        open.has(&mark).unwrap(),
                        is_made,
                        "work {number}, {changes} changes, {mark:?}"
                    );
                }
            }
        }
        assert!(failed > 10, "{failed} commits failed");
    }
}
