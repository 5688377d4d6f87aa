//! The head of a model for masked language, fused with the pooling of its numbers.
//!
//! y = decoder(norm(activation(hidden(x)))), from token vectors x `[T, D]` to y `[T, V]` (Devlin et
//! al. 2018, <https://arxiv.org/abs/1810.04805>, §3.1).
//!
//! The head maps every token to a number for each of the V vocabulary entries. For a text of 512
//! tokens these are 60 MB, of which the pooled vector has a few hundred elements. So the numbers of
//! some tokens for some entries are computed into a small buffer and pooled at once.

use std::ops::Range;

use likewise_kernels::gemm::{Epilogue, GemmOutput, PackedMatrix, PackedQuantizedMatrix, gemm, gemm_quantized};
use likewise_kernels::quant::{Precision, quantize};
use likewise_kernels::view::{MatMut, MatRef};

use super::affine::Affine;
use super::splade::{Accumulator, SparseVector, SpladePooling};
use crate::checkpoint::{Checkpoint, TensorReader};
use crate::encoder::spec::{EncoderSpec, MaskedLanguageSpec};
use crate::encoder::{ComputeConfig, Norm};
use crate::error::Result;
use crate::parallel::Pool;
use crate::trace::{Layout, Recorder};

/// The numbers of so many tokens for so many vocabulary entries are computed together. The columns
/// are whole panels, and the buffer stays in the second-level cache.
const ROWS: usize = 256;
const COLUMNS: usize = 256;

/// The linear layers and the norm of the head.
pub(crate) struct MaskedLanguageHead {
    compute: ComputeConfig,
    hidden: Affine,
    norm: Norm,
    decoder: Decoder,
    /// `[V]`, zeros if the model has none.
    bias: Vec<f32>,
}

/// The weights of the last product `[V, K]`, in the model's precision.
enum Decoder {
    F32(PackedMatrix),
    Quantized(PackedQuantizedMatrix),
}

/// The input of the last product `[T, K]`.
enum Hidden {
    F32(Vec<f32>),
    Quantized(Vec<u32>),
}

