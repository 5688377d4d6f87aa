//! Text to token ids.
//!
//! The `tokenizers` crate does it, the same code as the reference's, from the model's tokenizer.json. What is decided here
//! is how long a text may be: a tokenizer.json often has a truncation and a padding baked in from whatever it was last
//! used for, and the reference overrides both.

mod charsmap;
mod chunking;
mod class;
mod normalizer_expansion;
mod sentence_bert_config;
mod sentencepiece;
mod special_tokens;
mod tokenizer_config;
mod tokenizer_json;
mod vocabulary;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokenizers::normalizers::{Lowercase, Sequence};
use tokenizers::{Encoding, ModelWrapper, NormalizerWrapper, PostProcessor, Tokenizer as Inner};

use crate::encoder::spec::EncoderSpec;
use crate::error::{Error, Result};
use crate::files::ModelFiles;
use chunking::Cutter;
use class::{Built, Class, Parts};
use sentence_bert_config::{SentenceConfig, model_limit, side};
use special_tokens::{Further, Token};
use tokenizer_config::Settings;
use tokenizer_json::Written;

/// The tokens of a text, as the model reads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Token ids, special ones included, cut to the model's maximum.
    pub ids: Vec<u32>,
    /// Where each token stands in the text, in characters (not bytes); (0, 0) for special tokens.
    pub offsets: Vec<(usize, usize)>,
    /// How much of the text they are.
    pub usage: TokenUsage,
}

/// How much of a text was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenUsage {
    /// Tokens of the whole text, special ones included.
    pub tokens: usize,
    /// Tokens that the model reads.
    pub used: usize,
}

impl TokenUsage {
    /// Whether the end of the text was cut off.
    pub fn truncated(&self) -> bool {
        self.used < self.tokens
    }
}

/// From which side a text that is too long is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TruncationSide {
    /// The beginning is kept.
    Right,
    /// The end is kept.
    Left,
}

/// A token of a text.
#[cfg(feature = "serve")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenSpan {
    pub(crate) id: u32,
    /// The part of the text it stands for, or a special token's name.
    pub(crate) text: String,
    /// Where that part begins and ends, in characters. None for special tokens.
    pub(crate) place: Option<(usize, usize)>,
}

/// A model's tokenizer, with its maximum length set.
pub(crate) struct Tokenizer {
    inner: Inner,
    /// Its file, for messages.
    label: String,
    /// The most tokens of a text, special ones included.
    limit: usize,
    /// How many special tokens are put around a text.
    special: usize,
    /// The ids of the tokens that have a name, and of those that are listed as special.
    named: HashSet<u32>,
    /// From which side a text that is too long is cut.
    side: TruncationSide,
    cutter: Option<Cutter>,
}

const TOKENIZER: &str = "tokenizer.json";

impl Tokenizer {
    /// Reads tokenizer.json, or the files that came before it, and what else bears on the length. `asked` overrides the
    /// model's maximum; `has_modules`: whether the model has a modules.json.
    ///
    /// # Errors
    /// If there is no tokenizer, it is not one, or `asked` is not between the special tokens + 1 and the model's
    /// positions.
    pub(crate) fn load(
        files: &ModelFiles,
        spec: &EncoderSpec,
        asked: Option<usize>,
        has_modules: bool,
    ) -> Result<Self> {
        let sentence = SentenceConfig::read(files, has_modules)?;
        let mut settings = Settings::read(files)?;
        let class = Class::of(&settings, spec.family.name())?;
        let Made { built: Built { mut inner, special: names }, label, side: written } = match files.read(TOKENIZER)? {
            Some(bytes) => from_written(files.label(TOKENIZER), &bytes, class, &mut settings)?,
            None => {
                let (label, parts) = vocabulary::read(files, class, &settings)?;
                let made = guard(|| Ok(class.build(parts?, &settings)));
                Made { built: valid(&label, made)?, label, side: None }
            }
        };
        if settings.flag("split_special_tokens")? == Some(true) {
            inner.set_encode_special_tokens(true);
        }
        let failed = |what| {
            let file = label.clone();
            move |source| Error::Tokenizer { file, what, source }
        };
        if sentence.lower_cases()? && !lower_cases(inner.get_normalizer()) {
            lower_case_first(&mut inner).map_err(failed("cannot put lower-casing before its normalizer"))?;
        }

        let special = inner.get_post_processor().map_or(0, |processor| processor.added_tokens(false));
        let (least, most) = (special + 1, spec.max_tokens);
        if most < least {
            // Without this, a text would be cut to more tokens than the table of positions has rows for.
            let expected = format!("enough for {least} tokens: {special} special ones and one more");
            let found = format!("enough for {most}");
            return Err(Error::config(&files.label("config.json"), "max_position_embeddings", expected, found));
        }
        let limit = match asked {
            Some(asked) if !(least..=most).contains(&asked) => return Err(Error::MaxLength { asked, least, most }),
            Some(asked) => asked,
            None => model_limit(&sentence, &settings, spec, least)?.min(most),
        };
        let side = side(&settings)?.or(written).unwrap_or(TruncationSide::Right);
        normalizer_expansion::refuse(&inner, &label)?;
        if class == Class::AsWritten {
            refuse_types(&inner, &settings, &label)?;
        }
        inner.with_padding(None);
        // Not the crate's own truncation: it stops at the limit, and how long the text was would not be known.
        inner.with_truncation(None).map_err(failed("cannot lift its maximum length"))?;
        let cutter = Cutter::of(&inner);
        let named = names.iter().filter_map(|name| inner.token_to_id(name)).collect();
        Ok(Self { inner, label, limit, special, named, side, cutter })
    }

