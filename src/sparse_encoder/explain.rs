//! Which terms carry the score of two sparse vectors.

use super::model::SparseEncoder;
use super::results::SparseRow;
use super::route::Route;
use super::router::Task;
use crate::backbone::prepend_prompt;
use crate::error::Result;
use crate::explanation::{
    AttentionLayers, ExplainedText, Explanation, Parts, SharedTerm, TextParts, observe, require_sum, require_tokens,
};

/// The smallest length of a vector, as in the cosine.
const MIN_LENGTH: f64 = 1e-12;

impl SparseEncoder {
    /// Explains the score of two texts, the first as a query and the second as a document: each
    /// term that both have contributes the product of its weights.
    ///
    /// The contributions add up to the score, up to rounding: within 10⁻⁶ of its magnitude.
    ///
    /// # Errors
    /// - If the similarity function is a distance.
    /// - If a text has no tokens, or more than 512.
    /// - If [`Self::embed_queries`] or [`Self::embed_documents`] fails.
    pub fn explain(&self, query: &str, document: &str) -> Result<Explanation> {
        self.explain_with_attention(query, document, AttentionLayers::None)
    }

    /// Explains a score as [`Self::explain`] does, and adds the attention of layers. A layer that
    /// the model does not have adds nothing, and neither does a vector without a network.
    ///
    /// # Errors
    /// See [`Self::explain`].
    pub fn explain_with_attention(&self, query: &str, document: &str, layers: AttentionLayers) -> Result<Explanation> {
        let is_cosine = require_sum(&self.name, self.similarity)?;
        let texts = [
            self.read(0, query, Task::Query, "query", layers)?,
            self.read(1, document, Task::Document, "document", layers)?,
        ];
        let (a, b) = (self.embed_queries(&[query])?, self.embed_documents(&[document])?);
        let (a, b) = (a.row(0), b.row(0));
        let divisor = if is_cosine { length(a) * length(b) } else { 1.0 };
        let tokenizer = self.routes[self.require_route_index(Task::Document)?].tokenizer();
        let weights_of = |row: SparseRow<'_>| -> Vec<(u32, f32)> {
            row.indices.iter().copied().zip(row.values.iter().copied()).collect()
        };
        let others = weights_of(b);
        let shared = |(id, weight): (u32, f32)| {
            let other = others.binary_search_by_key(&id, |&(id, _)| id).ok().map(|at| others[at].1)?;
            Some(SharedTerm {
                id,
                token: tokenizer.token_of_id(id).unwrap_or_else(|| format!("<{id}>")),
                weights: [weight, other],
                contribution: f64::from(weight) * f64::from(other) / divisor,
            })
        };
        let terms: Vec<SharedTerm> = weights_of(a).into_iter().filter_map(shared).collect();
        let notes = vec![format!(
            "of {} terms of the first text and {} of the second, both have {}",
            a.indices.len(),
            b.indices.len(),
            terms.len()
        )];
        let layers_of = |route: &Route| route.splade().map_or(0, |splade| splade.backbone.spec().layer_order.len());
        let parts = Parts {
            model: self.name.clone(),
            similarity: self.similarity.name(),
            score: self.score(a, b),
            texts,
            notes,
            layers: self.routes.iter().map(layers_of).max().unwrap_or(0),
        };
        Ok(parts.of_terms(terms))
    }

    /// Tokenizes a text, and runs a pass if attention is wanted. `index` is that of the
    /// text, for errors.
    fn read(
        &self,
        index: usize,
        text: &str,
        task: Task,
        prompt_name: &str,
        layers: AttentionLayers,
    ) -> Result<ExplainedText> {
        let route = &self.routes[self.require_route_index(task)?];
        let prompt = self.prompt_by_name(prompt_name);
        let tokenizer = route.tokenizer();
        let tokens = tokenizer.tokenize(&prepend_prompt(prompt, text))?;
        require_tokens(index, tokens.ids.len())?;
        let attention = match route.splade().filter(|_| layers != AttentionLayers::None) {
            None => Vec::new(),
            Some(splade) => {
                let backbone = &splade.backbone;
                let encoded = backbone.tokenize_text(index, text, prompt, backbone.truncation(), None)?;
                observe(backbone, &encoded, layers).1
            }
        };
        let ids = tokens.ids.clone();
        let parts = TextParts { prompt, text, ids: &ids, tokens, attention };
        Ok(ExplainedText::new(parts, |id| tokenizer.token_of_id(id), |_| true))
    }
}

fn length(row: SparseRow<'_>) -> f64 {
    row.values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt().max(MIN_LENGTH)
}
