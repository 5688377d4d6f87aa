//! The attention of chosen layers, recorded during a pass.

use likewise_kernels::view::MatRef;

use crate::backbone::{Backbone, TokenizedText};
use crate::trace::{LayerSite, Observer, Site};

/// The layers whose attention an explanation has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttentionLayers {
    /// No layer.
    #[default]
    None,
    /// One layer, the first being 0.
    One(usize),
    /// The last layer.
    Last,
    /// All layers.
    All,
}

/// The attention of a layer in a text of L tokens: for each head and token, how the head weights
/// the tokens that this token attends to.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerAttention {
    layer: usize,
    tokens: usize,
    /// `[H, L, L]`.
    data: Vec<f32>,
}

/// Keeps the attention of some layers.
struct AttentionObserver {
    layers: AttentionLayers,
    /// The number of layers of the model.
    count: usize,
    tokens: usize,
    kept: Vec<LayerAttention>,
}

impl LayerAttention {
    /// Returns the index of the layer.
    pub fn layer(&self) -> usize {
        self.layer
    }

    /// Returns the number of heads.
    pub fn heads(&self) -> usize {
        self.data.len() / (self.tokens * self.tokens).max(1)
    }

    /// Returns the weights of a head `[L, L]`: a row for each token that attends, a column for each
    /// token that it attends to. A row adds up to 1.
    ///
    /// # Panics
    /// If `head` is not less than [`Self::heads`].
    pub fn head(&self, head: usize) -> &[f32] {
        let elements = self.tokens * self.tokens;
        &self.data[head * elements..][..elements]
    }

    /// Returns the rows of a head: the weights of each token that attends.
    pub(super) fn rows(&self, head: usize) -> impl Iterator<Item = &[f32]> {
        self.head(head).chunks_exact(self.tokens.max(1))
    }

    /// Returns the mean of the weights over all heads `[L, L]`.
    pub fn mean(&self) -> Vec<f32> {
        let mut sums = vec![0.0_f64; self.tokens * self.tokens];
        for head in 0..self.heads() {
            sums.iter_mut().zip(self.head(head)).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        sums.iter().map(|sum| (sum / self.heads() as f64) as f32).collect()
    }
}

impl AttentionObserver {
    fn keeps(&self, layer: usize) -> bool {
        match self.layers {
            AttentionLayers::None => false,
            AttentionLayers::One(only) => layer == only,
            AttentionLayers::Last => layer + 1 == self.count,
            AttentionLayers::All => true,
        }
    }
}

impl Observer for AttentionObserver {
    const ENABLED: bool = true;

    fn record(&mut self, site: Site, rows: MatRef<'_>) {
        let Site::Layer(LayerSite::Probabilities, layer) = site else { return };
        if !self.keeps(layer) {
            return;
        }
        if self.kept.last().is_none_or(|last| last.layer != layer) {
            self.kept.push(LayerAttention { layer, tokens: self.tokens, data: Vec::new() });
        }
        if let Some(last) = self.kept.last_mut() {
            (0..rows.rows()).for_each(|i| last.data.extend_from_slice(rows.row(i)));
        }
    }
}

/// Runs a pass over one text on this thread. Returns the vectors of its tokens, one after another
/// `[L · D]`, and the attention of the layers.
pub(crate) fn observe(
    backbone: &Backbone,
    text: &TokenizedText,
    layers: AttentionLayers,
) -> (Vec<f32>, Vec<LayerAttention>) {
    let count = backbone.spec().layer_order.len();
    let mut observer = AttentionObserver { layers, count, tokens: text.ids.len(), kept: Vec::new() };
    let mut rows = Vec::new();
    backbone.run_observed(&backbone.batch([text]), &mut observer, |tokens| {
        (0..tokens.rows()).for_each(|t| rows.extend_from_slice(tokens.row(t)));
    });
    (rows, observer.kept)
}
