use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use example_service::{hashed, random};

/// Who may use the service: names, by the hashes of their tokens.
#[derive(Clone)]
pub struct Callers(Arc<HashMap<String, String>>);

impl Callers {
    /// Reads `NAME:TOKEN NAME:TOKEN …`.
    ///
    /// # Errors
    /// When it is not of that form, has a token of under 16 characters, or one token twice.
    pub fn parse(list: &str) -> Result<Self, Box<dyn Error>> {
        let mut callers = HashMap::new();
        for caller in list.split_whitespace() {
            let (name, token) = caller
                .split_once(':')
                .ok_or("CALLERS is `NAME:TOKEN NAME:TOKEN …`")?;
            if name.is_empty() || token.len() < 16 {
                return Err(
                    "each of CALLERS has a name, and a token of 16 characters or more".into(),
                );
            }
            if callers.insert(hashed(token), name.to_owned()).is_some() {
                return Err("two of CALLERS have the same token".into());
            }
        }
        match callers.is_empty() {
            true => Err("CALLERS names nobody".into()),
            false => Ok(Self(Arc::new(callers))),
        }
    }

    /// One caller, and the token that was made for it.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn demo() -> Result<(Self, String), Box<dyn Error>> {
        let token = random().map_err(|_| "the system has no random numbers")?;
        Ok((Self::parse(&format!("demo:{token}"))?, token))
    }

    /// Whose token it is. By its hash, so that the time it takes says nothing of the tokens that there are.
    pub(crate) fn name(&self, token: &str) -> Option<&str> {
        self.0.get(&hashed(token)).map(String::as_str)
    }
}

/// Prints the names.
impl fmt::Debug for Callers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.values()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_have_names_and_tokens() {
        let callers = Callers::parse(" a:0123456789abcdef  b:fedcba9876543210 ").unwrap();
        assert_eq!(callers.name("0123456789abcdef"), Some("a"));
        assert_eq!(callers.name("fedcba9876543210"), Some("b"));
        assert_eq!(callers.name("0123456789abcdeg"), None);
        assert_eq!(callers.name(""), None);
        assert!(!format!("{callers:?}").contains("0123"));
        for wrong in [
            "",
            "a",
            "a:short",
            ":0123456789abcdef",
            "a:0123456789abcdef b:0123456789abcdef",
        ] {
            let error = Callers::parse(wrong).unwrap_err().to_string();
            assert!(!error.contains("0123"), "{error}");
        }
    }
}
