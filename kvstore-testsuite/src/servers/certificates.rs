//! Certificates for TLS between test servers and clients.

use std::fs;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

/// Writes an authority (`ca.pem`), and certificates and keys it signed for a server that is
/// `localhost` and `127.0.0.1` (`server.pem`, `server.key`), and for a client (`client.pem`,
/// `client.key`).
pub(crate) fn write(folder: &Path) {
    make(folder).unwrap_or_else(|e| panic!("cannot make the certificates for TLS: {e}"));
}

fn make(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut authority = named("kvstore tests", &[])?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    fs::write(folder.join("ca.pem"), authority.pem())?;
    for (name, hosts, usage) in [
        (
            "server",
            &["localhost", "127.0.0.1"][..],
            ExtendedKeyUsagePurpose::ServerAuth,
        ),
        ("client", &[], ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        let mut params = named(name, hosts)?;
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate()?;
        fs::write(
            folder.join(format!("{name}.pem")),
            params.signed_by(&key, &authority)?.pem(),
        )?;
        fs::write(folder.join(format!("{name}.key")), key.serialize_pem())?;
    }
    Ok(())
}

fn named(name: &str, hosts: &[&str]) -> Result<CertificateParams, rcgen::Error> {
    let mut params =
        CertificateParams::new(hosts.iter().map(|&h| h.to_owned()).collect::<Vec<_>>())?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}
