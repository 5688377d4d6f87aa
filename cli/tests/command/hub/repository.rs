//! The fake hub's repositories, which contain the fixture models.

use std::collections::{BTreeMap, BTreeSet};

use sha1::{Digest, Sha1};
use sha2::Sha256;

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub(crate) const ID: &str = "org/tiny";

/// A repository. All of its revisions have the same files.
#[derive(Clone)]
pub(crate) struct Repository {
    pub(crate) commit: String,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Branches and tags.
    pub(crate) revisions: BTreeSet<String>,
    /// The token that the repository requires. Without it the repository seems not to exist.
    pub(crate) token: Option<String>,
    /// Whether requests without the token get the error of a gated repository.
    pub(crate) gated: bool,
}

impl Repository {
    /// Returns a fixture model with additional files that many repositories have.
    pub(crate) fn of(model: &str) -> Self {
        let mut files: BTreeMap<String, Vec<u8>> = crate::common::files(model).into_iter().collect();
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

    /// Returns the files of [`Self::of`] that a download includes.
    pub(crate) fn model_files(&self) -> BTreeMap<String, Vec<u8>> {
        let excluded = [".gitattributes", "pytorch_model.bin", "onnx/model.onnx", "train script.py"];
        self.files.clone().into_iter().filter(|(name, _)| !excluded.contains(&name.as_str())).collect()
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

/// Whether a file is large, so that another host serves its content.
pub(crate) fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".bin")
}

/// Returns the hash that the hub announces for a file.
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
