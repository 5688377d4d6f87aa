//! The shared data of the steps of a forward pass: the batch, the weights, and the matrices that
//! they fill.

use likewise_kernels::quant::Precision;
use likewise_kernels::view::MatRef;

use crate::batch::Batch;
use crate::encoder::activations::Activations;
use crate::encoder::arena::WeightArena;
use crate::encoder::relative_position::RelativePositionBias;
use crate::encoder::spec::{EncoderSpec, LayerSpec};
use crate::parallel::{TeamBuffers, TeamMatrix, TeamMember};

/// What one thread needs to run the steps of a pass.
pub(crate) struct PassContext<'a, 'team, O> {
    pub(crate) member: &'a mut TeamMember<'team>,
    pub(crate) batch: &'a Batch,
    pub(crate) weights: &'a WeightArena,
    pub(crate) relative_bias: Option<&'a RelativePositionBias>,
    pub(crate) work: &'a Workspace,
    pub(crate) observer: &'a mut O,
    /// The index of the present layer.
    pub(crate) layer: usize,
}

/// Which of a workspace's stream buffers holds the residual stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stream(usize);

impl Stream {
    pub(crate) const FIRST: Self = Self(0);

    /// Returns the other buffer. A step never reads what it fills, so x + f(x) goes there.
    pub(crate) fn other(self) -> Self {
        Self(1 - self.0)
    }
}

/// The matrices of a pass, reused by the next.
pub(crate) struct Workspace {
    /// The residual stream `[T, D]`: one buffer if all layers are post-norm, otherwise two.
    stream: Vec<Activations>,
    /// A sublayer's input after its norm `[T, D]`, if a sublayer has such a norm.
    normed: Option<Activations>,
    /// Queries, keys and values side by side `[T, 3·H·d]`.
    pub(crate) qkv: TeamMatrix,
    /// The heads' weighted means of values, side by side `[T, H·d]`.
    pub(crate) context: Activations,
    /// The input of the norm after a sublayer `[T, D]`. With AddThenNorm it includes the residual.
    pub(crate) norm_input: TeamMatrix,
    /// Inside the feed-forward network `[T, F]`.
    pub(crate) intermediate: Activations,
}

impl Workspace {
    /// Makes the matrices without rows. All layers of a model have the same sizes.
    pub(crate) fn new(spec: &EncoderSpec, precision: Precision) -> Self {
        let has_one_stream = spec.final_norm.is_none() && spec.layers.iter().all(LayerSpec::is_post_norm);
        let [mut reads_normed, mut reads_raw] = [false; 2];
        for [normed, raw] in spec.layers.iter().map(LayerSpec::reads_normed_and_raw) {
            reads_normed |= normed;
            reads_raw |= raw;
        }
        // If every sublayer normalizes its input, nothing multiplies with the stream itself.
        let stream_precision = if reads_raw { precision } else { Precision::F32 };
        let stream = || Activations::new(stream_precision, spec.hidden_size);
        let width = |width: fn(&LayerSpec) -> usize| spec.layers.first().map_or(0, width);
        Self {
            stream: (0..if has_one_stream { 1 } else { 2 }).map(|_| stream()).collect(),
            normed: reads_normed.then(|| Activations::new(precision, spec.hidden_size)),
            qkv: TeamMatrix::new(width(|layer| layer.attention.body.qkv.outputs())),
            context: Activations::new(precision, width(|layer| layer.attention.body.width())),
            norm_input: TeamMatrix::new(spec.hidden_size),
            intermediate: Activations::new(precision, width(|layer| layer.feed_forward.body.up.outputs())),
        }
    }

    /// Returns a buffer of the residual stream.
    pub(crate) fn stream(&self, stream: Stream) -> &Activations {
        &self.stream[stream.0]
    }

    /// Gives the residual stream `[T, D]` to `read`, after the last step.
    pub(crate) fn read_stream<R>(
        &self,
        member: &TeamMember<'_>,
        stream: Stream,
        read: impl FnOnce(MatRef<'_>) -> R,
    ) -> R {
        member.with_reader(|reader| read(reader.read(&self.stream(stream).values)))
    }

    /// Returns a sublayer's input after its norm.
    ///
    /// # Panics
    /// If no sublayer of the spec has such a norm.
    pub(crate) fn normed(&self) -> &Activations {
        match &self.normed {
            Some(normed) => normed,
            None => unreachable!("a workspace for other layers"),
        }
    }

    /// Returns the number of tokens that fit in the memory.
    pub(crate) fn capacity_tokens(&self) -> usize {
        self.norm_input.capacity_rows()
    }

    /// Sets the number of tokens.
    pub(crate) fn resize(&mut self, tokens: usize) {
        let Self { stream, normed, qkv, context, norm_input, intermediate } = self;
        stream.iter_mut().chain(normed).chain([context, intermediate]).for_each(|rows| rows.resize(tokens));
        [qkv, norm_input].into_iter().for_each(|matrix| matrix.resize(tokens));
    }

    /// Returns the bytes of memory that a pass over so many tokens uses.
    pub(crate) fn bytes(spec: &EncoderSpec, precision: Precision, tokens: usize) -> usize {
        let empty = Self::new(spec, precision);
        let Self { stream, normed, qkv, context, norm_input, intermediate } = &empty;
        let activations = stream.iter().chain(normed).chain([context, intermediate]).flat_map(Activations::row_bytes);
        let row_bytes = activations.sum::<usize>() + qkv.row_bytes() + norm_input.row_bytes();
        // In bf16 the feed-forward network rounds its intermediate elements immediately. The f32
        // rows are never touched, so the operating system provides no memory for them.
        let untouched = if precision == Precision::Bf16 { intermediate.values.row_bytes() } else { 0 };
        tokens * (row_bytes - untouched)
    }
}

impl TeamBuffers for Workspace {
    fn bind(&mut self, team: u64) {
        let Self { stream, normed, qkv, context, norm_input, intermediate } = self;
        stream.iter_mut().chain(normed).chain([context, intermediate]).for_each(|rows| rows.bind(team));
        [qkv, norm_input].into_iter().for_each(|matrix| matrix.bind(team));
    }
}
