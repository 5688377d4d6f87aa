//! Makes a class's tokenizer from a vocabulary.

use tokenizers::decoders::wordpiece::WordPiece as WordPieceDecoder;
use tokenizers::models::unigram::Unigram;
use tokenizers::normalizers::{BertNormalizer, Lowercase, NFKD, Precompiled, Replace, Sequence, StripAccents};
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizerSequence;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::{DecoderWrapper, ModelWrapper, NormalizerWrapper, PreTokenizerWrapper, Tokenizer as Inner};

use super::around_text::{AroundText, VocabularySource};
use super::class::TokenizerClass;
use super::error::TokenizerError;
use super::special_tokens::ExtraSpecialTokens;
use super::tokenizer_config::TokenizerConfig;
use crate::error::Result;

/// A tokenizer, and its special tokens in the sense of transformers.
pub(super) struct BuiltTokenizer {
    pub(super) inner: Inner,
    pub(super) special: Vec<String>,
}

/// The parts that a class takes from the vocabulary files.
pub(super) struct VocabularyParts {
    pub(super) vocabulary: Vocabulary,
    /// The table of SentencePiece's normalizer.
    pub(super) charsmap: Option<Precompiled>,
    /// Tokens to add, unless the settings list others.
    pub(super) extra: ExtraSpecialTokens,
    pub(super) source: VocabularySource,
}

/// A vocabulary.
pub(super) enum Vocabulary {
    Model(Box<ModelWrapper>),
    /// Pieces and the logarithms of their probabilities.
    Pieces(Vec<(String, f64)>),
}

/// Makes the tokenizer of a class.
pub(super) fn build_tokenizer(
    class: TokenizerClass,
    parts: VocabularyParts,
    config: &TokenizerConfig,
) -> std::result::Result<BuiltTokenizer, TokenizerError> {
    let unknown = class.token_text(config, "unk_token")?;
    let add_prefix_space = add_prefix_space(class, config)?;
    let mut inner = Inner::new(model(class, parts.vocabulary, unknown)?);
    inner.with_normalizer(normalizer(class, parts.charsmap, config)?)?;
    inner.with_pre_tokenizer(Some(pre_tokenizer(class, add_prefix_space)));
    inner.with_decoder(Some(decoder(class, add_prefix_space)));
    let tokens = config.tokens_to_add(&|role| class.default_token(role), parts.extra, &|_| false)?;
    let around = AroundText::of_class(class, &inner, config, parts.source)?;
    inner.add_tokens(tokens.added)?;
    let post_processor = around.post_processor(class, &inner, add_prefix_space)?;
    inner.with_post_processor(Some(post_processor));
    Ok(BuiltTokenizer { inner, special: tokens.special })
}

/// Reads whether a space is put before the first word.
fn add_prefix_space(class: TokenizerClass, config: &TokenizerConfig) -> Result<bool> {
    const KEY: &str = "add_prefix_space";
    if class == TokenizerClass::T5 {
        return Ok(true);
    }
    if class.is_unigram() {
        return Ok(config.truthy(KEY)?.unwrap_or(true));
    }
    Ok(config.boolean(KEY)?.unwrap_or(false))
}

fn normalizer(
    class: TokenizerClass,
    charsmap: Option<Precompiled>,
    config: &TokenizerConfig,
) -> std::result::Result<Option<NormalizerWrapper>, TokenizerError> {
    Ok(match class {
        TokenizerClass::Bert | TokenizerClass::Mpnet => {
            let clean_text = true;
            let handle_chinese_chars = config.boolean("tokenize_chinese_chars")?.unwrap_or(true);
            let strip_accents = config.boolean("strip_accents")?;
            let lowercase = config.boolean("do_lower_case")?.unwrap_or(true);
            Some(BertNormalizer::new(clean_text, handle_chinese_chars, strip_accents, lowercase).into())
        }
        TokenizerClass::Roberta => None,
        TokenizerClass::Albert => Some(albert_normalizer(charsmap, config)?),
        TokenizerClass::XlmRoberta | TokenizerClass::Camembert | TokenizerClass::T5 | TokenizerClass::Generic => {
            charsmap.map(Into::into)
        }
    })
}

fn albert_normalizer(
    charsmap: Option<Precompiled>,
    config: &TokenizerConfig,
) -> std::result::Result<NormalizerWrapper, TokenizerError> {
    let mut steps: Vec<NormalizerWrapper> = vec![Replace::new("``", "\"")?.into(), Replace::new("''", "\"")?.into()];
    if !config.truthy("keep_accents")?.unwrap_or(false) {
        steps.extend([NFKD.into(), StripAccents.into()]);
    }
    if config.truthy("do_lower_case")?.unwrap_or(true) {
        steps.push(Lowercase.into());
    }
    steps.extend(charsmap.map(NormalizerWrapper::from));
    Ok(Sequence::new(steps).into())
}

