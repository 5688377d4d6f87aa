//! The description of an encoder as data.
//!
//! A family file ([`super::families`]) turns a config.json into an [`EncoderSpec`]: sizes, tensor
//! names, and the order of norms and residual connections. Everything else follows from the spec:
//! loading, the forward pass, the number of parameters, the number of operations and the memory of
//! a pass. None of them has a case for a particular family.
//!
//! Letters as in docs/architecture.md: T tokens in a batch, L tokens in a text, D hidden size, H
//! heads, d head size, F intermediate size, V vocabulary size, P rows of the position table, N
//! outputs and K inputs of a linear layer.

mod attention;
mod classifier;
mod masked_language;
mod modules;

pub(crate) use attention::{AttentionSpec, DistanceBuckets, RelativeBiasSpec, RelativeKeysSpec, RotarySpec, Window};
pub(crate) use classifier::{ClassifierPooling, ClassifierSpec, HeadLinearSpec};
pub(crate) use masked_language::{DecoderBias, MaskedLanguageSpec};
pub(crate) use modules::{FeedForwardSpec, LinearPart, LinearSpec, NormKind, NormSpec, TableSpec};

use std::collections::BTreeMap;
use std::fmt;

use crate::batch::PositionIds;

/// Embeddings, then layers, then perhaps a last norm.
#[derive(Clone, Debug)]
pub(crate) struct EncoderSpec {
    pub(crate) family: Family,
    /// D, the width of the residual stream.
    pub(crate) hidden_size: usize,
    /// The most tokens of a text.
    pub(crate) max_tokens: usize,
    pub(crate) embeddings: EmbeddingsSpec,
    /// Added to the attention scores of every layer.
    pub(crate) relative_bias: Option<RelativeBiasSpec>,
    pub(crate) layers: Vec<LayerSpec>,
    /// The index of each layer of a pass in `layers`. ALBERT applies one layer many times.
    pub(crate) layer_order: Vec<usize>,
    /// After the last layer, in models whose layers normalize their input and not their output.
    pub(crate) final_norm: Option<NormSpec>,
    /// What may precede every tensor name, because the checkpoint belongs to a model with a task
    /// head.
    pub(crate) prefixes: &'static [&'static str],
}

/// A published architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Bert,
    DistilBert,
    Roberta,
    Camembert,
    XlmRoberta,
    MpNet,
    NomicBert,
    Gte,
    JinaV3,
    ModernBert,
    JinaBertV2,
    T5,
    Albert,
    Electra,
}

/// projection(norm(tokens [+ token type] [+ position])); some models have no projection or norm.
#[derive(Clone, Debug)]
pub(crate) struct EmbeddingsSpec {
    /// The width of the tables: D without a projection.
    pub(crate) width: usize,
    /// `[V, width]`.
    pub(crate) tokens: TableSpec,
    /// A table whose first row is added to every token: a sentence encoder reads texts of one type.
    pub(crate) token_types: Option<TableSpec>,
    pub(crate) positions: PositionTableSpec,
    /// Which row of the position table a token reads.
    pub(crate) position_ids: PositionIds,
    pub(crate) norm: Option<NormSpec>,
    /// From the width of the tables to D.
    pub(crate) projection: Option<LinearSpec>,
}

/// The table `[P, width]` of position embeddings.
#[derive(Clone, Debug)]
pub(crate) enum PositionTableSpec {
    /// The model has none: its attention sees the positions.
    None,
    /// A tensor of the checkpoint.
    Learned(TableSpec),
    /// A tensor of the checkpoint, or if it has none, sines and cosines
    /// (Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>, §3.5).
    Sinusoidal(TableSpec),
    /// A tensor that the checkpoint may contain and the model does not use.
    Unused(TableSpec),
}

/// One layer: attention, then the feed-forward network.
#[derive(Clone, Debug)]
pub(crate) struct LayerSpec {
    pub(crate) attention: SublayerSpec<AttentionSpec>,
    pub(crate) feed_forward: SublayerSpec<FeedForwardSpec>,
}

/// A function f of the residual stream x, and how f's output joins the stream.
#[derive(Clone, Debug)]
pub(crate) struct SublayerSpec<F> {
    /// Applied to x before f reads it.
    pub(crate) input_norm: Option<NormSpec>,
    pub(crate) body: F,
    pub(crate) join: JoinSpec,
}

/// The way in which the output of f joins the residual stream x.
#[derive(Clone, Debug)]
pub(crate) enum JoinSpec {
    /// Post-norm: x ← norm(x + f(x)).
    AddThenNorm(NormSpec),
    /// Pre-norm: x ← x + f(input_norm(x)).
    Add,
    /// Sandwich norm: x ← x + norm(f(input_norm(x))).
    #[cfg_attr(not(test), expect(dead_code, reason = "no family has it yet; tests cover it"))]
    NormThenAdd(NormSpec),
}

impl EncoderSpec {
    /// Returns H, the number of heads.
    pub(crate) fn heads(&self) -> usize {
        self.layers.first().map_or(0, |layer| layer.attention.body.heads)
    }

    /// Returns all linear layers, in the order of a pass. One that is applied many times is
    /// returned once.
    pub(crate) fn linears(&self) -> impl Iterator<Item = &LinearSpec> {
        let layers = self.layers.iter().flat_map(|layer| {
            let attention = &layer.attention.body;
            let feed_forward = &layer.feed_forward.body;
            [&attention.qkv, &attention.output, &feed_forward.up, &feed_forward.down]
        });
        self.embeddings.projection.iter().chain(layers)
    }

