//! What only the inside can show: how much is kept, and how much a call does.

use std::time::Duration;

use kvstore_core::{Bytes, Expiry};

use super::*;
use crate::shard::Write;

const MOMENT: Duration = Duration::from_nanos(1);
const HOUR: Duration = Duration::from_secs(3600);

impl Map {
    /// How many entries, deadlines, and places for entries there are.
    fn sizes(&self) -> [usize; 3] {
        let sizes = self.shards.iter().map(|shard| reading(shard).sizes());
        sizes.fold([0; 3], |sum, add| std::array::from_fn(|i| sum[i] + add[i]))
    }

    fn len(&self) -> usize {
        let [entries, deadlines, _] = self.sizes();
        assert!(deadlines <= entries, "a deadline without an entry");
        entries
    }

    fn set(&self, key: &str, expiry: Expiry) {
        let write = Write {
            value: Bytes::from_static(b"value"),
            expiry,
            condition: None,
        };
        let written = self.write(key, |shard, key| shard.set(key, write));
        assert!(written.unwrap().is_applied());
    }

    fn touch(&self, key: &str, expiry: Expiry) -> bool {
        self.write(key, |shard, key| shard.touch(key, expiry))
            .unwrap()
    }

    fn remove(&self, key: &str) -> bool {
        self.write(key, |shard, key| shard.remove(key, None))
            .is_some()
    }

    fn has(&self, key: &str) -> bool {
        self.read(key, |shard, key| shard.get(key).is_some())
    }

    /// As many keys, `0`, `1` and so on, that have all expired, and are all still there.
    fn of_expired(keys: usize) -> Self {
        let map = Self::new();
        for key in 0..keys {
            map.set(&key.to_string(), Expiry::After(HOUR));
        }
        for shard in map.shards.iter() {
            writing(shard).expire_all();
        }
        let [entries, deadlines, places] = map.sizes();
        assert_eq!([entries, deadlines], [keys, keys]);
        assert!(places >= keys);
        map
    }
}

#[test]
fn a_million_expired_keys_go_while_one_other_key_is_written() {
    let million = 1_000_000;
    let map = Map::of_expired(million);
    assert!(!map.has("0") && !map.has("999999"));
    for _ in 0..million / 2 {
        map.set("other", Expiry::Never);
    }
    let [entries, deadlines, places] = map.sizes();
    assert_eq!([entries, deadlines], [1, 0]);
    assert!(places < 20_000, "room for {places} entries was kept");
    assert!(map.has("other"));
}

#[test]
fn no_call_removes_more_than_a_few() {
    let map = Map::of_expired(20_000);
    type Call = fn(&Map);
    let calls: [(&str, Call); 6] = [
        ("set", |map| map.set("other", Expiry::Never)),
        ("set with ttl", |map| map.set("timed", Expiry::After(HOUR))),
        ("set again", |map| map.set("7", Expiry::After(HOUR))),
        ("touch", |map| assert!(map.touch("other", Expiry::Never))),
        ("remove", |map| assert!(map.remove("timed"))),
        ("read", |map| assert!(!map.has("8"))),
    ];
    let (mut before, mut most) = (map.len(), 0);
    for _ in 0..1000 {
        for (name, call) in calls {
            call(&map);
            let after = map.len();
            let removed = before.saturating_sub(after);
            // One is what `remove` was asked for.
            assert!(removed <= CLEAN_AT_MOST + 1, "{name} removed {removed}");
            most = most.max(removed);
            before = after;
        }
    }
    assert!(most >= CLEAN_AT_MOST, "no call removed more than {most}");
}

#[test]
fn writing_a_key_again_leaves_nothing_behind() {
    let map = Map::new();
    for i in 1..=1_000_000 {
        map.set("same", Expiry::After(HOUR * i));
    }
    assert_eq!(map.sizes()[..2], [1, 1]);
    for i in 1..1000 {
        assert!(map.touch("same", Expiry::After(HOUR * i)));
        map.set("same", Expiry::Keep);
        assert!(map.touch("same", Expiry::Keep));
        assert_eq!(map.sizes()[..2], [1, 1]);
    }
    map.set("same", Expiry::Never);
    assert_eq!(map.sizes()[..2], [1, 0]);
    map.set("same", Expiry::Keep);
    assert_eq!(map.sizes()[..2], [1, 0]);
    assert!(map.touch("same", Expiry::After(HOUR)));
    assert_eq!(map.sizes()[..2], [1, 1]);
    assert!(map.touch("same", Expiry::Never));
    assert_eq!(map.sizes()[..2], [1, 0]);
    map.set("same", Expiry::After(HOUR));
    assert!(map.remove("same"));
    assert_eq!(map.sizes()[..2], [0, 0]);
}

#[test]
fn keys_that_expire_at_once_never_pile_up() {
    let map = Map::new();
    for key in 0..200_000 {
        map.set(&key.to_string(), Expiry::After(MOMENT));
        if key % 1000 == 0 {
            assert!(map.len() < 4000, "{} after {key}", map.len());
        }
    }
    assert!(map.len() < 4000);
}

#[test]
fn what_has_not_expired_stays() {
    let map = Map::of_expired(10_000);
    for key in 0..1000 {
        let expiry = match key % 2 {
            0 => Expiry::Never,
            _ => Expiry::After(HOUR),
        };
        // Half of them over keys that have expired and are still there.
        map.set(&(key + 9500).to_string(), expiry);
    }
    for _ in 0..10_000 {
        map.set("other", Expiry::Never);
    }
    assert_eq!(map.sizes()[..2], [1001, 500]);
    assert!((9500..10_500).all(|key| map.has(&key.to_string())));
}

#[test]
fn deleting_gives_room_back() {
    let map = Map::new();
    for key in 0..100_000 {
        map.set(&key.to_string(), Expiry::Never);
    }
    assert!((0..100_000).all(|key| map.remove(&key.to_string())));
    let [entries, _, places] = map.sizes();
    assert_eq!(entries, 0);
    assert!(places < 20_000, "room for {places} entries was kept");
}
