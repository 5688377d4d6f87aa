//! The shared data of the steps of a forward pass: the batch, the weights, and the matrices that
//! they fill.

use likewise_kernels::quant::Precision;
use likewise_kernels::view::MatRef;

use crate::batch::Batch;
use crate::encoder::activations::Activations;
use crate::encoder::arena::WeightArena;
use crate::encoder::relative_position::DiagonalBias;
use crate::encoder::spec::{EncoderSpec, LayerSpec};
use crate::parallel::{TeamBuffers, TeamMatrix, TeamMember};

/// What one thread needs to run the steps of a pass.
pub(crate) struct PassContext<'a, 'team, O> {
    pub(crate) member: &'a mut TeamMember<'team>,
    pub(crate) batch: &'a Batch,
    pub(crate) weights: &'a WeightArena,
    pub(crate) relative_bias: Option<&'a DiagonalBias>,
    pub(crate) work: &'a Workspace,
    /// The tokens that the last layer computes, if these are not all. Set during its attention.
    pub(crate) selected: Option<SelectedTokens<'a>>,
    pub(crate) observer: &'a mut O,
    /// The index of the present layer.
    pub(crate) layer: usize,
}

/// One token of each text: the only ones whose vectors pooling reads.
#[derive(Clone, Copy)]
pub(crate) struct SelectedTokens<'a> {
    /// Their rows in the batch `[S]`, one in each text.
    pub(crate) rows: &'a [usize],
    /// The matrices of these tokens, of S rows.
    pub(crate) work: &'a Workspace,
}

/// The memory of a pass.
pub(crate) struct PassBuffers {
    tokens: Workspace,
    /// For the selected tokens.
    selected: Workspace,
}

/// Where a pass has left its result.
#[derive(Clone, Copy)]
pub(crate) struct PassOutput {
    pub(super) stream: Stream,
    pub(super) is_selected: bool,
}

impl PassBuffers {
    pub(crate) fn new(spec: &EncoderSpec, precision: Precision) -> Self {
        Self { tokens: Workspace::new(spec, precision), selected: Workspace::new(spec, precision) }
    }

    /// Sets the number of tokens, and of selected ones.
    pub(crate) fn resize(&mut self, tokens: usize, selected: usize) {
        self.tokens.resize(tokens);
        self.selected.resize(selected);
    }

    /// Returns the number of tokens that fit in the memory.
    pub(crate) fn capacity_tokens(&self) -> usize {
        self.tokens.capacity_tokens()
    }

    /// Returns the matrices of all tokens.
    pub(super) fn tokens(&self) -> &Workspace {
        &self.tokens
    }

    /// Returns the matrices of the selected tokens.
    pub(super) fn selected(&self) -> &Workspace {
        &self.selected
    }

    /// Gives the token vectors to `read`, after the last step: `[T, D]`, or `[S, D]` if some were
    /// selected.
    pub(crate) fn read_output<R>(
        &self,
        member: &TeamMember<'_>,
        output: PassOutput,
        read: impl FnOnce(MatRef<'_>) -> R,
    ) -> R {
        let work = if output.is_selected { &self.selected } else { &self.tokens };
        member.with_reader(|reader| read(reader.read(&work.stream(output.stream).values)))
    }
}

impl TeamBuffers for PassBuffers {
    fn bind(&mut self, team: u64) {
        self.tokens.bind(team);
        self.selected.bind(team);
    }
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
    /// Inside a gated feed-forward network, before the activation `[T, 2·F]`.
    gates_and_values: Option<TeamMatrix>,
    /// Embeddings before their projection to D, if there is one.
    embedded: Option<Activations>,
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
        let is_gated = spec.layers.iter().any(|layer| layer.feed_forward.body.is_gated);
        Self {
            stream: (0..if has_one_stream { 1 } else { 2 }).map(|_| stream()).collect(),
            normed: reads_normed.then(|| Activations::new(precision, spec.hidden_size)),
            qkv: TeamMatrix::new(width(|layer| layer.attention.body.qkv.outputs())),
            context: Activations::new(precision, width(|layer| layer.attention.body.width())),
            norm_input: TeamMatrix::new(spec.hidden_size),
            intermediate: Activations::new(precision, width(|layer| layer.feed_forward.body.width())),
            gates_and_values: is_gated.then(|| TeamMatrix::new(width(|layer| layer.feed_forward.body.up.outputs()))),
            embedded: spec.embeddings.projection.is_some().then(|| Activations::new(precision, spec.embeddings.width)),
        }
    }

    /// Returns all activations.
    fn activations(&self) -> impl Iterator<Item = &Activations> {
        self.stream.iter().chain(&self.normed).chain(&self.embedded).chain([&self.context, &self.intermediate])
    }

    /// Returns all activations, and all other matrices.
    fn parts_mut(&mut self) -> (impl Iterator<Item = &mut Activations>, impl Iterator<Item = &mut TeamMatrix>) {
        let Self { stream, normed, qkv, context, norm_input, intermediate, gates_and_values, embedded } = self;
        let activations = stream.iter_mut().chain(normed).chain(embedded).chain([context, intermediate]);
        (activations, [qkv, norm_input].into_iter().chain(gates_and_values))
    }

    /// Returns a buffer of the residual stream.
    pub(crate) fn stream(&self, stream: Stream) -> &Activations {
        &self.stream[stream.0]
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

    /// Returns the gates and values of a gated feed-forward network `[T, 2·F]`.
    ///
    /// # Panics
    /// If the spec has no such network.
    pub(crate) fn gates_and_values(&self) -> &TeamMatrix {
        match &self.gates_and_values {
            Some(matrix) => matrix,
            None => unreachable!("a workspace for layers without gates"),
        }
    }

    /// Returns the embeddings before their projection to D.
    ///
    /// # Panics
    /// If the spec has no such projection.
    pub(crate) fn embedded(&self) -> &Activations {
        match &self.embedded {
            Some(embedded) => embedded,
            None => unreachable!("a workspace for embeddings without a projection"),
        }
    }

    /// Returns the number of tokens that fit in the memory.
    pub(crate) fn capacity_tokens(&self) -> usize {
        self.norm_input.capacity_rows()
    }

    /// Sets the number of tokens.
    pub(crate) fn resize(&mut self, tokens: usize) {
        let (activations, matrices) = self.parts_mut();
        activations.for_each(|rows| rows.resize(tokens));
        matrices.for_each(|matrix| matrix.resize(tokens));
    }

    /// Returns the bytes of memory that a pass over so many tokens uses.
    pub(crate) fn bytes(spec: &EncoderSpec, precision: Precision, tokens: usize) -> usize {
        let empty = Self::new(spec, precision);
        let activations: usize = empty.activations().flat_map(Activations::row_bytes).sum();
        let matrices = [&empty.qkv, &empty.norm_input].into_iter().chain(&empty.gates_and_values);
        let row_bytes = activations + matrices.map(TeamMatrix::row_bytes).sum::<usize>();
        // In bf16 a feed-forward network without gates rounds its intermediate elements
        // immediately. The f32 rows are never touched, so the operating system provides no memory
        // for them.
        let is_rounded = precision == Precision::Bf16 && empty.gates_and_values.is_none();
        let untouched = if is_rounded { empty.intermediate.values.row_bytes() } else { 0 };
        tokens * (row_bytes - untouched)
    }
}

impl Workspace {
    fn bind(&mut self, team: u64) {
        let (activations, matrices) = self.parts_mut();
        activations.for_each(|rows| rows.bind(team));
        matrices.for_each(|matrix| matrix.bind(team));
    }
}
