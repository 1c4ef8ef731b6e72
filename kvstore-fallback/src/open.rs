//! The two by one URL.

use std::sync::Arc;
use std::time::Duration;

use kvstore_core::url::parameters;
use kvstore_core::{Error, ErrorKind, Provider, Registry, Result};

use crate::provider::NAME;
use crate::{FallbackProvider, tombstone};

/// The scheme of a URL that names two.
pub const SCHEME: &str = "fallback";

/// Opens a provider by URL, as [`Registry::open`] does, or two by
/// `fallback:NEW OLD`, where each is a URL that the registry opens, with a space between them.
///
/// `fallback:?tombstones=5m NEW OLD` says how long deleted keys leave a
/// [tombstone](FallbackProvider::with_tombstones), in `ms`, `s`, `m` or `h`.
///
/// ```
/// use kvstore_core::{KeyValueStore, Registry, Result};
/// use kvstore_memory::MemoryProvider;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
/// let registry = Registry::new().with::<MemoryProvider>();
/// let one = kvstore_fallback::open(&registry, "memory:").await?;
/// let two = kvstore_fallback::open(&registry, "fallback:?tombstones=5m memory: memory:").await?;
/// let store = KeyValueStore::text(two);
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`ErrorKind::InvalidConfig`] where it is not of that form; else what the registry answers, and
/// [`FallbackProvider::new`].
pub async fn open(registry: &Registry, url: &str) -> Result<Arc<dyn Provider>> {
    let Some(urls) = parse(url)? else {
        return registry.open(url).await;
    };
    let new = registry.open(urls.new).await?;
    let old = registry.open(urls.old).await?;
    urls.join(new, old)
}

/// The same without connecting, as [`Registry::open_lazy`] does.
///
/// # Errors
/// As [`open`], but no server is asked.
pub fn open_lazy(registry: &Registry, url: &str) -> Result<Arc<dyn Provider>> {
    let Some(urls) = parse(url)? else {
        return registry.open_lazy(url);
    };
    let new = registry.open_lazy(urls.new)?;
    let old = registry.open_lazy(urls.old)?;
    urls.join(new, old)
}

struct Urls<'a> {
    new: &'a str,
    old: &'a str,
    tombstones: Duration,
}

impl Urls<'_> {
    fn join(&self, new: Arc<dyn Provider>, old: Arc<dyn Provider>) -> Result<Arc<dyn Provider>> {
        let both = FallbackProvider::with_tombstones(new, old, self.tombstones)?;
        Ok(Arc::new(both))
    }
}

/// `None` for a URL of one provider.
fn parse(url: &str) -> Result<Option<Urls<'_>>> {
    let Some((scheme, rest)) = url.split_once(':') else {
        return Ok(None);
    };
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return Ok(None);
    }
    let mut parts = rest.split_ascii_whitespace().peekable();
    let tombstones = match parts.next_if(|part| part.starts_with('?')) {
        Some(query) => tombstones(&query[1..]).map_err(of_this)?,
        None => tombstone::KEPT,
    };
    let (Some(new), Some(old), None) = (parts.next(), parts.next(), parts.next()) else {
        return Err(invalid(
            "the URL is `fallback:`, the new provider's URL, a space, and the old provider's URL",
        ));
    };
    // A server's, that is: two of `memory:` are two.
    if new == old && new.contains("//") {
        return Err(invalid(
            "the new and the old URL are the same; what moves would be deleted",
        ));
    }
    Ok(Some(Urls {
        new,
        old,
        tombstones,
    }))
}

fn tombstones(query: &str) -> Result<Duration> {
    let mut tombstones = tombstone::KEPT;
    for parameter in parameters(query)? {
        match parameter.name() {
            "tombstones" => tombstones = parameter.duration()?,
            _ => return Err(parameter.unknown("tombstones")),
        }
    }
    Ok(tombstones)
}

fn invalid(message: &'static str) -> Error {
    of_this(Error::new(ErrorKind::InvalidConfig, message))
}

fn of_this(error: Error) -> Error {
    error.with_provider(NAME).with_operation("connect")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_urls_are_told_apart() {
        let urls = parse("fallback:a://b?c=d  e://f#g").unwrap().unwrap();
        assert_eq!((urls.new, urls.old), ("a://b?c=d", "e://f#g"));
        assert_eq!(urls.tombstones, tombstone::KEPT);
        let urls = parse("FALLBACK:?tombstones=1500ms a: b:").unwrap().unwrap();
        assert_eq!(
            (urls.new, urls.old, urls.tombstones),
            ("a:", "b:", Duration::from_millis(1500))
        );
    }

    #[test]
    fn a_url_of_one_provider_is_left_alone() {
        for url in ["redis://localhost", "memory:", "nonsense", ""] {
            assert!(parse(url).unwrap().is_none(), "{url}");
        }
    }

    #[test]
    fn what_is_not_understood_is_named_and_not_shown() {
        for (url, words) in [
            ("fallback:", "a space"),
            ("fallback:secret", "a space"),
            ("fallback:secret secret secret", "a space"),
            ("fallback:a://secret a://secret", "are the same"),
            (
                "fallback:?tomb=secret a: b:",
                "`tomb`, which is none of tombstones",
            ),
            ("fallback:?tombstones=secret a: b:", "not a number"),
            ("fallback:?tombstones=5 a: b:", "not a number"),
            ("fallback:?tombstones=5s&Secret a: b:", "strange name"),
            (
                "fallback:?tombstones=99999999999999999999s a: b:",
                "not a number",
            ),
            (
                "fallback:?tombstones=18446744073709551615h a: b:",
                "not a number",
            ),
        ] {
            let Err(error) = parse(url) else {
                panic!("{url} is taken");
            };
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}");
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(words), "{url}: {shown}");
            assert!(!shown.contains("secret"), "{url}: {shown}");
        }
    }
}
