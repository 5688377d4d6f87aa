//! The encoder: token ids to one vector per token.

pub(crate) mod activations;
pub(crate) mod arena;
pub(crate) mod attention;
pub(crate) mod embeddings;
pub(crate) mod families;
pub(crate) mod feed_forward;
pub(crate) mod linear;
pub(crate) mod norm;
pub(crate) mod relative_position;

use likewise_kernels::quant::Precision;

use crate::batch::Batch;
use crate::checkpoint::Checkpoint;
use crate::encoder::activations::Activations;
use crate::encoder::arena::{ArenaLayout, WeightArena};
use crate::encoder::attention::Attention;
use crate::encoder::embeddings::Embeddings;
use crate::encoder::families::Blueprint;
use crate::encoder::feed_forward::FeedForward;
use crate::encoder::linear::{ComputeConfig, Linear};
use crate::encoder::relative_position::RelativePositionBias;
use crate::error::{Error, Result};
use crate::parallel::{Pool, TeamBuffers, TeamMatrix, TeamMember};
use crate::trace::{Observer, TracePoint};

/// Embeddings and layers, as a [`Blueprint`] describes them, with their weights.
pub(crate) struct Encoder {
    embeddings: Embeddings,
    layers: Vec<Layer>,
    score_bias: Option<RelativePositionBias>,
    weights: WeightArena,
    /// Bytes of the largest matrix in a mapped file.
    packing: usize,
    /// Bytes of weight files that were given in memory.
    in_memory: usize,
    /// Whether the matrices were packed before, in a file.
    converted: bool,
    blueprint: Blueprint,
}

struct Layer {
    attention: Attention,
    feed_forward: FeedForward,
}

/// What all layers of a pass share.
pub(crate) struct Pass<'a> {
    pub(crate) batch: &'a Batch,
    pub(crate) buffers: &'a Workspace,
    pub(crate) weights: &'a WeightArena,
    pub(crate) score_bias: Option<&'a RelativePositionBias>,
}

impl Layer {
    fn linears(&self) -> impl Iterator<Item = &Linear> {
        self.attention.linears().into_iter().chain(self.feed_forward.linears())
    }

    fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        self.attention.linears_mut().into_iter().chain(self.feed_forward.linears_mut())
    }
}

impl Encoder {
    /// The forward pass: the tokens' vectors come to stand in `buffers.x` `[T, D]`.
    ///
    /// All members of the team call it; each computes its part of every step.
    pub(crate) fn forward<O: Observer>(
        &self,
        member: &mut TeamMember<'_>,
        batch: &Batch,
        buffers: &Workspace,
        observer: &mut O,
    ) {
        self.embeddings.forward(member, batch, &buffers.x);
        observer.record_matrix(member, TracePoint::Embeddings, &buffers.x.numbers);
        let pass = Pass { batch, buffers, weights: &self.weights, score_bias: self.score_bias.as_ref() };
        for (i, layer) in self.layers.iter().enumerate() {
            layer.attention.forward(member, &pass, observer, i);
            layer.feed_forward.forward(member, &pass, observer, i);
        }
    }

    /// Loads the weights and packs them for how they are to be used. Those of a converted model are used as they lie.
    ///
    /// # Errors
    /// If a tensor is missing, has another shape than config.json implies, is not finite, or is not known.
    pub(crate) fn load(
        checkpoint: &mut Checkpoint,
        blueprint: Blueprint,
        how: ComputeConfig,
        pool: &Pool,
    ) -> Result<Self> {
        checkpoint.find_prefix(blueprint.names.prefixes, blueprint.names.words);
        let embeddings = Embeddings::load(checkpoint, how.level, &blueprint)?;
        let bias = |bias| RelativePositionBias::load(checkpoint, &bias, blueprint.heads, blueprint.longest());
        let score_bias = blueprint.relative_bias.map(bias).transpose()?;
        let mut places = ArenaLayout::default();
        let find = |i| -> Result<Layer> {
            let attention = Attention::find(checkpoint, how, &mut places, &blueprint, i)?;
            let feed_forward = FeedForward::find(checkpoint, how, &mut places, &blueprint, i)?;
            Ok(Layer { attention, feed_forward })
        };
        let mut layers: Vec<Layer> = (0..blueprint.layers).map(find).collect::<Result<_>>()?;
        checkpoint.refuse_unknown(blueprint.family)?;
        let in_memory = checkpoint.bytes_in_memory();
        let mut packing = 0;
        // Nothing is reserved before every tensor is known to be there in its shape.
        let weights = if checkpoint.packing().is_some() {
            let end = layers.iter().flat_map(Layer::linears).map(Linear::end).max();
            WeightArena::of_file(checkpoint.bytes().clone(), end.unwrap_or(0))?
        } else {
            let mut weights = WeightArena::reserve(&places)?;
            for linear in layers.iter_mut().flat_map(Layer::linears_mut) {
                packing = packing.max(linear.bytes_in_file());
                linear.pack(pool, &mut weights)?;
            }
            weights
        };
        if in_memory > 0 {
            // Nothing comes into memory to be packed that is not there before and after.
            packing = 0;
        }
        checkpoint.release();
        let converted = checkpoint.packing().is_some();
        Ok(Self { embeddings, layers, score_bias, weights, packing, in_memory, converted, blueprint })
    }

