//! A root of one's own for a while, by the server's means: a prefix, a collection, a path.

use std::collections::HashSet;
use std::path::Path;
use std::{fs, io};

use kvstore_testsuite::unique_root;
use percent_encoding::percent_decode_str;

use crate::failure::Failure;
use crate::providers::{self, Root};
use crate::stores;
use crate::url;
use crate::value::Kind;

pub(crate) struct Scratch {
    /// How people find it on the server.
    pub(crate) name: String,
    /// Of the store on it.
    pub(crate) url: String,
}

impl Scratch {
    /// Beside or below what a URL names, whose password is in it; `what` says for what.
    pub(crate) fn new(url: &str, what: &str) -> Result<Self, Failure> {
        let name = format!("kvstore-{what}-{}", unique_root());
        let url = url::each(url, |url| with_root(url, &name))?;
        Ok(Self { name, url })
    }

    /// Whether two that open it see the same keys.
    pub(crate) fn is_shared(&self) -> bool {
        url::parts(&self.url)
            .iter()
            .all(|url| !matches!(root(url), Ok(Root::Own | Root::File)))
    }

    /// Deletes these keys and what else there is, over connections of its own, and removes it.
    pub(crate) async fn clean(&self, keys: &HashSet<String>) -> Result<(), Failure> {
        for url in url::parts(&self.url) {
            if !matches!(root(url)?, Root::Own | Root::File) {
                let provider = providers::open(url).await?;
                let store = stores::on(&provider, Kind::Bytes, None)?;
                let deleted = store.delete_many(keys).await;
                deleted.map_err(kvstore_core::Error::from)?;
                // Of a server that writes where it was not told to, this finds some. Who may not list has none of it.
                let mut keys = store.keys("");
                while let Some(Ok(key)) = keys.next().await {
                    store.delete(&key).await?;
                }
                store.close().await?;
            }
        }
        self.remove().await
    }

    /// Removes what the server keeps of it when it holds no key any more.
    pub(crate) async fn remove(&self) -> Result<(), Failure> {
        for url in url::parts(&self.url) {
            if root(url)? == Root::File {
                remove_file(url)?;
            }
            providers::remove_root(url).await?;
        }
        Ok(())
    }
}

fn remove_file(url: &str) -> Result<(), Failure> {
    let (place, _) = url.split_once('?').unwrap_or((url, ""));
    let (_, path) = place.split_once(':').unwrap_or_default();
    let path = match path.strip_prefix("//") {
        Some(rest) => rest.find('/').map_or("", |at| &rest[at..]),
        None => path,
    };
    let path = percent_decode_str(path).decode_utf8_lossy();
    match fs::remove_file(Path::new(&*path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Failure::io("a file cannot be removed", error))
        }
        _ => Ok(()),
    }
}

/// How a URL is given a root of its own.
fn root(url: &str) -> Result<Root, Failure> {
    let scheme = url.split(':').next().unwrap_or_default();
    providers::root(&scheme.to_ascii_lowercase()).ok_or_else(|| {
        Failure::usage("how a URL of this scheme is given a root of its own is not known")
    })
}

/// Changes a URL so that the store is on a root of this name, apart from what is there.
fn with_root(url: &str, name: &str) -> Result<String, Failure> {
    let (place, query) = match url.split_once('?') {
        Some((place, query)) => (place, format!("?{query}")),
        None => (url, String::new()),
    };
    Ok(match root(url)? {
        Root::Own => url.to_owned(),
        Root::Appended(parameter, end) => changed(url, parameter, |old| {
            format!("{}{name}{end}", old.unwrap_or_default())
        }),
        Root::Below(parameter, default) => changed(url, parameter, |old| {
            format!("{}/{name}", old.unwrap_or(default))
        }),
        Root::Named(parameter) => changed(url, parameter, |_| name.to_owned()),
        Root::Path(default) => {
            let authority = place.find("://").map_or(0, |at| at + "://".len());
            let path = match place[authority..].find('/') {
                Some(at) if place[authority + at..].len() > 1 => "",
                _ => default,
            };
            let place = place.trim_end_matches('/');
            format!("{place}{path}/{name}{query}")
        }
        Root::File => format!("{place}-{name}{query}"),
    })
}

/// Changes a parameter, or adds it. The name of a root needs no percent-encoding.
fn changed(url: &str, parameter: &str, change: impl Fn(Option<&str>) -> String) -> String {
    let (place, query) = url.split_once('?').unwrap_or((url, ""));
    let mut pairs: Vec<String> = Vec::new();
    let mut is_there = false;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if name.eq_ignore_ascii_case(parameter) {
            is_there = true;
            pairs.push(format!("{name}={}", change(Some(value))));
        } else {
            pairs.push(pair.to_owned());
        }
    }
    if !is_there {
        pairs.push(format!("{parameter}={}", change(None)));
    }
    format!("{place}?{}", pairs.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_below_what_the_url_names() {
        for (url, expected) in [
            ("memory:", "memory:"),
            ("redis://h", "redis://h?prefix=r"),
            (
                "REDISS://:p@h/1?timeout=1s&prefix=a%3A",
                "REDISS://:p@h/1?timeout=1s&prefix=a%3Ar",
            ),
            ("memcached://h,i", "memcached://h,i?prefix=r"),
            ("s3://i:s@h/b", "s3://i:s@h/b?prefix=r/"),
            (
                "s3+http://h/b?prefix=a/&x=y",
                "s3+http://h/b?prefix=a/r/&x=y",
            ),
            ("mongodb://h/d", "mongodb://h/d?collection=r"),
            (
                "mongodb://h/d?collection=c&w=1",
                "mongodb://h/d?collection=r&w=1",
            ),
            ("vault://h/secret", "vault://h/secret?path=kvstore/r"),
            ("vault+http://h?path=a/b", "vault+http://h?path=a/b/r"),
            ("zookeeper://h:1,i:2", "zookeeper://h:1,i:2/kvstore/r"),
            ("zookeeper://h/", "zookeeper://h/kvstore/r"),
            ("file:d/f.redb?timeout=1s", "file:d/f.redb-r?timeout=1s"),
            (
                "zookeeper://h/a/b?timeout=1s",
                "zookeeper://h/a/b/r?timeout=1s",
            ),
        ] {
            assert_eq!(with_root(url, "r").unwrap(), expected);
        }
        assert!(with_root("gopher://h", "r").is_err());
    }

    #[test]
    fn a_file_is_removed_as_its_url_names_it() {
        let folder = std::env::temp_dir().join(unique_root());
        fs::create_dir(&folder).unwrap();
        let shown = folder.display();
        let file = folder.join("a b?.redb");
        for url in [
            format!("file:{shown}/a%20b%3F.redb?timeout=1s"),
            format!("FILE://localhost{shown}/a%20b%3F.redb"),
            format!("file://{shown}/a b%3F.redb"),
        ] {
            fs::write(&file, "").unwrap();
            remove_file(&url).unwrap();
            assert!(!file.exists(), "{url}");
            remove_file(&url).unwrap();
        }
        fs::remove_dir(&folder).unwrap();
    }
}
