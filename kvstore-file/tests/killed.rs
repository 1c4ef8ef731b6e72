//! A process that is killed under load, again and again: what it was told is stored, is stored.

mod common;

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;
use std::time::Duration;

use common::{DEADLINES, ENTRIES, Folder, task, told_task};
use kvstore_core::{KeyValueStore, SetOptions};
use kvstore_file::{FileConfig, FileProvider};
use redb::{Database, ReadableDatabase as _, ReadableTable as _};

/// How many tasks write at the same time.
const TASKS: u64 = 16;
/// How many keys each of them has.
const KEYS: u64 = 5;
/// How often a process is killed.
const KILLED: u64 = 100;

/// What the step of a task does to a key: the value that it has then.
fn value(task: u64, step: u64) -> Option<String> {
    // Every eleventh step deletes. Lengths go from a few bytes to several pages of the file.
    let len = usize::try_from(step * 7919 % 9000).unwrap();
    (step % 11 != 10).then(|| format!("{task} {step} {}", "x".repeat(len)))
}

fn key(task: u64, step: u64) -> String {
    format!("{task}/{}", step % KEYS)
}

/// What the test below has a process of its own do: this test program, started by it.
#[test]
fn task_that_is_killed() {
    let Some((begin, path)) = told_task() else {
        return;
    };
    let begin: u64 = begin.parse().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let file = FileProvider::connect(FileConfig::new(path)).await.unwrap();
        let texts = KeyValueStore::text(file);
        let tasks = (0..TASKS).map(|task| tokio::spawn(write(texts.clone(), task, begin)));
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
    });
}

async fn write(texts: KeyValueStore<String>, task: u64, begin: u64) {
    let hour = SetOptions::new().ttl(Duration::from_secs(3600));
    for step in begin.. {
        let key = key(task, step);
        match value(task, step) {
            Some(value) if step % 3 == 0 => texts.set_with(&key, value, hour).await.unwrap(),
            Some(value) => texts.set(&key, value).await.unwrap(),
            None => texts.delete(&key).await.unwrap(),
        }
        // One write for the line, which the other process has then, whatever happens to this one.
        let line = format!("> {task} {step}\n");
        std::io::stdout().write_all(line.as_bytes()).unwrap();
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_and_nothing_torn() {
    let folder = Folder::new();
    let mut stored: HashMap<String, Option<String>> = HashMap::new();
    let mut chance = 1_u64;
    let mut acknowledged = 0;
    for round in 0..KILLED {
        // The numbers of a well-known generator, the same in each run.
        chance = chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let chance = chance >> 33;
        let begin = round * 1_000_000;
        let mut command = task(&begin.to_string(), &folder.file());
        command.args(["--exact", "task_that_is_killed"]);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut lines = lines.filter_map(|line| acknowledged_by(&line.unwrap()));
        // Every fifth is killed while it opens the file, or makes it; the others after some writes.
        let first = match round % 5 {
            0 => {
                std::thread::sleep(Duration::from_millis(chance % 25));
                0
            }
            _ => usize::try_from(chance % 300).unwrap(),
        };
        let mut last: HashMap<u64, u64> = lines.by_ref().take(first).collect();
        child.kill().unwrap();
        last.extend(lines);
        child.wait().unwrap();

        let texts = folder.texts().await;
        for task in 0..TASKS {
            let begun = match last.get(&task) {
                Some(&last) => {
                    acknowledged += last + 1 - begin;
                    for step in begin..=last {
                        stored.insert(key(task, step), value(task, step));
                    }
                    last + 1
                }
                None => begin,
            };
            for number in 0..KEYS {
                let key = format!("{task}/{number}");
                let found = texts.get(&key).await.unwrap();
                let known = stored.get(&key).cloned().flatten();
                // The one write that was under way is there as a whole, or not at all.
                let may_be = self::key(task, begun) == key && found == value(task, begun);
                let short = |text: &Option<String>| {
                    text.as_ref()
                        .map(|text| text.chars().take(30).collect::<String>())
                };
                assert!(
                    found == known || may_be,
                    "round {round}, key {key}: {:?}, and not {:?}",
                    short(&found),
                    short(&known)
                );
                stored.insert(key, found);
            }
        }
        texts.close().await.unwrap();
    }
    // Of those that are not killed at once, some 150 writes are waited for.
    assert!(
        acknowledged >= 100 * KILLED,
        "{acknowledged} writes are no load"
    );
    the_deadlines_are_those_of_the_entries(&folder);
}

/// A process that is killed as it makes the file leaves none, or one that can be opened.
#[tokio::test]
async fn a_file_is_made_as_a_whole_or_not_at_all() {
    let mut unfinished = 0;
    for round in 0..60 {
        let folder = Folder::new();
        let mut command = task("0", &folder.file());
        command.args(["--exact", "task_that_is_killed"]);
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        // From the moment on in which it has begun.
        while folder.names().is_empty() {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "it ends, and makes no file: {ended:?}");
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_micros(round * 50));
        child.kill().unwrap();
        child.wait().unwrap();
        unfinished += u32::from(!folder.file().exists());
        let texts = folder.texts().await;
        texts.set("key", "value").await.unwrap();
        assert_eq!(texts.get("key").await.unwrap().as_deref(), Some("value"));
        texts.close().await.unwrap();
    }
    assert!(unfinished > 0, "none was killed as it made the file");
}

/// The task and the step of a write, from the line that acknowledges it.
fn acknowledged_by(line: &str) -> Option<(u64, u64)> {
    let (task, step) = line.strip_prefix("> ")?.split_once(' ')?;
    Some((task.parse().ok()?, step.parse().ok()?))
}

fn the_deadlines_are_those_of_the_entries(folder: &Folder) {
    let mut database = Database::open(folder.file()).unwrap();
    assert!(database.check_integrity().unwrap());
    let snapshot = database.begin_read().unwrap();
    let mut expiring = Vec::new();
    for entry in snapshot.open_table(ENTRIES).unwrap().iter().unwrap() {
        let (key, entry) = entry.unwrap();
        if let Some(deadline) = entry.value().1 {
            expiring.push((deadline, key.value().to_owned()));
        }
    }
    expiring.sort();
    let mut deadlines = Vec::new();
    for item in snapshot.open_table(DEADLINES).unwrap().iter().unwrap() {
        let (deadline, key) = item.as_ref().unwrap().0.value();
        deadlines.push((deadline, key.to_owned()));
    }
    assert_eq!(deadlines, expiring);
}
