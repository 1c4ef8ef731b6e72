//! The URL: `memory:` or `memory://`, and nothing more.

use kvstore_core::{Error, ErrorKind, Result};

pub(crate) const SCHEME: &str = "memory";

/// Checks that a URL says nothing beyond its scheme: whatever else it says would be ignored.
pub(crate) fn check(url: &str) -> Result<()> {
    let Some((scheme, rest)) = url.split_once(':') else {
        return Err(invalid("the URL has no scheme; write `memory:`"));
    };
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return Err(invalid("the URL's scheme is not `memory`"));
    }
    let (authority, rest) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len())),
        None => ("", rest),
    };
    let unused = if authority.contains('@') {
        "a user or password"
    } else if !authority.is_empty() {
        "a host"
    } else if rest.starts_with('?') {
        "a query"
    } else if rest.starts_with('#') {
        "a fragment"
    } else if !rest.is_empty() {
        "a path"
    } else {
        return Ok(());
    };
    let message = format!("the URL has {unused}, which means nothing here; write `memory:`");
    Err(invalid(message))
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
        .with_provider(SCHEME)
        .with_operation("connect")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_scheme_alone() {
        for url in ["memory:", "memory://", "MEMORY:", "Memory://"] {
            assert!(check(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn names_the_part_that_means_nothing_but_not_its_value() {
        for (url, part) in [
            ("memory://secret", "a host"),
            ("memory://secret/secret", "a host"),
            ("memory://secret@", "a user or password"),
            ("memory://u:secret@h/p", "a user or password"),
            ("memory:///", "a path"),
            ("memory:///secret", "a path"),
            ("memory:secret", "a path"),
            ("memory:/secret", "a path"),
            ("memory:?secret=secret", "a query"),
            ("memory://?secret", "a query"),
            ("memory:#secret", "a fragment"),
            ("memory: ", "a path"),
            ("redis://secret", "not `memory`"),
            ("secret", "no scheme"),
            ("", "no scheme"),
        ] {
            let error = check(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}");
            let text = format!("{error} {error:?}");
            assert!(text.contains(part), "{url}: {text}");
            assert!(!text.contains("secret"), "{text}");
        }
    }
}
