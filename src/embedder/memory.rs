//! What a model takes of memory, told from its sizes.

use likewise_kernels::quant::Precision;
use likewise_kernels::view::padded_stride;
use tokenizers::ModelWrapper;

use crate::encoder::families::Blueprint;

/// MemoryEstimate that an embedder takes, in bytes, by what takes it. Predicted from sizes, not measured; on Linux on x86-64 the
/// sums are within 5 % of what the operating system counts, or within 1 MiB (tests/memory.rs).
///
/// To this comes what a call brings along: the texts, 4·D bytes a text for its vector, and with more callers at once than
/// threads the activations of those beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryEstimate {
    /// The program itself.
    pub program: usize,
    /// Vocabulary and rules of the tokenizer.
    pub tokenizer: usize,
    /// Packed weights.
    pub packed: usize,
    /// Packed weights of a converted model, in its file: resident when they have been read. The pages are the file's, and
    /// all processes that have mapped it share them.
    pub mapped: usize,
    /// Weight files that were given in memory, without the tables: they stay beside the packed weights.
    pub given: usize,
    /// While a model is opened: the matrix that is being packed, as it lies in a mapped file.
    pub packing: usize,
    /// Embedding tables in the file, if every row has been read. These pages are the file's, and the operating system takes
    /// them back when it needs memory.
    pub tables: usize,
    /// Activations, with all threads busy.
    pub activations: usize,
}

impl MemoryEstimate {
    /// Resident once the model is open.
    pub fn resident(&self) -> usize {
        self.program + self.tokenizer + self.packed + self.given
    }

    /// The most that is ever resident: with every weight, a table row for every word, and with texts of the full length.
    pub fn peak(&self) -> usize {
        self.resident() + self.packing.max(self.tables + self.mapped + self.activations)
    }
}

/// The command with its libraries and the heap's own overhead, measured: 8 MiB.
pub(super) const PROGRAM: usize = 8 << 20;

/// MemoryEstimate of a tokenizer with so many entries, by its kind.
///
/// Bytes an entry, measured with vocabularies of 30,000 to 100,000 entries: WordPiece has two maps, BPE merges besides, and
/// Unigram a node of a tree for every character.
pub(super) fn tokenizer(model: &ModelWrapper, entries: usize) -> usize {
    entries
        * match model {
            ModelWrapper::WordPiece(_) | ModelWrapper::WordLevel(_) => 265,
            ModelWrapper::BPE(_) => 550,
            ModelWrapper::Unigram(_) => 970,
        }
}

/// The matrices of a pass over so many tokens, in bytes (`layers::encoder::Workspace`).
pub(super) fn activations(blueprint: &Blueprint, precision: Precision, tokens: usize) -> usize {
    let (width, inner) = (blueprint.width, blueprint.inner);
    let words = |cols| if precision == Precision::F32 { 0 } else { padded_stride(precision.row_words(cols)) };
    // In bf16 the inner numbers become words at once, and the room for them is never touched.
    let inner_numbers = if precision == Precision::Bf16 { 0 } else { padded_stride(inner) };
    let row = 4 * padded_stride(width) + 3 * words(width) + padded_stride(3 * width) + inner_numbers + words(inner);
    tokens * row * size_of::<f32>()
}
