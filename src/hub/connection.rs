//! The proxy and the TLS configuration of a client.

use std::path::Path;

use ureq::tls::{PemItem, RootCerts, TlsConfig};
use ureq::{Proxy, ProxyProtocol};

use super::settings::Settings;
use super::tls_support;
use crate::error::{Error, Result};

/// Returns the proxy of the settings.
///
/// # Errors
/// If the proxy's address is invalid, or its scheme is not http or https.
pub(super) fn proxy(settings: &Settings) -> Result<Option<Proxy>> {
    let Some(address) = &settings.proxy else { return Ok(None) };
    // Do not show the address, which may contain a password.
    let invalid = |_| Error::HubSetting {
        setting: "proxy",
        expected: "an address with scheme (http or https), host and port",
        found: "another text".to_owned(),
    };
    let parsed = Proxy::new(address.expose()).map_err(invalid)?;
    if !matches!(parsed.protocol(), ProxyProtocol::Http | ProxyProtocol::Https) {
        return Err(Error::HubSetting {
            setting: "proxy",
            expected: "a proxy with scheme http or https",
            found: format!("scheme {}", parsed.protocol()),
        });
    }
    let mut proxy = Proxy::builder(parsed.protocol()).host(parsed.host()).port(parsed.port());
    if let Some(user) = parsed.username() {
        proxy = proxy.username(user);
    }
    if let Some(password) = parsed.password() {
        proxy = proxy.password(password);
    }
    proxy.build().map(Some).map_err(invalid)
}

/// Returns the certificate authorities and the cryptography of TLS connections.
///
/// # Errors
/// If the file of certificate authorities cannot be read or is invalid, or the TLS provider is
/// unusable.
pub(super) fn tls_config(settings: &Settings) -> Result<TlsConfig> {
    let roots = match &settings.ca_certificates {
        None => RootCerts::WebPki,
        Some(path) => read_certificates(path)?,
    };
    let config = TlsConfig::builder().root_certs(roots);
    if let Some(provider) = &settings.tls_provider {
        tls_support::check_provider(provider)?;
    }
    let provider = settings.tls_provider.clone().or_else(tls_support::default_provider);
    Ok(match provider {
        Some(provider) => config.unversioned_rustls_crypto_provider(provider).build(),
        None => config.build(),
    })
}

fn read_certificates(path: &Path) -> Result<RootCerts> {
    let pem = std::fs::read(path).map_err(|source| Error::Io {
        path: path.to_owned(),
        action: "read the certificate authorities",
        source,
    })?;
    let mut certificates = Vec::new();
    let mut has_invalid = false;
    for item in ureq::tls::parse_pem(&pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
            Ok(_) => {}
            Err(_) => has_invalid = true,
        }
    }
    // One invalid certificate makes the file an error: dropping it silently would hide a mistake.
    if has_invalid || certificates.is_empty() {
        return Err(Error::HubSetting {
            setting: "ca_certificates",
            expected: "certificates in PEM",
            found: format!("none, or invalid ones, in {}", path.display()),
        });
    }
    Ok(RootCerts::new_with_certs(&certificates))
}
