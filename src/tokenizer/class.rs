//! The reference's tokenizer classes, and the tokenizer that each makes of a vocabulary.
//!
//! Five of them have habits of their own: they take the vocabulary from tokenizer.json (or from the files before it) and make
//! normalizer, pre-tokenizer and post-processor themselves, whatever tokenizer.json says of these. All others that are
//! known take tokenizer.json as it is written. Follows transformers 5.23.0: `tokenization_utils_tokenizers.py`
//! (`convert_to_native_format`), `tokenization_auto.py`, and the class's own file.

use tokenizers::decoders::wordpiece::WordPiece as WordPieceDecoder;
use tokenizers::models::unigram::Unigram;
use tokenizers::normalizers::{BertNormalizer, Precompiled};
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{ModelWrapper, NormalizerWrapper, PreTokenizerWrapper, Tokenizer as Inner};

use super::special_tokens::{Further, Token};
use super::tokenizer_config::Settings;
use crate::error::Result;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A tokenizer, and what the reference calls its special tokens.
pub(super) struct Built {
    pub(super) inner: Inner,
    pub(super) special: Vec<String>,
}

/// What a class takes from a folder's vocabulary files.
pub(super) struct Parts {
    pub(super) vocabulary: Vocabulary,
    /// The table of the normalizer that SentencePiece wrote.
    pub(super) charsmap: Option<Precompiled>,
    /// Tokens that are added unless the settings list others.
    pub(super) further: Further,
}

impl Parts {
    /// A vocabulary alone.
    pub(super) fn of(vocabulary: Vocabulary) -> Self {
        Self { vocabulary, charsmap: None, further: Further::default() }
    }
}

/// A vocabulary, and what belongs to it.
pub(super) enum Vocabulary {
    Model(Box<ModelWrapper>),
    /// Pieces and the logarithms of their probabilities.
    Pieces(Vec<(String, f64)>),
}

/// A class of tokenizers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Bert,
    MpNet,
    Roberta,
    XlmRoberta,
    Camembert,
    /// One that takes tokenizer.json as it is written.
    AsWritten,
}

impl Class {
    /// The class of a folder's tokenizer: the one that a file names, else that of the encoder's family.
    ///
    /// # Errors
    /// If it is none of those that are known.
    pub(super) fn of(settings: &Settings, family: &str) -> Result<Self> {
        let Some(name) = settings.class()? else {
            return Ok(match family {
                "MPNet" => Self::MpNet,
                "RoBERTa" => Self::Roberta,
                "XLM-RoBERTa" => Self::XlmRoberta,
                "CamemBERT" => Self::Camembert,
                _ => Self::Bert,
            });
        };
        Ok(match name.strip_suffix("Fast").unwrap_or(name) {
            "BertTokenizer"
            | "DistilBertTokenizer"
            | "ElectraTokenizer"
            | "LayoutLMTokenizer"
            | "LxmertTokenizer"
            | "MobileBertTokenizer"
            | "SqueezeBertTokenizer" => Self::Bert,
            "MPNetTokenizer" => Self::MpNet,
            "RobertaTokenizer" | "BartTokenizer" | "LongformerTokenizer" | "LEDTokenizer" | "MvpTokenizer" => {
                Self::Roberta
            }
            "XLMRobertaTokenizer" => Self::XlmRoberta,
            "CamembertTokenizer" => Self::Camembert,
            "TokenizersBackend" | "PreTrainedTokenizer" => Self::AsWritten,
            _ => {
                let expected = "the tokenizer class of BERT, MPNet, RoBERTa, XLM-RoBERTa or CamemBERT, or PreTrainedTokenizerFast, \
                                which takes tokenizer.json as it is written";
                return Err(settings.wrong_class(expected, name));
            }
        })
    }

