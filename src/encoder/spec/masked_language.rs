//! The head of a model for masked language: token vectors to one number for each vocabulary entry.

use likewise_kernels::math::Activation;

use super::NormSpec;

/// decoder(norm(activation(hidden(x)))), from the vector x of a token.
#[derive(Clone, Debug)]
pub(crate) struct MaskedLanguageSpec {
    /// D to the width of the token embeddings.
    pub(crate) hidden: &'static str,
    pub(crate) hidden_has_bias: bool,
    pub(crate) activation: Activation,
    pub(crate) norm: NormSpec,
    /// To V. Without its weight the checkpoint has the table of tokens for it, if they are tied.
    pub(crate) decoder: &'static str,
    /// The bias of the decoder, if it has one.
    pub(crate) bias: Option<DecoderBias>,
    /// Whether a missing tensor of the decoder is another one: the table of tokens, or `shared`.
    pub(crate) is_tied: bool,
    /// What the names of the head's tensors begin with.
    pub(crate) modules: &'static [&'static str],
}

/// Where the bias of the decoder is.
#[derive(Clone, Debug)]
pub(crate) struct DecoderBias {
    /// The tensor that counts if it exists.
    pub(crate) own: String,
    /// The tensor that counts otherwise, if weights are tied.
    pub(crate) shared: Option<String>,
}