impl MaskedLanguageHead {
    /// Loads the head.
    ///
    /// # Errors
    /// If a tensor is missing, has another shape, or is not known.
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        encoder: &EncoderSpec,
        spec: &MaskedLanguageSpec,
        compute: ComputeConfig,
    ) -> Result<Self> {
        let ComputeConfig { level, precision } = compute;
        let table = &encoder.embeddings.tokens;
        let (vocabulary, width) = (table.rows, encoder.embeddings.width);
        let mut inside = TensorReader::with_prefix_of(checkpoint, encoder.prefixes, &table.name);
        let mut beside = inside.beside(encoder.prefixes);
        let shape = [width, encoder.hidden_size];
        let hidden = Affine::load(&mut beside, level, spec.hidden, shape, spec.hidden_has_bias)?;
        let norm = Norm::load(&mut beside, level, &spec.norm, width)?;
        let weight = format!("{}.weight", spec.decoder);
        let weight = if beside.contains(&weight) || !spec.is_tied {
            beside.tensor(&weight, &[vocabulary, width])?
        } else {
            inside.tensor(&table.name, &[vocabulary, width])?
        };
        let bias = Self::load_bias(&mut beside, spec, vocabulary)?;
        beside.reject_others_of(spec.modules, encoder.family.name())?;
        let elements = weight.to_f32_vec()?;
        let elements = MatRef::new(&elements, vocabulary, width);
        let decoder = match precision {
            Precision::F32 => Decoder::F32(PackedMatrix::pack(level, elements)),
            _ => Decoder::Quantized(PackedQuantizedMatrix::pack(level, precision, elements)),
        };
        Ok(Self { compute, hidden: hidden.with_activation(Some(spec.activation)), norm, decoder, bias })
    }

    fn load_bias(beside: &mut TensorReader<'_>, spec: &MaskedLanguageSpec, vocabulary: usize) -> Result<Vec<f32>> {
        let Some(bias) = &spec.bias else { return Ok(vec![0.0; vocabulary]) };
        let shared = bias.shared.as_deref().filter(|name| beside.contains(name));
        let shared = shared.map(|name| beside.tensor(name, &[vocabulary])).transpose()?;
        match shared {
            Some(shared) if spec.is_tied && !beside.contains(&bias.own) => shared.to_f32_vec(),
            _ => beside.tensor(&bias.own, &[vocabulary])?.to_f32_vec(),
        }
    }

    /// Returns V, the number of vocabulary entries.
    pub(crate) fn vocabulary(&self) -> usize {
        self.bias.len()
    }

    /// Returns the bytes of the weights in a precision.
    pub(crate) fn bytes(&self, precision: Precision) -> usize {
        let elements = self.vocabulary() * self.hidden.output_width();
        let decoder = match precision {
            Precision::F32 => 4 * elements,
            Precision::Bf16 => 2 * elements,
            Precision::Int8 => elements,
        };
        self.hidden.bytes() + self.norm.bytes() + decoder + self.bias.len() * size_of::<f32>()
    }

    /// Returns the bytes of the buffers that one thread needs for a batch of so many tokens, of
    /// texts of three tokens at least.
    pub(crate) fn buffer_bytes(&self, precision: Precision, pooling: SpladePooling, tokens: usize) -> usize {
        const MIN_TOKENS: usize = 3;
        let [width, inner] = [self.hidden.input_width(), self.hidden.output_width()];
        let packed = if precision == Precision::F32 { 0 } else { precision.packed_row_len(inner) };
        let logits = tokens.min(ROWS) * COLUMNS;
        let pooled = Accumulator::bytes(pooling, tokens.div_ceil(MIN_TOKENS), COLUMNS);
        // The token vectors, and the vectors before and after the norm.
        (tokens * (width + 2 * inner + packed) + logits) * size_of::<f32>() + pooled
    }

    /// Returns the floating-point operations of the two products, a multiply-add being two.
    pub(crate) fn operations_per_token(&self) -> usize {
        2 * self.hidden.output_width() * (self.hidden.input_width() + self.vocabulary())
    }

    /// Describes the head, such as "masked-language head 384 → 384, Gelu, norm → 30522".
    pub(crate) fn describe(&self) -> String {
        let [width, inner] = [self.hidden.input_width(), self.hidden.output_width()];
        let activation =
            self.hidden.activation().map_or("no activation".to_owned(), |function| format!("{function:?}"));
        format!("masked-language head {width} → {inner}, {activation}, norm → {}", self.vocabulary())
    }

    /// Maps token vectors `[T, D]` to the input of the last product. `observe` gets the vectors
    /// before and after the norm.
    fn hidden(&self, tokens: &[f32], mut observe: impl FnMut(&str, &[f32])) -> Hidden {
        let x = self.hidden.apply(tokens);
        observe("masked_language.hidden", &x);
        let width = self.hidden.output_width();
        let rows = x.len() / width;
        let mut y = vec![0.0; x.len()];
        self.norm.apply(MatRef::new(&x, rows, width), MatMut::new(&mut y, rows, width));
        observe("masked_language.norm", &y);
        let ComputeConfig { level, precision } = self.compute;
        if precision == Precision::F32 {
            return Hidden::F32(y);
        }
        let packed_width = precision.packed_row_len(width);
        let mut packed = vec![0; rows * packed_width];
        quantize(level, precision, MatRef::new(&y, rows, width), MatMut::new(&mut packed, rows, packed_width));
        Hidden::Quantized(packed)
    }

    /// Records what the head computes of token vectors `[T, D]`. In a trace the numbers of all
    /// tokens `[T, V]` exist, as `logits`.
    pub(crate) fn trace(&self, tokens: &[f32], recorder: &mut Recorder) {
        let rows = tokens.len() / self.hidden.input_width();
        let width = self.hidden.output_width();
        let record = |site: &str, x: &[f32]| recorder.record_rows(site, Layout::Tokens("C"), width, x);
        let hidden = self.hidden(tokens, record);
        let columns = self.vocabulary();
        let mut logits = vec![0.0; rows * columns];
        self.multiply(&hidden, 0..rows, 0..columns, MatMut::new(&mut logits, rows, columns));
        recorder.record_rows("logits", Layout::Tokens("V"), columns, &logits);
    }

    /// Maps the token vectors `[T, D]` of texts to one vector each. Text s has the tokens
    /// `bounds[s]..bounds[s + 1]`. With a pool, all threads divide the vocabulary.
    pub(crate) fn pool(
        &self,
        pooling: SpladePooling,
        tokens: &[f32],
        bounds: &[usize],
        pool: Option<&Pool>,
    ) -> Vec<SparseVector> {
        let hidden = self.hidden(tokens, |_, _| ());
        let block = |i: usize| {
            let columns = i * COLUMNS..self.vocabulary().min((i + 1) * COLUMNS);
            self.pool_columns(pooling, &hidden, bounds, columns)
        };
        let blocks = self.vocabulary().div_ceil(COLUMNS);
        let parts = match pool {
            Some(pool) => pool.map(blocks, block),
            None => (0..blocks).map(block).collect(),
        };
        let mut vectors = vec![SparseVector::default(); bounds.len() - 1];
        for part in parts {
            vectors.iter_mut().zip(&part).for_each(|(vector, part)| vector.append(part));
        }
        vectors
    }

    /// Computes the elements of some vocabulary entries, of all texts.
    fn pool_columns(
        &self,
        pooling: SpladePooling,
        hidden: &Hidden,
        bounds: &[usize],
        columns: Range<usize>,
    ) -> Vec<SparseVector> {
        let width = columns.len();
        let tokens = bounds[bounds.len() - 1];
        let mut logits = vec![0.0; tokens.min(ROWS) * width];
        let mut accumulator = Accumulator::new(pooling, bounds.len() - 1, width);
        let mut text = 0;
        for first in (0..tokens).step_by(ROWS) {
            let end = tokens.min(first + ROWS);
            self.multiply(hidden, first..end, columns.clone(), MatMut::new(&mut logits, end - first, width));
            let mut row = first;
            while row < end {
                let next = bounds[text + 1].min(end);
                let rows = MatRef::new(&logits[(row - first) * width..], next - row, width);
                accumulator.add(self.compute.level, text, rows);
                row = next;
                text += usize::from(next == bounds[text + 1]);
            }
        }
        accumulator.finish(columns.start)
    }

    /// Computes the numbers of some tokens for some vocabulary entries.
    fn multiply(&self, hidden: &Hidden, rows: Range<usize>, columns: Range<usize>, out: MatMut<'_>) {
        let ComputeConfig { level, precision } = self.compute;
        let width = self.hidden.output_width();
        let bias = &self.bias[columns.clone()];
        match (&self.decoder, hidden) {
            (Decoder::F32(decoder), Hidden::F32(x)) => {
                let x = MatRef::new(x, x.len() / width, width).rows_in(rows);
                gemm(level, x, decoder.panels().columns(columns), Some(bias), Epilogue::Store, out);
            }
            (Decoder::Quantized(decoder), Hidden::Quantized(x)) => {
                let width = precision.packed_row_len(width);
                let x = MatRef::new(x, x.len() / width, width).rows_in(rows);
                let decoder = decoder.view().columns(columns);
                gemm_quantized(level, x, decoder, bias, Epilogue::Store, GemmOutput::F32(out));
            }
            _ => unreachable!("both have the model's precision"),
        }
    }
}
