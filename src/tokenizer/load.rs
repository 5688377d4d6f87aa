//! Reads a tokenizer from a model's files.

use std::collections::HashSet;

use tokenizers::normalizers::{Lowercase, Sequence};
use tokenizers::{NormalizerWrapper, PostProcessor, Tokenizer as Inner};

use super::around_text::VocabularySource;
use super::build::{BuiltTokenizer, VocabularyParts, build_tokenizer};
use super::charsmap;
use super::class::TokenizerClass;
use super::error::{CrateError, TokenizerError, catch_tokenizer_panic};
use super::max_length::{EncoderLimits, max_tokens};
use super::normalizer_expansion::check_normalizer_expansion;
use super::roles::TokensByRole;
use super::sentence_bert_config::read_sentence_bert_config;
use super::special_tokens::{ExtraSpecialTokens, ListedToken};
use super::text_lengths::TextLengths;
use super::tokenizer_config::TokenizerConfig;
use super::tokenizer_json::{ParsedTokenizerJson, TokenizerJson};
use super::truncation::TruncationSide;
use super::vocabulary::read_vocabulary;
use crate::error::{Error, Result};
use crate::files::ModelFiles;
use crate::model_folder::{Manifest, TOKENIZER, TransformerTask};

/// A tokenizer that is adjusted to its model.
pub(super) struct LoadedTokenizer {
    pub(super) inner: Inner,
    /// The special tokens in the sense of transformers.
    pub(super) special: Vec<String>,
    /// The vocabulary's file, for messages.
    pub(super) label: String,
    /// The maximum number of tokens of a text, with special tokens.
    pub(super) max_tokens: usize,
    /// The number of special tokens around a text.
    pub(super) special_tokens: usize,
    pub(super) truncation_side: TruncationSide,
    /// Whether the model reads the types of the tokens of a pair.
    pub(super) passes_token_types: bool,
    pub(super) roles: TokensByRole,
    pub(super) text_lengths: TextLengths,
}

/// Reads a tokenizer, and adjusts it to the model's settings.
pub(super) fn load_tokenizer(
    files: &ModelFiles,
    limits: &EncoderLimits,
    requested_max_tokens: Option<usize>,
    task: Option<TransformerTask>,
    manifest: &mut Manifest,
) -> Result<LoadedTokenizer> {
    let sentence_bert_config = read_sentence_bert_config(files, task, manifest)?;
    let mut config = TokenizerConfig::read(files, manifest)?;
    let class = TokenizerClass::choose(&config, limits.family)?;
    let VocabularyTokenizer { built, label, truncation_side } = read_tokenizer(files, class, &mut config, manifest)?;
    let BuiltTokenizer { mut inner, special } = built;
    if config.boolean("split_special_tokens")? == Some(true) {
        inner.set_encode_special_tokens(true);
    }
    let lower_cases = match &sentence_bert_config {
        Some(keys) => keys.boolean("do_lower_case")?.unwrap_or(false),
        None => false,
    };
    let failed = |what| {
        let file = label.clone();
        move |source| Error::Tokenizer { file, what, source }
    };
    if lower_cases && !has_lowercase_step(inner.get_normalizer()) {
        prepend_lowercase_step(&mut inner).map_err(failed("cannot put lower-casing before its normalizer"))?;
    }
    let special_tokens = inner.get_post_processor().map_or(0, |processor| processor.added_tokens(false));
    let of_module = sentence_bert_config.as_ref();
    let max_tokens = max_tokens(files, requested_max_tokens, of_module, &config, limits, special_tokens)?;
    let truncation_side = config.truncation_side()?.or(truncation_side).unwrap_or(TruncationSide::Right);
    check_normalizer_expansion(&inner, &label)?;
    if class.takes_post_processor() {
        reject_token_types(&inner, &config, &label)?;
    }
    inner.with_padding(None);
    // The crate's own truncation stops at the maximum, so the length of the text would be unknown.
    inner.with_truncation(None).map_err(failed("cannot lift its maximum length"))?;
    let passes_token_types = config.passes_token_types(class.passes_token_types(&config, limits.family)?);
    let text_lengths =
        of_module.map_or(Ok(TextLengths::default()), |keys| TextLengths::read(keys, special_tokens + 1))?;
    let roles = TokensByRole::read(|role| config.token(role, class.default_token(role)))?;
    Ok(LoadedTokenizer {
        inner,
        special,
        label,
        max_tokens,
        special_tokens,
        truncation_side,
        passes_token_types,
        roles,
        text_lengths,
    })
}

/// A tokenizer as the vocabulary's file defines it.
struct VocabularyTokenizer {
    built: BuiltTokenizer,
    /// The vocabulary's file, for messages.
    label: String,
    /// The side in tokenizer.json.
    truncation_side: Option<TruncationSide>,
}

