//! Whether this CPU can make encrypted connections.
//!
//! The cryptography (graviola) is written with instructions that it takes for granted, and panics where they are missing. So
//! they are looked for first. This is the only file above the kernels that names instructions.

use crate::error::{Error, Result};

/// What graviola's README asks for.
#[cfg(target_arch = "x86_64")]
fn missing() -> Vec<&'static str> {
    use std::arch::is_x86_feature_detected as has;
    let needed = [
        ("aes", has!("aes")),
        ("pclmulqdq", has!("pclmulqdq")),
        ("ssse3", has!("ssse3")),
        ("avx", has!("avx")),
        ("avx2", has!("avx2")),
        ("bmi1", has!("bmi1")),
        ("bmi2", has!("bmi2")),
        ("adx", has!("adx")),
    ];
    absent(&needed)
}

/// What graviola's README asks for.
#[cfg(target_arch = "aarch64")]
fn missing() -> Vec<&'static str> {
    use std::arch::is_aarch64_feature_detected as has;
    let needed = [("neon", has!("neon")), ("aes", has!("aes")), ("pmull", has!("pmull")), ("sha2", has!("sha2"))];
    absent(&needed)
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn absent(needed: &[(&'static str, bool)]) -> Vec<&'static str> {
    let mut absent: Vec<&str> = needed.iter().filter(|(_, there)| !there).map(|(name, _)| *name).collect();
    // A later version of it may ask for more.
    if absent.is_empty() && !graviola::util::is_cpu_supported() {
        absent.push("some that the package graviola names");
    }
    absent
}

/// There is no cryptography for other architectures.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn missing() -> Vec<&'static str> {
    vec!["those of 64-bit x86 or Arm"]
}

/// # Errors
/// If instructions are missing; the error names them.
pub(super) fn check() -> Result<()> {
    refuse(missing())
}

fn refuse(missing: Vec<&'static str>) -> Result<()> {
    if missing.is_empty() { Ok(()) } else { Err(Error::HubTlsUnsupported { missing }) }
}

#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        // What we look for is what it needs.
        assert_eq!(check().is_ok(), graviola::util::is_cpu_supported());
        assert_eq!(absent(&[("one", true), ("adx", false), ("bmi2", false)]), ["adx", "bmi2"]);
        let message = refuse(vec!["adx", "bmi2"]).expect_err("an error").to_string();
        assert!(message.contains("adx, bmi2") && message.contains("hf download"), "{message}");
    }
}
