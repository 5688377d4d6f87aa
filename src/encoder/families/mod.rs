//! The architectures, each as data.
//!
//! BERT, DistilBERT, RoBERTa, CamemBERT, XLM-RoBERTa and MPNet are one network: embeddings, then layers of attention and
//! feed-forward, each with a residual connection and a layer norm after it. They differ in the names of their tensors, in how
//! positions are told, in whether there are segments. A [`Blueprint`] says these things;
//! the forward pass (`layers/encoder.rs`) has no case for any of them.

mod bert;
mod distilbert;
mod mpnet;
mod roberta;

use likewise_kernels::math::Activation;

use crate::config::JsonObject;
use crate::error::Result;

/// All that distinguishes one encoder from another.
///
/// Letters, here and everywhere: T tokens in a batch, L tokens in a sentence, D width, H heads, d = D/H, F inner width,
/// V vocabulary.
#[derive(Clone, Debug)]
pub struct Blueprint {
    /// The architecture's name.
    pub family: &'static str,
    /// D.
    pub width: usize,
    /// H.
    pub heads: usize,
    /// F.
    pub inner: usize,
    /// Number of layers.
    pub layers: usize,
    /// V.
    pub vocabulary: usize,
    /// Rows of the table of positions.
    pub position_rows: usize,
    /// Which row a token gets.
    pub positions: Positions,
    /// What the table of positions is.
    pub position_table: PositionTable,
    /// Rows of the table of segments, of which the first is added to every token; None if there is no such table.
    pub segments: Option<usize>,
    /// What is added to the variance in a layer norm.
    pub epsilon: f32,
    /// Between the two maps of the feed-forward network.
    pub activation: Activation,
    /// Added to the attention scores.
    pub relative_bias: Option<RelativeBias>,
    /// Multiplied into the attention scores.
    pub distances: Option<Distances>,
    /// What the tensors are called.
    pub names: Names,
}

/// How tokens are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Positions {
    /// 0, 1, 2, …
    FromZero,
    /// Tokens that are not padding get p + 1, p + 2, …, where p is the id of the padding token; a padding token, which
    /// can occur as text, gets p and is not counted.
    AfterPadding(u32),
}

/// What is added to the words' vectors to tell where they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PositionTable {
    /// The checkpoint's table.
    Learned,
    /// The same, or if it has none, sines and cosines (Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>, §3.5).
    Sinusoidal,
    /// Nothing, whether the checkpoint has a table or not.
    None,
}

/// Learned vectors of distances, in every layer its own, one for each i − j from −(P − 1) to P − 1, where P are the rows of the
/// table of positions: to the score of query i and key j comes q_i · E[i − j], before the scaling by 1/√d (Shaw et al. 2018,
/// <https://arxiv.org/abs/1803.02155>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Distances {
    /// The tensor `[2·P − 1, d]`, where `{}` stands for the layer.
    pub tensor: &'static str,
    /// Whether k_j · E[i − j] comes to it as well (Huang et al. 2020, <https://arxiv.org/abs/2009.13658>, method 4).
    pub of_keys: bool,
}

/// A bias of the attention scores that depends on j − i alone, in every layer the same.
#[derive(Clone, Copy, Debug)]
pub struct RelativeBias {
    /// The tensor `[buckets, H]`.
    pub tensor: &'static str,
    /// Its rows.
    pub buckets: usize,
    /// The row for a key that is `j − i` tokens after the query.
    pub bucket: fn(isize) -> usize,
}

/// What the tensors are called. In the names of a layer `{}` stands for its number; each names a module with a `weight`
/// and a `bias`.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// Before all names, where the checkpoint is of a model with a head.
    pub prefixes: &'static [&'static str],
    /// `[V, D]`.
    pub words: &'static str,
    /// `[position_rows, D]`.
    pub positions: &'static str,
    /// `[segments, D]`.
    pub segments: &'static str,
    /// The layer norm of the embeddings.
    pub embedding_norm: &'static str,
    /// `[D, D]` each.
    pub query: &'static str,
    /// See `query`.
    pub key: &'static str,
    /// See `query`.
    pub value: &'static str,
    /// [D, D]: the map after the heads are joined.
    pub attention_output: &'static str,
    /// The layer norm after attention.
    pub attention_norm: &'static str,
    /// `[F, D]`.
    pub inner: &'static str,
    /// `[D, F]`.
    pub output: &'static str,
    /// The layer norm after the feed-forward network.
    pub output_norm: &'static str,
}

impl Blueprint {
    /// The architecture that a config.json describes.
    ///
    /// # Errors
    /// If `model_type` or a value that changes the computation is not supported.
    pub(crate) fn from_config(config: &JsonObject) -> Result<Self> {
        let blueprint = match config.string("model_type")? {
            Some("bert") => bert::blueprint(config)?,
            Some("distilbert") => distilbert::blueprint(config)?,
            Some("roberta") => roberta::blueprint(config, &roberta::ROBERTA)?,
            Some("camembert") => roberta::blueprint(config, &roberta::CAMEMBERT)?,
            Some("xlm-roberta") => roberta::blueprint(config, &roberta::XLM_ROBERTA)?,
            Some("mpnet") => mpnet::blueprint(config)?,
            _ => {
                return Err(config
                    .invalid_value("model_type", "one of bert, distilbert, roberta, camembert, xlm-roberta, mpnet"));
            }
        };
        refuse_other_mathematics(config)?;
        if !blueprint.width.is_multiple_of(blueprint.heads) {
            let expected = format!("a divisor of hidden_size {}", blueprint.width);
            return Err(config.invalid_value("num_attention_heads", expected));
        }
        if blueprint.longest() == 0 {
            return Err(config.invalid_value("max_position_embeddings", "more rows than the first position skips"));
        }
        Ok(blueprint)
    }