    /// Returns the layers of a pass, in order.
    fn layers_in_order(&self) -> impl Iterator<Item = &LayerSpec> {
        self.layer_order.iter().map(|&layer| &self.layers[layer])
    }

    /// Returns all norms and their widths, in the order of a pass.
    pub(crate) fn norms(&self) -> impl Iterator<Item = (&NormSpec, usize)> {
        let layers = self.layers.iter().flat_map(|layer| layer.attention.norms().chain(layer.feed_forward.norms()));
        let layers = layers.chain(&self.final_norm).map(|norm| (norm, self.hidden_size));
        self.embeddings.norm.iter().map(|norm| (norm, self.embeddings.width)).chain(layers)
    }

    /// Returns the elements of each table, by name: layers may share one.
    fn tables(&self) -> BTreeMap<&str, usize> {
        let bias = self.relative_bias.iter().filter_map(|bias| match bias {
            RelativeBiasSpec::Buckets { table, .. } => Some((table, self.heads())),
            RelativeBiasSpec::Slopes(_) => None,
        });
        let keys = self.layers.iter().map(|layer| &layer.attention.body);
        let keys = keys.flat_map(|body| body.relative_keys.iter().map(|keys| (&keys.table, body.head_size)));
        let embeddings = self.embeddings.tables().map(|table| (table, self.embeddings.width));
        embeddings.chain(bias).chain(keys).map(|(table, width)| (table.name.as_str(), table.rows * width)).collect()
    }

    /// Returns the number of parameters, without tensors that the model does not use.
    pub(crate) fn parameters(&self) -> usize {
        let linears: usize = self.linears().map(LinearSpec::parameters).sum();
        let norms: usize = self.norms().map(|(norm, width)| (1 + usize::from(norm.bias.is_some())) * width).sum();
        self.tables().values().sum::<usize>() + norms + linears
    }

    /// Returns the floating-point operations of a pass over a text of so many tokens: the linear
    /// layers and the two matrix products of attention, a multiply-add being two. The rest is not
    /// counted.
    pub(crate) fn operations(&self, tokens: usize) -> f64 {
        let of_linear = |linear: &LinearSpec| 2 * linear.outputs() * linear.inputs * tokens;
        let of_layer = |layer: &LayerSpec| {
            let attention = &layer.attention.body;
            let feed_forward = &layer.feed_forward.body;
            let linears = [&attention.qkv, &attention.output, &feed_forward.up, &feed_forward.down];
            linears.map(of_linear).iter().sum::<usize>() + 4 * attention.width() * attention.window.pairs(tokens)
        };
        let projection: usize = self.embeddings.projection.iter().map(of_linear).sum();
        (projection + self.layers_in_order().map(of_layer).sum::<usize>()) as f64
    }

    /// Returns K, the number of inputs, of the widest linear layer.
    pub(crate) fn max_inputs(&self) -> usize {
        self.linears().map(|linear| linear.inputs).max().unwrap_or(0)
    }
}

impl Family {
    /// Returns the architecture's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bert => "BERT",
            Self::DistilBert => "DistilBERT",
            Self::Roberta => "RoBERTa",
            Self::Camembert => "CamemBERT",
            Self::XlmRoberta => "XLM-RoBERTa",
            Self::MpNet => "MPNet",
            Self::NomicBert => "NomicBERT",
            Self::Gte => "GTE",
            Self::JinaV3 => "Jina embeddings v3",
            Self::ModernBert => "ModernBERT",
            Self::JinaBertV2 => "JinaBERT v2",
            Self::T5 => "T5",
            Self::Albert => "ALBERT",
            Self::Electra => "ELECTRA",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl EmbeddingsSpec {
    fn tables(&self) -> impl Iterator<Item = &TableSpec> {
        let positions = match &self.positions {
            PositionTableSpec::Learned(table) | PositionTableSpec::Sinusoidal(table) => Some(table),
            PositionTableSpec::None | PositionTableSpec::Unused(_) => None,
        };
        std::iter::once(&self.tokens).chain(&self.token_types).chain(positions)
    }
}

impl LayerSpec {
    /// Returns whether both sublayers are post-norm.
    pub(crate) fn is_post_norm(&self) -> bool {
        self.attention.is_post_norm() && self.feed_forward.is_post_norm()
    }

    /// Returns whether a sublayer normalizes its input, and whether a sublayer reads the residual
    /// stream without a norm.
    pub(crate) fn reads_normed_and_raw(&self) -> [bool; 2] {
        let has_norm = [self.attention.input_norm.is_some(), self.feed_forward.input_norm.is_some()];
        [has_norm.contains(&true), has_norm.contains(&false)]
    }
}

impl<F> SublayerSpec<F> {
    /// Describes a post-norm sublayer: x ← norm(x + f(x)).
    pub(crate) fn post_norm(body: F, norm: NormSpec) -> Self {
        Self { input_norm: None, body, join: JoinSpec::AddThenNorm(norm) }
    }

    /// Describes a pre-norm sublayer: x ← x + f(norm(x)), or x ← x + f(x) without a norm.
    pub(crate) fn pre_norm(body: F, norm: Option<NormSpec>) -> Self {
        Self { input_norm: norm, body, join: JoinSpec::Add }
    }

    fn is_post_norm(&self) -> bool {
        matches!(self.join, JoinSpec::AddThenNorm(_))
    }

    fn norms(&self) -> impl Iterator<Item = &NormSpec> {
        let output = match &self.join {
            JoinSpec::AddThenNorm(norm) | JoinSpec::NormThenAdd(norm) => Some(norm),
            JoinSpec::Add => None,
        };
        self.input_norm.iter().chain(output)
    }
}
