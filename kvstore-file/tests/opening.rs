//! Opening and closing: what is told of a file that cannot be opened, and that it can be opened again.

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Folder, ends, failed, not_opened, task, told_task};
use kvstore_core::{ErrorKind, KeyValueStore, Registry};
use kvstore_file::{FileConfig, FileProvider};

/// What tests have a process of its own do: this test program, started by them.
#[test]
fn task_in_another_process() {
    let Some((task, path)) = told_task() else {
        return;
    };
    let (kind, says) = match &*task {
        "open elsewhere" => (
            ErrorKind::Unavailable,
            "is open elsewhere, in another process",
        ),
        "not permitted" => (
            ErrorKind::PermissionDenied,
            "may not be read and written by this user",
        ),
        _ => panic!("no such task: {task}"),
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(not_opened(FileConfig::new(path), kind, says));
}

fn passes_in_another_process(mut command: Command) {
    command.args(["--exact", "task_in_another_process"]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && printed.contains("1 passed"),
        "{printed}"
    );
}

#[tokio::test]
async fn a_file_has_one_owner() {
    let folder = Folder::new();
    let texts = folder.texts().await;
    texts.set("key", "value").await.unwrap();
    let elsewhere = "is open elsewhere, in another process or by another provider in this one";
    not_opened(folder.config(), ErrorKind::Unavailable, elsewhere).await;
    passes_in_another_process(task("open elsewhere", &folder.file()));
    assert_eq!(texts.get("key").await.unwrap().as_deref(), Some("value"));
    texts.close().await.unwrap();
}

#[tokio::test]
async fn a_closed_file_can_be_opened_at_once() {
    let folder = Folder::new();
    for round in 0..20 {
        // The lock is gone when `close` returns: nobody waits for it here.
        let lazy = KeyValueStore::text(FileProvider::lazy(folder.config()).unwrap());
        let before = lazy.get("round").await.unwrap();
        assert_eq!(before, (round > 0).then(|| (round - 1).to_string()));
        lazy.set("round", round.to_string()).await.unwrap();
        ends("close", lazy.close()).await.unwrap();
        assert_eq!(folder.names(), ["store.redb"]);
    }
}

#[tokio::test]
async fn the_last_clone_lets_the_file_go() {
    let folder = Folder::new();
    for round in 0..20 {
        let file = folder.connect().await;
        let (first, second) = (KeyValueStore::text(file.clone()), KeyValueStore::text(file));
        let mut listing = second.keys("");
        drop(first);
        second.set(&round.to_string(), "value").await.unwrap();
        assert!(listing.next().await.unwrap().is_ok());
        drop(second);
        // Connecting waits for the threads of the one before, which nobody has waited for.
    }
    let texts = folder.texts().await;
    let mut listing = texts.keys("");
    let mut count = 0;
    while let Some(key) = listing.next().await {
        key.unwrap();
        count += 1;
    }
    assert_eq!(count, 20);
    texts.close().await.unwrap();
}

/// A write that was sent is made although everybody has gone.
#[tokio::test]
async fn what_was_written_is_there_after_all_have_gone() {
    let folder = Folder::new();
    let texts = folder.texts().await;
    let set = |index: usize| {
        let texts = texts.clone();
        async move { texts.set(&index.to_string(), "value").await }
    };
    let tasks: Vec<_> = (0..100).map(|index| tokio::spawn(set(index))).collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    drop(texts);
    let texts = folder.texts().await;
    let keys: Vec<_> = (0..100).map(|index: usize| index.to_string()).collect();
    let found = texts.get_many(&keys).await.unwrap();
    assert!(found.iter().all(Option::is_some));
    texts.close().await.unwrap();
}

#[tokio::test]
async fn a_place_that_cannot_be_is_told() {
    let folder = Folder::new();
    let at = |name: &str| FileConfig::new(folder.path().join(name));
    let kind = ErrorKind::InvalidConfig;
    not_opened(at("missing/store.redb"), kind, "its folder does not exist").await;
    fs::write(folder.path().join("file"), "").unwrap();
    not_opened(at("file/store.redb"), kind, "is not a folder").await;
    fs::create_dir(folder.path().join("folder")).unwrap();
    not_opened(at("folder"), kind, "is a folder").await;
    not_opened(at(&"n".repeat(300)), kind, "too long a name").await;
    not_opened(at(".."), kind, "does not name a file").await;
    not_opened(FileConfig::new(""), kind, "does not name a file").await;
    not_opened(FileConfig::new("/dev/null"), kind, "is not a file").await;
    let config = folder.config().timeout(Duration::ZERO);
    not_opened(config, kind, "`timeout` is from").await;
    let error = FileProvider::lazy("file:").unwrap_err();
    assert!(error.to_string().starts_with("file lazy: "), "{error}");
    assert_eq!(folder.names(), ["file", "folder"]);
}

/// A file that is not ours, or only to be read, and a folder in which none can be made.
#[tokio::test]
async fn what_is_not_permitted_is_told() {
    let folder = Folder::new();
    folder.texts().await.close().await.unwrap();
    let new = folder.path().join("new.redb");
    for (path, mode, closed) in [
        (folder.file(), 0o000, folder.file()),
        (folder.file(), 0o400, folder.file()),
        (new.clone(), 0o500, folder.path().to_owned()),
    ] {
        fs::set_permissions(&closed, Permissions::from_mode(mode)).unwrap();
        let this = task("not permitted", &path);
        // Who may do everything gives that up.
        let mut command = Command::new("setpriv");
        match fs::OpenOptions::new().append(true).open(folder.file()) {
            Ok(_) => {
                command.arg("--bounding-set=-dac_override,-dac_read_search");
                command.arg(this.get_program()).args(this.get_args());
                command.envs(this.get_envs().map(|(name, value)| (name, value.unwrap())));
                passes_in_another_process(command);
            }
            Err(_) => passes_in_another_process(this),
        }
        fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
    }
    assert_eq!(folder.names(), ["store.redb"]);
    folder.texts().await.close().await.unwrap();
}

/// An empty file, and what a process left behind that was killed as it made one, are no obstacles.
#[tokio::test]
async fn what_was_left_unfinished_is_made_anew() {
    let folder = Folder::new();
    fs::write(folder.file(), "").unwrap();
    for left in [&b""[..], b"hello", &[0; 100_000]] {
        let unfinished = folder.path().join("store.redb.unfinished");
        fs::write(&unfinished, left).unwrap();
        fs::set_permissions(&unfinished, Permissions::from_mode(0o666)).unwrap();
        folder.texts().await.close().await.unwrap();
        assert_eq!(folder.names(), ["store.redb"]);
        let mode = fs::metadata(folder.file()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::remove_file(folder.file()).unwrap();
    }
}

/// Nor is a link in the place of a new file a way to another one.
#[tokio::test]
async fn what_a_new_file_is_made_over_is_no_link() {
    let folder = Folder::new();
    let other = folder.path().join("other");
    let unfinished = folder.path().join("store.redb.unfinished");
    fs::write(&other, "theirs").unwrap();
    fs::set_permissions(&other, Permissions::from_mode(0o644)).unwrap();
    symlink(&other, &unfinished).unwrap();
    let error = "store.redb.unfinished is in the way";
    not_opened(folder.config(), ErrorKind::InvalidConfig, error).await;
    assert_eq!(fs::read(&other).unwrap(), b"theirs");
    let mode = fs::metadata(&other).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    assert!(unfinished.is_symlink());
    fs::remove_file(unfinished).unwrap();
    folder.texts().await.close().await.unwrap();
}

#[tokio::test]
async fn many_that_make_the_same_file_make_one() {
    for _ in 0..20 {
        let folder = Folder::new();
        let open = |number: usize| {
            let config = folder.config();
            tokio::spawn(async move {
                let lazy = FileProvider::lazy(config).unwrap();
                let texts = KeyValueStore::text(lazy);
                let set = texts.set(&number.to_string(), "value").await;
                (set.is_ok(), texts)
            })
        };
        let opening: Vec<_> = (0..8).map(open).collect();
        let mut owners = Vec::new();
        for (number, opening) in opening.into_iter().enumerate() {
            let (owns, texts) = opening.await.unwrap();
            texts.close().await.unwrap();
            if owns {
                owners.push(number.to_string());
            }
        }
        assert!(!owners.is_empty());
        let texts = folder.texts().await;
        let found = texts.get_many(&owners).await.unwrap();
        assert!(found.iter().all(Option::is_some), "{found:?}");
        texts.close().await.unwrap();
        assert_eq!(folder.names(), ["store.redb"]);
    }
}

/// Also to an empty one; a link that leads nowhere, as to a disk that is not there, is not replaced by a file.
#[tokio::test]
async fn a_link_leads_to_its_file() {
    let folder = Folder::new();
    let link = folder.path().join("link");
    symlink("store.redb", &link).unwrap();
    let nowhere = "is a link, and there is nothing where it leads";
    not_opened(FileConfig::new(&link), ErrorKind::InvalidConfig, nowhere).await;
    assert_eq!(folder.names(), ["link"]);

    fs::write(folder.file(), "").unwrap();
    let linked = FileProvider::connect(FileConfig::new(&link)).await;
    let linked = KeyValueStore::text(linked.unwrap());
    linked.set("key", "value").await.unwrap();
    linked.close().await.unwrap();
    assert!(link.is_symlink());
    assert_eq!(folder.names(), ["link", "store.redb"]);
    for path in [folder.file(), link] {
        let texts = KeyValueStore::text(FileProvider::lazy(FileConfig::new(path)).unwrap());
        assert_eq!(texts.get("key").await.unwrap().as_deref(), Some("value"));
        texts.close().await.unwrap();
    }
}

/// A service starts, answers that it cannot, and recovers.
#[tokio::test]
async fn a_lazy_one_recovers_by_itself() {
    let folder = Folder::new();
    let missing = folder.path().join("later");
    let lazy = FileProvider::lazy(FileConfig::new(missing.join("store.redb"))).unwrap();
    let texts = KeyValueStore::text(lazy);
    failed(texts.get("key").await, ErrorKind::InvalidConfig, "get");
    failed(texts.set("key", "1").await, ErrorKind::InvalidConfig, "set");
    failed(texts.ping().await, ErrorKind::InvalidConfig, "ping");
    failed(
        texts.keys("").next().await.transpose(),
        ErrorKind::InvalidConfig,
        "keys",
    );
    fs::create_dir(&missing).unwrap();
    assert_eq!(texts.get("key").await.unwrap(), None);
    texts.set("key", "1").await.unwrap();
    texts.close().await.unwrap();

    let owner = folder.texts().await;
    owner.set("key", "2").await.unwrap();
    let waiting = KeyValueStore::text(FileProvider::lazy(folder.config()).unwrap());
    let error = failed(waiting.get("key").await, ErrorKind::Unavailable, "get");
    assert!(error.is_retryable());
    let error = failed(waiting.set("key", "3").await, ErrorKind::Unavailable, "set");
    assert!(!error.outcome_unknown());
    owner.close().await.unwrap();
    assert_eq!(waiting.get("key").await.unwrap().as_deref(), Some("2"));
    waiting.close().await.unwrap();
}

#[tokio::test]
async fn a_lazy_one_that_is_never_used_makes_no_file() {
    let folder = Folder::new();
    let lazy = FileProvider::lazy(folder.config()).unwrap();
    ends("close", KeyValueStore::text(lazy).close())
        .await
        .unwrap();
    drop(FileProvider::lazy(folder.config()).unwrap());
    assert_eq!(folder.names(), [""; 0]);
}

#[tokio::test]
async fn by_url() {
    let folder = Folder::new();
    let registry = Registry::new().with::<FileProvider>();
    let url = format!("file:{}?timeout=20s", folder.file().display());
    let texts = KeyValueStore::text(registry.open(&url).await.unwrap());
    texts.set("key", "value").await.unwrap();
    let info = texts.ping().await.unwrap();
    assert_eq!((&*info.product, info.warnings.len()), ("redb", 0));
    let dependency = format!("redb = \"{}.", info.version.unwrap());
    assert!(include_str!("../Cargo.toml").contains(&dependency));
    assert!(format!("{:?}", folder.config()).contains("store.redb"));
    for replace in [fs::remove_file, |path| fs::write(path, "")] {
        replace(folder.file()).unwrap();
        let warnings = texts.ping().await.unwrap().warnings;
        assert!(warnings[0].contains("moved, deleted or replaced"));
    }
    texts.close().await.unwrap();
}
