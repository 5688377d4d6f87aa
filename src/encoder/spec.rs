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

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use likewise_kernels::math::Activation;

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
}

/// norm(tokens [+ token type] [+ position]).
#[derive(Clone, Debug)]
pub(crate) struct EmbeddingsSpec {
    /// `[V, D]`.
    pub(crate) tokens: TableSpec,
    /// A table whose first row is added to every token: a sentence encoder reads texts of one type.
    pub(crate) token_types: Option<TableSpec>,
    pub(crate) positions: PositionTableSpec,
    /// Which row of the position table a token reads.
    pub(crate) position_ids: PositionIds,
    pub(crate) norm: NormSpec,
}

/// The table `[P, D]` of position embeddings.
#[derive(Clone, Debug)]
pub(crate) enum PositionTableSpec {
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
#[cfg_attr(not(test), expect(dead_code, reason = "the families so far are post-norm; tests cover the other two"))]
pub(crate) enum JoinSpec {
    /// Post-norm: x ← norm(x + f(x)).
    AddThenNorm(NormSpec),
    /// Pre-norm: x ← x + f(input_norm(x)).
    Add,
    /// Sandwich norm: x ← x + norm(f(input_norm(x))).
    NormThenAdd(NormSpec),
}

/// Self-attention with H heads of size d. H·d need not be D.
#[derive(Clone, Debug)]
pub(crate) struct AttentionSpec {
    /// H, the number of heads.
    pub(crate) heads: usize,
    /// d, the size of a head.
    pub(crate) head_size: usize,
    /// D to 3·H·d: queries, keys, values.
    pub(crate) qkv: LinearSpec,
    /// H·d to D.
    pub(crate) output: LinearSpec,
    pub(crate) relative_keys: Option<RelativeKeysSpec>,
}

/// down(activation(up(x))), D to F and back to D.
#[derive(Clone, Debug)]
pub(crate) struct FeedForwardSpec {
    pub(crate) up: LinearSpec,
    pub(crate) activation: Activation,
    pub(crate) down: LinearSpec,
}

/// A bias of the attention scores that depends on the head and on j − i alone.
#[derive(Clone, Debug)]
pub(crate) struct RelativeBiasSpec {
    /// `[buckets, H]`.
    pub(crate) table: TableSpec,
    /// The row for a key that is `j − i` tokens after the query.
    pub(crate) bucket: fn(isize) -> usize,
}

/// A learned vector R[i − j] for each i − j from −(P − 1) to P − 1. The score of query i and key j
/// gains q_i · R[i − j], before the scaling by 1/√d (Shaw et al. 2018,
/// <https://arxiv.org/abs/1803.02155>).
#[derive(Clone, Debug)]
pub(crate) struct RelativeKeysSpec {
    /// `[2·P − 1, d]`.
    pub(crate) table: TableSpec,
    /// Whether the score also gains k_j · R[i − j] (Huang et al. 2020,
    /// <https://arxiv.org/abs/2009.13658>, method 4).
    pub(crate) multiply_keys: bool,
}

/// Layer normalization over the D elements of a token.
#[derive(Clone, Debug)]
pub(crate) struct NormSpec {
    /// `[D]`.
    pub(crate) weight: String,
    /// `[D]`. None: zeros.
    pub(crate) bias: Option<String>,
    /// Added to the variance.
    pub(crate) epsilon: f32,
}

/// y = W x + b, where the rows of W and b come from one tensor or from several, one part after
/// another.
#[derive(Clone, Debug)]
pub(crate) struct LinearSpec {
    pub(crate) parts: Vec<LinearPart>,
    /// K, the number of inputs.
    pub(crate) inputs: usize,
}

/// A range of rows of a tensor, which compute consecutive outputs of a linear layer.
#[derive(Clone, Debug)]
pub(crate) struct LinearPart {
    /// `[tensor_rows, K]`.
    pub(crate) weight: String,
    /// `[tensor_rows]`. None: zeros.
    pub(crate) bias: Option<String>,
    /// The rows that the tensors have.
    pub(crate) tensor_rows: usize,
    /// The rows that this part takes. A fused tensor may be taken as a whole, or in parts and in
    /// another order.
    pub(crate) rows: Range<usize>,
}

/// A tensor of rows that are looked up one at a time.
#[derive(Clone, Debug)]
pub(crate) struct TableSpec {
    pub(crate) name: String,
    pub(crate) rows: usize,
}

impl EncoderSpec {
    /// Returns H, the number of heads.
    pub(crate) fn heads(&self) -> usize {
        self.layers.first().map_or(0, |layer| layer.attention.body.heads)
    }

