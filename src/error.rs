//! The error type of the library.

mod content;
mod cross_encoder;
mod hub;
mod message;
mod sparse_encoder;
#[cfg(feature = "serve")]
mod without_paths;

use message::*;
pub use {content::ContentError, cross_encoder::CrossEncoderError, message::error_chain};
pub use {hub::HubErrorKind, sparse_encoder::SparseEncoderError};

/// The error of the library: the file, the key or tensor, what was expected and what was found.
/// [`error_chain`] adds all its causes. Writers of vectors return [`std::io::Error`] instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be opened, read, mapped or written.
    #[error("{}: cannot {action}", path.display())]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// The action that failed: "read", "map", "write".
        action: &'static str,
        /// The error of the operating system.
        source: std::io::Error,
    },

    /// The operating system does not provide the memory for a model's weights.
    #[error("cannot reserve {bytes} bytes for the weights")]
    Memory {
        /// The number of bytes requested.
        bytes: usize,
        /// The error of the operating system.
        source: std::io::Error,
    },

    /// A model lacks a required file.
    #[error("{origin}: no {name} ({why})")]
    MissingFile {
        /// The model's folder.
        origin: String,
        /// The missing file, or the alternatives.
        name: String,
        /// The purpose of the file.
        why: &'static str,
    },

    /// A model is no folder, and neither the local cache nor the hub has it.
    #[error("model `{id}` not found: {why}{}", did_you_mean(similar, searched))]
    ModelNotFound {
        /// The name as it was given.
        id: String,
        /// Which places do not have the model, or why the name is invalid.
        why: &'static str,
        /// Every path and address that was searched.
        searched: Vec<String>,
        /// Model folders with a similar name.
        similar: Vec<String>,
        /// The error that prevented the search, if there was one.
        source: Option<Box<Error>>,
    },

    /// A file of a model has content of another kind, or contains more than is read from it.
    #[error(transparent)]
    Content(Box<ContentError>),

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

    /// A model has weights only in formats that are not read.
    #[error("{origin}: no weights in model.safetensors or pytorch_model.bin, only {}; {CONVERT_WEIGHTS}", only(found))]
    UnsupportedWeights {
        /// The model's folder, or the repository's address.
        origin: String,
        /// The model's weights in other formats.
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

    /// This CPU lacks instructions that the default TLS provider (`hub::Settings`) needs.
    #[error("HTTPS is unavailable: this CPU lacks {}; use `hf download`, or a model folder", missing.join(", "))]
    HubTlsUnsupported {
        /// The names of the instructions.
        missing: Vec<&'static str>,
    },

    /// A file is not JSON.
    #[error("{file}: not valid JSON{}", early_end(source))]
    Json {
        /// The file.
        file: String,
        /// The syntax error with its position.
        source: serde_json::Error,
    },

    /// A value in a JSON file is missing, of the wrong type, or not supported.
    #[error("{file}: `{key}`: expected {expected}, found {found}")]
    Config {
        /// The file.
        file: String,
        /// The key.
        key: String,
        /// The accepted values.
        expected: String,
        /// The value found.
        found: String,
    },

    /// A weight file is not valid safetensors. The source says which rule it violates.
    #[error("{file}: not a valid safetensors file ({bytes} bytes{})", announced(*bytes, *announced_bytes))]
    Safetensors {
        /// The file.
        file: String,
        /// The size of the file.
        bytes: usize,
        /// The size that the header of the file implies, if it has a header.
        announced_bytes: Option<u64>,
        /// The violated rule of the format.
        source: safetensors::SafeTensorError,
    },

    /// The checkpoint lacks a tensor that the architecture needs.
    #[error("{file}: tensor `{name}` not found{}", message::similar_names(similar))]
    MissingTensor {
        /// The weight file, or the index of a sharded one.
        file: String,
        /// The name, without the checkpoint's own prefix.
        name: String,
        /// The most similar names in the checkpoint.
        similar: Vec<String>,
    },

    /// The checkpoint has tensors that config.json's architecture lacks: it may be of another one.
    #[error("{file}: {} tensor(s) not part of {family}: {}", names.len(), first_names(names))]
    UnknownTensor {
        /// The weight file, or the index of a sharded one.
        file: String,
        /// The architecture.
        family: &'static str,
        /// The names of the tensors.
        names: Vec<String>,
    },

    /// A tensor's shape is not the one that config.json implies.
    #[error("{file}: tensor `{name}`: expected shape {expected:?} (from config.json), found {found:?}")]
    TensorShape {
        /// The weight file.
        file: String,
        /// The tensor.
        name: String,
        /// The shape that config.json implies.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },

    /// A tensor's elements are of a type that is not supported.
    #[error("{file}: tensor `{name}`: expected dtype F32, F16 or BF16, found {found}")]
    TensorDtype {
        /// The weight file.
        file: String,
        /// The tensor.
        name: String,
        /// The type of its elements.
        found: String,
    },

    /// A tensor contains infinities or NaN.
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

    /// A converted model does not match the request, or is not valid.
    #[error("{file}: `{key}`: expected {expected}, found {found}; convert the original model again")]
    Converted {
        /// likewise.safetensors.
        file: String,
        /// The metadata entry or the tensor that does not match.
        key: String,
        /// The accepted values.
        expected: String,
        /// The value found.
        found: String,
    },

    /// The index of the shards and the shards that it lists do not match.
    #[error("{file}: tensor `{name}` should be in {shard}, {why}")]
    Shard {
        /// The index.
        file: String,
        /// The tensor.
        name: String,
        /// The shard that the index lists for the tensor.
        shard: String,
        /// The mismatch.
        why: &'static str,
    },

    /// tokenizer.json does not describe a tokenizer, or the tokenizer rejected a text.
    #[error("{file}: {what}")]
    Tokenizer {
        /// The file.
        file: String,
        /// The step that failed.
        what: &'static str,
        /// The error of the tokenizer's crate.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// A token id is not in the embedding table.
    #[error("{file}: token id {id} out of range: expected less than {vocabulary}, the number of token embeddings")]
    TokenId {
        /// tokenizer.json.
        file: String,
        /// The id.
        id: u32,
        /// The number of rows of the table.
        vocabulary: usize,
    },

    /// A text exceeds the maximum length, and the truncation policy is to fail.
    #[error("text {text}: too long: expected at most {limit} tokens, found {tokens}; shorten it or allow truncation")]
    TooLong {
        /// The index of the text.
        text: usize,
        /// The number of its tokens, special ones included.
        tokens: usize,
        /// The maximum length in tokens.
        limit: usize,
    },

    /// A pair of texts, or a setting, does not suit a cross-encoder.
    #[error(transparent)]
    CrossEncoder(Box<CrossEncoderError>),

    /// A text, or a setting, does not suit a sparse encoder.
    #[error(transparent)]
    SparseEncoder(Box<SparseEncoderError>),

    /// The ranges for quantization are missing or not valid.
    #[error("quantization ranges: {0}")]
    InvalidRanges(String),

    /// A file of vectors is not valid.
    #[error("{file}: expected {expected}, found {found}")]
    Vectors {
        /// The file.
        file: String,
        /// The expected content.
        expected: &'static str,
        /// The content found.
        found: String,
    },

    /// The requested output dimensions exceed the width of the model's vectors.
    #[error("truncate_dim: expected 1 to {max} for this model, found {requested}")]
    TruncateDim {
        /// The number of dimensions requested.
        requested: usize,
        /// The width of the model's vectors.
        max: usize,
    },

    /// The requested maximum length leaves no token for the text, or exceeds the model's positions.
    #[error("max_length: expected {min} to {max} tokens for this model, found {requested}")]
    MaxLength {
        /// The maximum length requested.
        requested: usize,
        /// The number of special tokens and one more.
        min: usize,
        /// The number of positions of the model.
        max: usize,
    },

    /// A required list is empty.
    #[error("no {0}: expected at least one")]
    Empty(&'static str),

    /// A vector or a score is infinite or NaN, although the weights are finite.
    #[error("text {text}: embedding or score is not finite (corrupt weights, or no tokens left to pool)")]
    NotFinite {
        /// The index of the text.
        text: usize,
    },

    /// The model does not define the requested prompt.
    #[error("prompt `{name}` not found: {origin} defines {}", known_prompts(known))]
    Prompt {
        /// The requested name.
        name: String,
        /// The file or the model that defines the prompts.
        origin: String,
        /// The names of the defined prompts.
        known: Vec<String>,
    },

    /// The requested SIMD level is not available on this CPU.
    #[error(transparent)]
    Level(#[from] likewise_kernels::UnavailableLevel),

    /// The threads could not be started.
    #[error("cannot start {threads} threads")]
    Threads {
        /// The number of threads requested.
        threads: usize,
        /// The error of the thread pool.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// Two vectors, or a vector and ranges, differ in length. They may come from different models.
    #[error("vectors differ in length: {left} and {right} elements")]
    WidthMismatch {
        /// The number of elements of the first.
        left: usize,
        /// The number of elements of the second.
        right: usize,
    },

    /// A line of an input file is not valid.
    #[error("{file}: line {line}: expected {expected}, found {found}")]
    Line {
        /// The file.
        file: String,
        /// The line, counted from 1.
        line: usize,
        /// The accepted values.
        expected: &'static str,
        /// The value found.
        found: String,
    },
}

/// A result whose error is [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
