//! Listing keys by SCAN.

use std::sync::Arc;
use std::vec::IntoIter;

use futures_util::StreamExt as _;
use futures_util::stream::unfold;
use kvstore_core::{BoxStream, Bytes, Result};

use crate::client::Client;
use crate::command::{Command, Reply};
use crate::provider::not_understood;

/// How many keys the server looks at for one page, whichever of them it names.
const COUNT: &[u8] = b"1000";

struct Scan {
    client: Arc<Client>,
    /// The configuration's prefix, which is no part of a key.
    own: String,
    pattern: Bytes,
    max_key_len: usize,
    page: IntoIter<String>,
    /// Where the next page begins; `None` after the last.
    cursor: Option<Bytes>,
}

pub(crate) fn list(
    client: Arc<Client>,
    own: &str,
    prefix: &str,
    max_key_len: usize,
) -> BoxStream<'static, Result<String>> {
    let scan = Scan {
        client,
        own: own.to_owned(),
        pattern: pattern(own, prefix).into(),
        max_key_len,
        page: Vec::new().into_iter(),
        cursor: Some(Bytes::from_static(b"0")),
    };
    unfold(scan, |mut scan| async {
        loop {
            if let Some(key) = scan.page.next() {
                return Some((Ok(key), scan));
            }
            let cursor = scan.cursor.take()?;
            if let Err(error) = scan.load(cursor).await {
                return Some((Err(error), scan));
            }
        }
    })
    // Asked again after its end, it says so again.
    .fuse()
    .boxed()
}

impl Scan {
    async fn load(&mut self, cursor: Bytes) -> Result<()> {
        let word = Bytes::from_static;
        let args = vec![
            cursor,
            word(b"MATCH"),
            self.pattern.clone(),
            word(b"COUNT"),
            word(COUNT),
            word(b"TYPE"),
            word(b"string"),
        ];
        let answer = self
            .client
            .call()?
            .send(Command::Other("SCAN", args))
            .await?;
        let Reply::List(mut parts) = answer else {
            return Err(not_understood());
        };
        let (Some(Reply::List(keys)), Some(Reply::Data(next))) = (parts.pop(), parts.pop()) else {
            return Err(not_understood());
        };
        self.cursor = (&next[..] != b"0").then_some(next);
        let keys: Vec<_> = keys
            .into_iter()
            .filter_map(|key| self.own_key(key))
            .collect();
        self.page = keys.into_iter();
        Ok(())
    }

    /// The key as the store knows it. What it could not ask for is not its own, so not named: what is
    /// not text, is empty without the prefix, or is longer than a key may be.
    fn own_key(&self, key: Reply) -> Option<String> {
        let Reply::Data(key) = key else { return None };
        let key = std::str::from_utf8(&key).ok()?.strip_prefix(&self.own)?;
        (!key.is_empty() && key.len() <= self.max_key_len).then(|| key.to_owned())
    }
}

/// A glob that matches what begins with both, taken literally.
fn pattern(own: &str, prefix: &str) -> String {
    let mut pattern = String::with_capacity(own.len() + prefix.len() + 1);
    for char in own.chars().chain(prefix.chars()) {
        if matches!(char, '\\' | '*' | '?' | '[' | ']') {
            pattern.push('\\');
        }
        pattern.push(char);
    }
    pattern.push('*');
    pattern
}
