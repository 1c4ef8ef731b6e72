//! A disk that is full.

use super::faulty::{Disk, value};
use super::*;

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

async fn set_to(engine: &Engine, key: String, value: Vec<u8>) -> Result<()> {
    let set = write(engine, move |tables| {
        tables.set(&key, &value, Expires::Never, &Only::Always)
    });
    set.await.map(drop)
}

/// Sets values of such a length until the disk is full; answers how many there were.
async fn fill(engine: &Engine, value: impl Fn(u64) -> Vec<u8>) -> u64 {
    for number in 0..1000 {
        if let Err(error) = set_to(engine, number.to_string(), value(number)).await {
            assert_eq!(error.kind(), ErrorKind::StorageFull, "{error:?}");
            assert!(!error.outcome_unknown(), "{error:?}");
            return number;
        }
    }
    panic!("the disk does not fill");
}

/// As it mostly is: the file can be made longer, and there is no room for what is written to it.
#[tokio::test]
async fn a_disk_may_be_full_as_a_transaction_is_committed() {
    let disk = Disk::default();
    let engine = disk.start();
    set(&engine, "key", Expires::Never).await.unwrap();
    let opens = disk.state().opens;
    disk.state().is_full = true;
    // What was written once is written over, so that some still fit.
    let stored = fill(&engine, value).await;
    assert!(disk.state().opens > opens);
    let are_stored = || async {
        for number in 0..stored {
            let found = get(&engine, number.to_string()).await.unwrap();
            assert!(found == Some(value(number).into()), "value {number}");
        }
        assert!(get(&engine, "key").await.unwrap().is_some());
    };
    are_stored().await;
    assert!(get(&engine, stored.to_string()).await.unwrap().is_none());
    disk.state().is_full = false;
    pause(&engine).await;
    set_to(&engine, stored.to_string(), value(stored))
        .await
        .unwrap();
    are_stored().await;
    end(engine).await;
}

/// Waits until it is tried again to write.
async fn pause(engine: &Engine) {
    while engine
        .full()
        .is_some_and(|full| full.until.elapsed().is_zero())
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn where_the_disk_is_full_deleting_makes_room() {
    let large = |_| vec![7; 100_000];
    let disk = Disk::default();
    let engine = disk.start();
    set(&engine, "key", Expires::Never).await.unwrap();
    let room = disk.state().seen.len() + (1 << 20);
    disk.state().room = Some(room);
    let stored = fill(&engine, large).await;
    assert!(stored > 2, "{stored} fit");
    // At once, while nothing is added.
    for number in 0..2 {
        let key = number.to_string();
        let removed = remove(&engine, move |tables| tables.remove(&key, None, |_| ()));
        assert!(removed.await.unwrap().is_some());
        let error = set(&engine, "key", Expires::Never).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }
    pause(&engine).await;
    set_to(&engine, "0".to_owned(), large(0)).await.unwrap();
    assert!(engine.full().is_none());
    for number in [0, 2, stored - 1] {
        let found = get(&engine, number.to_string()).await.unwrap();
        assert!(found == Some(large(0).into()), "value {number}");
    }
    end(engine).await;
}

/// After the disk was full, what does not fit does not fail what does.
#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_fails_alone() {
    let disk = Disk::default();
    let engine = disk.start();
    set(&engine, "key", Expires::Never).await.unwrap();
    let room = disk.state().seen.len() + (1 << 20);
    disk.state().room = Some(room);
    let too_large = || vec![7; room];
    let full = set_to(&engine, "large".to_owned(), too_large()).await;
    assert_eq!(full.unwrap_err().kind(), ErrorKind::StorageFull);
    pause(&engine).await;

    let go_on = hold(&engine);
    let small = |key: &str| set_to(&engine, key.to_owned(), vec![7; 100]);
    let (first, second, large, ()) = tokio::join!(
        small("1"),
        small("2"),
        set_to(&engine, "large".to_owned(), too_large()),
        async { go_on.send(()).unwrap() },
    );
    first.unwrap();
    second.unwrap();
    let error = large.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    end(engine).await;
}