    /// What the class has by a special token's name, if no file says.
    pub(super) fn token(self, name: &str) -> Option<Token> {
        let content = match (self, name) {
            (Self::AsWritten, _) | (Self::Bert, "bos_token" | "eos_token") => return None,
            (Self::Bert | Self::MpNet, "unk_token") => "[UNK]",
            (Self::Bert, "cls_token") => "[CLS]",
            (Self::Bert, "sep_token") => "[SEP]",
            (Self::Bert, "pad_token") => "[PAD]",
            (Self::Bert, "mask_token") => "[MASK]",
            (_, "bos_token" | "cls_token") => "<s>",
            (_, "eos_token" | "sep_token") => "</s>",
            (_, "unk_token") => "<unk>",
            (_, "pad_token") => "<pad>",
            (_, "mask_token") => "<mask>",
            _ => return None,
        };
        let takes_space = name == "mask_token" && matches!(self, Self::MpNet | Self::Camembert);
        Some(Token::special(content).taking_space(takes_space))
    }

    /// Tokens without a name that it has, if no file says.
    pub(super) fn further(self) -> Further {
        let contents = ["<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"].iter().filter(|_| self == Self::Camembert);
        Further { tokens: contents.map(|content| Token::special(content)).collect(), hides_map: false }
    }

    /// Whether its vocabulary is one of pieces with scores.
    pub(super) fn has_scores(self) -> bool {
        matches!(self, Self::XlmRoberta | Self::Camembert)
    }

    /// The text of a special token: what a file says, else the class's own. Of null the reference makes a text, too: Python's
    /// name for it.
    pub(super) fn named(self, settings: &Settings, name: &str) -> Result<String> {
        let token = settings.token(name, self.token(name))?;
        Ok(token.map_or_else(|| "None".to_owned(), |token| token.content))
    }

    /// The text of a token that is put around others.
    fn around(self, settings: &Settings, name: &str) -> Result<String> {
        let token = settings.token(name, self.token(name))?;
        token.map(|token| token.content).ok_or_else(|| settings.no_token(name))
    }

    /// The tokenizer that the class makes of a vocabulary.
    pub(super) fn build(self, parts: Parts, settings: &Settings) -> Result<std::result::Result<Built, Failure>> {
        let Parts { vocabulary, charsmap, further } = parts;
        let flag = |name: &str, default| -> Result<bool> { Ok(settings.flag(name)?.unwrap_or(default)) };
        let unknown = self.named(settings, "unk_token")?;
        let space = match self {
            Self::XlmRoberta | Self::Camembert => settings.truth("add_prefix_space")?.unwrap_or(true),
            _ => flag("add_prefix_space", false)?,
        };
        let model = match self.model(vocabulary, unknown) {
            Ok(model) => model,
            Err(failure) => return Ok(Err(failure)),
        };
        let normalizer: Option<NormalizerWrapper> = match self {
            Self::Bert | Self::MpNet => Some(
                BertNormalizer::new(
                    true,
                    flag("tokenize_chinese_chars", true)?,
                    settings.flag("strip_accents")?,
                    flag("do_lower_case", true)?,
                )
                .into(),
            ),
            _ => charsmap.filter(|_| self != Self::Roberta).map(Into::into),
        };
        let mut inner = Inner::new(model);
        let before: PreTokenizerWrapper = match self {
            Self::Bert | Self::MpNet => BertPreTokenizer.into(),
            Self::Roberta => ByteLevel::new(space, true, true).into(),
            _ => {
                let scheme = if space { PrependScheme::Always } else { PrependScheme::Never };
                let marks = Metaspace::new('▁', scheme, true);
                inner.with_decoder(Some(marks.clone()));
                Sequence::new(vec![WhitespaceSplit.into(), marks.into()]).into()
            }
        };
        match self {
            Self::Bert | Self::MpNet => drop(inner.with_decoder(Some(WordPieceDecoder::new("##".to_owned(), true)))),
            Self::Roberta => drop(inner.with_decoder(Some(ByteLevel::new(true, true, true)))),
            _ => {}
        }
        inner.with_pre_tokenizer(Some(before));
        let tokens = settings.tokens(&|name| self.token(name), further, &|_| false)?;
        // What XLM-RoBERTa and CamemBERT put around a text are the tokens of its beginning and end, not of class and separation.
        let (first, last) = match self {
            Self::XlmRoberta | Self::Camembert => ("bos_token", "eos_token"),
            _ => ("cls_token", "sep_token"),
        };
        let (first, last) = (self.around(settings, first)?, self.around(settings, last)?);
        let finish = move || {
            inner.with_normalizer(normalizer)?;
            inner.add_tokens(tokens.added)?;
            let id = |token: &str| inner.token_to_id(token).ok_or_else(|| format!("it has no token {token:?}"));
            let (first_id, last_id) = (id(&first)?, id(&last)?);
            match self {
                Self::MpNet | Self::Roberta => {
                    let processing = RobertaProcessing::new((last, last_id), (first, first_id));
                    inner.with_post_processor(Some(processing.trim_offsets(true).add_prefix_space(space)));
                }
                _ => {
                    let pieces = vec![first.clone(), "$A".to_owned(), last.clone()];
                    let tokens = vec![(first, first_id), (last, last_id)];
                    let template = TemplateProcessing::builder().try_single(pieces)?.special_tokens(tokens).build()?;
                    inner.with_post_processor(Some(template));
                }
            }
            Ok(Built { inner, special: tokens.special })
        };
        Ok(finish())
    }

