//! The cryptography of TLS connections, and whether this CPU supports it.
//!
//! The default is graviola, which is Rust and inline assembly. graviola panics on a CPU that lacks
//! its instructions, so they are checked before a connection. This is the only file above the
//! kernels that names instructions.

use std::sync::Arc;

/// A rustls cryptography provider, for [`Settings::tls_provider`](super::Settings::tls_provider).
pub use rustls::crypto::CryptoProvider;

use crate::error::{Error, Result};

/// Returns graviola's provider.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) fn default_provider() -> Option<Arc<CryptoProvider>> {
    Some(Arc::new(rustls_graviola::default_provider()))
}

/// Returns `None`: graviola does not compile for this architecture.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) fn default_provider() -> Option<Arc<CryptoProvider>> {
    None
}

/// Checks that a provider can serve a TLS version. ureq panics on one that cannot.
///
/// # Errors
/// If the provider lacks cipher suites or key exchange groups.
pub(super) fn check_provider(provider: &Arc<CryptoProvider>) -> Result<()> {
    let builder = rustls::ClientConfig::builder_with_provider(provider.clone());
    builder.with_safe_default_protocol_versions().map(drop).map_err(|error| Error::HubSetting {
        setting: "tls_provider",
        expected: "a provider with cipher suites and key exchange groups",
        found: error.to_string(),
    })
}

/// Checks that the default provider runs on this CPU.
///
/// # Errors
/// If the CPU lacks instructions. The error names them.
pub(super) fn check_default_provider() -> Result<()> {
    require(missing_instructions())
}

fn require(missing: Vec<&'static str>) -> Result<()> {
    if missing.is_empty() { Ok(()) } else { Err(Error::HubTlsUnsupported { missing }) }
}

/// Returns the instructions that graviola's README requires and this CPU lacks.
#[cfg(target_arch = "x86_64")]
fn missing_instructions() -> Vec<&'static str> {
    use std::arch::is_x86_feature_detected as has;
    undetected(&[
        ("aes", has!("aes")),
        ("pclmulqdq", has!("pclmulqdq")),
        ("ssse3", has!("ssse3")),
        ("avx", has!("avx")),
        ("avx2", has!("avx2")),
        ("bmi1", has!("bmi1")),
        ("bmi2", has!("bmi2")),
        ("adx", has!("adx")),
    ])
}

/// Returns the instructions that graviola's README requires and this CPU lacks.
#[cfg(target_arch = "aarch64")]
fn missing_instructions() -> Vec<&'static str> {
    use std::arch::is_aarch64_feature_detected as has;
    undetected(&[("neon", has!("neon")), ("aes", has!("aes")), ("pmull", has!("pmull")), ("sha2", has!("sha2"))])
}

/// Returns the architectures that graviola supports.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn missing_instructions() -> Vec<&'static str> {
    vec!["the instructions of 64-bit x86 or Arm"]
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn undetected(required: &[(&'static str, bool)]) -> Vec<&'static str> {
    let mut missing: Vec<&str> = required.iter().filter(|(_, detected)| !detected).map(|(name, _)| *name).collect();
    // A later version of graviola may require more instructions.
    if missing.is_empty() && !graviola::util::is_cpu_supported() {
        missing.push("instructions that graviola requires");
    }
    missing
}

#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tests {
    use super::*;

    #[test]
    fn default_provider_check_agrees_with_graviola() {
        assert_eq!(check_default_provider().is_ok(), graviola::util::is_cpu_supported());
    }

    #[test]
    fn missing_instructions_are_named_in_the_error() {
        assert_eq!(undetected(&[("one", true), ("adx", false), ("bmi2", false)]), ["adx", "bmi2"]);
        let message = require(vec!["adx", "bmi2"]).expect_err("an error").to_string();
        assert!(message.contains("adx, bmi2") && message.contains("hf download"), "{message}");
    }
}
