//! A model's architecture in brief.

use likewise_kernels::math::Activation;

use crate::encoder::spec::{EncoderSpec, FeedForwardSpec};

/// The architecture of a model and its sizes. Part of [`crate::ModelInfo`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Architecture {
    /// The published name, such as "BERT".
    pub family: &'static str,
    /// Layers, each of attention and a feed-forward network. Static embeddings have none, and no
    /// heads, positions and activation.
    pub layers: usize,
    /// Attention heads of a layer.
    pub heads: usize,
    /// Elements of a token's vector.
    pub hidden_size: usize,
    /// Elements of a token's vector inside the feed-forward network.
    pub intermediate_size: usize,
    /// Entries of the vocabulary.
    pub vocabulary_size: usize,
    /// The most tokens of a text, whatever the tokenizer allows.
    pub max_tokens: usize,
    /// The row of the position table that the first token reads.
    pub first_position: usize,
    /// The activation of the feed-forward network.
    pub activation: Activation,
    /// The epsilon that norms add to the variance or to the mean square.
    pub norm_epsilon: f32,
}

impl Architecture {
    /// Returns the architecture of a table of token vectors, which has no layers.
    pub(crate) fn of_table(family: &'static str, width: usize, tokens: usize) -> Self {
        Self {
            family,
            layers: 0,
            heads: 0,
            hidden_size: width,
            intermediate_size: 0,
            vocabulary_size: tokens,
            max_tokens: 0,
            first_position: 0,
            activation: Activation::Gelu,
            norm_epsilon: 0.0,
        }
    }
}

impl EncoderSpec {
    /// Returns the architecture in brief. All layers of a model have the same sizes.
    pub(crate) fn architecture(&self) -> Architecture {
        let feed_forward = self.layers.first().map(|layer| &layer.feed_forward.body);
        Architecture {
            family: self.family.name(),
            layers: self.layer_order.len(),
            heads: self.heads(),
            hidden_size: self.hidden_size,
            intermediate_size: feed_forward.map_or(0, FeedForwardSpec::width),
            vocabulary_size: self.embeddings.tokens.rows,
            max_tokens: self.max_tokens,
            first_position: self.embeddings.position_ids.first(),
            activation: feed_forward.map_or(Activation::Gelu, |feed_forward| feed_forward.activation),
            norm_epsilon: self.norms().next().map_or(0.0, |(norm, _)| norm.epsilon),
        }
    }
}
