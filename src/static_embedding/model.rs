//! A static model that is open: its table, its tokenizer and its threads.

use super::reading::ReadingRules;
use super::table::Table;
use crate::backbone::{Runtime, TokenizedText, TruncationPolicy, prepend_prompt};
use crate::error::{Error, Result};
use crate::tokenizer::{TokenUsage, Tokens, TruncationSide};

/// A table of token vectors with its tokenizer and threads.
pub(crate) struct StaticModel {
    pub(super) runtime: Runtime,
    pub(super) table: Table,
    pub(super) rules: ReadingRules,
    /// The library whose rules the model follows.
    pub(super) family: &'static str,
}

/// Memory that is used again for each text.
#[derive(Default)]
pub(crate) struct Buffers {
    pub(crate) ids: Vec<u32>,
    sums: Vec<f64>,
}

impl StaticModel {
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// Returns the name of the library whose rules the model follows.
    pub(crate) fn family(&self) -> &'static str {
        self.family
    }

    /// Puts the token ids of a text into the buffers. `text_index` is its index in the call, for
    /// errors.
    pub(crate) fn read(
        &self,
        text_index: usize,
        text: &str,
        prompt: &str,
        truncation: TruncationPolicy,
        side: Option<TruncationSide>,
        buffers: &mut Buffers,
    ) -> Result<TokenUsage> {
        let text = prepend_prompt(prompt, text);
        let usage = self.rules.read(&self.runtime.tokenizer, &text, side, &mut buffers.ids)?;
        self.runtime.check_ids(text_index, &buffers.ids, usage, truncation)?;
        Ok(usage)
    }

    /// Tokenizes a text, as [`Self::read`] does.
    pub(crate) fn tokenize_text(
        &self,
        text_index: usize,
        text: &str,
        prompt: &str,
        truncation: TruncationPolicy,
        side: Option<TruncationSide>,
    ) -> Result<TokenizedText> {
        let mut buffers = Buffers::default();
        let usage = self.read(text_index, text, prompt, truncation, side, &mut buffers)?;
        Ok(TokenizedText { ids: buffers.ids, types: Vec::new(), usage, excluded_tokens: 0, unattended_tokens: 0 })
    }

    /// Returns the tokens of a text with their offsets.
    pub(crate) fn tokens(&self, text: &str) -> Result<Tokens> {
        self.rules.tokens(&self.runtime.tokenizer, text)
    }

    /// Writes the mean of the vectors of the tokens in the buffers to `out` `[D]`, or zeros if
    /// there are none.
    ///
    /// The sum is in f64, in the order of the text. It is rounded once, so that a text of a million
    /// tokens is as exact as a short one.
    pub(crate) fn mean(&self, buffers: &mut Buffers, out: &mut [f32]) {
        let Buffers { ids, sums } = buffers;
        sums.clear();
        sums.resize(out.len(), 0.0);
        ids.iter().for_each(|&id| self.table.add(id, sums));
        let count = ids.len().max(1) as f64;
        out.iter_mut().zip(sums).for_each(|(mean, sum)| *mean = (*sum / count) as f32);
    }

    /// Writes the mean of the vectors of tokens to `out` `[D]`.
    pub(crate) fn mean_of(&self, ids: &[u32], out: &mut [f32]) {
        self.mean(&mut Buffers { ids: ids.to_vec(), sums: Vec::new() }, out);
    }

    /// Writes the vectors of tokens to `out` `[L, D]`.
    pub(crate) fn rows_of(&self, ids: &[u32]) -> Vec<f32> {
        let width = self.table.width();
        let mut rows = vec![0.0; ids.len() * width];
        for (id, row) in ids.chunks(1).zip(rows.chunks_exact_mut(width)) {
            self.mean_of(id, row);
        }
        rows
    }

    /// Returns the error for a result of a text that is not finite. It names the weight that causes
    /// it, if one is found.
    pub(crate) fn not_finite(&self, text_index: usize, ids: &[u32]) -> Error {
        self.table.find_bad_row(ids).unwrap_or(Error::NotFinite { text: text_index })
    }
}
