//! What is in the file, seen by redb alone.

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{ABOUT, DEADLINES, ENTRIES, Folder, not_opened};
use kvstore_core::{Condition, ErrorKind, KeyValueStore, SetOptions};
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _,
    TableDefinition,
};
use serde_json::json;

const HOUR: Duration = Duration::from_secs(3600);

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

#[tokio::test]
async fn keys_and_values_stand_there_as_they_are() {
    let folder = Folder::new();
    let file = folder.connect().await;
    let (bytes, texts) = (
        KeyValueStore::bytes(file.clone()),
        KeyValueStore::text(file.clone()),
    );
    let models = KeyValueStore::model(file);
    bytes.set("a/ü\0", b"\0\xff").await.unwrap();
    let before = now();
    let hour = SetOptions::new().ttl(HOUR);
    texts
        .namespace("n")
        .unwrap()
        .set_with("t", "ü", hour)
        .await
        .unwrap();
    let after = now();
    models.set("m", json!([1, "x"])).await.unwrap();
    texts.set("gone", "x").await.unwrap();
    texts.delete("gone").await.unwrap();
    texts.close().await.unwrap();
    assert_eq!(folder.names(), ["store.redb"]);

    let database = Database::open(folder.file()).unwrap();
    let snapshot = database.begin_read().unwrap();
    let entries = snapshot.open_table(ENTRIES).unwrap();
    let mut found = Vec::new();
    for entry in entries.iter().unwrap() {
        let (key, entry) = entry.unwrap();
        let (version, deadline, value) = entry.value();
        found.push((key.value().to_owned(), version, deadline, value.to_vec()));
    }
    let deadline = found[2].2.unwrap();
    let hour = u64::try_from(HOUR.as_millis()).unwrap();
    assert!(
        (before + hour..=after + hour + 1).contains(&deadline),
        "{deadline}"
    );
    assert_eq!(
        found,
        [
            ("a/ü\0".to_owned(), 1, None, b"\0\xff".to_vec()),
            ("m".to_owned(), 3, None, b"[1,\"x\"]".to_vec()),
            ("n:t".to_owned(), 2, Some(deadline), "ü".into()),
        ]
    );
    let deadlines = snapshot.open_table(DEADLINES).unwrap();
    assert_eq!(deadlines.len().unwrap(), 1);
    assert!(deadlines.get((deadline, "n:t")).unwrap().is_some());
    let about = snapshot.open_table(ABOUT).unwrap();
    assert_eq!(about.get("format").unwrap().unwrap().value(), 1);
    // The version of what was deleted was 4, and is not to be given again.
    assert!(about.get("counter").unwrap().unwrap().value() >= 4);
}

#[tokio::test]
async fn what_redb_wrote_is_read() {
    let folder = Folder::new();
    folder.texts().await.close().await.unwrap();
    let (past, future) = (now() - 1, now() + 1_000_000);
    let database = Database::open(folder.file()).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut entries = transaction.open_table(ENTRIES).unwrap();
        entries.insert("lasting", (40, None, &b"1"[..])).unwrap();
        entries
            .insert("expiring", (41, Some(future), &b"2"[..]))
            .unwrap();
        entries
            .insert("expired", (42, Some(past), &b"3"[..]))
            .unwrap();
        entries.insert("no text", (43, None, &b"\xff"[..])).unwrap();
        let mut deadlines = transaction.open_table(DEADLINES).unwrap();
        deadlines.insert((future, "expiring"), ()).unwrap();
        deadlines.insert((past, "expired"), ()).unwrap();
        let mut about = transaction.open_table(ABOUT).unwrap();
        about.insert("counter", 43).unwrap();
    }
    transaction.commit().unwrap();
    drop(database);

    let texts = folder.texts().await;
    let entry = texts.get_entry("lasting").await.unwrap().unwrap();
    assert_eq!((&*entry.value, entry.expires_in), ("1", None));
    assert_eq!(entry.version, Some(40.into()));
    let entry = texts.get_entry("expiring").await.unwrap().unwrap();
    assert_eq!(&*entry.value, "2");
    assert!(entry.expires_in.unwrap() <= Duration::from_secs(1000));
    assert_eq!(texts.get("expired").await.unwrap(), None);
    let error = texts.get("no text").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    let same = Condition::Version(40.into());
    let set = texts
        .set_if("lasting", "new", same, SetOptions::new())
        .await;
    assert!(set.unwrap().is_applied());
    let entry = texts.get_entry("lasting").await.unwrap().unwrap();
    assert_eq!(entry.version, Some(44.into()));
    texts.close().await.unwrap();
}

