//! Listing, by ranges of `_id` in its index, which has each key once and in order.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use kvstore_core::{BoxStream, Result};

use crate::client::Client;
use crate::error::not_understood;
use crate::found::{Found, each};

/// How many keys a page has.
const PAGE: usize = 1000;

struct Listing {
    client: Arc<Client>,
    prefix: String,
    page: VecDeque<String>,
    /// The last key of this page, when it may not be the last page.
    more_after: Option<Option<String>>,
}

pub(crate) fn list(client: Arc<Client>, prefix: String) -> BoxStream<'static, Result<String>> {
    let listing = Listing {
        client,
        prefix,
        page: VecDeque::new(),
        more_after: Some(None),
    };
    let next = |mut listing: Listing| async move {
        if listing.page.is_empty()
            && let Err(error) = listing.load().await
        {
            // A listing with a gap is worse than none.
            listing.more_after = None;
            return Some((Err(error), listing));
        }
        let key = listing.page.pop_front()?;
        Some((Ok(key), listing))
    };
    // Asked again after its end, it has ended.
    stream::unfold(listing, next).fuse().boxed()
}

impl Listing {
    async fn load(&mut self) -> Result<()> {
        let Some(after) = self.more_after.take() else {
            return Ok(());
        };
        let page = i32::try_from(PAGE).unwrap_or(i32::MAX);
        let command = self.client.find_page(&self.prefix, after.as_deref(), page);
        let batches = self.client.read(command, self.client.deadline()).await?;
        each(&batches, |document| {
            let key = Found::new(document)?.id.ok_or_else(not_understood)?;
            self.page.push_back(key.to_owned());
            Ok(())
        })?;
        if self.page.len() >= PAGE {
            self.more_after = Some(self.page.back().cloned());
        }
        Ok(())
    }
}

/// The first text after all that begin with the prefix; `None` where there is none.
pub(crate) fn end_of(prefix: &str) -> Option<String> {
    let mut end = prefix.to_owned();
    while let Some(last) = end.pop() {
        // Steps over the surrogates, which are no characters; there is none after U+10FFFF.
        if let Some(next) = (last..=char::MAX).nth(1) {
            end.push(next);
            return Some(end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::end_of;

    #[test]
    fn the_end_of_a_prefix_is_the_next_text_that_does_not_begin_with_it() {
        for (prefix, end) in [
            ("", None),
            ("a", Some("b")),
            ("user/", Some("user0")),
            ("a\u{7f}", Some("a\u{80}")),
            ("a\u{d7ff}", Some("a\u{e000}")),
            ("a\u{ffff}", Some("a\u{10000}")),
            ("a\u{10ffff}", Some("b")),
            ("a\u{10ffff}\u{10ffff}", Some("b")),
            ("\u{10ffff}", None),
        ] {
            assert_eq!(end_of(prefix).as_deref(), end, "{prefix:?}");
        }
    }
}
