//! The one error type. Each variant names what was read, what was expected and what was found.

use std::path::PathBuf;

use crate::hub::HubRefusal;

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

    /// A model was named that is neither a folder nor in the local cache, nor on the hub if that was asked.
    #[error("no model `{id}`: {why}. Looked for:{}", list(looked))]
    ModelNotFound {
        /// The name as it was given.
        id: String,
        /// What is wrong with it.
        why: &'static str,
        /// Every path and address that was tried.
        looked: Vec<String>,
    },

    /// The hub does not give what it was asked for.
    #[error("{url}: {refusal} (status {status}{})", remark(message))]
    HubRefused {
        /// What was asked for.
        url: String,
        /// What the status and the hub's own code mean.
        refusal: HubRefusal,
        /// The HTTP status.
        status: u16,
        /// What the hub says itself; empty if nothing.
        message: String,
    },

    /// There was no whole answer: no connection, none in time, or one that ended early, as often as was tried.
    #[error("{url}: no answer{}", if *tries > 1 { format!(", tried {tries} times without getting further") } else { String::new() })]
    HubUnreachable {
        /// What was asked for.
        url: String,
        /// How often, in a row.
        tries: u32,
        /// Why the last of them failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// An answer is not what the hub's protocol says.
    #[error("{url}: expected {expected}, found {found}")]
    HubAnswer {
        /// What was asked for.
        url: String,
        /// What would have been accepted.
        expected: String,
        /// What came.
        found: String,
    },

    /// The bytes that came are not those that were announced. None of them are kept.
    #[error("{url}: expected {what} {expected}, found {found}; it was thrown away")]
    HubDamaged {
        /// The file.
        url: String,
        /// What was compared: "size", "sha256", "git sha1".
        what: &'static str,
        /// What was announced.
        expected: String,
        /// What came.
        found: String,
    },

    /// A repository has no weights that are read.
    #[error("{url}: no weights in safetensors, only {}; {}", only(found), SAVE_AGAIN)]
    HubWeights {
        /// The repository.
        url: String,
        /// Its weights in other formats.
        found: Vec<String>,
    },

    /// A setting of the hub's cannot be used.
    #[error("hub: {setting}: expected {expected}, found {found}")]
    HubSetting {
        /// Which one.
        setting: &'static str,
        /// What would have been accepted.
        expected: &'static str,
        /// What was given; of what is secret, only what is wrong with it.
        found: String,
    },

    /// This CPU lacks instructions that encrypted connections are made with.
    #[error(
        "https needs instructions that this CPU lacks ({}); get the model by another program, as huggingface_hub's `hf \
         download`: its cache is read, and a folder may be named, too",
        missing.join(", ")
    )]
    HubCpu {
        /// Their names.
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
    #[error("{file}: no tensor `{name}`{}", similar_names(similar))]
    MissingTensor {
        /// The weight file, or the index of a sharded one.
        file: String,
        /// The name, without the checkpoint's own prefix.
        name: String,
        /// The names in the checkpoint that resemble it most.
        similar: Vec<String>,
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
    TooFewVectors,

    /// Ranges that cannot be used, or none.
    #[error("ranges of dimensions: {0}")]
    InvalidRanges(String),

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
    #[error("truncate to {requested} dimensions: expected 1 to {max} for this model")]
    TruncateDim {
        /// What was asked for.
        requested: usize,
        /// The width of the model's vectors.
        max: usize,
    },

    /// A maximum length was asked for that leaves no room, or that the model cannot reach.
    #[error("maximum length {requested}: expected {min} to {max} tokens for this model")]
    MaxLength {
        /// What was asked for.
        requested: usize,
        /// Special tokens and one more.
        min: usize,
        /// The positions that the model has.
        max: usize,
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
    #[error("vectors of {left} and {right} numbers cannot be compared")]
    WidthMismatch {
        /// Elements of one.
        left: usize,
        /// Elements of the other.
        right: usize,
    },

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

fn similar_names(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("; the nearest names are {}", names.join(", ")) }
}

fn some(names: &[String]) -> String {
    let rest = if names.len() > 3 { format!(" and {} more", names.len() - 3) } else { String::new() };
    format!("{}{rest}", names[..names.len().min(3)].join(", "))
}

/// What to do about a repository without weights that are read.
const SAVE_AGAIN: &str =
    "a newer revision may have model.safetensors, and `save_pretrained` of sentence-transformers writes it";

fn only(found: &[String]) -> String {
    if found.is_empty() { "files that are no weights".to_owned() } else { some(found) }
}

fn remark(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

fn list(tried: &[String]) -> String {
    tried.iter().map(|place| format!("\n  {place}")).collect()
}