fn pre_tokenizer(class: TokenizerClass, add_prefix_space: bool) -> PreTokenizerWrapper {
    match class {
        TokenizerClass::Bert | TokenizerClass::Mpnet => BertPreTokenizer.into(),
        TokenizerClass::Roberta => ByteLevel::new(add_prefix_space, true, true).into(),
        TokenizerClass::XlmRoberta
        | TokenizerClass::Camembert
        | TokenizerClass::T5
        | TokenizerClass::Albert
        | TokenizerClass::Generic => {
            PreTokenizerSequence::new(vec![WhitespaceSplit.into(), metaspace(add_prefix_space).into()]).into()
        }
    }
}

fn decoder(class: TokenizerClass, add_prefix_space: bool) -> DecoderWrapper {
    match class {
        TokenizerClass::Bert | TokenizerClass::Mpnet => WordPieceDecoder::new("##".to_owned(), true).into(),
        TokenizerClass::Roberta => ByteLevel::new(true, true, true).into(),
        TokenizerClass::XlmRoberta
        | TokenizerClass::Camembert
        | TokenizerClass::T5
        | TokenizerClass::Albert
        | TokenizerClass::Generic => metaspace(add_prefix_space).into(),
    }
}

fn metaspace(add_prefix_space: bool) -> Metaspace {
    let scheme = if add_prefix_space { PrependScheme::Always } else { PrependScheme::Never };
    Metaspace::new('▁', scheme, true)
}

/// Returns the model of a vocabulary, with the properties that the class defines.
fn model(
    class: TokenizerClass,
    vocabulary: Vocabulary,
    unknown: String,
) -> std::result::Result<ModelWrapper, TokenizerError> {
    let model = match vocabulary {
        Vocabulary::Pieces(pieces) if class.is_unigram() => return unigram(class, pieces, &unknown),
        Vocabulary::Pieces(_) => return Err(wrong_kind("another", "Unigram")),
        Vocabulary::Model(model) => *model,
    };
    match (class, model) {
        (TokenizerClass::Generic, model) => Ok(model),
        (TokenizerClass::Bert | TokenizerClass::Mpnet, ModelWrapper::WordPiece(mut model)) => {
            model.unk_token = unknown;
            model.continuing_subword_prefix = "##".to_owned();
            model.max_input_chars_per_word = 100;
            Ok(model.into())
        }
        (TokenizerClass::Roberta, ModelWrapper::BPE(mut model)) => {
            let is_set = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
            if is_set(&model.continuing_subword_prefix) || is_set(&model.end_of_word_suffix) {
                return Err("its class does not support a prefix or suffix of pieces".to_owned().into());
            }
            model.unk_token = None;
            model.fuse_unk = false;
            model.byte_fallback = false;
            model.ignore_merges = false;
            model.dropout = None;
            Ok(model.into())
        }
        (TokenizerClass::Bert | TokenizerClass::Mpnet, other) => Err(wrong_kind("WordPiece", kind(&other))),
        (TokenizerClass::Roberta, other) => Err(wrong_kind("BPE", kind(&other))),
        (
            TokenizerClass::XlmRoberta | TokenizerClass::Camembert | TokenizerClass::T5 | TokenizerClass::Albert,
            other,
        ) => Err(wrong_kind("Unigram", kind(&other))),
    }
}

/// Returns a Unigram model. The class, not the file, defines the id of the unknown token.
fn unigram(
    class: TokenizerClass,
    pieces: Vec<(String, f64)>,
    unknown: &str,
) -> std::result::Result<ModelWrapper, TokenizerError> {
    let unknown_id = match class {
        TokenizerClass::Camembert => pieces.iter().position(|(piece, _)| piece == unknown).unwrap_or(0),
        TokenizerClass::Albert => 1,
        TokenizerClass::T5 => 2,
        _ => 3,
    };
    Ok(Unigram::from(pieces, Some(unknown_id), false)?.into())
}

fn wrong_kind(expected: &str, found: &str) -> TokenizerError {
    format!(
        "its class (tokenizer_class in tokenizer_config.json, otherwise the encoder's) needs a vocabulary of kind \
         {expected}, and this one is {found}; PreTrainedTokenizerFast takes any kind"
    )
    .into()
}

/// Returns the name of a model's kind in tokenizer.json.
fn kind(model: &ModelWrapper) -> &'static str {
    match model {
        ModelWrapper::BPE(_) => "BPE",
        ModelWrapper::WordPiece(_) => "WordPiece",
        ModelWrapper::WordLevel(_) => "WordLevel",
        ModelWrapper::Unigram(_) => "Unigram",
    }
}
