//! The tokens that a class puts around a text, and around the two texts of a pair.

use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{PostProcessorWrapper, Tokenizer as Inner};

use super::class::TokenizerClass;
use super::error::{CrateError, TokenizerError};
use super::tokenizer_config::TokenizerConfig;
use crate::error::Result;

/// The files that a vocabulary comes from.
pub(super) enum VocabularySource {
    /// With the post-processor there, if the class takes it.
    TokenizerJson(Option<Box<PostProcessorWrapper>>),
    /// The files before tokenizer.json.
    OlderFiles,
}

/// The tokens around a text.
pub(super) enum AroundText {
    /// Tokens by their texts. Their ids are known once all tokens are added to the vocabulary.
    Tokens { before: Option<String>, after: Option<String> },
    /// A complete step, with the ids.
    PostProcessor(PostProcessorWrapper),
}

/// A token's name in a template, and its id.
type TemplateToken = (String, u32);

impl AroundText {
    /// Returns the tokens that a class puts around a text. `inner` has no added tokens yet.
    ///
    /// # Errors
    /// If a file has a null for a token that the class needs.
    pub(super) fn of_class(
        class: TokenizerClass,
        inner: &Inner,
        config: &TokenizerConfig,
        source: VocabularySource,
    ) -> std::result::Result<Self, TokenizerError> {
        let token = |role: &str| class.require_token_text(config, role).map(Some);
        let (before, after) = match class {
            TokenizerClass::Albert => return Self::of_albert(inner, config, source),
            TokenizerClass::T5 => (None, token("eos_token")?),
            TokenizerClass::XlmRoberta | TokenizerClass::Camembert => (token("bos_token")?, token("eos_token")?),
            TokenizerClass::Bert | TokenizerClass::Mpnet | TokenizerClass::Roberta | TokenizerClass::Generic => {
                (token("cls_token")?, token("sep_token")?)
            }
        };
        Ok(Self::Tokens { before, after })
    }

    /// Returns those of ALBERT: the post-processor of tokenizer.json, otherwise cls and sep.
    ///
    /// cls and sep must be in the vocabulary even if another post-processor replaces them. Without
    /// tokenizer.json, the settings `add_bos_token` and `add_eos_token` replace them by bos and
    /// eos. Follows transformers 5.23.0, `tokenization_albert.py` and
    /// `tokenization_utils_tokenizers.py` (`update_post_processor`).
    fn of_albert(
        inner: &Inner,
        config: &TokenizerConfig,
        source: VocabularySource,
    ) -> std::result::Result<Self, TokenizerError> {
        let class = TokenizerClass::Albert;
        let cls = (CLS.to_owned(), id(inner, &class.require_token_text(config, "cls_token")?)?);
        let sep = (SEP.to_owned(), id(inner, &class.require_token_text(config, "sep_token")?)?);
        let settings = [("add_bos_token", "bos_token"), ("add_eos_token", "eos_token")];
        match source {
            VocabularySource::TokenizerJson(Some(post_processor)) => Ok(Self::PostProcessor(*post_processor)),
            VocabularySource::OlderFiles if settings.iter().any(|(setting, _)| config.has(setting)) => {
                let [before, after] = settings.map(|(setting, role)| -> Result<Option<String>> {
                    let is_added = config.truthy(setting)?.unwrap_or(false);
                    let token = config.token(role, class.default_token(role))?;
                    Ok(token.filter(|_| is_added).map(|token| token.content))
                });
                Ok(Self::Tokens { before: before?, after: after? })
            }
            _ => Ok(Self::PostProcessor(template(Some(cls), Some(sep), Between::AfterTyped)?)),
        }
    }

    /// Returns the step that puts the tokens around a text. `inner` has all tokens.
    pub(super) fn post_processor(
        self,
        class: TokenizerClass,
        inner: &Inner,
        add_prefix_space: bool,
    ) -> std::result::Result<PostProcessorWrapper, CrateError> {
        let (before, after) = match self {
            Self::PostProcessor(post_processor) => return Ok(post_processor),
            Self::Tokens { before, after } => (before, after),
        };
        let token = |text: Option<String>| -> std::result::Result<Option<TemplateToken>, CrateError> {
            let Some(text) = text else { return Ok(None) };
            let id = id(inner, &text)?;
            // T5's class calls the token so even if another one is at the end.
            let name = if class == TokenizerClass::T5 { "</s>".to_owned() } else { text };
            Ok(Some((name, id)))
        };
        match (class, token(before)?, token(after)?) {
            (TokenizerClass::Mpnet | TokenizerClass::Roberta, Some(first), Some(last)) => {
                let processing = RobertaProcessing::new(last, first);
                Ok(processing.trim_offsets(true).add_prefix_space(add_prefix_space).into())
            }
            (class, before, after) => template(before, after, Between::of_class(class)),
        }
    }
}

/// The names of ALBERT's tokens in its template.
const CLS: &str = "[CLS]";
const SEP: &str = "[SEP]";

fn id(inner: &Inner, token: &str) -> std::result::Result<u32, CrateError> {
    inner.token_to_id(token).ok_or_else(|| format!("it has no token {token:?}").into())
}

/// What is between the two texts of a pair, and the type of the second text's tokens.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Between {
    /// The token after the first text. The second text has type 1: BERT.
    AfterTyped,
    /// The token after the first text. All types are 0: T5.
    After,
    /// The token after the first text twice. All types are 0: RoBERTa.
    AfterTwice,
    /// The token after the first text and the token before a text. The second text has type 1:
    /// ALBERT with `add_bos_token` or `add_eos_token`.
    AfterAndBefore,
}

impl Between {
    fn of_class(class: TokenizerClass) -> Self {
        match class {
            TokenizerClass::Bert | TokenizerClass::Generic => Self::AfterTyped,
            TokenizerClass::T5 => Self::After,
            TokenizerClass::Albert => Self::AfterAndBefore,
            TokenizerClass::Mpnet
            | TokenizerClass::Roberta
            | TokenizerClass::XlmRoberta
            | TokenizerClass::Camembert => Self::AfterTwice,
        }
    }
}

fn template(
    before: Option<TemplateToken>,
    after: Option<TemplateToken>,
    between: Between,
) -> std::result::Result<PostProcessorWrapper, CrateError> {
    let piece = |name: &str, token_type: u32| format!("{name}:{token_type}");
    let name = |token: &Option<TemplateToken>, token_type| token.as_ref().map(|(name, _)| piece(name, token_type));
    let list = |parts: [Option<String>; 3]| parts.into_iter().flatten().collect::<Vec<String>>();
    let second_type = u32::from(matches!(between, Between::AfterTyped | Between::AfterAndBefore));
    let separator = match between {
        Between::AfterTyped | Between::After => None,
        Between::AfterTwice => name(&after, 0),
        Between::AfterAndBefore => name(&before, 1),
    };
    let single = list([name(&before, 0), Some(piece("$A", 0)), name(&after, 0)]);
    let second = list([separator, Some(piece("$B", second_type)), name(&after, second_type)]);
    let pair = [single.clone(), second].concat();
    let tokens: Vec<TemplateToken> = [before, after].into_iter().flatten().collect();
    Ok(TemplateProcessing::builder().try_single(single)?.try_pair(pair)?.special_tokens(tokens).build()?.into())
}
