//! The names of the results that a pass records, and what their elements are.

use super::tensor::Layout;

/// A result of the encoder's forward pass. Letters are those of docs/architecture.md; C is the
/// width of the embedding tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Site {
    /// The rows of the tables that the tokens read `[T, C]`.
    TokenEmbeddings,
    PositionEmbeddings,
    TokenTypeEmbeddings,
    /// The sum of these rows `[T, C]`.
    EmbeddingSum,
    /// The sum after its norm and before the projection to D `[T, C]`. Only in models with such a
    /// projection.
    EmbeddingNorm,
    /// The input of the first layer `[T, D]`.
    Embeddings,
    /// A result of a layer, which has an index.
    Layer(LayerSite, usize),
    /// After the norm that follows the last layer in some models `[T, D]`.
    FinalNorm,
}

/// A result of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LayerSite {
    /// The input of attention, if a norm comes before it `[T, D]`.
    AttentionInput,
    /// Queries, with their bias and before scaling `[T, H·d]`.
    Query,
    /// Keys `[T, H·d]`.
    Key,
    /// Values `[T, H·d]`.
    Value,
    /// Queries after their rotation by position `[H, L, d]` of each text. Only in models with
    /// rotary positions.
    RotatedQuery,
    /// Keys after their rotation, likewise.
    RotatedKey,
    /// What the softmax reads `[H, L, L]` of each text: scaled, with the bias of the distance, and
    /// −∞ for the keys that a query does not see.
    Scores,
    /// The softmax of the scores `[H, L, L]` of each text.
    Probabilities,
    /// The heads' weighted means of values, joined `[T, H·d]`.
    Context,
    /// The context mapped to the width of the residual stream, before it joins the stream `[T, D]`.
    AttentionProjection,
    /// The residual stream with the projection, before the norm after both `[T, D]`. Only in layers
    /// with such a norm.
    AttentionSum,
    /// The residual stream after attention `[T, D]`, with the norm after it if there is one.
    Attention,
    /// The input of the feed-forward network, if a norm comes before it `[T, D]`.
    FeedForwardInput,
    /// What the activation of a gated network reads `[T, F]`.
    Gate,
    /// The output of the first linear layer `[T, F]`: what the activation reads, or what the
    /// activated gates multiply.
    Up,
    /// The input of the last linear layer of the feed-forward network `[T, F]`.
    Intermediate,
    /// The output of that layer, before it joins the residual stream `[T, D]`.
    Down,
    /// The residual stream with that output, before the norm after both `[T, D]`. Only in layers
    /// with such a norm.
    FeedForwardSum,
    /// The layer's output `[T, D]`.
    Output,
}

impl Site {
    /// Returns the name in traces and golden files.
    pub(crate) fn name(self) -> String {
        let name = match self {
            Self::TokenEmbeddings => "embeddings.token",
            Self::PositionEmbeddings => "embeddings.position",
            Self::TokenTypeEmbeddings => "embeddings.token_type",
            Self::EmbeddingSum => "embeddings.sum",
            Self::EmbeddingNorm => "embeddings.norm",
            Self::Embeddings => "embeddings",
            Self::FinalNorm => "final_norm",
            Self::Layer(site, layer) => return format!("layer.{layer}.{}", site.name()),
        };
        name.to_owned()
    }

    /// Returns what the rows and columns are.
    pub(crate) fn layout(self) -> Layout {
        match self {
            Self::TokenEmbeddings
            | Self::PositionEmbeddings
            | Self::TokenTypeEmbeddings
            | Self::EmbeddingSum
            | Self::EmbeddingNorm => Layout::Tokens("C"),
            Self::Embeddings | Self::FinalNorm => Layout::Tokens("D"),
            Self::Layer(site, _) => site.layout(),
        }
    }
}

impl LayerSite {
    fn name(self) -> &'static str {
        match self {
            Self::AttentionInput => "attention_input",
            Self::Query => "query",
            Self::Key => "key",
            Self::Value => "value",
            Self::RotatedQuery => "rotated_query",
            Self::RotatedKey => "rotated_key",
            Self::Scores => "scores",
            Self::Probabilities => "probabilities",
            Self::Context => "context",
            Self::AttentionProjection => "attention_projection",
            Self::AttentionSum => "attention_sum",
            Self::Attention => "attention",
            Self::FeedForwardInput => "feed_forward_input",
            Self::Gate => "gate",
            Self::Up => "up",
            Self::Intermediate => "intermediate",
            Self::Down => "down",
            Self::FeedForwardSum => "feed_forward_sum",
            Self::Output => "output",
        }
    }

    fn layout(self) -> Layout {
        match self {
            Self::Query | Self::Key | Self::Value | Self::Context => Layout::Tokens("H·d"),
            Self::RotatedQuery | Self::RotatedKey => Layout::Heads,
            Self::Scores | Self::Probabilities => Layout::HeadPairs,
            Self::Gate | Self::Up | Self::Intermediate => Layout::Tokens("F"),
            Self::AttentionInput
            | Self::AttentionProjection
            | Self::AttentionSum
            | Self::Attention
            | Self::FeedForwardInput
            | Self::Down
            | Self::FeedForwardSum
            | Self::Output => Layout::Tokens("D"),
        }
    }
}