/// Reads tokenizer.json, or without it the older files.
fn read_tokenizer(
    files: &ModelFiles,
    class: TokenizerClass,
    config: &mut TokenizerConfig,
    manifest: &mut Manifest,
) -> Result<VocabularyTokenizer> {
    if let Some(bytes) = manifest.read(files, TOKENIZER)? {
        return from_tokenizer_json(files.label(TOKENIZER), &bytes, class, config);
    }
    let vocabulary = read_vocabulary(files, class, config, manifest)?;
    let built = catch_tokenizer_panic(|| build_tokenizer(class, vocabulary.parts?, config));
    let built = built.map_err(|error| error.in_file(&vocabulary.label))?;
    Ok(VocabularyTokenizer { built, label: vocabulary.label, truncation_side: None })
}

/// Makes a class's tokenizer from tokenizer.json.
fn from_tokenizer_json(
    label: String,
    bytes: &[u8],
    class: TokenizerClass,
    config: &mut TokenizerConfig,
) -> Result<VocabularyTokenizer> {
    // Check that the file is JSON first: the crate panics on some files that are not.
    let parsed = ParsedTokenizerJson::parse(&label, bytes)?;
    let in_file = |error: TokenizerError| error.in_file(&label);
    charsmap::validate_all(parsed.normalizer()).map_err(|error| in_file(error.into()))?;
    let json = match parsed {
        ParsedTokenizerJson::Tokenizer(json) => json,
        ParsedTokenizerJson::Other(_) => {
            // The crate reports what is missing.
            let inner = parse_unchanged(bytes).map_err(in_file)?;
            let built = BuiltTokenizer { inner, special: Vec::new() };
            return Ok(VocabularyTokenizer { built, label, truncation_side: None });
        }
    };
    config.merge_added_tokens(&json.added_tokens(), &label)?;
    let built = match class {
        TokenizerClass::Generic => generic_tokenizer(bytes, &json, config),
        class => catch_tokenizer_panic(|| {
            let vocabulary = json.vocabulary(class)?;
            let charsmap = json.charsmap()?;
            let extra = class.default_extra_tokens(config)?;
            let post_processor = if class.takes_post_processor() { json.post_processor()? } else { None };
            let source = VocabularySource::TokenizerJson(post_processor.map(Box::new));
            build_tokenizer(class, VocabularyParts { vocabulary, charsmap, extra, source }, config)
        }),
    };
    let built = built.map_err(in_file)?;
    Ok(VocabularyTokenizer { built, label, truncation_side: json.truncation_side() })
}

/// Takes tokenizer.json unchanged, and adds the tokens of the settings.
fn generic_tokenizer(
    bytes: &[u8],
    json: &TokenizerJson<'_>,
    config: &TokenizerConfig,
) -> std::result::Result<BuiltTokenizer, TokenizerError> {
    let mut inner = parse_unchanged(bytes)?;
    let existing: HashSet<String> =
        inner.get_added_tokens_decoder().values().map(|token| token.content.clone()).collect();
    let padding_token = json.padding_token().map(ListedToken::special);
    let default_token = |role: &str| padding_token.clone().filter(|_| role == "pad_token");
    let exists = |content: &str| existing.contains(content);
    let tokens = config.tokens_to_add(&default_token, ExtraSpecialTokens::default(), &exists)?;
    catch_tokenizer_panic(|| inner.add_tokens(tokens.added))?;
    Ok(BuiltTokenizer { inner, special: tokens.special })
}

fn parse_unchanged(bytes: &[u8]) -> std::result::Result<Inner, TokenizerError> {
    Ok(catch_tokenizer_panic(|| Inner::from_bytes(bytes))?)
}

/// Rejects a tokenizer that gives the tokens of a single text types other than 0, if the model
/// reads types.
fn reject_token_types(inner: &Inner, config: &TokenizerConfig, label: &str) -> Result<()> {
    if !config.passes_token_types(false) {
        return Ok(());
    }
    // The types of the tokens around a text do not depend on the text.
    let encoding = catch_tokenizer_panic(|| inner.encode_fast("a", true)).ok();
    match encoding.and_then(|encoding| encoding.get_type_ids().iter().copied().find(|&id| id != 0)) {
        Some(id) => {
            Err(Error::config(label, "post_processor", "type 0 for the tokens of a single text", id.to_string()))
        }
        None => Ok(()),
    }
}

/// Returns whether a normalizer has a step that only lower-cases.
fn has_lowercase_step(normalizer: Option<&NormalizerWrapper>) -> bool {
    match normalizer {
        Some(NormalizerWrapper::Lowercase(_)) => true,
        Some(NormalizerWrapper::Sequence(steps)) => {
            steps.as_ref().iter().any(|step| matches!(step, NormalizerWrapper::Lowercase(_)))
        }
        _ => false,
    }
}

/// Puts lower-casing before the tokenizer's own normalizer: `do_lower_case` of
/// sentence_bert_config.json.
fn prepend_lowercase_step(inner: &mut Inner) -> std::result::Result<(), CrateError> {
    let mut steps = vec![NormalizerWrapper::Lowercase(Lowercase)];
    steps.extend(inner.get_normalizer().cloned());
    inner.with_normalizer(Some(Sequence::new(steps)))?;
    Ok(())
}
