use std::fmt;
use std::path::{Path, PathBuf};

use kvstore_core::{Error, ErrorKind, Result};
use zeroize::Zeroizing;

/// A secret that lets this program in, or where it is to be found: read anew at each login, so that it can be
/// replaced while the program runs.
///
/// `Debug` prints no secret. Made from text by `into()`.
///
/// ```
/// use kvstore_vault::Credential;
///
/// let text: Credential = "s.4f2a".into();
/// let file = Credential::file("/run/secrets/vault-token");
/// let variable = Credential::env("MY_SERVICE_VAULT_TOKEN");
/// assert!(!format!("{text:?}").contains("4f2a"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Credential(Place);

#[derive(Clone, PartialEq, Eq)]
enum Place {
    Here(Zeroizing<String>),
    File(PathBuf),
    Variable(String),
}

impl Credential {
    /// What stands in a file, without white space around it.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Place::File(path.into()))
    }

    /// What an environment variable holds, without white space around it.
    pub fn env(name: impl Into<String>) -> Self {
        Self(Place::Variable(name.into()))
    }

    /// Finds it. `what` is its name in messages.
    pub(crate) fn read(&self, what: &str) -> Result<Zeroizing<String>> {
        let read = match &self.0 {
            Place::Here(text) => text.clone(),
            Place::File(path) => from_file(what, path)?,
            Place::Variable(name) => match std::env::var(name) {
                Ok(text) => Zeroizing::new(text),
                // The error of `var` may hold the value.
                Err(_) => {
                    let message = format!(
                        "{what}: the environment variable `{name}` is not set, or not text"
                    );
                    return Err(Error::new(ErrorKind::InvalidConfig, message));
                }
            },
        };
        let text = read.trim();
        match text.is_empty() {
            true => Err(Error::new(
                ErrorKind::InvalidConfig,
                format!("{what} is empty"),
            )),
            false => Ok(Zeroizing::new(text.to_owned())),
        }
    }
}

fn from_file(what: &str, path: &Path) -> Result<Zeroizing<String>> {
    let text = std::fs::read_to_string(path).map_err(|source| {
        let message = format!("{what}: the file {} cannot be read", path.display());
        Error::new(ErrorKind::InvalidConfig, message).with_source(source)
    })?;
    Ok(Zeroizing::new(text))
}

impl From<String> for Credential {
    fn from(text: String) -> Self {
        Self(Place::Here(Zeroizing::new(text)))
    }
}

impl From<&str> for Credential {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Here(_) => f.write_str("…"),
            Place::File(path) => write!(f, "file {}", path.display()),
            Place::Variable(name) => write!(f, "variable {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_found_without_white_space() {
        let file = std::env::temp_dir().join(format!("kvstore-vault-{}", std::process::id()));
        std::fs::write(&file, " s.token\n").unwrap();
        let found = Credential::file(&file).read("`token`");
        std::fs::remove_file(&file).unwrap();
        assert_eq!(found.unwrap().as_str(), "s.token");
        assert_eq!(
            Credential::from("x ").read("`token`").unwrap().as_str(),
            "x"
        );
        let path = std::env::var("PATH").unwrap();
        assert_eq!(
            Credential::env("PATH").read("`token`").unwrap().as_str(),
            path.trim()
        );
    }

    #[test]
    fn what_is_not_there_is_named() {
        for (credential, named) in [
            (Credential::file("/no/such-file"), "/no/such-file"),
            (
                Credential::env("KVSTORE_NO_SUCH_VARIABLE"),
                "KVSTORE_NO_SUCH_VARIABLE",
            ),
            (Credential::from(" \n"), "is empty"),
        ] {
            let error = credential.read("`token`").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(error.to_string().contains("`token`"), "{error}");
            assert!(error.to_string().contains(named), "{error}");
        }
    }
}