/// The deadlines hold exactly the entries that have one, whatever was done to them.
#[tokio::test]
async fn the_deadlines_are_those_of_the_entries() {
    let folder = Folder::new();
    let texts = folder.texts().await;
    let (hour, keep) = (SetOptions::new().ttl(HOUR), SetOptions::new().keep_expiry());
    for key in [
        "set",
        "kept",
        "touched",
        "persisted",
        "deleted",
        "taken",
        "many",
    ] {
        texts.set_with(key, "1", hour).await.unwrap();
    }
    texts.set("set", "2").await.unwrap();
    texts.set_with("kept", "2", keep).await.unwrap();
    assert!(texts.touch("touched", 2 * HOUR).await.unwrap());
    assert!(texts.persist("persisted").await.unwrap());
    assert!(texts.persist("set").await.unwrap());
    texts.delete("deleted").await.unwrap();
    texts.take("taken").await.unwrap();
    texts
        .set_many([("many", "2"), ("more", "2")], hour)
        .await
        .unwrap();
    let moment = SetOptions::new().ttl(Duration::from_millis(1));
    texts.set_with("swept", "1", moment).await.unwrap();
    while texts.has("swept").await.unwrap() {}
    // Any write removes what has expired.
    texts.set("other", "1").await.unwrap();
    texts.close().await.unwrap();

    let database = Database::open(folder.file()).unwrap();
    let snapshot = database.begin_read().unwrap();
    let mut expiring = Vec::new();
    let mut all = Vec::new();
    for entry in snapshot.open_table(ENTRIES).unwrap().iter().unwrap() {
        let (key, entry) = entry.unwrap();
        all.push(key.value().to_owned());
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
    assert_eq!(expiring.len(), 4, "{expiring:?}");
    assert_eq!(
        all,
        [
            "kept",
            "many",
            "more",
            "other",
            "persisted",
            "set",
            "touched"
        ]
    );
}

#[tokio::test]
async fn versions_never_come_back() {
    let folder = Folder::new();
    let mut last = 0;
    for round in 0..5 {
        let texts = folder.texts().await;
        let set = texts.set_if("key", "same", Condition::Absent, SetOptions::new());
        assert!(set.await.unwrap().is_applied());
        let version = texts.get_entry("key").await.unwrap().unwrap().version;
        let version = version.unwrap().as_u64().unwrap();
        assert!(version > last, "round {round}: {version} after {last}");
        last = version;
        texts.delete("key").await.unwrap();
        texts.close().await.unwrap();
    }
}

#[tokio::test]
async fn only_its_owner_may_read_a_new_file() {
    let folder = Folder::new();
    let file = folder.texts().await;
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(folder.file()), 0o600);
    assert!(file.ping().await.unwrap().warnings.is_empty());

    let all = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(folder.file(), all).unwrap();
    let warnings = file.ping().await.unwrap().warnings;
    assert!(warnings[0].contains("other users"), "{warnings:?}");
    file.close().await.unwrap();
    // A file that is there keeps what it was given.
    folder.texts().await.close().await.unwrap();
    assert_eq!(mode(folder.file()), 0o644);
}

#[tokio::test]
async fn what_is_no_file_of_ours_is_left_alone() {
    let folder = Folder::new();
    let path = folder.file();
    for content in [
        &b"hello"[..],
        b"redb",
        &[0; 4096],
        b"redb\x1a\x0a\xa9\x0d\x0b......",
    ] {
        std::fs::write(&path, content).unwrap();
        not_opened(
            folder.config(),
            ErrorKind::InvalidConfig,
            "not a redb database",
        )
        .await;
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
    // A redb database that was cut short.
    std::fs::write(&path, b"redb\x1a\x0a\xa9\x0d\x0a").unwrap();
    not_opened(folder.config(), ErrorKind::Other, "is damaged").await;
    std::fs::remove_file(&path).unwrap();

    let database = Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let table: TableDefinition<'_, &str, &str> = TableDefinition::new("theirs");
    transaction
        .open_table(table)
        .unwrap()
        .insert("a", "b")
        .unwrap();
    transaction.commit().unwrap();
    drop(database);
    not_opened(
        folder.config(),
        ErrorKind::InvalidConfig,
        "of another program",
    )
    .await;
    let database = Database::open(&path).unwrap();
    let snapshot = database.begin_read().unwrap();
    assert_eq!(snapshot.list_tables().unwrap().count(), 1);
    let theirs = snapshot.open_table(table).unwrap();
    assert_eq!(theirs.get("a").unwrap().unwrap().value(), "b");
    drop(database);
    std::fs::remove_file(&path).unwrap();

    folder.texts().await.close().await.unwrap();
    let database = Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction
        .open_table(ABOUT)
        .unwrap()
        .insert("format", 2)
        .unwrap();
    transaction.commit().unwrap();
    drop(database);
    not_opened(
        folder.config(),
        ErrorKind::InvalidConfig,
        "of format 2, which a later release",
    )
    .await;
}