    /// The most tokens of a text, special ones included.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Its kind, and how many entries its vocabulary has.
    pub(crate) fn model(&self) -> (&ModelWrapper, usize) {
        (self.inner.get_model(), self.inner.get_vocab_size(true))
    }

    /// Its file, for messages.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// The ids of a text and how much of it they are. `side` overrides from which side a text that is too long is cut.
    pub(crate) fn ids(&self, text: &str, side: Option<TruncationSide>) -> Result<(Vec<u32>, TokenUsage)> {
        let side = side.unwrap_or(self.side);
        let (text, beyond) = self.shorten(text, side)?;
        let encoding = guard(|| self.inner.encode_fast(text, true)).map_err(|source| self.refused(source))?;
        let ids = self.cut(encoding.get_ids(), &encoding, side);
        let usage = TokenUsage { tokens: encoding.len() + beyond, used: ids.len() };
        Ok((ids, usage))
    }

    /// The ids of a text with their offsets.
    pub(crate) fn tokens(&self, text: &str) -> Result<Tokens> {
        let (text, beyond) = self.shorten(text, self.side)?;
        let encoding = guard(|| self.inner.encode_char_offsets(text, true)).map_err(|source| self.refused(source))?;
        let ids = self.cut(encoding.get_ids(), &encoding, self.side);
        let usage = TokenUsage { tokens: encoding.len() + beyond, used: ids.len() };
        Ok(Tokens { ids, offsets: self.cut(encoding.get_offsets(), &encoding, self.side), usage })
    }

    /// All tokens of a text, not cut to the model's maximum; with the special ones around it if `special`.
    #[cfg(feature = "serve")]
    pub(crate) fn pieces(&self, text: &str, special: bool) -> Result<Vec<TokenSpan>> {
        let encoding =
            guard(|| self.inner.encode_char_offsets(text, special)).map_err(|source| self.refused(source))?;
        // Where each character begins, so that a piece is found without counting from the start again.
        let begins: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let piece = |i: usize| {
            let (start, stop) = encoding.get_offsets()[i];
            let id = encoding.get_ids()[i];
            match encoding.get_special_tokens_mask()[i] == 1 {
                true => TokenSpan { id, text: encoding.get_tokens()[i].clone(), place: None },
                false => {
                    TokenSpan { id, text: text[begins[start]..begins[stop]].to_owned(), place: Some((start, stop)) }
                }
            }
        };
        Ok((0..encoding.len()).map(piece).collect())
    }

    /// The text that some ids stand for.
    #[cfg(feature = "serve")]
    pub(crate) fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        guard(|| self.inner.decode(ids, skip_special)).map_err(|source| self.refused(source))
    }

    /// Tokens of a text that other text will follow: without a special one at its end. The reference (`all_special_ids`) means
    /// those that the settings name or list, and not all that are put around a text.
    pub(crate) fn length_before_end(&self, text: &str) -> Result<usize> {
        let (ids, _) = self.ids(text, None)?;
        Ok(ids.len() - usize::from(ids.last().is_some_and(|id| self.named.contains(id))))
    }

    /// One property of each token of an encoding, without the tokens that are too many: the special ones that were put
    /// around the text stay, and of the text its beginning (or its end) does.
    fn cut<T: Copy>(&self, all: &[T], encoding: &Encoding, side: TruncationSide) -> Vec<T> {
        let Some(excess) = all.len().checked_sub(self.limit + 1).map(|n| n + 1) else { return all.to_vec() };
        let special = encoding.get_special_tokens_mask();
        let before = special.iter().take_while(|&&mask| mask == 1).count();
        let after =
            special.iter().rev().take_while(|&&mask| mask == 1).count().min(self.special.saturating_sub(before));
        let text = match side {
            TruncationSide::Right => before..all.len() - after - excess,
            TruncationSide::Left => before + excess..all.len() - after,
        };
        [&all[..before], &all[text], &all[all.len() - after..]].concat()
    }

    /// The beginning of a text that has at least `limit` tokens, and the number of tokens of the rest. The whole and 0 for
    /// texts of a usual length.
    fn shorten<'t>(&self, text: &'t str, side: TruncationSide) -> Result<(&'t str, usize)> {
        let Some(cutter) = self.cutter.as_ref().filter(|_| side == TruncationSide::Right) else { return Ok((text, 0)) };
        let (mut kept, mut beyond, mut counted) = (None, 0, 0);
        let mut end = 0;
        for piece in cutter.pieces(text) {
            if end == 0 && piece.len() == text.len() {
                return Ok((text, 0));
            }
            end += piece.len();
            let tokens = self.count(piece)?;
            if kept.is_some() {
                beyond += tokens;
            } else {
                counted += tokens;
                kept = (counted >= self.limit).then_some(end);
            }
        }
        Ok((&text[..kept.unwrap_or(text.len())], beyond))
    }

    /// Tokens of a piece of text, without special ones.
    fn count(&self, piece: &str) -> Result<usize> {
        Ok(guard(|| self.inner.encode_fast(piece, false)).map_err(|source| self.refused(source))?.len())
    }

    fn refused(&self, source: Box<dyn std::error::Error + Send + Sync>) -> Error {
        Error::Tokenizer { file: self.label.clone(), what: "refused a text", source }
    }
}

