//! What cannot be brought about from outside.

mod failing;
mod faulty;
mod full;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;

use kvstore_core::Bytes;
use redb::{ReadableDatabase as _, ReadableTableMetadata as _};
use tokio::time::Instant;

use super::*;
use crate::call::{Pending, call};
use crate::data::{ABOUT, DEADLINES, ENTRIES};
use crate::tables::{Expires, Only};

/// A file of a test's own, which goes with it.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // What is left of it is no reason to fail.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn temporary() -> Temporary {
    let name = kvstore_testsuite::unique_root();
    Temporary(std::env::temp_dir().join(name))
}

async fn start() -> (Arc<Engine>, Temporary) {
    let file = temporary();
    let engine = Engine::start(FileConfig::new(&file.0)).unwrap();
    set(&engine, "key", Expires::Never).await.unwrap();
    (engine, file)
}

async fn write<T: Send + 'static>(
    engine: &Engine,
    work: impl for<'t> FnMut(&mut Tables<'t>) -> Result<T, redb::Error> + Send + 'static,
) -> Result<T> {
    send(engine, false, work).wait(Instant::now() + IDLE).await
}

/// Does what only removes keys.
async fn remove<T: Send + 'static>(
    engine: &Engine,
    work: impl for<'t> FnMut(&mut Tables<'t>) -> Result<T, redb::Error> + Send + 'static,
) -> Result<T> {
    send(engine, true, work).wait(Instant::now() + IDLE).await
}

fn send<T: Send + 'static>(
    engine: &Engine,
    removes: bool,
    work: impl for<'t> FnMut(&mut Tables<'t>) -> Result<T, redb::Error> + Send + 'static,
) -> Pending<T> {
    let (call, pending) = call(work, true);
    let call = Box::new(call);
    engine.writes.push(1, Write { call, removes }).unwrap();
    pending
}

/// Holds the thread that writes until it is told to go on, so that what is sent meanwhile is one group.
fn hold(engine: &Engine) -> mpsc::Sender<()> {
    let (begun, begins) = mpsc::channel();
    let (go_on, goes_on) = mpsc::channel();
    let held = send(engine, false, move |_| {
        begun.send(()).unwrap();
        goes_on.recv().unwrap();
        Ok(())
    });
    begins.recv().unwrap();
    // Nobody waits for it.
    drop(held);
    go_on
}

async fn set(engine: &Engine, key: &'static str, expires: Expires) -> Result<()> {
    let set = write(engine, move |tables| {
        tables.set(key, b"value", expires, &Only::Always)
    });
    set.await.map(drop)
}

async fn read<T: Send + 'static>(
    engine: &Engine,
    work: impl FnMut(&mut Snapshot) -> Result<T, redb::Error> + Send + 'static,
) -> Result<T> {
    let (work, pending) = call(work, false);
    engine.reads.push(1, Box::new(work))?;
    pending.wait(Instant::now() + IDLE).await
}

async fn get(engine: &Engine, key: impl Into<String>) -> Result<Option<Bytes>> {
    let key = key.into();
    read(engine, move |snapshot| snapshot.get(&key)).await
}

async fn end(engine: Arc<Engine>) {
    engine.close();
    engine.wait_for_end().await;
    assert!(engine.database().is_none());
}

#[tokio::test]
async fn a_failure_lets_the_file_be_opened_anew_but_not_made_anew() {
    let (engine, file) = start().await;
    engine.health.fail();
    assert!(get(&engine, "key").await.unwrap().is_some());
    assert!(!engine.health.has_failed());

    let elsewhere = Temporary(file.0.with_extension("moved"));
    std::fs::rename(&file.0, &elsewhere.0).unwrap();
    for replaced in [false, true] {
        if replaced {
            let config = FileConfig::new(&file.0);
            drop(disk::open(&config, &Arc::default()).unwrap());
        }
        engine.health.fail();
        for error in [
            get(&engine, "key").await.unwrap_err(),
            set(&engine, "key", Expires::Never).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert!(error.to_string().contains("moved, deleted or replaced"));
        }
        assert_eq!(file.0.exists(), replaced);
    }
    std::fs::rename(&elsewhere.0, &file.0).unwrap();
    assert!(get(&engine, "key").await.unwrap().is_some());
    end(engine).await;
}

