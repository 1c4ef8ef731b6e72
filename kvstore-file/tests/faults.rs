//! What goes wrong while a file is open: errors, never a missing key, and nothing that was acknowledged is lost.

mod common;

use std::fs::OpenOptions;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Folder, SECRET, ends, failed, printed, task, told_task};
use kvstore_core::{Bytes, ErrorKind, KeyValueStore, SetOptions};
use kvstore_file::{FileConfig, FileProvider};
use tokio::task::JoinSet;

/// What a test has a process of its own do, which may not make files of more than some bytes: it fills the file, and
/// goes on when it may again.
#[test]
fn task_on_a_full_disk() {
    let Some((cache_size, path)) = told_task() else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    let config = FileConfig::new(path).cache_size(cache_size.parse().unwrap());
    runtime.block_on(fill(config));
}

async fn fill(config: FileConfig) {
    let file = FileProvider::connect(config.clone()).await.unwrap();
    let bytes = KeyValueStore::bytes(file);
    let value = |number: u32| Bytes::from(number.to_le_bytes().repeat(2000));
    let mut stored = 0;
    let full = loop {
        match ends("set", bytes.set(&stored.to_string(), value(stored))).await {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 1000, "there is room beyond the limit");
    };
    assert_eq!(full.kind(), ErrorKind::StorageFull, "{full:?}");
    assert!(!full.outcome_unknown(), "{full:?}");
    assert!(stored > 10, "{stored} values fit");
    let all_are_there = || async {
        for number in 0..stored {
            let found = bytes.get(&number.to_string()).await.unwrap();
            assert!(found == Some(value(number)), "value {number}");
        }
    };
    all_are_there().await;
    assert_eq!(bytes.get(&stored.to_string()).await.unwrap(), None);
    // Again, and a batch of which nothing fits.
    let again = bytes.set("more", vec![0; 1_000_000]).await;
    failed(again, ErrorKind::StorageFull, "a second set");
    let items = (0..3).map(|number: u32| (format!("more {number}"), value(number)));
    let items: Vec<_> = items
        .chain([("large".to_owned(), vec![0; 1_000_000].into())])
        .collect();
    let batch = bytes.set_many(items, SetOptions::new()).await.unwrap_err();
    assert_eq!(batch.failed().count(), 4);
    assert!(!bytes.has("more 0").await.unwrap());

    let process = std::process::id().to_string();
    let raised = Command::new("prlimit")
        .args(["--pid", &process, "--fsize=unlimited:"])
        .status();
    assert!(raised.unwrap().success());
    // Not every write is tried while the disk is full.
    let raised = Instant::now();
    while let Err(error) = ends("set", bytes.set("more", value(7))).await {
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{error:?}");
        assert!(raised.elapsed() < Duration::from_secs(60), "{error:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    all_are_there().await;
    bytes.close().await.unwrap();

    let bytes = KeyValueStore::bytes(FileProvider::connect(config).await.unwrap());
    assert_eq!(bytes.get("more").await.unwrap(), Some(value(7)));
    assert_eq!(
        bytes.get(&(stored - 1).to_string()).await.unwrap(),
        Some(value(stored - 1))
    );
    bytes.close().await.unwrap();
}

#[test]
fn a_full_disk_is_told_and_recovered_from() {
    // Without a cache, pages are written before they are committed as well.
    for cache_size in ["1000000", "0"] {
        let folder = Folder::new();
        let this = task(cache_size, &folder.file());
        // A shell sets the limit, and lets the system answer with an error what is beyond it, rather than with a
        // signal.
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' XFSZ; ulimit -S -f 1000; exec \"$0\" \"$@\""]);
        shell.arg(this.get_program()).args(this.get_args());
        shell.args(["--exact", "task_on_a_full_disk"]);
        shell.envs(this.get_envs().map(|(name, value)| (name, value.unwrap())));
        let output = shell.stdin(Stdio::null()).output().unwrap();
        let printed =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && printed.contains("1 passed"),
            "{printed}"
        );
    }
}

/// A file that is cut short under way, or before it is opened: nothing of it is taken for a missing key.
#[tokio::test]
async fn a_file_that_is_cut_short_is_an_error() {
    let folder = Folder::new();
    let config = folder.config().cache_size(0);
    let texts = KeyValueStore::text(FileProvider::connect(config).await.unwrap());
    let items = (0..100).map(|number| (number.to_string(), SECRET.repeat(1000)));
    texts.set_many(items, SetOptions::new()).await.unwrap();
    let file = OpenOptions::new().write(true).open(folder.file()).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    let mut failures = 0;
    for number in 0..100 {
        match ends("get", texts.get(&number.to_string())).await {
            Ok(found) => assert!(found.is_some(), "key {number} is missing"),
            Err(error) => {
                failures += 1;
                assert!(!printed(&error).contains(SECRET), "{}", printed(&error));
            }
        }
    }
    assert!(failures > 0);
    let error = texts.set("key", "value").await.unwrap_err();
    assert!(!error.outcome_unknown(), "{error:?}");
    ends("close", texts.close()).await.unwrap();
    let error = FileProvider::connect(folder.config()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Other);
    assert!(error.to_string().contains("is damaged"), "{error}");
}

/// With a deadline that most calls miss: what says that nothing was done, was not done.
#[tokio::test(flavor = "multi_thread")]
async fn what_missed_its_deadline_is_done_or_says_that_it_is_not() {
    let folder = Folder::new();
    folder.texts().await.close().await.unwrap();
    let config = folder.config().timeout(Duration::from_millis(3));
    let texts = KeyValueStore::text(FileProvider::connect(config).await.unwrap());
    let mut tasks = JoinSet::new();
    for number in 0..500 {
        let texts = texts.clone();
        tasks.spawn(async move {
            let value = "x".repeat(20_000);
            (
                number,
                ends("set", texts.set(&format!("key {number}"), value)).await,
            )
        });
    }
    let answers = tasks.join_all().await;
    // What is under way still is done before the file is closed, however long that takes.
    drop(texts);
    let texts = folder.texts().await;
    let mut missed = 0;
    for (number, answer) in answers {
        let found = texts.has(&format!("key {number}")).await.unwrap();
        match answer {
            Ok(()) => assert!(found, "key {number} is acknowledged"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
                assert!(!found || error.outcome_unknown(), "key {number}: {error:?}");
                missed += 1;
            }
        }
    }
    assert!(missed > 0, "500 values of 20 kB are written within 3 ms");
    texts.close().await.unwrap();
}

#[tokio::test]
async fn a_full_queue_is_busy() {
    let folder = Folder::new();
    let config = folder
        .config()
        .max_pending(4)
        .timeout(Duration::from_secs(60));
    let texts = KeyValueStore::text(FileProvider::connect(config).await.unwrap());
    let mut tasks = JoinSet::new();
    for number in 0..200 {
        let texts = texts.clone();
        tasks.spawn(async move { (number, texts.set(&number.to_string(), "value").await) });
    }
    let mut busy = 0;
    for (number, answer) in tasks.join_all().await {
        let found = texts.has(&number.to_string()).await.unwrap();
        assert_eq!(found, answer.is_ok(), "{answer:?}");
        if let Err(error) = answer {
            assert_eq!(error.kind(), ErrorKind::Busy);
            assert!(error.is_retryable() && !error.outcome_unknown());
            busy += 1;
        }
    }
    assert!(busy > 0 && busy < 200, "{busy} of 200 are refused");
    texts.close().await.unwrap();
}

/// The thread that the callers run on reads and writes nothing: the system counts what each thread does.
#[tokio::test(flavor = "current_thread")]
async fn the_runtime_does_no_io() {
    fn bytes_read_and_written() -> u64 {
        let counts = std::fs::read_to_string("/proc/thread-self/io").unwrap();
        let counts = counts.lines().filter_map(|line| {
            let (name, count) = line.split_once(": ")?;
            ["rchar", "wchar"]
                .contains(&name)
                .then(|| count.parse::<u64>().unwrap())
        });
        counts.sum()
    }
    let folder = Folder::new();
    let before = bytes_read_and_written();
    let config = folder.config().cache_size(0);
    let bytes = KeyValueStore::bytes(FileProvider::connect(config).await.unwrap());
    let value = vec![7; 100_000];
    for number in 0..20 {
        let key = number.to_string();
        bytes.set(&key, &value).await.unwrap();
        assert!(bytes.get(&key).await.unwrap().is_some());
        assert!(bytes.get_entry(&key).await.unwrap().is_some());
        assert!(bytes.touch(&key, Duration::from_secs(60)).await.unwrap());
        assert!(bytes.take(&key).await.unwrap().is_some());
    }
    let items = (0..20).map(|number: u32| (number.to_string(), &value));
    bytes.set_many(items, SetOptions::new()).await.unwrap();
    let mut keys = bytes.keys("");
    while let Some(key) = keys.next().await {
        key.unwrap();
    }
    bytes.ping().await.unwrap();
    bytes.close().await.unwrap();
    drop(bytes);
    let done = bytes_read_and_written() - before;
    assert!(
        done < value.len() as u64,
        "{done} bytes by the runtime's own thread"
    );
}
