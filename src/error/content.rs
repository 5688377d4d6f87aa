//! The error of a file with the content of another kind of file.

/// A file of a model has the content of another kind of file, such as a Git LFS pointer.
#[derive(Debug, thiserror::Error)]
#[error("{file}: expected {expected}, found {found}; {advice}")]
#[non_exhaustive]
pub struct ContentError {
    /// The file.
    pub file: String,
    /// The kind of content that the file should have.
    pub expected: &'static str,
    /// The kind of content that the file has.
    pub found: String,
    /// What to do about it.
    pub advice: &'static str,
}