/// The system gives the number of a file that is gone to the next one.
#[tokio::test]
async fn a_new_file_is_not_taken_for_the_one_before() {
    let file = temporary();
    let replaces = Arc::new(AtomicBool::new(false));
    let replaced = Arc::clone(&replaces);
    let opens = move |config: &FileConfig, health: &Arc<Health>| {
        if replaced.load(Ordering::Acquire) {
            std::fs::remove_file(&config.path).unwrap();
            drop(disk::open(config, &Arc::default()).unwrap());
        }
        disk::open(config, health)
    };
    let engine = Engine::start_on(FileConfig::new(&file.0), Box::new(opens), IDLE).unwrap();
    set(&engine, "key", Expires::Never).await.unwrap();
    replaces.store(true, Ordering::Release);
    engine.health.fail();
    let error = get(&engine, "key").await.unwrap_err();
    assert!(error.to_string().contains("moved, deleted or replaced"));
    end(engine).await;
}

/// Opening the file may take minutes: what nobody waits for any more is not written after it.
#[tokio::test]
async fn what_waits_for_the_file_to_be_opened_is_not_begun() {
    let file = temporary();
    let opens = |config: &FileConfig, health: &Arc<Health>| {
        thread::sleep(Duration::from_millis(300));
        disk::open(config, health)
    };
    let engine = Engine::start_on(FileConfig::new(&file.0), Box::new(opens), IDLE).unwrap();
    let late = Instant::now() + Duration::from_millis(50);
    let write = send(&engine, false, |tables| {
        tables.set("key", b"value", Expires::Never, &Only::Always)
    });
    let (call, read) = call(|snapshot: &mut Snapshot| snapshot.get("key"), false);
    engine.reads.push(1, Box::new(call)).unwrap();
    let (write, read) = tokio::join!(write.wait(late), read.wait(late));
    for error in [write.unwrap_err(), read.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.to_string().contains("nothing was done"), "{error}");
        assert!(!error.outcome_unknown());
    }
    set(&engine, "other", Expires::Never).await.unwrap();
    assert_eq!(get(&engine, "key").await.unwrap(), None);
    end(engine).await;
}

/// However little a call weighs in the queue: what it writes counts.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_writes_so_many_bytes() {
    let disk = faulty::Disk::default();
    let engine = disk.start();
    let large = write(&engine, |tables| {
        tables.set(
            "large",
            &vec![7; WRITE / 2 + 1],
            Expires::Never,
            &Only::Always,
        )
    });
    assert!(large.await.unwrap().is_applied());
    let go_on = hold(&engine);
    // Answers how often the disk has confirmed something before it.
    let touch = |hours: u64| {
        let expires = Expires::After(Duration::from_secs(hours * 3600));
        let disk = disk.clone();
        write(&engine, move |tables| {
            assert!(tables.touch("large", expires)?);
            Ok(disk.state().syncs)
        })
    };
    let (first, second, third, ()) = tokio::join!(touch(1), touch(2), touch(3), async {
        go_on.send(()).unwrap();
    });
    let (first, second, third) = (first.unwrap(), second.unwrap(), third.unwrap());
    assert!(
        first == second && second < third,
        "{first} {second} {third}"
    );
    end(engine).await;
}

#[tokio::test]
async fn a_counter_that_cannot_be_raised_is_an_error() {
    let (engine, file) = start().await;
    let put = engine.with(|open| {
        let transaction = open.database.begin_write().unwrap();
        let mut about = transaction.open_table(ABOUT).unwrap();
        about.insert("counter", u64::MAX).unwrap();
        drop(about);
        transaction.commit().unwrap();
    });
    put.unwrap();
    engine.health.fail();
    let error = set(&engine, "key", Expires::Never).await.unwrap_err();
    assert!(error.to_string().contains("is damaged"), "{error}");
    assert!(!error.outcome_unknown());
    assert!(get(&engine, "key").await.unwrap().is_some());
    end(engine).await;
    drop(file);
}

#[tokio::test]
async fn a_panic_ends_the_calls_that_meet_it_and_not_the_thread() {
    let (engine, file) = start().await;
    let panics = write::<()>(&engine, |_| panic!("a panic that is meant"));
    let error = panics.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Other);
    assert!(error.outcome_unknown());
    set(&engine, "key", Expires::Never).await.unwrap();
    let panics = read::<()>(&engine, |_| panic!("a panic that is meant"));
    let error = panics.await.unwrap_err();
    assert!(!error.outcome_unknown());
    assert!(get(&engine, "key").await.unwrap().is_some());
    end(engine).await;
    drop(file);
}