    /// The most tokens that a text can have: the rows of the table of positions less those that no token gets.
    pub fn longest(&self) -> usize {
        match self.positions {
            Positions::FromZero => self.position_rows,
            Positions::AfterPadding(padding) => self.position_rows.saturating_sub(padding as usize + 1),
        }
    }

    /// Floating-point operations of a pass over a text of L tokens: its linear maps and the two products of attention, a
    /// multiply-add being two. What is spent on the rest is not counted.
    pub fn operations(&self, tokens: usize) -> f64 {
        let linear = 2 * (4 * self.width * self.width + 2 * self.width * self.inner);
        let attention = 4 * self.width * tokens;
        (self.layers * tokens * (linear + attention)) as f64
    }

    /// d: the width of a head.
    pub fn head_width(&self) -> usize {
        self.width / self.heads
    }
}

/// The values of a class for keys that config.json leaves out (transformers 5.23.0, `configuration_*.py`).
struct Defaults {
    vocabulary: usize,
    positions: usize,
    segments: usize,
    padding: u32,
}

/// What BERT, RoBERTa and MPNet read from the same keys.
fn standard(config: &JsonObject, family: &'static str, names: Names, defaults: &Defaults) -> Result<Blueprint> {
    Ok(Blueprint {
        family,
        width: config.positive_integer("hidden_size")?.unwrap_or(768),
        heads: config.positive_integer("num_attention_heads")?.unwrap_or(12),
        inner: config.positive_integer("intermediate_size")?.unwrap_or(3072),
        layers: config.positive_integer("num_hidden_layers")?.unwrap_or(12),
        vocabulary: config.positive_integer("vocab_size")?.unwrap_or(defaults.vocabulary),
        position_rows: config.positive_integer("max_position_embeddings")?.unwrap_or(defaults.positions),
        positions: Positions::FromZero,
        position_table: PositionTable::Learned,
        segments: Some(config.positive_integer("type_vocab_size")?.unwrap_or(defaults.segments)),
        epsilon: config.positive_number("layer_norm_eps")?.unwrap_or(1e-12),
        activation: activation(config, "hidden_act")?,
        relative_bias: None,
        distances: None,
        names,
    })
}

/// What BERT and RoBERTa do with `position_embedding_type`: distances in place of a table, if it says so.
///
/// Follows transformers 4.57.1, `models/bert/modeling_bert.py`, `BertSelfAttention`. Version 5 reads such models as if they had
/// none of it, and computes something else than they were trained for.
fn with_distances(config: &JsonObject, blueprint: Blueprint) -> Result<Blueprint> {
    const KEY: &str = "position_embedding_type";
    let of_keys = match config.string(KEY)? {
        None | Some("absolute") => return Ok(blueprint),
        Some("relative_key") => false,
        Some("relative_key_query") => true,
        Some(_) => return Err(config.invalid_value(KEY, "absolute, relative_key or relative_key_query")),
    };
    let distances = Distances { tensor: "encoder.layer.{}.attention.self.distance_embedding.weight", of_keys };
    Ok(Blueprint { position_table: PositionTable::None, distances: Some(distances), ..blueprint })
}

/// The activation that a key names (transformers 5.23.0, `activations.py`); GELU if it is absent.
fn activation(config: &JsonObject, key: &str) -> Result<Activation> {
    Ok(match config.string(key)? {
        None | Some("gelu" | "gelu_python") => Activation::Gelu,
        Some("gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" | "gelu_accurate") => Activation::GeluTanh,
        Some("relu") => Activation::Relu,
        Some("silu" | "swish") => Activation::Silu,
        Some("tanh") => Activation::Tanh,
        Some("quick_gelu") => Activation::QuickGelu,
        Some("mish") => Activation::Mish,
        Some(_) => {
            let all = "one of gelu, gelu_python, gelu_new, gelu_pytorch_tanh, gelu_fast, gelu_accurate, relu, silu, swish, \
                       tanh, quick_gelu, mish";
            return Err(config.invalid_value(key, all));
        }
    })
}

/// Refuses the keys that would change the mathematics in ways that are not built.
fn refuse_other_mathematics(config: &JsonObject) -> Result<()> {
    for key in ["is_decoder", "add_cross_attention"] {
        if config.boolean(key)? == Some(true) {
            return Err(config.invalid_value(key, "false: an encoder, whose tokens see each other both ways"));
        }
    }
    if config.get("embedding_size").is_some()
        && config.positive_integer("embedding_size")? != config.positive_integer("hidden_size")?
    {
        return Err(config.invalid_value("embedding_size", "the same as hidden_size"));
    }
    Ok(())
}