    /// The model of a vocabulary, with what the class decides of it.
    fn model(self, vocabulary: Vocabulary, unknown: String) -> std::result::Result<ModelWrapper, Failure> {
        let (expected, found) = match (self, vocabulary) {
            (Self::AsWritten, Vocabulary::Model(model)) => return Ok(*model),
            (Self::XlmRoberta | Self::Camembert, Vocabulary::Pieces(pieces)) => {
                // Where the class looks for it, whatever the file says.
                let place = match self {
                    Self::Camembert => pieces.iter().position(|(piece, _)| *piece == unknown).unwrap_or(0),
                    _ => 3,
                };
                return Ok(Unigram::from(pieces, Some(place), false)?.into());
            }
            (_, Vocabulary::Model(model)) => match (self, *model) {
                (Self::Bert | Self::MpNet, ModelWrapper::WordPiece(mut words)) => {
                    words.unk_token = unknown;
                    words.continuing_subword_prefix = "##".to_owned();
                    words.max_input_chars_per_word = 100;
                    return Ok(words.into());
                }
                (Self::Roberta, ModelWrapper::BPE(mut pairs)) => {
                    let is_set = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
                    if is_set(&pairs.continuing_subword_prefix) || is_set(&pairs.end_of_word_suffix) {
                        return Err("its class has no prefix and suffix of pieces".into());
                    }
                    (pairs.unk_token, pairs.fuse_unk, pairs.byte_fallback) = (None, false, false);
                    (pairs.ignore_merges, pairs.dropout) = (false, None);
                    return Ok(pairs.into());
                }
                (Self::Bert | Self::MpNet, other) => ("WordPiece", kind(&other)),
                (Self::Roberta, other) => ("BPE", kind(&other)),
                (_, other) => ("Unigram", kind(&other)),
            },
            (_, Vocabulary::Pieces(_)) => ("another", "Unigram"),
        };
        Err(format!(
            "its class (tokenizer_class in tokenizer_config.json, else the encoder's) needs a vocabulary of kind {expected}, and \
             this one is {found}; PreTrainedTokenizerFast takes it as it is written"
        )
        .into())
    }
}

/// What tokenizer.json calls a model of this kind.
fn kind(model: &ModelWrapper) -> &'static str {
    match model {
        ModelWrapper::BPE(_) => "BPE",
        ModelWrapper::WordPiece(_) => "WordPiece",
        ModelWrapper::WordLevel(_) => "WordLevel",
        ModelWrapper::Unigram(_) => "Unigram",
    }
}
