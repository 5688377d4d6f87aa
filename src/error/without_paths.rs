//! Errors for readers who must not learn the paths of this machine, such as clients of a server.

use std::path::{Path, PathBuf};

use super::Error;

impl Error {
    /// Shortens every path. A file in `folder`, the folder of a model, keeps its name there. Of any
    /// other path, only the last component remains.
    ///
    /// The match names every variant, so that a new one needs a decision.
    pub(crate) fn without_paths(mut self, folder: Option<&Path>) -> Self {
        let short = |path: &str| short_path(Path::new(path), folder);
        match &mut self {
            Self::Io { path, source, .. } => {
                *path = PathBuf::from(short_path(path, folder));
                *source = without_text(source);
            }
            Self::Memory { source, .. } => *source = without_text(source),
            Self::MissingFile { origin, .. }
            | Self::UnsupportedWeights { origin, .. }
            | Self::Prompt { origin, .. } => {
                *origin = short(origin);
            }
            Self::Content(content) => content.file = short(&content.file),
            Self::ModelNotFound { id, searched, similar, source, .. } => {
                *source = source.take().map(|error| Box::new(error.without_paths(folder)));
                *id = short_if_absolute(id);
                searched.clear();
                similar.clear();
            }
            Self::Json { file, .. }
            | Self::Safetensors { file, .. }
            | Self::MissingTensor { file, .. }
            | Self::UnknownTensor { file, .. }
            | Self::TensorShape { file, .. }
            | Self::TensorDtype { file, .. }
            | Self::TensorNotFinite { file, .. }
            | Self::Converted { file, .. }
            | Self::Tokenizer { file, .. }
            | Self::TokenId { file, .. }
            | Self::Vectors { file, .. }
            | Self::Line { file, .. } => *file = short(file),
            Self::Config { file, key: name, .. } | Self::Shard { file, shard: name, .. } => {
                *file = short(file);
                // The name of a file that another file lists.
                *name = short_if_absolute(name);
            }
            Self::SparseEncoder(error) => error.shorten_file(short),
            Self::HubStatus { .. }
            | Self::HubUnreachable { .. }
            | Self::HubProtocol { .. }
            | Self::HubCorruptDownload { .. }
            | Self::HubSetting { .. }
            | Self::HubTlsUnsupported { .. }
            | Self::TooLong { .. }
            | Self::CrossEncoder(_)
            | Self::InvalidRanges(_)
            | Self::TruncateDim { .. }
            | Self::MaxLength { .. }
            | Self::Empty(_)
            | Self::NotFinite { .. }
            | Self::Level(_)
            | Self::Threads { .. }
            | Self::WidthMismatch { .. } => {}
        }
        self
    }
}

/// Returns the part of a path below the folder, or else its last component.
fn short_path(path: &Path, folder: Option<&Path>) -> String {
    let below = folder.and_then(|folder| path.strip_prefix(folder).ok()).filter(|rest| *rest != Path::new(""));
    let last = || path.file_name().map(Path::new);
    below.or_else(last).map_or_else(|| "(a path)".to_owned(), |short| short.display().to_string())
}

fn short_if_absolute(name: &str) -> String {
    if Path::new(name).is_absolute() { short_path(Path::new(name), None) } else { name.to_owned() }
}

/// Returns an error of the same kind. The text of a wrapped error may contain a path.
fn without_text(error: &std::io::Error) -> std::io::Error {
    match error.raw_os_error() {
        Some(code) => std::io::Error::from_raw_os_error(code),
        None => error.kind().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::error_chain;

    #[test]
    fn file_of_the_model_keeps_its_name_in_the_folder() {
        for (file, short) in [
            ("/srv/models/m/1_Pooling/config.json", "1_Pooling/config.json"),
            ("/srv/models/m/config.json", "config.json"),
            ("/srv/models/m", "m"),
            ("/srv/cache/blobs/0123", "0123"),
            ("/", "(a path)"),
        ] {
            let error = Error::config(file, "key", "a number", "a string");
            let text = error.without_paths(Some(Path::new("/srv/models/m"))).to_string();
            assert_eq!(text, format!("{short}: `key`: expected a number, found a string"));
        }
        let error = Error::config("models/m/config.json", "/etc/passwd", "a number", "a string");
        assert_eq!(error.without_paths(None).to_string(), "config.json: `passwd`: expected a number, found a string");
    }

    #[test]
    fn errors_of_every_kind_lose_their_paths() {
        let wrapped = || std::io::Error::other("at /srv/secret/x");
        let missing = || std::io::Error::from_raw_os_error(2);
        let path = || PathBuf::from("/srv/secret/tokenizer.json");
        let file = || "/srv/secret/tokenizer.json".to_owned();
        for error in [
            Error::Io { path: path(), action: "read", source: wrapped() },
            Error::Io { path: path(), action: "read", source: missing() },
            Error::MissingFile { origin: "/srv/secret".into(), name: "config.json".into(), why: "needed" },
            Error::ModelNotFound {
                id: "/srv/secret".into(),
                why: "no",
                searched: vec!["/srv/secret".into()],
                similar: vec!["/srv/secret/m".into()],
                source: Some(Box::new(Error::config("/srv/secret/config.json", "key", "a number", "a string"))),
            },
            Error::UnsupportedWeights { origin: "/srv/secret".into(), found: vec!["tf_model.h5".into()] },
            Error::TokenId { file: file(), id: 7, vocabulary: 5 },
            Error::Prompt { name: "p".into(), origin: file(), known: Vec::new() },
            Error::Shard { file: file(), name: "t".into(), shard: "/srv/secret/a".into(), why: "which has no such" },
            Error::Json { file: file(), source: serde_json::from_str::<u8>("x").expect_err("no number") },
        ] {
            assert!(error_chain(&error).contains("/srv/"));
            let text = error_chain(&error.without_paths(None));
            assert!(!text.contains("/srv") && !text.contains("/secret"), "{text}");
        }
    }
}
