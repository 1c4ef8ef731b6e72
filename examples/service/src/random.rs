use std::fmt::Write as _;

use axum::http::StatusCode;
use sha2::{Digest as _, Sha256};

use crate::Failure;

/// 256 random bits as 64 hexadecimal digits, which nobody can guess.
///
/// # Errors
/// When the system has none.
pub fn random() -> Result<String, Failure> {
    let mut bytes = [0; 32];
    match getrandom::fill(&mut bytes) {
        Ok(()) => Ok(hex(&bytes)),
        Err(_) => Err(Failure::refused(
            StatusCode::SERVICE_UNAVAILABLE,
            "the system has no random numbers",
        )),
    }
}

/// The SHA-256 of a text as 64 hexadecimal digits, from which a random text cannot be found again.
pub fn hashed(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a `String` cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_sha_256() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hashed(""), empty);
    }

    #[test]
    fn what_is_random_differs() {
        let (one, other) = (random().unwrap(), random().unwrap());
        assert_eq!((one.len(), other.len()), (64, 64));
        assert_ne!(one, other);
    }
}
