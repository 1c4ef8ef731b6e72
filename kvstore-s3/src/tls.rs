//! TLS by rustls on ring. The process-wide default provider is neither asked nor set: with a second one
//! compiled in, asking panics.

use std::path::Path;
use std::sync::Arc;

use kvstore_core::{BoxError, Error, ErrorKind, Result};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// Whom to trust.
pub(crate) enum Trust<'a> {
    /// Nobody: TLS is not spoken, so whether this system has authorities does not matter.
    Nobody,
    /// The authorities of a PEM file.
    Named(&'a Path),
    System,
}

pub(crate) fn client(trust: Trust<'_>) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = match trust {
        Trust::Nobody => RootCertStore::empty(),
        Trust::Named(ca) => named(ca)?,
        Trust::System => of_the_system()?,
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| invalid("TLS cannot be set up", source))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn named(ca: &Path) -> Result<RootCertStore> {
    let read = CertificateDer::pem_file_iter(ca).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let read = read.map_err(|source| invalid("`ca` is not a file of PEM certificates", source))?;
    if read.is_empty() {
        let message = "`ca` is a file without a PEM certificate";
        return Err(Error::new(ErrorKind::InvalidConfig, message));
    }
    let mut roots = RootCertStore::empty();
    for certificate in read {
        roots
            .add(certificate)
            .map_err(|source| invalid("`ca` has a certificate that cannot be used", source))?;
    }
    Ok(roots)
}

fn of_the_system() -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    // Some may be too odd for rustls; what counts is that there are others.
    roots.add_parsable_certificates(system.certs);
    if !roots.is_empty() {
        return Ok(roots);
    }
    let message = "this system has no certificates of authorities; install `ca-certificates`, or name a file by `ca`";
    let error = Error::new(ErrorKind::InvalidConfig, message);
    Err(match system.errors.into_iter().next() {
        Some(source) => error.with_source(source),
        None => error,
    })
}

fn invalid(message: &'static str, source: impl Into<BoxError>) -> Error {
    Error::new(ErrorKind::InvalidConfig, message).with_source(source)
}
