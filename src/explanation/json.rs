//! Explanations as JSON.

use serde::Serialize;

use super::attention::LayerAttention;
use super::result::{ExplainedText, ExplainedToken, Explanation, ExplanationKind, SharedTerm};

#[derive(Serialize)]
struct Document<'a> {
    model: &'a str,
    kind: &'static str,
    similarity: &'static str,
    score: f32,
    explained: f64,
    exact: bool,
    rest: f64,
    notes: &'a [String],
    layers: usize,
    texts: [Text<'a>; 2],
    #[serde(skip_serializing_if = "Option::is_none")]
    pairs: Option<Vec<&'a [f64]>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    terms: Option<Vec<Term<'a>>>,
}

#[derive(Serialize)]
struct Text<'a> {
    text: &'a str,
    total_tokens: usize,
    tokens: Vec<Token<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attention: Vec<Layer<'a>>,
}

#[derive(Serialize)]
struct Token<'a> {
    id: u32,
    token: &'a str,
    text: &'a str,
    start: Option<usize>,
    stop: Option<usize>,
    prompt: bool,
    counted: bool,
}

#[derive(Serialize)]
struct Layer<'a> {
    layer: usize,
    /// `[H, L, L]`.
    heads: Vec<Vec<&'a [f32]>>,
}

#[derive(Serialize)]
struct Term<'a> {
    id: u32,
    token: &'a str,
    weights: [f32; 2],
    contribution: f64,
}

impl Explanation {
    /// Returns the explanation as a JSON object, on one line. docs/explain.md lists its keys.
    pub fn to_json(&self) -> String {
        let columns = self.texts[1].tokens.len();
        let rows = || self.pairs.chunks_exact(columns.max(1)).collect();
        let is_terms = self.kind == ExplanationKind::SharedTerms;
        let document = Document {
            model: &self.model,
            kind: self.kind.name(),
            similarity: self.similarity,
            score: self.score,
            explained: self.explained,
            exact: self.is_exact,
            rest: self.rest,
            notes: &self.notes,
            layers: self.layers,
            texts: self.texts.each_ref().map(Text::from),
            pairs: (!is_terms).then(rows),
            terms: is_terms.then(|| self.terms.iter().map(Term::from).collect()),
        };
        // Serializing numbers, texts and lists to memory does not fail.
        serde_json::to_string(&document).unwrap_or_default()
    }
}

impl ExplanationKind {
    /// Returns the name in JSON: "pairs", "maxsim" or "terms".
    pub fn name(self) -> &'static str {
        match self {
            Self::TokenPairs => "pairs",
            Self::MaxSim => "maxsim",
            Self::SharedTerms => "terms",
        }
    }
}

impl<'a> From<&'a ExplainedText> for Text<'a> {
    fn from(text: &'a ExplainedText) -> Self {
        Self {
            text: &text.text,
            total_tokens: text.usage.total,
            tokens: text.tokens.iter().map(Token::from).collect(),
            attention: text.attention.iter().map(Layer::from).collect(),
        }
    }
}

impl<'a> From<&'a ExplainedToken> for Token<'a> {
    fn from(token: &'a ExplainedToken) -> Self {
        let (start, stop) = token.span.unzip();
        let ExplainedToken { id, token, text, is_prompt, is_counted, .. } = token;
        Self { id: *id, token, text, start, stop, prompt: *is_prompt, counted: *is_counted }
    }
}

impl<'a> From<&'a LayerAttention> for Layer<'a> {
    fn from(attention: &'a LayerAttention) -> Self {
        let heads = (0..attention.heads()).map(|head| attention.rows(head).collect());
        Self { layer: attention.layer(), heads: heads.collect() }
    }
}

impl<'a> From<&'a SharedTerm> for Term<'a> {
    fn from(term: &'a SharedTerm) -> Self {
        let SharedTerm { id, token, weights, contribution } = term;
        Self { id: *id, token, weights: *weights, contribution: *contribution }
    }
}
