//! The one error type. Each variant names what was read, what was expected and what was found.

mod hub;
mod message;

use std::path::PathBuf;

pub use hub::HubErrorKind;
use message::{CONVERT_WEIGHTS, after_attempts, list, only, remark, similar, some};

/// An error and all that lie beneath it, on one line.
pub fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Some errors repeat their cause in their own words.
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// Why something could not be done.
///
/// The message is complete by itself: it names the file, the key or tensor, what was expected and what was found. Where
/// another error lies beneath, [`std::error::Error::source`] has it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be opened, read, mapped or written.
    #[error("{}: cannot {action}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried: "read", "map", "write".
        action: &'static str,
        /// Why not.
        source: std::io::Error,
    },

    /// The operating system refuses the memory that a model's weights take.
    #[error("cannot reserve {bytes} bytes for the weights")]
    Memory {
        /// How much was asked for.
        bytes: usize,
        /// Why not.
        source: std::io::Error,
    },

    /// A model lacks a file that it cannot do without.
    #[error("{origin}: no {name} ({why})")]
    MissingFile {
        /// The model's folder.
        origin: String,
        /// The file, or the choice of files, that was looked for.
        name: String,
        /// What it is needed for.
        why: &'static str,
    },

    /// A model is no folder, and neither the local cache nor the hub has it.
    #[error("model `{id}` not found: {why}. Searched:{}", list(searched))]
    ModelNotFound {
        /// The name as it was given.
        id: String,
        /// Which places do not have the model, or why the name is invalid.
        why: &'static str,
        /// Every path and address that was searched.
        searched: Vec<String>,
    },

    /// The hub, or a host to which it redirects, rejected a request.
    #[error("{url}: {kind} (status {status}{})", remark(message))]
    HubStatus {
        /// The address, without its query.
        url: String,
        /// The meaning of the status and of the hub's own code.
        kind: HubErrorKind,
        /// The HTTP status.
        status: u16,
        /// The hub's own message, or an empty text.
        message: String,
    },

    /// No attempt got a complete response: no connection, a timeout, or an early end.
    #[error("{url}: no complete response{}", after_attempts(*attempts))]
    HubUnreachable {
        /// The address, without its query.
        url: String,
        /// The number of consecutive attempts.
        attempts: u32,
        /// The failure of the last attempt.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// A response violates the hub's protocol.
    #[error("{url}: unexpected response: expected {expected}, found {found}")]
    HubProtocol {
        /// The address, without its query.
        url: String,
        /// The response that would have been accepted.
        expected: String,
        /// The response.
        found: String,
    },

    /// A download does not match the size or hash that the hub announced.
    #[error("{url}: corrupt download: expected {what} {expected}, found {found}; the download was discarded")]
    HubCorruptDownload {
        /// The file's address, without its query.
        url: String,
        /// The property that differs: "size", "sha256", "git sha1".
        what: &'static str,
        /// The announced value.
        expected: String,
        /// The value of the received bytes.
        found: String,
    },

    /// A repository has no weights in safetensors.
    #[error("{url}: no weights in safetensors, only {}; {}", only(found), CONVERT_WEIGHTS)]
    HubNoSafetensors {
        /// The repository's address.
        url: String,
        /// The repository's weights in other formats.
        found: Vec<String>,
    },

    /// A setting of the hub is invalid.
    #[error("hub setting `{setting}`: expected {expected}, found {found}")]
    HubSetting {
        /// The name of the setting.
        setting: &'static str,
        /// The value that would have been accepted.
        expected: &'static str,
        /// The value, or for a secret only a description of the problem.
        found: String,
    },

    /// This CPU lacks instructions that the default TLS provider needs.
    ///
    /// The feature `hub` lets a program set another provider (`hub::Settings::tls_provider`).
    #[error(
        "HTTPS is unavailable: this CPU lacks {}. Download the model with `hf download`, or pass --model FOLDER",
        missing.join(", ")
    )]
    HubTlsUnsupported {
        /// The names of the instructions.
        missing: Vec<&'static str>,
    },

    /// A file is not JSON.
    #[error("{file}: not valid JSON")]
    Json {
        /// The file.
        file: String,
        /// Where it stops being JSON.
        source: serde_json::Error,
    },

    /// A value in a JSON file is missing, of the wrong kind, or not supported.
    #[error("{file}: `{key}`: expected {expected}, found {found}")]
    Config {
        /// The file.
        file: String,
        /// The key.
        key: String,
        /// What would have been accepted.
        expected: String,
        /// What is there.
        found: String,
    },

    /// A weight file is not in the safetensors format: its header is cut short, is not JSON, or describes tensors that
    /// overlap, leave holes or do not end where the file does.
    #[error("{file}: not a valid safetensors file ({bytes} bytes)")]
    Safetensors {
        /// The file.
        file: String,
        /// Its size.
        bytes: usize,
        /// What is wrong with it.
        source: safetensors::SafeTensorError,
    },

    /// The checkpoint has no tensor of a name that the architecture needs.
    #[error("{file}: no tensor `{name}`{}", similar(near))]
    MissingTensor {
        /// The weight file, or the index of a sharded one.
        file: String,
        /// The name, without the checkpoint's own prefix.
        name: String,
        /// The names in the checkpoint that resemble it most.
        near: Vec<String>,
    },

    /// The checkpoint has tensors that the architecture does not define, so the model may compute something else.
    #[error("{file}: {} not part of {family}: {}", if names.len() == 1 { "a tensor is" } else { "tensors are" }, some(names))]
    UnknownTensor {
        /// The weight file, or the index of a sharded one.
        file: String,
        /// The architecture.
        family: &'static str,
        /// The tensors.
        names: Vec<String>,
    },

    /// A tensor's shape is not the one that config.json implies.
    #[error("{file}: tensor `{name}`: expected shape {expected:?} (from config.json), found {found:?}")]
    TensorShape {
        /// The weight file.
        file: String,
        /// The tensor.
        name: String,
        /// The shape by config.json.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },

    /// A tensor's numbers are of a type that is not read.
    #[error("{file}: tensor `{name}`: expected dtype F32, F16 or BF16, found {found}")]
    TensorDtype {
        /// The weight file.
        file: String,
        /// The tensor.
        name: String,
        /// Its type.
        found: String,
    },

    /// A tensor holds infinities or NaN.
    #[error("{file}: tensor `{name}`: row {row} has a value that is not finite ({value})")]
    TensorNotFinite {
        /// The weight file.
        file: String,
        /// The tensor.
        name: String,
        /// The first row with such a value.
        row: usize,
        /// The value.
        value: f32,
    },

    /// A converted model cannot be used as it is asked to be, or is not what `likewise convert` writes.
    #[error("{file}: `{key}`: expected {expected}, found {found}; the original model can be converted again")]
    Converted {
        /// likewise.safetensors.
        file: String,
        /// What does not fit: an entry of its metadata, or a tensor.
        key: String,
        /// What would have been accepted.
        expected: String,
        /// What is there.
        found: String,
    },

    /// model.safetensors.index.json and the shards it names do not agree.
    #[error("{file}: tensor `{name}` should be in {shard}, {why}")]
    Shard {
        /// The index.
        file: String,
        /// The tensor.
        name: String,
        /// The shard that the index names for it.
        shard: String,
        /// What is wrong.
        why: &'static str,
    },

    /// tokenizer.json could not be made into a tokenizer, or the tokenizer refused a text.
    #[error("{file}: {what}")]
    Tokenizer {
        /// The file.
        file: String,
        /// What failed.
        what: &'static str,
        /// The tokenizer's own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// A token id is beyond the embedding table.
    #[error("{file}: the tokenizer gives id {id}, but the model has {vocabulary} word embeddings")]
    TokenId {
        /// tokenizer.json.
        file: String,
        /// The id.
        id: u32,
        /// Rows of the table.
        vocabulary: usize,
    },

    /// A text is longer than the model reads, and truncation was not allowed.
    #[error("text {text} has {tokens} tokens, the limit is {limit}")]
    TooLong {
        /// Index of the text.
        text: usize,
        /// Its tokens, special ones included.
        tokens: usize,
        /// The most that the model reads.
        limit: usize,
    },

    /// Ranges were asked of fewer than two vectors.
    #[error("the ranges of fewer than two vectors say nothing: give more, or vectors to calibrate with")]
    FewVectors,

    /// Ranges that cannot be used, or none.
    #[error("ranges of dimensions: {0}")]
    Range(String),

    /// A file of vectors is none.
    #[error("{file}: expected {expected}, found {found}")]
    Vectors {
        /// The file.
        file: String,
        /// What was expected.
        expected: &'static str,
        /// What was found.
        found: String,
    },

    /// Vectors of another size were asked for than the model's can be cut to.
    #[error("truncate to {asked} dimensions: expected 1 to {most} for this model")]
    Dimensions {
        /// What was asked for.
        asked: usize,
        /// The width of the model's vectors.
        most: usize,
    },

    /// A maximum length was asked for that leaves no room, or that the model cannot reach.
    #[error("maximum length {asked}: expected {least} to {most} tokens for this model")]
    MaxLength {
        /// What was asked for.
        asked: usize,
        /// Special tokens and one more.
        least: usize,
        /// The positions that the model has.
        most: usize,
    },

    /// There is nothing to compute.
    #[error("no {0}: expected at least one")]
    Empty(&'static str),

    /// A result is infinite or not a number although the weights looked sound.
    #[error(
        "text {text}: the vector or its score is not finite; no token may be left to pool, or the weights are damaged"
    )]
    NotFinite {
        /// Index of the text.
        text: usize,
    },

    /// A prompt was asked for that the model does not define.
    #[error("no prompt `{name}`: {origin} defines {}", if known.is_empty() { "none".to_owned() } else { known.join(", ") })]
    Prompt {
        /// What was asked for.
        name: String,
        /// The file that would define it.
        origin: String,
        /// What it does define.
        known: Vec<String>,
    },

    /// An instruction set was asked for that is not there.
    #[error(transparent)]
    Level(#[from] likewise_kernels::UnavailableLevel),

    /// The threads could not be started.
    #[error("cannot start {threads} threads")]
    Threads {
        /// How many.
        threads: usize,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// Vectors of different models cannot be compared.
    #[error("vectors of {0} and {1} numbers cannot be compared")]
    Width(usize, usize),

    /// A line of an input file is not what the command reads.
    #[error("{file}: line {line}: expected {expected}, found {found}")]
    Line {
        /// The file.
        file: String,
        /// The line, counted from 1.
        line: usize,
        /// What would have been accepted.
        expected: &'static str,
        /// What is there.
        found: String,
    },
}

/// A result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A value in a JSON file that cannot be used.
    pub(crate) fn config(file: &str, key: &str, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Config { file: file.to_owned(), key: key.to_owned(), expected: expected.into(), found: found.into() }
    }
}
