//! Linear layers, norms, tables, and the feed-forward network.

use std::ops::Range;

use likewise_kernels::math::Activation;

/// The feed-forward network, D to F and back to D.
#[derive(Clone, Debug)]
pub(crate) struct FeedForwardSpec {
    /// D to F, or in a gated network D to 2·F: first the gates, then the values.
    pub(crate) up: LinearSpec,
    pub(crate) activation: Activation,
    /// Whether it is down(activation(gates) · values) and not down(activation(up)).
    pub(crate) is_gated: bool,
    /// F to D.
    pub(crate) down: LinearSpec,
}

/// A normalization over the D elements of a token.
#[derive(Clone, Debug)]
pub(crate) struct NormSpec {
    pub(crate) kind: NormKind,
    /// `[D]`.
    pub(crate) weight: String,
    /// `[D]`. None: zeros.
    pub(crate) bias: Option<String>,
    /// Added to the variance.
    pub(crate) epsilon: f32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NormKind {
    LayerNorm,
    /// Division by the root mean square, without mean and bias.
    RmsNorm,
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

impl FeedForwardSpec {
    /// Returns F, the width inside the network.
    pub(crate) fn width(&self) -> usize {
        self.down.inputs
    }
}

impl NormSpec {
    /// Describes a layer norm with the tensors `{module}.weight` and `{module}.bias`.
    pub(crate) fn module(module: &str, epsilon: f32) -> Self {
        let bias = Some(format!("{module}.bias"));
        Self { kind: NormKind::LayerNorm, weight: format!("{module}.weight"), bias, epsilon }
    }

    /// Describes a root-mean-square norm with the tensor `{module}.weight`.
    pub(crate) fn root_mean_square(module: &str, epsilon: f32) -> Self {
        Self { kind: NormKind::RmsNorm, weight: format!("{module}.weight"), bias: None, epsilon }
    }

    /// Leaves out the bias.
    pub(crate) fn without_bias(self) -> Self {
        Self { bias: None, ..self }
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

    /// Names a fused tensor `{module}.weight` `[N, K]` and `{module}.bias` `[N]`, of which each
    /// range of rows computes the next outputs.
    pub(crate) fn fused(module: &str, rows: &[Range<usize>], tensor_rows: usize, inputs: usize) -> Self {
        let part = |rows: &Range<usize>| LinearPart {
            weight: format!("{module}.weight"),
            bias: Some(format!("{module}.bias")),
            tensor_rows,
            rows: rows.clone(),
        };
        Self { parts: rows.iter().map(part).collect(), inputs }
    }

    /// Leaves out the bias.
    pub(crate) fn without_bias(mut self) -> Self {
        self.parts.iter_mut().for_each(|part| part.bias = None);
        self
    }

    /// Returns N, the number of outputs.
    pub(crate) fn outputs(&self) -> usize {
        self.parts.iter().map(|part| part.rows.len()).sum()
    }

    /// Returns the number of elements of the weight and the bias.
    pub(super) fn parameters(&self) -> usize {
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
    /// Describes BERT's table of token types, which is absent if it has no rows.
    pub(crate) fn token_types(rows: usize) -> Option<Self> {
        (rows > 0).then(|| Self::new("embeddings.token_type_embeddings.weight", rows))
    }

    pub(crate) fn new(name: impl Into<String>, rows: usize) -> Self {
        Self { name: name.into(), rows }
    }
}
