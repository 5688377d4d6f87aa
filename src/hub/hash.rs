//! Content hashes: they name blobs in the cache, and verify downloads.

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The hash of a file's content. The hub sends it as an ETag, and it is the blob's name in the
/// cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Etag {
    hex: String,
}

impl Etag {
    /// Parses an ETag header: 40 hexadecimal digits (git's sha1, of a small file) or 64 (sha256, of
    /// a large file), with or without quotes and a weak mark. Returns `None` for all other ETags,
    /// because they cannot verify a content.
    pub(super) fn parse(header: &str) -> Option<Self> {
        let hex = header.trim().trim_start_matches("W/").trim_matches('"').to_ascii_lowercase();
        let is_hash = matches!(hex.len(), 40 | 64) && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hash.then_some(Self { hex })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.hex
    }

    /// Returns the name of the hash function, for messages.
    pub(super) fn hash_name(&self) -> &'static str {
        if self.hex.len() == 40 { "git sha1" } else { "sha256" }
    }

    /// Returns a hasher for a content of `size` bytes.
    pub(super) fn hasher(&self, size: u64) -> Hasher {
        if self.hex.len() == 40 {
            // git hashes a header before the bytes.
            let mut sha1 = Sha1::new();
            sha1.update(format!("blob {size}\0"));
            Hasher::Git(sha1)
        } else {
            Hasher::Sha256(Sha256::new())
        }
    }
}

/// The state of a hash over the bytes read so far.
#[derive(Clone)]
pub(super) enum Hasher {
    Git(Sha1),
    Sha256(Sha256),
}

impl Hasher {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Git(sha1) => sha1.update(bytes),
            Self::Sha256(sha256) => sha256.update(bytes),
        }
    }

    /// Returns the hash in hexadecimal digits.
    pub(super) fn finish(self) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        match self {
            Self::Git(sha1) => hex(&sha1.finalize()),
            Self::Sha256(sha256) => hex(&sha256.finalize()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf hello | git hash-object --stdin`, `printf hello | sha256sum`.
    const HELLO: [&str; 2] = [
        "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0",
        "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
    ];

    #[test]
    fn hash_equals_that_of_git_and_sha256sum() {
        for name in HELLO {
            let etag = Etag::parse(&format!("W/\"{}\"", name.to_uppercase())).expect("an etag");
            assert_eq!(etag.as_str(), name);
            let mut hasher = etag.hasher(5);
            hasher.update(b"he");
            hasher.update(b"llo");
            assert_eq!(hasher.finish(), name);
        }
    }

    #[test]
    fn etag_that_is_no_hash_is_rejected() {
        for text in ["", "\"\"", "abc", "../../x", &HELLO[0][1..], &format!("{}g", &HELLO[0][1..]), &"é".repeat(20)] {
            assert_eq!(Etag::parse(text), None, "{text}");
        }
    }
}
