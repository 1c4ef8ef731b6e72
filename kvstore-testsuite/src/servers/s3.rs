//! S3 for tests: SeaweedFS, or a server that somebody else started.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::OnceLock;
use std::{env, fmt};

use super::run;
use super::s3_server::S3Server;

/// The variable that names a server and a bucket to test against.
const URL: &str = "KVSTORE_TEST_S3_URL";

/// A bucket that tests can use, and an access key that may do everything in it.
#[derive(Clone)]
pub struct S3 {
    address: SocketAddr,
    id: String,
    secret: String,
    bucket: String,
}

impl S3 {
    pub(super) fn new(address: SocketAddr, id: &str, secret: &str, bucket: &str) -> Self {
        Self {
            address,
            id: id.to_owned(),
            secret: secret.to_owned(),
            bucket: bucket.to_owned(),
        }
    }

    /// The bucket of this test run, for tests that leave the server as it is for the others, and each keep to
    /// a prefix of their own.
    ///
    /// It is the one at `KVSTORE_TEST_S3_URL`; else that of [`S3Server::shared`]. It is up until the run ends.
    /// Blocks for the moments that takes.
    ///
    /// # Panics
    /// When there is none of these, with what to do.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<S3> = OnceLock::new();
        SHARED.get_or_init(|| {
            let Ok(url) = env::var(URL) else {
                return Self::clone(S3Server::shared());
            };
            let s3 = Self::at(&url).unwrap_or_else(|e| panic!("{URL}: {e}"));
            run::report(&format!("S3 at {}, from {URL}", s3.address));
            s3
        })
    }

    /// Its address, without TLS.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The bucket.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The id and the secret of the access key.
    pub fn access_key(&self) -> (&str, &str) {
        (&self.id, &self.secret)
    }

    /// Its URL, with these parameters, as `prefix=fruit/&timeout=1s`.
    pub fn url(&self, parameters: &str) -> String {
        self.url_as((&self.id, &self.secret), parameters)
    }

    /// Its URL for the owner of another access key.
    pub fn url_as(&self, (id, secret): (&str, &str), parameters: &str) -> String {
        let (address, bucket) = (self.address, &self.bucket);
        format!("s3+http://{id}:{secret}@{address}/{bucket}?{parameters}")
    }

    /// A server somebody else started.
    fn at(url: &str) -> Result<Self, String> {
        const FORM: &str = "it must be `s3+http://id:secret@host:port/bucket`, with letters, digits, `-` and `_` in the key; for TLS the suite starts servers itself";
        let parts = || {
            let (key, place) = url.strip_prefix("s3+http://")?.split_once('@')?;
            let (id, secret) = key.split_once(':')?;
            let (host, bucket) = place.split_once('/')?;
            Some((id, secret, host, bucket))
        };
        let (id, secret, host, bucket) = parts().ok_or(FORM)?;
        let plain = |text: &str| {
            let plain = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
            !text.is_empty() && text.chars().all(plain)
        };
        if ![id, secret, bucket].into_iter().all(plain) {
            return Err(FORM.to_owned());
        }
        let found = host.to_socket_addrs().map_err(|e| format!("{FORM}: {e}"))?;
        let address = { found }.next().ok_or("the host has no address")?;
        Ok(Self::new(address, id, secret, bucket))
    }
}

impl fmt::Debug for S3 {
    /// Prints where it is, and no secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3")
            .field("address", &self.address)
            .field("bucket", &self.bucket)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_url_is_read_in_every_part() {
        let s3 = S3::at("s3+http://id:secret@127.0.0.1:8333/bucket").unwrap();
        assert_eq!(
            s3.url("x=1"),
            "s3+http://id:secret@127.0.0.1:8333/bucket?x=1"
        );
        assert!(!format!("{s3:?}").contains("secret"));
        for url in [
            "",
            "s3://id:secret@127.0.0.1:8333/bucket",
            "s3+http://127.0.0.1:8333/bucket",
            "s3+http://id@127.0.0.1:8333/bucket",
            "s3+http://id:se%2Fcret@127.0.0.1:8333/bucket",
            "s3+http://id:secret@127.0.0.1:8333/",
            "s3+http://id:secret@127.0.0.1/bucket",
        ] {
            assert!(S3::at(url).is_err(), "{url}");
        }
    }
}
