//! Which tokens of a query and a document carry their score.

use super::encode::EncodedText;
use super::model::MultiVectorEncoder;
use super::results::TokenRows;
use super::role::Role;
use crate::backbone::prepend_prompt;
use crate::error::{Error, Result};
use crate::explanation::{
    AttentionLayers, ExplainedText, Explanation, ExplanationKind, Parts, TextParts, observe, require_tokens,
};
use crate::similarity::MultiVectorSimilarity;

/// A text with the vectors of its scored tokens.
struct Read {
    /// Indices of the scored tokens.
    scored: Vec<usize>,
    /// `[scored, E]`.
    vectors: Vec<f32>,
    explained: ExplainedText,
}

impl Read {
    /// Returns the vectors of the scored tokens.
    fn rows(&self, width: usize) -> Result<TokenRows<'_>> {
        TokenRows::new(&self.vectors, width).ok_or(Error::WidthMismatch { left: self.vectors.len(), right: width })
    }
}

impl MultiVectorEncoder {
    /// Explains the score of a query and a document: each token of the query contributes its
    /// product with the token of the document that suits it best.
    ///
    /// The contributions add up to the score, up to rounding: within 10⁻⁶ for each token of the
    /// query.
    ///
    /// # Errors
    /// - If a text has no tokens, or more than 512.
    /// - If [`Self::encode_queries`] or [`Self::encode_documents`] fails.
    pub fn explain(&self, query: &str, document: &str) -> Result<Explanation> {
        self.explain_with_attention(query, document, AttentionLayers::None)
    }

    /// Explains a score as [`Self::explain`] does, and adds the attention of layers. A layer that
    /// the model does not have adds nothing.
    ///
    /// # Errors
    /// See [`Self::explain`].
    pub fn explain_with_attention(&self, query: &str, document: &str, layers: AttentionLayers) -> Result<Explanation> {
        let query = self.read(0, query, Role::Query, layers)?;
        let document = self.read(1, document, Role::Document, layers)?;
        let (a, b) = (query.rows(self.width)?, document.rows(self.width)?);
        let score = self.maxsim(a, b)?;
        if !score.is_finite() {
            return Err(Error::NotFinite { text: 1 });
        }
        let columns = document.explained.tokens.len();
        let divisor = match self.similarity {
            MultiVectorSimilarity::MaxSim => 1.0,
            MultiVectorSimilarity::MeanMaxSim => a.len().max(1) as f64,
        };
        let mut pairs = vec![0.0; query.explained.tokens.len() * columns];
        for (&i, vector) in query.scored.iter().zip(a.rows()) {
            let products = document.scored.iter().zip(b.rows().map(|other| product(vector, other)));
            if let Some((j, largest)) = products.max_by(|(_, a), (_, b)| a.total_cmp(b)) {
                pairs[i * columns + j] = largest / divisor;
            }
        }
        let mut notes = Vec::new();
        let unscored = |text: &ExplainedText| text.tokens.iter().any(|token| !token.is_counted);
        if unscored(&query.explained) || unscored(&document.explained) {
            notes.push("some tokens are not scored, such as those of a skip list: their pairs are 0".to_owned());
        }
        // The score of a document without scored tokens is a constant.
        let rest = if b.is_empty() { f64::from(score) } else { 0.0 };
        if b.is_empty() {
            notes.push("no token of the document is scored: the score is the constant of such documents".to_owned());
        }
        let parts = Parts {
            model: self.backbone.name().to_owned(),
            similarity: self.similarity.name(),
            score,
            texts: [query.explained, document.explained],
            notes,
            layers: self.backbone.spec().layer_order.len(),
        };
        Ok(parts.of_pairs(ExplanationKind::MaxSim, pairs, rest, true))
    }

    /// Computes the vectors of a text's tokens. `index` is that of the text, for errors.
    fn read(&self, index: usize, text: &str, role: Role, layers: AttentionLayers) -> Result<Read> {
        let EncodedText { text: encoded, scored } = self.tokenize(index, text, role)?;
        require_tokens(index, encoded.ids.len())?;
        let (rows, attention) = observe(&self.backbone, &encoded, layers);
        let of_tokens = self.keep_and_normalize(self.head.apply(rows));
        let vectors: Vec<f32> =
            scored.iter().flat_map(|&token| &of_tokens[token * self.width..][..self.width]).copied().collect();
        if vectors.iter().any(|x| !x.is_finite()) {
            return Err(Error::NotFinite { text: index });
        }
        let settings = self.settings(role);
        let tokenizer = self.backbone.tokenizer();
        let tokens = tokenizer.tokenize_up_to(settings.max_tokens, &prepend_prompt(&settings.prompt, text))?;
        let parts = TextParts { prompt: &settings.prompt, text, ids: &encoded.ids, tokens, attention };
        let explained = ExplainedText::new(parts, |id| tokenizer.token_of_id(id), |token| scored.contains(&token));
        Ok(Read { scored, vectors, explained })
    }
}

fn product(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}
