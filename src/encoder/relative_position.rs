//! What attention is told of the distance between two tokens, in models that tell it.

use likewise_kernels::Level;
use likewise_kernels::gemm::{Epilogue, PackedMatrix, gemm};
use likewise_kernels::view::{MatMut, MatRef};

use crate::checkpoint::Checkpoint;
use crate::encoder::families::{Blueprint, RelativeBias};
use crate::error::Result;

/// A bias of the scores that depends on j − i alone: per head, its values for j − i from −(P − 1) to P − 1, where P is the
/// longest text. Row i of the scores reads the slice that starts at P − 1 − i.
///
/// Such a matrix, constant along its diagonals, is called Toeplitz.
pub(crate) struct RelativePositionBias {
    /// `[H, 2·P − 1]`.
    values: Vec<f32>,
    longest: usize,
}

impl RelativePositionBias {
    pub(crate) fn load(checkpoint: &Checkpoint, bias: &RelativeBias, heads: usize, longest: usize) -> Result<Self> {
        let table = checkpoint.tensor(bias.tensor, &[bias.buckets, heads])?.to_vec()?;
        let reach = longest as isize - 1;
        let mut values = Vec::with_capacity(heads * (2 * longest - 1));
        for head in 0..heads {
            values.extend((-reach..=reach).map(|distance| table[(bias.bucket)(distance) * heads + head]));
        }
        Ok(Self { values, longest })
    }

    /// The values of one head, and where that of j − i = 0 stands among them.
    pub(crate) fn head(&self, head: usize) -> (&[f32], usize) {
        let width = 2 * self.longest - 1;
        (&self.values[head * width..][..width], self.longest - 1)
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.values.as_slice())
    }
}

/// Vectors of distances: to the score of query i and key j comes q_i · E[i − j], and in some models k_j · E[i − j].
///
/// They are packed in reverse, E[P − 1] first. Then the products of one query with the vectors that its keys need stand side
/// by side in the order of the keys, and one matmul makes them for a block of queries: row i of the scores reads those that
/// start at P − 1 − i.
pub(crate) struct RelativeKeyEmbeddings {
    level: Level,
    /// `[2·P − 1, d]`, reversed.
    reversed: PackedMatrix,
    /// P.
    longest: usize,
    width: usize,
    of_keys: bool,
}

impl RelativeKeyEmbeddings {
    /// Those of a layer, if the model has such.
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        level: Level,
        blueprint: &Blueprint,
        layer: usize,
    ) -> Result<Option<Self>> {
        let Some(distances) = blueprint.distances else { return Ok(None) };
        let (longest, width) = (blueprint.position_rows, blueprint.head_width());
        let rows = 2 * longest - 1;
        let tensor = distances.tensor.replace("{}", &layer.to_string());
        let forward = checkpoint.tensor(&tensor, &[rows, width])?.to_vec()?;
        let reversed: Vec<f32> = forward.chunks_exact(width).rev().flatten().copied().collect();
        let reversed = PackedMatrix::pack(level, MatRef::new(&reversed, rows, width));
        Ok(Some(Self { level, reversed, longest, width, of_keys: distances.of_keys }))
    }

    /// For one head of one sentence, whose keys are k `[L, d]`.
    pub(crate) fn of_keys<'a>(&'a self, k: MatRef<'_>, memory: &'a mut Vec<f32>) -> RelativeScores<'a> {
        let tokens = k.rows();
        let keys = self.of_keys.then(|| {
            let window = self.window(0..tokens, tokens);
            memory.resize(tokens * window.len(), 0.0);
            self.multiply(k, &window, memory);
            (window, memory.as_slice())
        });
        RelativeScores { vectors: self, tokens, keys }
    }

    /// The reversed vectors that some queries and all keys need between them, from the first of a panel on.
    fn window(&self, queries: std::ops::Range<usize>, tokens: usize) -> std::ops::Range<usize> {
        let first = self.longest - queries.end;
        let end = self.longest - 1 - queries.start + tokens;
        first / self.level.panel_width() * self.level.panel_width()..end
    }

    /// x `[rows, d]` times the vectors of a window, to `[rows, window]`.
    fn multiply(&self, x: MatRef<'_>, window: &std::ops::Range<usize>, out: &mut [f32]) {
        assert_eq!(x.cols(), self.width, "vectors of a head");
        let panels = self.reversed.panels().columns(window.clone());
        gemm(self.level, x, panels, None, Epilogue::Store, MatMut::new(out, x.rows(), window.len()));
    }
}

/// Vectors of distances, and what the keys of one head of a sentence have to do with them.
pub(crate) struct RelativeScores<'a> {
    vectors: &'a RelativeKeyEmbeddings,
    tokens: usize,
    /// The window of all, and k_j times each vector of it `[L, window]`.
    keys: Option<(std::ops::Range<usize>, &'a [f32])>,
}

impl RelativeScores<'_> {
    /// Adds to the scores `[rows, ≥ L]` of some queries q `[rows, d]`, of which the first is number `first`.
    pub(crate) fn add(&self, q: MatRef<'_>, first: usize, mut scores: MatMut<'_>) {
        let vectors = self.vectors;
        let window = vectors.window(first..first + q.rows(), self.tokens);
        let mut products = vec![0.0; q.rows() * window.len()];
        vectors.multiply(q, &window, &mut products);
        for (r, products) in products.chunks_exact(window.len()).enumerate() {
            let start = vectors.longest - 1 - (first + r);
            let row = &mut scores.row_mut(r)[..self.tokens];
            for (score, product) in row.iter_mut().zip(&products[start - window.start..]) {
                *score += product;
            }
            if let Some((window, of_keys)) = &self.keys {
                let of_keys = of_keys.chunks_exact(window.len());
                for (j, (score, of_key)) in row.iter_mut().zip(of_keys).enumerate() {
                    *score += of_key[start + j - window.start];
                }
            }
        }
    }
}
