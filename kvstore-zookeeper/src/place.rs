//! Where a key is: `<root>/<bucket>/<name>`.

use std::fmt::Write as _;

use kvstore_core::escape;
use sha2::{Digest as _, Sha256};

/// The node that all keys are below, and below it the buckets.
#[derive(Debug)]
pub(crate) struct Root {
    path: String,
}

/// Where a key is.
pub(crate) struct Place {
    path: String,
    bucket: usize,
}

impl Place {
    /// The path of its node.
    pub(crate) fn node(&self) -> &str {
        &self.path
    }

    /// The path of the node's parent.
    pub(crate) fn bucket(&self) -> &str {
        &self.path[..self.bucket]
    }
}

impl Root {
    /// `path` is one that [`is_path`] lets pass.
    pub(crate) fn new(path: &str) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn place(&self, key: &str) -> Place {
        // Most keys are as long when they are escaped.
        let mut path = String::with_capacity(self.path.len() + 4 + key.len());
        path.push_str(&self.path);
        path.push('/');
        // Writing to text does not fail.
        let _ = write!(path, "{:02x}", bucket(key));
        let bucket = path.len();
        path.push('/');
        escape::to_child(&mut path, key, is_reserved);
        Place { path, bucket }
    }

    /// The path of a child of the root, if it is named as a bucket is.
    pub(crate) fn bucket(&self, name: &str) -> Option<String> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let is_bucket = name.len() == 2 && name.bytes().all(is_digit);
        is_bucket.then(|| format!("{}/{name}", self.path))
    }

    /// The key of a node in a bucket, and where it is, if the node is one that a key has.
    pub(crate) fn key(&self, bucket: &str, name: &str) -> Option<(String, Place)> {
        let key = escape::from_child(name, is_reserved)?;
        let place = (!key.is_empty()).then(|| self.place(&key))?;
        (place.bucket() == bucket).then_some((key, place))
    }
}

/// The first byte of the key's SHA-256: some 256 times fewer names in each answer that lists them, which has
/// no pages.
fn bucket(key: &str) -> u8 {
    Sha256::digest(key)[0]
}

/// What ZooKeeper takes in no name.
fn is_reserved(char: char) -> bool {
    matches!(
        char,
        '/' | '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..
    )
}

/// Whether it is the path of a node that can be made: not that of the server's own.
pub(crate) fn is_path(path: &str) -> bool {
    let Some(names) = path.strip_prefix('/') else {
        return false;
    };
    let is_name = |name: &str| !matches!(name, "" | "." | "..") && !name.contains(is_reserved);
    names.split('/').all(is_name) && names.split('/').next() != Some("zookeeper")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_have_their_places() {
        let root = Root::new("/apps/fruit");
        // printf %s KEY | sha256sum
        for (key, node) in [
            ("a", "ca/a"),
            ("user:7", "20/user:7"),
            ("a/b", "c1/a~2Fb"),
            (".", "cd/~2E"),
            ("..", "5e/~2E~2E"),
            ("grüße 漢", "ad/grüße 漢"),
            ("🦀", "72/~F0~9F~A6~80"),
            ("\u{feff}", "f1/\u{feff}"),
            ("\u{ffff}", "2c/~EF~BF~BF"),
            ("zookeeper", "45/zookeeper"),
        ] {
            let place = root.place(key);
            let (bucket, name) = node.split_once('/').unwrap();
            assert_eq!(place.node(), format!("/apps/fruit/{node}"), "{key:?}");
            assert_eq!(place.bucket(), format!("/apps/fruit/{bucket}"));
            let (found, again) = root.key(place.bucket(), name).unwrap();
            assert_eq!((found.as_str(), again.node()), (key, place.node()));
            assert_eq!(root.bucket(bucket).as_deref(), Some(place.bucket()));
        }
    }

    #[test]
    fn other_nodes_are_not_ours() {
        let root = Root::new("/r");
        for name in ["", "0", "000", "0g", "0A", "ab/", "äö"] {
            assert_eq!(root.bucket(name), None, "{name}");
        }
        // `a` belongs into `ca`.
        assert!(root.key("/r/ca", "a").is_some());
        for (bucket, name) in [
            ("/r/cb", "a"),
            ("/r/ca", "~61"),
            ("/r/ca", "~"),
            ("/r/ca", "a~"),
        ] {
            assert!(root.key(bucket, name).is_none(), "{bucket}/{name}");
        }
    }

    /// The names in a bucket come in one answer, of which Java clients read 1,048,575 bytes: 20 and, for each
    /// name, 4 more than it has.
    #[test]
    fn a_million_keys_are_listable() {
        let root = Root::new("/r");
        let mut names = std::collections::HashMap::new();
        for n in 0..1_000_000 {
            let place = root.place(&format!("user:{n}"));
            *names.entry(place.bucket().to_owned()).or_insert(0) += 1;
        }
        assert_eq!(names.len(), 256);
        let most = names.values().max().unwrap();
        assert!(20 + most * (4 + 240) <= 1_048_575, "{most} names");
    }

    #[test]
    fn paths_of_roots() {
        for path in ["/a", "/a/b", "/kvstore", "/a/zookeeper", "/.a", "/ü b"] {
            assert!(is_path(path), "{path}");
        }
        for path in [
            "",
            "/",
            "a",
            "/a/",
            "//a",
            "/a//b",
            "/.",
            "/a/..",
            "/zookeeper",
            "/zookeeper/a",
            "/a\n",
            "/🦀",
        ] {
            assert!(!is_path(path), "{path}");
        }
    }

    proptest! {
        #[test]
        fn names_are_those_that_the_server_takes(key in "(?s).{1,60}") {
            let (root, bucket) = (Root::new("/r"), Root::new("/r").place(&key).bucket().to_owned());
            let place = root.place(&key);
            prop_assert!(is_path(place.node()), "{}", place.node());
            let name = place.node().rsplit('/').next().unwrap();
            prop_assert_eq!(root.key(&bucket, name).unwrap().0, key);
        }
    }
}
