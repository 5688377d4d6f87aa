//! What an explanation contains.

use super::attention::LayerAttention;
use crate::error::{Error, Result};
use crate::similarity::Similarity;
use crate::tokenizer::{TokenUsage, Tokens};

/// The most tokens of a text that is explained. Attention takes H · L² elements in each layer.
const MAX_EXPLAINED_TOKENS: usize = 512;

/// How a score is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExplanationKind {
    /// Among all pairs of a token of each text: the model pools the vectors of tokens.
    TokenPairs,
    /// Among the tokens of the query, each with the token of the document that suits it best.
    MaxSim,
    /// Among the entries of the vocabulary that both vectors have.
    SharedTerms,
}

/// Which tokens carry the score of two texts.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Explanation {
    /// The model's name.
    pub model: String,
    /// How the score is divided.
    pub kind: ExplanationKind,
    /// The function of the score, such as "cosine".
    pub similarity: &'static str,
    /// The model's score of the two texts.
    pub score: f32,
    /// The two texts; the query is the first of them.
    pub texts: [ExplainedText; 2],
    /// The contribution of each pair of tokens, a row for each token of the first text
    /// `[L_a, L_b]`. Empty for [`ExplanationKind::SharedTerms`].
    pub pairs: Vec<f64>,
    /// The terms that both texts have, by falling contribution. Empty for other kinds.
    pub terms: Vec<SharedTerm>,
    /// What belongs to no token, such as the biases of the modules after pooling.
    pub rest: f64,
    /// What the contributions and the rest add up to: the score, up to rounding, if
    /// [`Self::is_exact`].
    pub explained: f64,
    /// Whether the contributions and the rest add up to the score. Otherwise they add up to the
    /// score of the vectors before a module that cannot be divided, which a note names.
    pub is_exact: bool,
    /// What a reader must know about this model.
    pub notes: Vec<String>,
    /// The number of layers that attention can be shown of.
    pub layers: usize,
}

/// A text of an explanation.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ExplainedText {
    /// The text that was tokenized: the prompt, then the text.
    pub text: String,
    /// The tokens that the model reads.
    pub tokens: Vec<ExplainedToken>,
    /// How many tokens the text has, and how many the model reads.
    pub usage: TokenUsage,
    /// The attention of the layers that were chosen.
    pub attention: Vec<LayerAttention>,
}

/// A token of an explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExplainedToken {
    /// The id.
    pub id: u32,
    /// The vocabulary's text of the token, such as `##ing`.
    pub token: String,
    /// The part of the text that became this token. Empty for tokens that stand for no part of it.
    pub text: String,
    /// The start and end of that part in [`ExplainedText::text`], in Unicode characters. None for
    /// tokens that stand for no part of it, which are special ones.
    pub span: Option<(usize, usize)>,
    /// Whether the token is a part of the prompt.
    pub is_prompt: bool,
    /// Whether pooling, or the score, counts the token.
    pub is_counted: bool,
}

/// An entry of the vocabulary that both sparse vectors have.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SharedTerm {
    /// The id of the entry.
    pub id: u32,
    /// The vocabulary's text of the entry.
    pub token: String,
    /// The weight in each vector.
    pub weights: [f32; 2],
    /// The product of the weights, divided by the lengths of the vectors if the score is a cosine.
    pub contribution: f64,
}

/// A text and its tokens, for an [`ExplainedText`].
pub(crate) struct TextParts<'a> {
    pub(crate) prompt: &'a str,
    pub(crate) text: &'a str,
    /// The tokens that the model reads.
    pub(crate) ids: &'a [u32],
    /// The tokens of the text alone, with their offsets.
    pub(crate) tokens: Tokens,
    pub(crate) attention: Vec<LayerAttention>,
}

/// What an explanation of any kind has.
pub(crate) struct Parts {
    pub(crate) model: String,
    pub(crate) similarity: &'static str,
    pub(crate) score: f32,
    pub(crate) texts: [ExplainedText; 2],
    pub(crate) notes: Vec<String>,
    pub(crate) layers: usize,
}

