//! Many keys: a server names the children of a node in one answer, and Java clients read no more than a megabyte.

use std::collections::HashSet;

use kvstore_core::SetOptions;
use kvstore_testsuite::servers::ZooKeeper;

mod common;
use common::{HANGS, config, other, texts};

/// What Java clients read, unless they are told otherwise (`jute.maxbuffer`).
const READ_BY_JAVA: usize = 1_048_575;

/// As many as would not fit into one answer by far; a million is for the server's memory to decide, and
/// `place.rs` counts its buckets.
const KEYS: usize = 100_000;

#[tokio::test]
async fn more_keys_than_one_answer_names() {
    let server = ZooKeeper::start();
    let store = texts(config(&server).root("/many").timeout(HANGS)).await;
    // The longest that every provider takes.
    let keys: Vec<_> = (0..KEYS).map(|n| format!("{n:0>255}")).collect();
    for part in keys.chunks(5000) {
        let items = part.iter().map(|key| (key, ""));
        store.set_many(items, SetOptions::new()).await.unwrap();
    }
    let mut left: HashSet<_> = keys.iter().collect();
    let mut listed = store.keys("");
    while let Some(key) = listed.next().await {
        assert!(left.remove(&key.unwrap()), "each once");
    }
    assert!(left.is_empty(), "{} are not listed", left.len());

    let (other, mut all, mut most) = (other(&server).await, 0, 0);
    for bucket in other.list_children("/many").await.unwrap() {
        let names = other
            .list_children(&format!("/many/{bucket}"))
            .await
            .unwrap();
        let answer = 20 + names.iter().map(|name| 4 + name.len()).sum::<usize>();
        all += answer;
        most = most.max(answer);
    }
    assert!(
        all > 20 * READ_BY_JAVA,
        "{all} bytes do not fit into one answer"
    );
    // The mean, and half as much: far above what chance does.
    assert!(
        most < all / 256 * 3 / 2,
        "the longest answer has {most} bytes of {all}"
    );
}
