//! The head of a model for sequence classification: token vectors to one number for each label.

use likewise_kernels::math::Activation;

use super::NormSpec;

/// output(norm(activation(hidden(pooled tokens)))); only ModernBERT has the norm.
#[derive(Clone, Debug)]
pub(crate) struct ClassifierSpec {
    pub(crate) pooling: ClassifierPooling,
    /// D to D.
    pub(crate) hidden: HeadLinearSpec,
    pub(crate) activation: Activation,
    pub(crate) norm: Option<NormSpec>,
    /// D to the number of labels.
    pub(crate) output: HeadLinearSpec,
}

/// Which token vectors a classifier reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClassifierPooling {
    FirstToken,
    /// The mean over all tokens, special ones included.
    Mean,
}

/// A linear layer of a head.
#[derive(Clone, Debug)]
pub(crate) struct HeadLinearSpec {
    /// The name of the module in the checkpoint.
    pub(crate) module: &'static str,
    /// Whether the module belongs to the encoder: its name then has the encoder's prefix.
    pub(crate) is_in_encoder: bool,
    pub(crate) has_bias: bool,
}

impl HeadLinearSpec {
    /// Describes a module beside the encoder.
    pub(crate) fn beside_encoder(module: &'static str) -> Self {
        Self { module, is_in_encoder: false, has_bias: true }
    }

    /// Describes a module of the encoder, such as BERT's pooler.
    pub(crate) fn in_encoder(module: &'static str) -> Self {
        Self { module, is_in_encoder: true, has_bias: true }
    }
}

impl ClassifierSpec {
    /// Describes a head on the vector of the first token.
    pub(crate) fn of_first_token(hidden: HeadLinearSpec, activation: Activation, output: &'static str) -> Self {
        let output = HeadLinearSpec::beside_encoder(output);
        Self { pooling: ClassifierPooling::FirstToken, hidden, activation, norm: None, output }
    }

    /// Describes BERT's head: its pooler, then a linear map.
    pub(crate) fn after_pooler(pooler: &'static str) -> Self {
        Self::of_first_token(HeadLinearSpec::in_encoder(pooler), Activation::Tanh, "classifier")
    }

    /// Describes the head of RoBERTa, `classifier.dense` and `classifier.out_proj`.
    pub(crate) fn of_two_layers(activation: Activation) -> Self {
        Self::of_first_token(HeadLinearSpec::beside_encoder("classifier.dense"), activation, "classifier.out_proj")
    }
}