    /// What it was built from.
    pub(crate) fn blueprint(&self) -> &Blueprint {
        &self.blueprint
    }

    /// Why the vectors of a batch may be not finite: the embedding that is not, if there is one.
    pub(crate) fn find_bad_embedding(&self, batch: &Batch) -> Option<Error> {
        self.embeddings.find_bad_row(batch)
    }

    /// Its matrices, in the order of a pass.
    pub(crate) fn linears(&self) -> impl Iterator<Item = &Linear> {
        self.layers.iter().flat_map(Layer::linears)
    }

    /// Whether its matrices are used as they lie in a file.
    pub(crate) fn is_converted(&self) -> bool {
        self.converted
    }

    /// The memory of its matrices.
    pub(crate) fn weights(&self) -> &WeightArena {
        &self.weights
    }

    /// Bytes of packed matrices, in a precision.
    pub(crate) fn packed_bytes(&self, precision: Precision) -> usize {
        self.linears().map(|linear| linear.bytes_in(precision)).sum()
    }

    /// Bytes of what belongs to the matrices and is always a copy: scales, sums, the bias of attention's scores.
    pub(crate) fn copied_bytes(&self, precision: Precision) -> usize {
        let scales: usize = self.linears().map(|linear| linear.scale_bytes_in(precision)).sum();
        scales + self.score_bias.as_ref().map_or(0, RelativePositionBias::bytes)
    }

    /// Whether the matrices are used as they lie in a file that is mapped.
    pub(crate) fn matrices_are_mapped(&self) -> bool {
        self.weights.are_a_files() && self.in_memory == 0
    }

    /// Bytes of the file that are resident while its largest matrix is packed.
    pub(crate) fn packing_bytes(&self) -> usize {
        self.packing
    }

    /// Bytes of weights that were given in memory, without the tables and without what is used as it lies there.
    pub(crate) fn given_bytes(&self) -> usize {
        let used = if self.weights.are_a_files() { self.linears().map(Linear::end).max().unwrap_or(0) } else { 0 };
        self.in_memory.saturating_sub(self.mapped_bytes() + used)
    }

    /// Bytes of tables that stay mapped.
    pub(crate) fn mapped_bytes(&self) -> usize {
        self.embeddings.mapped_bytes()
    }

    /// The type of the numbers in the checkpoint.
    pub(crate) fn dtype(&self) -> &'static str {
        self.embeddings.dtype()
    }
}

/// The matrices of a pass, used again for the next.
pub(crate) struct Workspace {
    /// A layer's input and output `[T, D]`.
    pub(crate) x: Activations,
    /// Queries, keys and values side by side `[T, 3·D]`.
    pub(crate) qkv: TeamMatrix,
    /// The heads' averages, side by side `[T, D]`.
    pub(crate) context: Activations,
    /// Before a layer norm `[T, D]`.
    pub(crate) sum: TeamMatrix,
    /// After attention and its layer norm `[T, D]`.
    pub(crate) attended: Activations,
    /// Inside the feed-forward network `[T, F]`.
    pub(crate) inner: Activations,
}

impl Workspace {
    /// For a model of width D and inner width F.
    pub(crate) fn new(blueprint: &Blueprint, precision: Precision) -> Self {
        let width = blueprint.width;
        Self {
            x: Activations::new(precision, width),
            qkv: TeamMatrix::new(3 * width),
            context: Activations::new(precision, width),
            sum: TeamMatrix::new(width),
            attended: Activations::new(precision, width),
            inner: Activations::new(precision, blueprint.inner),
        }
    }

    /// Tokens that there is room for.
    pub(crate) fn room(&self) -> usize {
        self.sum.room()
    }

    /// Makes room for T tokens.
    pub(crate) fn resize(&mut self, tokens: usize) {
        let Self { x, qkv, context, sum, attended, inner } = self;
        [x, context, attended, inner].into_iter().for_each(|operand| operand.resize(tokens));
        [qkv, sum].into_iter().for_each(|matrix| matrix.resize(tokens));
    }
}

impl TeamBuffers for Workspace {
    fn join(&mut self, team: u64) {
        let Self { x, qkv, context, sum, attended, inner } = self;
        [x, context, attended, inner].into_iter().for_each(|operand| operand.join(team));
        [qkv, sum].into_iter().for_each(|matrix| matrix.join(team));
    }
}
