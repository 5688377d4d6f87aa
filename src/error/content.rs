//! The error of a file with other content than is expected.

/// A file of a model has the content of another kind of file, such as a Git LFS pointer. Or it is a
/// weight file of PyTorch that is damaged or contains anything else than tensors. Or a tensor does
/// not suit the others.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {}expected {expected}, found {found}; {advice}", prefix(place))]
#[non_exhaustive]
pub struct ContentError {
    /// The file.
    pub file: String,
    /// The part of the file, or None for the whole.
    pub place: Option<String>,
    /// The content that the file should have.
    pub expected: String,
    /// The content that the file has.
    pub found: String,
    /// What to do about it.
    pub advice: &'static str,
}

fn prefix(place: &Option<String>) -> String {
    place.as_ref().map_or_else(String::new, |place| format!("{place}: "))
}
