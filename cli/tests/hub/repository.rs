//! What the hub has: repositories of the fixture models.

use std::collections::{BTreeMap, BTreeSet};

use sha1::{Digest, Sha1};
use sha2::Sha256;

use crate::common;

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub(crate) const ID: &str = "org/tiny";

/// A repository, all of whose revisions have the same files.
#[derive(Clone)]
pub(crate) struct Repository {
    pub(crate) commit: String,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Branches and tags.
    pub(crate) revisions: BTreeSet<String>,
    /// The token without which it is not there.
    pub(crate) token: Option<String>,
    /// Whether it is gated for those without the token.
    pub(crate) gated: bool,
}

impl Repository {
    /// A fixture model, with what repositories have besides.
    pub(crate) fn of(model: &str) -> Self {
        let mut files: BTreeMap<String, Vec<u8>> = common::files(model).into_iter().collect();
        for (name, text) in [
            (".gitattributes", "*.safetensors filter=lfs"),
            ("README.md", "# tiny"),
            ("pytorch_model.bin", "pickle"),
            ("onnx/model.onnx", "onnx"),
            ("train script.py", "print()"),
        ] {
            files.insert(name.to_owned(), text.as_bytes().to_vec());
        }
        let revisions = ["main", "v1.0", "refs/pr/1"].map(str::to_owned).into();
        Self { commit: COMMIT.to_owned(), files, revisions, token: None, gated: false }
    }

    /// What a pull brings of [`Self::of`].
    pub(crate) fn wanted(&self) -> BTreeMap<String, Vec<u8>> {
        let unwanted = [".gitattributes", "pytorch_model.bin", "onnx/model.onnx", "train script.py"];
        self.files.clone().into_iter().filter(|(name, _)| !unwanted.contains(&name.as_str())).collect()
    }

    pub(crate) fn with(mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.insert(name.to_owned(), bytes.into());
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.files.remove(name);
        self
    }
}

/// Whether a file is one of the large ones, whose content another host has.
pub(crate) fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".bin")
}

/// A content's name.
pub(crate) fn etag(name: &str, bytes: &[u8]) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect();
    if is_large(name) {
        return hex(&Sha256::digest(bytes));
    }
    let mut sha1 = Sha1::new();
    sha1.update(format!("blob {}\0", bytes.len()));
    sha1.update(bytes);
    hex(&sha1.finalize())
}
