//! A disk that loses its power, fails, or does not confirm what was written.

use std::sync::mpsc;

use redb::ReadableTable as _;
use tokio::task::JoinSet;

use super::faulty::{Disk, value};
use super::*;

const TASKS: u64 = 8;
const STEPS: u64 = 60;

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
        assert!(
            error.to_string().contains("mount its file system anew"),
            "{error}"
        );
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
    assert!(filled.is_ok());
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
                        "work {number}, {changes} changes"
                    );
                }
            }
        }
        assert!(failed > 10, "{failed} commits failed");
    }
}

/// The same through the threads: what is answered is so, and nobody is told that it cannot be known.
#[tokio::test]
async fn after_a_failed_commit_the_answer_is_what_was_found() {
    let begin = Disk::default();
    let engine = begin.start();
    set(&engine, "key", Expires::Never).await.unwrap();
    end(engine).await;
    let content = begin.state().seen.clone();
    let (mut made, mut lost) = (0, 0);
    for changes in 0.. {
        let disk = Disk::new(content.clone());
        let engine = disk.start();
        assert!(get(&engine, "key").await.unwrap().is_some());
        disk.state().changes_left = Some(changes);
        let set = write(&engine, |tables| {
            tables.set("key", &value(3), Expires::Never, &Only::Always)
        });
        let set = set.await;
        let found = get(&engine, "key").await.unwrap();
        assert_eq!(found == Some(value(3).into()), set.is_ok());
        let opens = disk.state().opens;
        end(engine).await;
        match set {
            Ok(_) if opens == 1 => break,
            Ok(_) => made += 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::StorageFull, "{error:?}");
                assert!(!error.outcome_unknown(), "{error:?}");
                lost += 1;
            }
        }
    }
    assert!(lost > 10, "{lost} were not made");
    assert!(made > 0, "none was made");
}

/// What is read as a write fails is read once more, from the file opened anew.
#[tokio::test(flavor = "multi_thread")]
async fn reads_do_not_fail_with_a_write() {
    let disk = Disk::default();
    let engine = disk.start_with(Disk::config().cache_size(0));
    set(&engine, "key", Expires::Never).await.unwrap();
    // So much that a snapshot does not begin with all of it.
    let many = write(&engine, |tables| {
        let set = |step: u64| {
            tables.set(
                &step.to_string(),
                &value(step),
                Expires::Never,
                &Only::Always,
            )
        };
        (0..STEPS).map(set).collect::<Result<Vec<_>, _>>()
    });
    many.await.unwrap();
    let (begun, begins) = mpsc::channel();
    let (go_on, goes_on) = mpsc::channel();
    let reading = tokio::spawn({
        let engine = Arc::clone(&engine);
        async move {
            let mut waits = true;
            let read = read(&engine, move |snapshot| {
                if std::mem::take(&mut waits) {
                    begun.send(()).unwrap();
                    goes_on.recv().unwrap();
                }
                snapshot.get("key")
            });
            read.await
        }
    });
    begins.recv().unwrap();
    disk.state().changes_left = Some(0);
    let writing = tokio::spawn({
        let engine = Arc::clone(&engine);
        async move { set(&engine, "key", Expires::Never).await }
    });
    while !engine.health.has_failed() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // redb hears of it a little later.
    tokio::time::sleep(Duration::from_millis(20)).await;
    go_on.send(()).unwrap();
    assert_eq!(reading.await.unwrap().unwrap().unwrap(), "value");
    let error = writing.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    end(engine).await;
}