/// Refuses a tokenizer that gives the tokens of a single text types other than 0, if the model is told of them.
fn refuse_types(inner: &Inner, settings: &Settings, label: &str) -> Result<()> {
    if !settings.gives_types() {
        return Ok(());
    }
    // What it puts around a text does not depend on the text.
    let encoding = guard(|| inner.encode_fast("a", true));
    match encoding.ok().and_then(|encoding| encoding.get_type_ids().iter().copied().find(|&id| id != 0)) {
        Some(id) => {
            Err(Error::config(label, "post_processor", "type 0 for the tokens of a single text", id.to_string()))
        }
        None => Ok(()),
    }
}

/// A tokenizer, before it is adjusted to the model.
struct Made {
    built: Built,
    /// Its file, for messages.
    label: String,
    /// From which side it cuts, if it says so.
    side: Option<TruncationSide>,
}

/// A tokenizer from tokenizer.json, as its class takes it.
fn from_written(label: String, bytes: &[u8], class: Class, settings: &mut Settings) -> Result<Made> {
    // First as JSON, because the crate panics on some files that are not.
    let written = Written::parse(&label, bytes)?;
    let normalizer = written.as_ref().map_or_else(|json| &json["normalizer"], |written| &written.normalizer);
    charsmap::check_all(normalizer).map_err(|failure| not_valid(&label, failure.into()))?;
    let Ok(written) = written else {
        // Which refuses it, and says why.
        let inner = guard(|| Inner::from_bytes(bytes)).map_err(|source| not_valid(&label, source))?;
        return Ok(Made { built: Built { inner, special: Vec::new() }, label, side: None });
    };
    settings.and(&written.added(), &label)?;
    let side = written.side();
    if class != Class::AsWritten {
        let made = guard(|| {
            let (vocabulary, charsmap, further) = (written.vocabulary(class)?, written.charsmap()?, class.further());
            let parts = Parts { vocabulary, charsmap, further };
            Ok(class.build(parts, settings))
        });
        return Ok(Made { built: valid(&label, made)?, label, side });
    }
    let mut inner = guard(|| Inner::from_bytes(bytes)).map_err(|source| not_valid(&label, source))?;
    let present: HashSet<String> =
        inner.get_added_tokens_decoder().values().map(|token| token.content.clone()).collect();
    let padding = written.padding().map(Token::special);
    let of_class = |name: &str| padding.clone().filter(|_| name == "pad_token");
    let tokens = settings.tokens(&of_class, Further::default(), &|content| present.contains(content))?;
    guard(|| inner.add_tokens(tokens.added)).map_err(|source| not_valid(&label, source))?;
    Ok(Made { built: Built { inner, special: tokens.special }, label, side })
}

/// What was made of a tokenizer's parts, whose failures are the crate's or ours.
fn valid(label: &str, made: tokenizers::Result<Result<tokenizers::Result<Built>>>) -> Result<Built> {
    made.map_err(|source| not_valid(label, source))??.map_err(|source| not_valid(label, source))
}

fn not_valid(label: &str, source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Tokenizer { file: label.to_owned(), what: "not a valid tokenizer", source }
}

/// What the crate answers. If a part of the tokenizer is damaged (a table of a normalizer, a template without its
/// tokens), the crate does not always give an error but may panic, when it reads the file or when it meets a text.
fn guard<T>(run: impl FnOnce() -> tokenizers::Result<T>) -> tokenizers::Result<T> {
    // What a panic leaves half-done inside the crate is at most an entry of a cache.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err("a part of the tokenizer is damaged".into()))
}

/// Whether a normalizer has a step that lower-cases and does nothing else.
fn lower_cases(normalizer: Option<&NormalizerWrapper>) -> bool {
    match normalizer {
        Some(NormalizerWrapper::Lowercase(_)) => true,
        Some(NormalizerWrapper::Sequence(steps)) => {
            steps.as_ref().iter().any(|step| matches!(step, NormalizerWrapper::Lowercase(_)))
        }
        _ => false,
    }
}

/// `do_lower_case` of sentence_bert_config.json: lower-casing before the tokenizer's own normalizer.
fn lower_case_first(inner: &mut Inner) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut steps = vec![NormalizerWrapper::Lowercase(Lowercase)];
    steps.extend(inner.get_normalizer().cloned());
    inner.with_normalizer(Some(Sequence::new(steps)))?;
    Ok(())
}
