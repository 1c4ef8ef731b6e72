//! TLS by rustls on ring. The process-wide default provider is neither asked nor set: with a second
//! one compiled in, asking panics.

use std::path::Path;
use std::sync::Arc;

use kvstore_core::{BoxError, Error, ErrorKind, Result};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::RedisConfig;

pub(crate) fn client(config: &RedisConfig) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| invalid("TLS cannot be set up", source))?
        .with_root_certificates(roots(config.ca.as_deref())?);
    Ok(match (&config.client_cert, &config.client_key) {
        (Some(cert), Some(key)) => {
            let chain = certificates("client_cert", cert)?;
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|source| invalid("`client_key` is not the file of a PEM key", source))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|source| {
                    invalid("`client_cert` and `client_key` do not go together", source)
                })?
        }
        _ => builder.with_no_client_auth(),
    })
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    if let Some(ca) = ca {
        for certificate in certificates("ca", ca)? {
            roots
                .add(certificate)
                .map_err(|source| invalid("`ca` has a certificate that cannot be used", source))?;
        }
        return Ok(roots);
    }
    let system = rustls_native_certs::load_native_certs();
    // Some of a system's certificates may be too odd for rustls; what counts is that there are others.
    roots.add_parsable_certificates(system.certs);
    if roots.is_empty() {
        let message = "this system has no certificates of authorities; install `ca-certificates`, or name a file by `ca`";
        let error = Error::new(ErrorKind::InvalidConfig, message);
        return Err(match system.errors.into_iter().next() {
            Some(source) => error.with_source(source),
            None => error,
        });
    }
    Ok(roots)
}

fn certificates(what: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let read = read.map_err(|source| {
        invalid(
            format!("`{what}` is not a file of PEM certificates"),
            source,
        )
    })?;
    if read.is_empty() {
        let message = format!("`{what}` is a file without a PEM certificate");
        return Err(Error::new(ErrorKind::InvalidConfig, message));
    }
    Ok(read)
}

fn invalid(
    message: impl Into<std::borrow::Cow<'static, str>>,
    source: impl Into<BoxError>,
) -> Error {
    Error::new(ErrorKind::InvalidConfig, message).with_source(source)
}
