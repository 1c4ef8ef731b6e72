//! The two by one URL.

use std::sync::Arc;
use std::time::Duration;

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
        Some(parameters) => parameter(&parameters[1..])?,
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

fn parameter(text: &str) -> Result<Duration> {
    let Some(value) = text.strip_prefix("tombstones=") else {
        return Err(invalid(
            "the only parameter of `fallback:` is `tombstones`, as in `fallback:?tombstones=5m`",
        ));
    };
    duration(value).ok_or_else(|| {
        invalid("the parameter `tombstones` is a whole number of `ms`, `s`, `m` or `h`")
    })
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.checked_mul(60)?),
        "h" => Duration::from_secs(number.checked_mul(3600)?),
        _ => return None,
    })
}

fn invalid(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
        .with_provider(NAME)
        .with_operation("connect")
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
            ("fallback:?secret=secret a: b:", "only parameter"),
            ("fallback:?tombstones=secret a: b:", "whole number"),
            ("fallback:?tombstones=5 a: b:", "whole number"),
            ("fallback:?tombstones=5s&secret a: b:", "whole number"),
            (
                "fallback:?tombstones=99999999999999999999s a: b:",
                "whole number",
            ),
            (
                "fallback:?tombstones=18446744073709551615h a: b:",
                "whole number",
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