impl Parts {
    /// Makes an explanation by pairs of tokens `[L_a, L_b]`.
    pub(crate) fn of_pairs(self, kind: ExplanationKind, pairs: Vec<f64>, rest: f64, is_exact: bool) -> Explanation {
        let explained = pairs.iter().sum::<f64>() + rest;
        Explanation { pairs, rest, explained, is_exact, ..self.explanation(kind) }
    }

    /// Makes an explanation by terms.
    pub(crate) fn of_terms(self, mut terms: Vec<SharedTerm>) -> Explanation {
        let explained = terms.iter().map(|term| term.contribution).sum();
        terms.sort_by(|a, b| b.contribution.total_cmp(&a.contribution).then(a.id.cmp(&b.id)));
        Explanation { terms, explained, ..self.explanation(ExplanationKind::SharedTerms) }
    }

    fn explanation(self, kind: ExplanationKind) -> Explanation {
        let Self { model, similarity, score, texts, notes, layers } = self;
        Explanation {
            model,
            kind,
            similarity,
            score,
            texts,
            pairs: Vec::new(),
            terms: Vec::new(),
            rest: 0.0,
            explained: 0.0,
            is_exact: true,
            notes,
            layers,
        }
    }
}

impl ExplainedText {
    /// Makes a text of its parts. `token_of_id` returns the vocabulary's text of an id, and
    /// `is_counted` whether a token counts.
    ///
    /// Tokens that the model has beyond those of the text were added by the model, and stand for no
    /// part of the text.
    pub(crate) fn new(
        parts: TextParts<'_>,
        token_of_id: impl Fn(u32) -> Option<String>,
        is_counted: impl Fn(usize) -> bool,
    ) -> Self {
        let TextParts { prompt, text, ids, tokens, attention } = parts;
        let whole = format!("{prompt}{text}");
        let prompt_characters = prompt.chars().count();
        // The byte at which each character begins, and the end.
        let starts: Vec<usize> = whole.char_indices().map(|(at, _)| at).chain([whole.len()]).collect();
        let token = |(i, &id): (usize, &u32)| {
            let offset = tokens.ids.get(i).filter(|&&other| other == id).and_then(|_| tokens.offsets.get(i)).copied();
            let span = offset.filter(|(start, end)| start < end && *end < starts.len());
            ExplainedToken {
                id,
                token: token_of_id(id).unwrap_or_else(|| format!("<{id}>")),
                text: span.map_or(String::new(), |(start, end)| whole[starts[start]..starts[end]].to_owned()),
                span,
                is_prompt: span.is_some_and(|(_, end)| end <= prompt_characters),
                is_counted: is_counted(i),
            }
        };
        let explained = ids.iter().enumerate().map(token).collect();
        Self { tokens: explained, usage: tokens.usage, attention, text: whole }
    }
}

impl ExplainedToken {
    /// Returns the text to show for the token: the part of the text, without spaces around it, or
    /// the vocabulary's text.
    pub fn label(&self) -> &str {
        match self.text.trim() {
            "" => &self.token,
            text => text,
        }
    }
}

/// Returns whether a score is a cosine. `model` is the model's name, for errors.
///
/// # Errors
/// If the score is no sum over pairs.
pub(crate) fn require_sum(model: &str, similarity: Similarity) -> Result<bool> {
    match similarity {
        Similarity::Cosine => Ok(true),
        Similarity::Dot => Ok(false),
        Similarity::Euclidean | Similarity::Manhattan => Err(Error::Config {
            file: model.to_owned(),
            key: "similarity_fn_name".to_owned(),
            expected: "cosine or dot for an explanation, because a distance is no sum over pairs of tokens".to_owned(),
            found: similarity.name().to_owned(),
        }),
    }
}

/// Checks the number of tokens of a text.
///
/// # Errors
/// If the text has no tokens that a pass could read, or too many to explain them.
pub(crate) fn require_tokens(text: usize, tokens: usize) -> Result<()> {
    match tokens {
        0 => Err(Error::Empty("tokens to explain")),
        1..=MAX_EXPLAINED_TOKENS => Ok(()),
        _ => Err(Error::TooLong { text, tokens, limit: MAX_EXPLAINED_TOKENS }),
    }
}
