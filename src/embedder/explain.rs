//! Which tokens carry the score of two texts.

use likewise_kernels::view::MatRef;

use super::model::Embedder;
use super::source::TokenVectors;
use crate::backbone::TokenizedText;
use crate::error::{Error, Result};
use crate::explanation::{
    AttentionLayers, Contributions, ExplainedText, Explanation, ExplanationKind, Parts, TextParts, contributions,
    observe, require_sum, require_tokens,
};
use crate::modules::{PoolingMode, TokenShares};

/// A text whose vector is divided among its tokens.
struct Divided {
    vector: Vec<f32>,
    shares: TokenShares,
    explained: ExplainedText,
}

impl Embedder {
    /// Explains the score of two texts: divides it among the pairs of their tokens.
    ///
    /// The contributions of the pairs, and what belongs to no token, add up to the score, up to
    /// rounding: within 10⁻⁶ of a cosine. If an activation follows pooling, they add up to the
    /// score of the vectors before it.
    ///
    /// # Errors
    /// - If the similarity function is a distance.
    /// - If a text has no tokens, or more than 512.
    /// - If [`Self::embed`] fails.
    pub fn explain(&self, a: &str, b: &str) -> Result<Explanation> {
        self.explain_with_attention(a, b, AttentionLayers::None)
    }

    /// Explains the score of two texts as [`Self::explain`] does, and adds the attention of layers.
    /// A layer that the model does not have adds nothing.
    ///
    /// # Errors
    /// See [`Self::explain`].
    pub fn explain_with_attention(&self, a: &str, b: &str, layers: AttentionLayers) -> Result<Explanation> {
        let is_cosine = require_sum(self.runtime().name(), self.similarity)?;
        let encoded = self.tokenize_texts(&[a, b], &self.prompt)?;
        let [first, second] = [self.divide(0, a, &encoded[0], layers)?, self.divide(1, b, &encoded[1], layers)?];
        let score = self.score(&first.vector, &second.vector)?;
        if !score.is_finite() {
            return Err(Error::NotFinite { text: 1 });
        }
        let Contributions { pairs, rest } = contributions(&first.shares, &second.shares, is_cosine);
        let undivided = first.shares.undivided();
        let explained = pairs.iter().sum::<f64>() + rest;
        let mut notes = self.notes_about_pooling(&first.explained);
        if let Some(module) = undivided {
            notes.push(format!(
                "{module} has an activation, which cannot be divided among tokens: the pairs add up to {explained:.4}, the \
                 {} of the vectors before it",
                self.similarity
            ));
        }
        if first.shares.has_constant() {
            notes.push("the biases of the modules after pooling belong to no token: they carry the rest".to_owned());
        }
        let is_exact = undivided.is_none();
        let parts = Parts {
            model: self.runtime().name().to_owned(),
            similarity: self.similarity.name(),
            score,
            texts: [first.explained, second.explained],
            notes,
            layers: self.token_vectors.backbone().map_or(0, |backbone| backbone.spec().layer_order.len()),
        };
        Ok(parts.of_pairs(ExplanationKind::TokenPairs, pairs, rest, is_exact))
    }

    /// Computes the vector of a text, and divides it. `index` is that of the text, for errors.
    fn divide(&self, index: usize, text: &str, encoded: &TokenizedText, layers: AttentionLayers) -> Result<Divided> {
        let excluded = encoded.excluded_tokens;
        let width = self.head.pooled_width();
        let mut pooled = vec![0.0; width];
        let (rows, token_width, attention) = match &self.token_vectors {
            TokenVectors::Encoder(backbone) => {
                require_tokens(index, encoded.ids.len())?;
                let (rows, attention) = observe(backbone, encoded, layers);
                let token_width = backbone.spec().hidden_size;
                self.head.pool(MatRef::new(&rows, encoded.ids.len(), token_width), excluded, &mut pooled);
                (rows, token_width, attention)
            }
            TokenVectors::Table(model) => {
                // A text without known words has a vector of zeros.
                require_tokens(index, encoded.ids.len().max(1))?;
                model.mean_of(&encoded.ids, &mut pooled);
                (model.rows_of(&encoded.ids), model.table().width(), Vec::new())
            }
        };
        let vector = self.head.apply_post_modules(pooled, self.output_options);
        if vector.iter().any(|x| !x.is_finite()) {
            return Err(Error::NotFinite { text: index });
        }
        let shares =
            self.head.shares(MatRef::new(&rows, encoded.ids.len(), token_width), excluded, self.output_options);
        let tokens = self.tokenize(text)?;
        let parts = TextParts { prompt: &self.prompt, text, ids: &encoded.ids, tokens, attention };
        let tokenizer = self.runtime().tokenizer();
        let single = self.head.single_token(encoded.ids.len(), excluded);
        let is_counted = |token: usize| single.map_or(token >= excluded, |single| token == single);
        let explained = ExplainedText::new(parts, |id| tokenizer.token_of_id(id), is_counted);
        Ok(Divided { vector, shares, explained })
    }

    /// Says what pooling means for the pairs.
    fn notes_about_pooling(&self, text: &ExplainedText) -> Vec<String> {
        let mut notes = Vec::new();
        let token = text.tokens.iter().find(|token| token.is_counted).map_or("", |token| token.token.as_str());
        match self.head.pooling_modes() {
            [PoolingMode::Cls] => notes.push(format!(
                "the vector of a text is that of its token {token}: one pair carries the whole score, and the attention of \
                 the last layer shows where it comes from"
            )),
            [PoolingMode::LastToken] => notes.push(
                "the vector of a text is that of its last token: one pair carries the whole score, and the attention of \
                 the last layer shows where it comes from"
                    .to_owned(),
            ),
            [PoolingMode::WeightedMean] => {
                notes.push("the pooling weights later tokens more, and so do the contributions".to_owned());
            }
            modes if modes.contains(&PoolingMode::Max) => {
                notes.push("in max pooling, each dimension counts for the token that has its maximum".to_owned());
            }
            _ => {}
        }
        if text.tokens.iter().any(|token| !token.is_counted && token.is_prompt) {
            notes.push("the pooling leaves out the tokens of the prompt: their pairs are 0".to_owned());
        }
        notes
    }
}
