//! A tokenizer that is tokenizer.json alone, as written, without special tokens around a text.
//!
//! Static embeddings have such a tokenizer: no class, no settings beside the file.

use std::collections::HashSet;
use std::sync::Mutex;

use tokenizers::processors::byte_level::ByteLevel;
use tokenizers::{
    ModelWrapper, PostProcessor, PostProcessorWrapper, Tokenizer as Inner, TruncationDirection, TruncationStrategy,
};

use super::Tokenizer;
use super::ascii_words::AsciiWords;
use super::charsmap;
use super::chunking::TextChunker;
use super::error::{TokenizerError, catch_tokenizer_panic};
use super::max_length::UNLIMITED_TOKENS;
use super::normalizer_expansion::check_normalizer_expansion;
use super::roles::TokensByRole;
use super::text_lengths::TextLengths;
use super::tokenizer_json::ParsedTokenizerJson;
use super::tokens::TokenUsage;
use super::truncation::TruncationSide;
use crate::error::{Error, Result};
use crate::files::ModelFiles;
use crate::model_folder::{Manifest, TOKENIZER};

impl Tokenizer {
    /// Reads tokenizer.json, with its truncation. Also returns the id of the unknown token:
    /// `unk_token` or `unk_id` of the model.
    ///
    /// # Errors
    /// If the file does not exist, or is not a valid tokenizer.
    pub(crate) fn as_written(files: &ModelFiles, manifest: &mut Manifest) -> Result<(Self, Option<u32>)> {
        let why = "the tokenizer of the table; no other file replaces it";
        let bytes = manifest.require(files, TOKENIZER, why)?;
        let label = files.label(TOKENIZER);
        let parsed = ParsedTokenizerJson::parse(&label, &bytes)?;
        let in_file = |error: TokenizerError| error.in_file(&label);
        charsmap::validate_all(parsed.normalizer()).map_err(|error| in_file(error.into()))?;
        let parse = || Inner::from_bytes(&bytes).map_err(TokenizerError::from);
        let mut inner = catch_tokenizer_panic(parse).map_err(in_file)?;
        check_normalizer_expansion(&inner, &label)?;
        let (max_tokens, truncation_side) = written_truncation(&inner, &label)?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| in_file(error.into()))?;
        let post_processor = inner.get_post_processor().and_then(without_special_tokens);
        inner.with_post_processor(post_processor);
        let unknown_id = unknown_id(&inner, &parsed);
        let tokenizer = Self {
            chunker: TextChunker::for_tokenizer(&inner),
            ascii_words: AsciiWords::of(&inner),
            inner,
            label,
            max_tokens,
            special_tokens: 0,
            special_ids: HashSet::new(),
            truncation_side,
            roles: TokensByRole::default(),
            text_lengths: TextLengths::default(),
            passes_token_types: false,
            whole_text: Mutex::new(()),
        };
        Ok((tokenizer, unknown_id))
    }

    /// Truncates texts to another maximum length.
    pub(crate) fn with_truncation(self, max_tokens: usize, truncation_side: TruncationSide) -> Self {
        Self { max_tokens, truncation_side, ..self }
    }

    /// Returns the median length of the vocabulary's entries in characters, rounded down.
    pub(crate) fn median_entry_length(&self) -> usize {
        let vocabulary = self.inner.get_vocab(true);
        let mut lengths: Vec<usize> = vocabulary.keys().map(|token| token.chars().count()).collect();
        lengths.sort_unstable();
        match lengths.len() {
            0 => 0,
            n => usize::midpoint(lengths[(n - 1) / 2], lengths[n / 2]),
        }
    }

    /// Appends all token ids of a text, without truncation and special tokens.
    pub(crate) fn append_ids(&self, text: &str, ids: &mut Vec<u32>) -> Result<()> {
        if let Some(words) = &self.ascii_words
            && words.append(text, ids, |part, ids| self.append_ids_by_crate(part, ids))?
        {
            return Ok(());
        }
        self.append_ids_by_crate(text, ids)
    }

    fn append_ids_by_crate(&self, text: &str, ids: &mut Vec<u32>) -> Result<()> {
        for chunk in self.chunker.chunks(&self.inner, text, false) {
            let encoding = self.run(chunk, || self.inner.encode_fast(chunk, false))?;
            ids.extend_from_slice(encoding.get_ids());
        }
        Ok(())
    }

    /// Keeps of a text's token ids those that the model reads. `side` overrides the side.
    pub(crate) fn truncate_ids(&self, ids: &mut Vec<u32>, side: Option<TruncationSide>) -> TokenUsage {
        let total = ids.len();
        let used = total.min(self.max_tokens);
        match side.unwrap_or(self.truncation_side) {
            TruncationSide::Right => ids.truncate(used),
            TruncationSide::Left => drop(ids.drain(..total - used)),
        }
        TokenUsage { total, used }
    }

    /// Returns the side from which a text is truncated.
    pub(crate) fn truncation_side(&self) -> TruncationSide {
        self.truncation_side
    }
}

fn unknown_id(inner: &Inner, json: &ParsedTokenizerJson<'_>) -> Option<u32> {
    match inner.get_model() {
        ModelWrapper::WordPiece(model) => inner.token_to_id(&model.unk_token),
        ModelWrapper::WordLevel(model) => inner.token_to_id(&model.unk_token),
        ModelWrapper::BPE(model) => inner.token_to_id(model.unk_token.as_ref()?),
        // The crate does not give it away.
        ModelWrapper::Unigram(_) => json.unigram_unknown_id(),
    }
}

/// Returns the maximum length in tokenizer.json, and the side from which a text is truncated.
fn written_truncation(inner: &Inner, label: &str) -> Result<(usize, TruncationSide)> {
    let Some(params) = inner.get_truncation() else { return Ok((UNLIMITED_TOKENS, TruncationSide::Right)) };
    if params.strategy == TruncationStrategy::OnlySecond {
        let expected = "LongestFirst or OnlyFirst, because a text is not truncated as the second of a pair";
        return Err(Error::config(label, "truncation", expected, "OnlySecond"));
    }
    let side = match params.direction {
        TruncationDirection::Left => TruncationSide::Left,
        TruncationDirection::Right => TruncationSide::Right,
    };
    Ok((params.max_length, side))
}

/// Returns what remains of a post-processor if it adds no tokens: the change of offsets.
fn without_special_tokens(post_processor: &PostProcessorWrapper) -> Option<PostProcessorWrapper> {
    match post_processor {
        PostProcessorWrapper::Roberta(roberta) => {
            let trims = ByteLevel::new(roberta.add_prefix_space, roberta.trim_offsets, true);
            Some(trims.into())
        }
        other => (other.added_tokens(false) == 0).then(|| other.clone()),
    }
}
