//! The memory that a model takes, predicted from its sizes.

use likewise_kernels::quant::Precision;
use tokenizers::ModelWrapper;

use super::batch_plan::MAX_TOKENS_PER_BATCH;
use super::model::Backbone;
use super::runtime::Runtime;
use crate::encoder::spec::EncoderSpec;
use crate::encoder::{ComputeConfig, Linear, RelativeKeyEmbeddings, RelativePositionBias, RotaryPositions, Workspace};

/// The memory that an embedder takes, in bytes, by purpose. Predicted from sizes, not measured; on
/// Linux on x86-64 the sums are within 5 % of what the operating system counts, or within 1 MiB
/// (cli/tests/command/memory.rs).
///
/// A call needs more memory for its texts and for their vectors, 4 bytes an element. With more
/// callers at once than threads, each further caller needs its own activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryEstimate {
    /// The program itself, with its threads.
    pub program: usize,
    /// Vocabulary and rules of the tokenizer.
    pub tokenizer: usize,
    /// Packed weights.
    pub packed: usize,
    /// Packed weights of a converted model, in its file: resident when they have been read. All
    /// processes that have mapped the file share its pages.
    pub mapped: usize,
    /// Weight files that were given in memory, without the tables. They stay in memory with the
    /// packed weights.
    pub given: usize,
    /// While a model is opened: the pages of a mapped file that contain the matrix being packed.
    pub packing: usize,
    /// Embedding tables in the file, if every row has been read. The operating system takes these
    /// pages back when it needs memory.
    pub tables: usize,
    /// Activations, with all threads busy, and tables of positions or distances for the longest
    /// text.
    pub activations: usize,
    /// Tokenizing texts of any content with all threads, beyond what ordinary texts take.
    ///
    /// This holds for texts with at most 30,000 characters between two boundaries of tokens. One
    /// text at a time is tokenized beyond that, and takes 800 bytes more for each further
    /// character.
    pub tokenizing: usize,
}

impl MemoryEstimate {
    /// Returns the bytes that are resident once the model is open.
    pub fn resident(&self) -> usize {
        self.program + self.tokenizer + self.packed + self.given
    }

    /// Returns the most bytes that are ever resident: with every weight, every row of every table,
    /// and texts of the full length.
    pub fn peak(&self) -> usize {
        self.resident() + self.packing.max(self.tables + self.mapped + self.activations)
    }
}

/// What the modules after the encoder add to the memory of a backbone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadMemory {
    /// The bytes of their weights.
    pub(crate) bytes: usize,
    /// Whether they read the vector of one token of each text only.
    pub(crate) reads_one_token: bool,
    /// The bytes of their buffers for the largest batch of one thread, if they are large.
    pub(crate) buffers: usize,
}

/// The command with its libraries and the heap's own overhead, measured: 11.25 MiB.
const PROGRAM_BYTES: usize = 45 << 18;

/// The stack of a thread and its part of the heap, measured: 0.25 MiB.
const PROGRAM_BYTES_PER_THREAD: usize = 1 << 18;

/// Tokenizing a part of a long text, measured with 16 KiB of characters that are a token each.
const TOKENIZING_BYTES_PER_THREAD: usize = 16 << 20;

/// Tokenizing 30,000 characters without a boundary. One thread does so at a time.
const UNSPLIT_TEXT_BYTES: usize = 24 << 20;

/// Returns the memory of a tokenizer with so many entries, by its kind.
///
/// Bytes per entry, measured with vocabularies of 30,000 to 100,000 entries: WordPiece has two
/// maps, BPE also has merges, and Unigram has a tree node for every character.
fn tokenizer(model: &ModelWrapper, entries: usize) -> usize {
    entries
        * match model {
            ModelWrapper::WordPiece(_) | ModelWrapper::WordLevel(_) => 265,
            ModelWrapper::BPE(_) => 550,
            ModelWrapper::Unigram(_) => 970,
        }
}

impl Runtime {
    /// Returns the memory of a model whose token vectors come from a table of so many bytes in the
    /// file. `given` are the bytes of the file if it was given in memory.
    pub(crate) fn memory_with_table(&self, table: usize, given: usize, head: HeadMemory) -> MemoryEstimate {
        let (model, entries) = self.tokenizer.model_and_vocab_size();
        MemoryEstimate {
            program: PROGRAM_BYTES + self.thread_pool.size() * PROGRAM_BYTES_PER_THREAD,
            tokenizer: tokenizer(model, entries),
            packed: head.bytes,
            mapped: 0,
            given,
            packing: 0,
            tables: if given == 0 { table } else { 0 },
            activations: 0,
            tokenizing: self.thread_pool.size() * TOKENIZING_BYTES_PER_THREAD + UNSPLIT_TEXT_BYTES,
        }
    }
}

impl Backbone {
    /// Returns the memory that a model with this backbone takes, or would take in another
    /// precision.
    pub(crate) fn memory(&self, precision: Precision, head: HeadMemory) -> MemoryEstimate {
        let spec = self.encoder.spec();
        let compute = ComputeConfig { level: self.level, precision };
        let matrices: usize = spec.linears().map(|linear| Linear::packed_bytes(linear, compute)).sum();
        let (packed, mapped) = if self.load_stats.matrices_are_mapped { (0, matrices) } else { (matrices, 0) };
        let (model, entries) = self.tokenizer.model_and_vocab_size();
        MemoryEstimate {
            program: PROGRAM_BYTES + self.thread_pool.size() * PROGRAM_BYTES_PER_THREAD,
            tokenizer: tokenizer(model, entries),
            packed: packed + copied(spec, compute) + head.bytes,
            mapped,
            given: self.load_stats.given_in_memory,
            packing: self.load_stats.largest_packed_source,
            tables: self.load_stats.table_bytes,
            activations: self.thread_pool.size() * Workspace::bytes(spec, precision, self.max_batch_tokens())
                + self.thread_pool.size() * (self.selected_bytes(precision, head) + head.buffers)
                + RelativePositionBias::bytes(spec, self.tokenizer.max_tokens())
                + RotaryPositions::bytes(spec, self.tokenizer.max_tokens()),
            tokenizing: self.thread_pool.size() * TOKENIZING_BYTES_PER_THREAD + UNSPLIT_TEXT_BYTES,
        }
    }

    /// Returns the bytes of the buffers for the one token of each text that the head reads, if it
    /// reads only one. A text has at least three tokens, two of them special.
    fn selected_bytes(&self, precision: Precision, head: HeadMemory) -> usize {
        const MIN_TOKENS: usize = 3;
        if !head.reads_one_token {
            return 0;
        }
        Workspace::bytes(self.encoder.spec(), precision, MAX_TOKENS_PER_BATCH / MIN_TOKENS)
    }
}

/// Returns the bytes of weights that are in memory even if the matrices are mapped: scales, sums,
/// and relative keys.
fn copied(spec: &EncoderSpec, compute: ComputeConfig) -> usize {
    let scales: usize = spec.linears().map(|linear| Linear::scale_bytes(linear, compute.precision)).sum();
    let relative_keys: usize =
        spec.layers.iter().map(|layer| RelativeKeyEmbeddings::bytes(compute.level, &layer.attention.body)).sum();
    scales + relative_keys
}