/// Puts keys into the file that expired long ago.
fn put_expired(engine: &Engine, count: u64) {
    let put = engine.with(|open| {
        let transaction = open.database.begin_write().unwrap();
        for number in 0..count {
            let key = format!("expired {number}");
            let mut entries = transaction.open_table(ENTRIES).unwrap();
            entries.insert(&*key, (1, Some(1), &b""[..])).unwrap();
            let mut deadlines = transaction.open_table(DEADLINES).unwrap();
            deadlines.insert((1, &*key), ()).unwrap();
        }
        transaction.commit().unwrap();
    });
    put.unwrap();
    assert_eq!(left(engine), count);
}

/// How many keys have a deadline, whether it has passed or not.
fn left(engine: &Engine) -> u64 {
    let left = engine.with(|open| {
        let snapshot = open.database.begin_read().unwrap();
        snapshot.open_table(DEADLINES).unwrap().len().unwrap()
    });
    left.unwrap()
}

#[tokio::test]
async fn expired_keys_are_removed_where_nothing_is_written() {
    let (engine, file) = start().await;
    put_expired(&engine, 1500);
    assert!(get(&engine, "expired 0").await.unwrap().is_none());
    assert_eq!(engine.sweep(), IDLE_SWEEP);
    assert_eq!(left(&engine), 500);
    assert_eq!(engine.sweep(), 500);
    assert_eq!(left(&engine), 0);
    assert_eq!(
        get(&engine, "key").await.unwrap().as_deref(),
        Some(&b"value"[..])
    );
    end(engine).await;
    drop(file);
}

/// Without being asked to.
#[tokio::test]
async fn expired_keys_are_looked_for_where_nothing_is_written() {
    let file = temporary();
    let config = FileConfig::new(&file.0);
    let idle = Duration::from_millis(50);
    let engine = Engine::start_on(config, Box::new(disk::open), idle).unwrap();
    put_expired(&engine, 1500);
    let begin = Instant::now();
    while left(&engine) > 0 {
        assert!(begin.elapsed() < IDLE, "they are not removed");
        tokio::time::sleep(idle).await;
    }
    end(engine).await;
}

/// A deadline that another program has left behind is removed, and not the key.
#[tokio::test]
async fn only_its_own_deadline_removes_a_key() {
    let (engine, file) = start().await;
    let put = engine.with(|open| {
        let transaction = open.database.begin_write().unwrap();
        let mut deadlines = transaction.open_table(DEADLINES).unwrap();
        deadlines.insert((1, "key"), ()).unwrap();
        drop(deadlines);
        transaction.commit().unwrap();
    });
    put.unwrap();
    assert_eq!(engine.sweep(), 1);
    assert_eq!(left(&engine), 0);
    assert!(get(&engine, "key").await.unwrap().is_some());
    end(engine).await;
    drop(file);
}

/// However many keys that expire are written at once, more are removed.
#[tokio::test]
async fn expired_keys_do_not_become_more_and_more() {
    let (engine, file) = start().await;
    put_expired(&engine, 1500);
    set(&engine, "key", Expires::Never).await.unwrap();
    assert_eq!(left(&engine), 1500 - SWEEP as u64);
    let hour = Expires::After(Duration::from_secs(3600));
    let many = write(&engine, move |tables| {
        let set = |number| tables.set(&format!("new {number}"), b"", hour, &Only::Always);
        (0..500).map(set).collect::<Result<Vec<_>, _>>()
    });
    assert_eq!(many.await.unwrap().len(), 500);
    // Of those that are left, 500 are new.
    assert_eq!(left(&engine), 1500 - 2 * SWEEP as u64);
    end(engine).await;
    drop(file);
}

/// A page of a listing reads the values as well: it ends before that takes long.
#[tokio::test]
async fn a_page_of_large_values_is_short() {
    let (engine, file) = start().await;
    for key in ["large 1", "large 2", "large 3"] {
        let large = vec![7; 5 << 20];
        let set = write(&engine, move |tables| {
            tables.set(key, &large, Expires::Never, &Only::Always)
        });
        assert!(set.await.unwrap().is_applied());
    }
    let page = read(&engine, |snapshot| snapshot.page("", None));
    let (keys, next) = page.await.unwrap();
    assert_eq!(keys, ["key", "large 1", "large 2"]);
    assert_eq!(next.as_deref(), Some("large 2"));
    let page = read(&engine, |snapshot| snapshot.page("", Some("large 2")));
    assert_eq!(page.await.unwrap(), (vec!["large 3".to_owned()], None));
    end(engine).await;
    drop(file);
}
