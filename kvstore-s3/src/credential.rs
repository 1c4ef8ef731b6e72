use std::fmt;
use std::path::{Path, PathBuf};

use kvstore_core::{Error, ErrorKind, Result};

/// A secret that lets this program in, or where it is to be found when the provider is made.
///
/// `Debug` prints no secret. Made from text by `into()`.
///
/// ```
/// use kvstore_s3::Credential;
///
/// let text: Credential = "wJalrXUtnFEMI".into();
/// let file = Credential::file("/run/secrets/s3");
/// let variable = Credential::env("MY_SERVICE_S3_SECRET");
/// assert!(!format!("{text:?}").contains("wJalr"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Credential(Place);

#[derive(Clone, PartialEq, Eq)]
enum Place {
    Here(String),
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
    pub(crate) fn read(&self, what: &str) -> Result<String> {
        let read = match &self.0 {
            Place::Here(text) => text.clone(),
            Place::File(path) => from_file(what, path)?,
            Place::Variable(name) => match std::env::var(name) {
                Ok(text) => text,
                // The error of `var` may hold the value.
                Err(_) => {
                    let message = format!(
                        "{what}: the environment variable `{name}` is not set, or not text"
                    );
                    return Err(invalid(message));
                }
            },
        };
        let text = read.trim();
        // It becomes part of a header.
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            let message = format!("{what} is empty, or has characters other than visible ASCII");
            return Err(invalid(message));
        }
        Ok(text.to_owned())
    }
}

fn from_file(what: &str, path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|source| {
        let message = format!("{what}: the file {} cannot be read", path.display());
        invalid(message).with_source(source)
    })
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}

impl From<String> for Credential {
    fn from(text: String) -> Self {
        Self(Place::Here(text))
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
        let file = std::env::temp_dir().join(format!("kvstore-s3-{}", std::process::id()));
        std::fs::write(&file, " wJalr/+= \n").unwrap();
        let found = Credential::file(&file).read("the secret");
        std::fs::remove_file(&file).unwrap();
        assert_eq!(found.unwrap(), "wJalr/+=");
        assert_eq!(Credential::from("x ").read("the secret").unwrap(), "x");
        let home = std::env::var("PATH").unwrap();
        assert_eq!(Credential::env("PATH").read("path").unwrap(), home.trim());
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
            (Credential::from("a\nb"), "visible ASCII"),
        ] {
            let error = credential.read("the secret").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(error.to_string().contains("the secret"), "{error}");
            assert!(error.to_string().contains(named), "{error}");
        }
    }
}