    /// Returns all linear layers, in the order of a pass.
    pub(crate) fn linears(&self) -> impl Iterator<Item = &LinearSpec> {
        self.layers.iter().flat_map(|layer| {
            let attention = &layer.attention.body;
            let feed_forward = &layer.feed_forward.body;
            [&attention.qkv, &attention.output, &feed_forward.up, &feed_forward.down]
        })
    }

    /// Returns all norms, in the order of a pass.
    pub(crate) fn norms(&self) -> impl Iterator<Item = &NormSpec> {
        let layers = self.layers.iter().flat_map(|layer| layer.attention.norms().chain(layer.feed_forward.norms()));
        std::iter::once(&self.embeddings.norm).chain(layers).chain(&self.final_norm)
    }

    /// Returns the elements of each table, by name: layers may share one.
    fn tables(&self) -> BTreeMap<&str, usize> {
        let bias = self.relative_bias.iter().map(|bias| (&bias.table, self.heads()));
        let keys = self.layers.iter().map(|layer| &layer.attention.body);
        let keys = keys.flat_map(|body| body.relative_keys.iter().map(|keys| (&keys.table, body.head_size)));
        let embeddings = self.embeddings.tables().map(|table| (table, self.hidden_size));
        embeddings.chain(bias).chain(keys).map(|(table, width)| (table.name.as_str(), table.rows * width)).collect()
    }

    /// Returns the number of parameters, without tensors that the model does not use.
    pub(crate) fn parameters(&self) -> usize {
        let linears: usize = self.linears().map(LinearSpec::parameters).sum();
        let norms: usize = self.norms().map(|norm| (1 + usize::from(norm.bias.is_some())) * self.hidden_size).sum();
        self.tables().values().sum::<usize>() + norms + linears
    }

    /// Returns the floating-point operations of a pass over a text of so many tokens: the linear
    /// layers and the two matrix products of attention, a multiply-add being two. The rest is not
    /// counted.
    pub(crate) fn operations(&self, tokens: usize) -> f64 {
        let linear: usize = self.linears().map(|linear| 2 * linear.outputs() * linear.inputs).sum();
        let attention: usize = self.layers.iter().map(|layer| 4 * layer.attention.body.width()).sum();
        (tokens * (linear + attention * tokens)) as f64
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
            PositionTableSpec::Unused(_) => None,
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

impl AttentionSpec {
    /// Returns H·d, the width of all heads together.
    pub(crate) fn width(&self) -> usize {
        self.heads * self.head_size
    }
}

impl NormSpec {
    /// Names the tensors `{module}.weight` and `{module}.bias`.
    pub(crate) fn module(module: &str, epsilon: f32) -> Self {
        Self { weight: format!("{module}.weight"), bias: Some(format!("{module}.bias")), epsilon }
    }
}

impl LinearSpec {
    /// Names the tensors `{module}.weight` `[N, K]` and `{module}.bias` `[N]`.
    pub(crate) fn module(module: &str, outputs: usize, inputs: usize) -> Self {
        Self::joined(&[module], outputs, inputs)
    }

    /// Joins several modules that read the same input, of `outputs` outputs each, to one matrix
    /// product.
    pub(crate) fn joined(modules: &[&str], outputs: usize, inputs: usize) -> Self {
        let part = |module: &&str| LinearPart {
            weight: format!("{module}.weight"),
            bias: Some(format!("{module}.bias")),
            tensor_rows: outputs,
            rows: 0..outputs,
        };
        Self { parts: modules.iter().map(part).collect(), inputs }
    }

    /// Returns N, the number of outputs.
    pub(crate) fn outputs(&self) -> usize {
        self.parts.iter().map(|part| part.rows.len()).sum()
    }

    /// Returns the number of elements of the weight and the bias.
    fn parameters(&self) -> usize {
        let part = |part: &LinearPart| part.rows.len() * (self.inputs + usize::from(part.bias.is_some()));
        self.parts.iter().map(part).sum()
    }

    /// Returns its name in a converted model: its modules with `+` between them. A part of a tensor
    /// also has its rows.
    pub(crate) fn name(&self) -> String {
        let part = |part: &LinearPart| {
            let module = part.weight.strip_suffix(".weight").unwrap_or(&part.weight);
            if part.rows == (0..part.tensor_rows) {
                module.to_owned()
            } else {
                format!("{module}[{}..{}]", part.rows.start, part.rows.end)
            }
        };
        self.parts.iter().map(part).collect::<Vec<_>>().join("+")
    }
}

impl TableSpec {
    pub(crate) fn new(name: impl Into<String>, rows: usize) -> Self {
        Self { name: name.into(), rows }
    }
}
