//! The tokenizer classes of transformers.
//!
//! Most classes take only the vocabulary from tokenizer.json or from older files. They make
//! normalizer, pre-tokenizer and post-processor themselves and ignore those in tokenizer.json,
//! except that ALBERT's class takes the post-processor. The generic class takes tokenizer.json
//! unchanged.
//!
//! Follows transformers 5.23.0: `tokenization_utils_tokenizers.py` (`convert_to_native_format`),
//! `tokenization_auto.py`, and the file of each class.

use super::sentinels;
use super::special_tokens::{ExtraSpecialTokens, ListedToken};
use super::tokenizer_config::TokenizerConfig;
use crate::encoder::spec::Family;
use crate::error::Result;

/// A tokenizer class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenizerClass {
    Bert,
    Mpnet,
    Roberta,
    XlmRoberta,
    Camembert,
    T5,
    Albert,
    /// Takes tokenizer.json unchanged.
    Generic,
}

impl TokenizerClass {
    /// Returns the class of a model's tokenizer: the class that a file names, otherwise the
    /// family's.
    ///
    /// The class that a file of ModernBERT names is ignored, because published files name a wrong
    /// one: `MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS` of transformers.
    ///
    /// # Errors
    /// If the class is not supported.
    pub(super) fn choose(config: &TokenizerConfig, family: Family) -> Result<Self> {
        if family == Family::ModernBert {
            return Ok(Self::Generic);
        }
        let Some(name) = config.class()? else { return Ok(Self::default_for(family)) };
        Ok(match name.strip_suffix("Fast").unwrap_or(name) {
            "BertTokenizer"
            | "DistilBertTokenizer"
            | "ElectraTokenizer"
            | "LayoutLMTokenizer"
            | "LxmertTokenizer"
            | "MobileBertTokenizer"
            | "SqueezeBertTokenizer" => Self::Bert,
            "MPNetTokenizer" => Self::Mpnet,
            "RobertaTokenizer" | "BartTokenizer" | "LongformerTokenizer" | "LEDTokenizer" | "MvpTokenizer" => {
                Self::Roberta
            }
            "XLMRobertaTokenizer" => Self::XlmRoberta,
            "CamembertTokenizer" => Self::Camembert,
            "T5Tokenizer" => Self::T5,
            "AlbertTokenizer" => Self::Albert,
            "TokenizersBackend" | "PreTrainedTokenizer" => Self::Generic,
            _ => {
                let expected = "the tokenizer class of BERT, MPNet, RoBERTa, XLM-RoBERTa, CamemBERT, T5 or ALBERT, \
                                or PreTrainedTokenizerFast, which takes tokenizer.json unchanged";
                return Err(config.invalid_class(expected, name));
            }
        })
    }

    /// Returns the class of a family's models, for models whose files name no class.
    pub(super) fn default_for(family: Family) -> Self {
        match family {
            Family::Bert | Family::DistilBert | Family::NomicBert | Family::JinaBertV2 | Family::Electra => Self::Bert,
            Family::MpNet => Self::Mpnet,
            Family::Roberta => Self::Roberta,
            Family::Camembert => Self::Camembert,
            Family::XlmRoberta | Family::Gte | Family::JinaV3 => Self::XlmRoberta,
            Family::T5 => Self::T5,
            Family::Albert => Self::Albert,
            Family::ModernBert => Self::Generic,
        }
    }

    /// Returns the class's default token with a role.
    pub(super) fn default_token(self, role: &str) -> Option<ListedToken> {
        let content = match self {
            Self::Generic => return None,
            Self::Bert => match role {
                "unk_token" => "[UNK]",
                "cls_token" => "[CLS]",
                "sep_token" => "[SEP]",
                "pad_token" => "[PAD]",
                "mask_token" => "[MASK]",
                _ => return None,
            },
            Self::T5 => match role {
                "eos_token" => "</s>",
                "unk_token" => "<unk>",
                "pad_token" => "<pad>",
                _ => return None,
            },
            Self::Albert => match role {
                "bos_token" | "cls_token" => "[CLS]",
                "eos_token" | "sep_token" => "[SEP]",
                "unk_token" => "<unk>",
                "pad_token" => "<pad>",
                "mask_token" => "[MASK]",
                _ => return None,
            },
            Self::Mpnet if role == "unk_token" => "[UNK]",
            Self::Mpnet | Self::Roberta | Self::XlmRoberta | Self::Camembert => match role {
                "bos_token" | "cls_token" => "<s>",
                "eos_token" | "sep_token" => "</s>",
                "unk_token" => "<unk>",
                "pad_token" => "<pad>",
                "mask_token" => "<mask>",
                _ => return None,
            },
        };
        let lstrip = role == "mask_token" && matches!(self, Self::Mpnet | Self::Camembert);
        Some(ListedToken::special(content).with_lstrip(lstrip))
    }

    /// Returns the class's default tokens without a role.
    pub(super) fn default_extra_tokens(self, config: &TokenizerConfig) -> Result<ExtraSpecialTokens> {
        let contents: &[&str] = match self {
            Self::T5 => return sentinels::with_sentinels(config.map_extra_tokens()?, config),
            Self::Camembert => &["<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"],
            Self::Bert | Self::Mpnet | Self::Roberta | Self::XlmRoberta | Self::Albert | Self::Generic => &[],
        };
        let tokens = contents.iter().map(|content| ListedToken::special(content)).collect();
        Ok(ExtraSpecialTokens { tokens, replace_map: false })
    }

    /// Returns whether the class passes token types to the model, if the settings do not say. Of
    /// the classes that are BERT's otherwise, that of DistilBERT does not.
    pub(super) fn passes_token_types(self, config: &TokenizerConfig, family: Family) -> Result<bool> {
        let is_distilbert = match config.class()? {
            Some(name) => name.starts_with("DistilBert"),
            None => family == Family::DistilBert,
        };
        Ok(self == Self::Bert && !is_distilbert)
    }

    /// Returns whether the class uses a Unigram vocabulary: pieces with scores.
    pub(super) fn is_unigram(self) -> bool {
        match self {
            Self::XlmRoberta | Self::Camembert | Self::T5 | Self::Albert => true,
            Self::Bert | Self::Mpnet | Self::Roberta | Self::Generic => false,
        }
    }

    /// Returns whether the class takes the post-processor of tokenizer.json.
    pub(super) fn takes_post_processor(self) -> bool {
        matches!(self, Self::Albert | Self::Generic)
    }

    /// Returns the text of the token with a role. A null becomes "None", Python's name of it, as in
    /// transformers.
    pub(super) fn token_text(self, config: &TokenizerConfig, role: &str) -> Result<String> {
        let token = config.token(role, self.default_token(role))?;
        Ok(token.map_or_else(|| "None".to_owned(), |token| token.content))
    }

    /// Returns the text of the token with a role.
    ///
    /// # Errors
    /// If a file has a null for the role.
    pub(super) fn require_token_text(self, config: &TokenizerConfig, role: &str) -> Result<String> {
        let token = config.token(role, self.default_token(role))?;
        token.map(|token| token.content).ok_or_else(|| config.missing_token(role))
    }
}
