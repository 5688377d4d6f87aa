//! The encoder: token ids to one vector per token.
//!
//! [`spec`] describes an architecture as data, and [`families`] has one description per published
//! architecture. [`loader`] turns a spec and a checkpoint into modules. [`Encoder::forward`] is the
//! whole forward pass.

mod activations;
mod architecture;
mod arena;
mod attention;
mod embeddings;
pub(crate) mod families;
mod feed_forward;
mod grown_table;
mod layer;
mod linear;
mod loader;
mod norm;
mod packing;
mod pass;
mod relative_position;
mod rotary;
pub(crate) mod spec;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod window_tests;

pub use architecture::Architecture;
pub(crate) use linear::{ComputeConfig, Linear};
pub(crate) use loader::LoadStats;
pub(crate) use norm::Norm;
pub(crate) use pass::{PassBuffers, PassOutput, Workspace};
pub(crate) use relative_position::{RelativeKeyEmbeddings, RelativePositionBias};
pub(crate) use rotary::RotaryPositions;

use std::collections::BTreeMap;

use self::arena::{PackedWeights, WeightArena};
use self::attention::Attention;
use self::embeddings::Embeddings;
use self::feed_forward::FeedForward;
use self::layer::Sublayer;
use self::loader::{LoadedWeights, WeightLoader};
use self::pass::{PassContext, SelectedTokens, Stream};
use self::spec::{EncoderSpec, LayerSpec};
use crate::batch::Batch;
use crate::checkpoint::{Checkpoint, Tensor};
use crate::error::{Error, Result};
use crate::parallel::{Pool, TeamMember};
use crate::trace::{Observer, Site};

/// Embeddings, layers and an optional final norm, with their weights.
pub(crate) struct Encoder {
    spec: EncoderSpec,
    embeddings: Embeddings,
    relative_bias: Option<RelativePositionBias>,
    layers: Vec<Layer>,
    final_norm: Option<Norm>,
    weights: WeightArena,
}

struct Layer {
    attention: Sublayer<Attention>,
    feed_forward: Sublayer<FeedForward>,
}

/// An encoder, and what loading it has found out.
pub(crate) struct LoadedEncoder {
    pub(crate) encoder: Encoder,
    pub(crate) stats: LoadStats,
    /// All tensors that are used and not packed, by name without the checkpoint's prefix.
    pub(crate) unpacked: BTreeMap<String, Tensor>,
}

impl Encoder {
    /// Runs the forward pass. Returns where `buffers` then hold the token vectors `[T, D]`.
    ///
    /// If only one token of each text is needed, `selected` has their rows in the batch `[S]`. The
    /// last layer then computes keys and values of all tokens, and everything else for the selected
    /// ones. Their vectors `[S, D]` have the same bits.
    ///
    /// All members of the team call it; each computes its part of every step.
    pub(crate) fn forward<O: Observer>(
        &self,
        member: &mut TeamMember<'_>,
        batch: &Batch,
        buffers: &PassBuffers,
        selected: Option<&[usize]>,
        observer: &mut O,
    ) -> PassOutput {
        let bias = self.relative_bias.as_ref().map(|bias| bias.for_tokens(batch.longest_text()));
        let relative_bias = bias.as_deref();
        let work = buffers.tokens();
        let weights = &self.weights;
        let mut cx = PassContext { member, batch, weights, relative_bias, work, selected: None, observer, layer: 0 };
        let mut x = Stream::FIRST;
        self.embeddings.forward(&mut cx, work.stream(x));
        cx.observer.record_matrix(cx.member, Site::Embeddings, &work.stream(x).values);
        let last = self.spec.layer_order.len().wrapping_sub(1);
        for (i, &layer) in self.spec.layer_order.iter().enumerate() {
            cx.layer = i;
            let layer = &self.layers[layer];
            cx.selected = selected.filter(|_| i == last).map(|rows| SelectedTokens { rows, work: buffers.selected() });
            x = layer.attention.forward(&mut cx, x);
            // From here on, only the selected tokens are computed.
            if let Some(selected) = cx.selected.take() {
                cx.work = selected.work;
            }
            x = layer.feed_forward.forward(&mut cx, x);
        }
        if let Some(norm) = &self.final_norm {
            let work = cx.work;
            norm.forward(&mut cx, &work.stream(x).values, work.stream(x.other()));
            x = x.other();
            cx.observer.record_matrix(cx.member, Site::FinalNorm, &work.stream(x).values);
        }
        PassOutput { stream: x, is_selected: selected.is_some() }
    }

    /// Loads the weights and packs them for a level and precision. Those of a converted model are
    /// used in place.
    ///
    /// # Errors
    /// If a tensor is missing, has another shape than config.json implies, is not finite, or is not
    /// known.
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        spec: EncoderSpec,
        compute: ComputeConfig,
        pool: &Pool,
    ) -> Result<LoadedEncoder> {
        let mut loader = WeightLoader::new(checkpoint, &spec, compute);
        let width = spec.hidden_size;
        let embeddings = Embeddings::load(&mut loader, &spec.embeddings)?;
        let relative_bias = RelativePositionBias::load(loader.tensors(), &spec)?;
        let mut layer = |layer: &LayerSpec| -> Result<Layer> {
            Ok(Layer {
                attention: Sublayer::load(&mut loader, &layer.attention, width, Attention::load)?,
                feed_forward: Sublayer::load(&mut loader, &layer.feed_forward, width, FeedForward::load)?,
            })
        };
        let layers = spec.layers.iter().map(&mut layer).collect::<Result<Vec<_>>>()?;
        let final_norm = spec.final_norm.as_ref().map(|norm| loader.norm(norm, width)).transpose()?;
        let LoadedWeights { arena: weights, stats, unpacked } = loader.finish(pool)?;
        let encoder = Self { spec, embeddings, relative_bias, layers, final_norm, weights };
        Ok(LoadedEncoder { encoder, stats, unpacked })
    }

    /// Returns the architecture.
    pub(crate) fn spec(&self) -> &EncoderSpec {
        &self.spec
    }

    /// Returns the error for an embedding row that is not finite, if the batch reads such a row.
    pub(crate) fn find_bad_embedding(&self, batch: &Batch) -> Option<Error> {
        self.embeddings.find_bad_row(batch)
    }

    /// Returns the shape and contents of each packed matrix, in the order of
    /// [`EncoderSpec::linears`].
    pub(crate) fn packed_matrices(&self) -> impl Iterator<Item = ([usize; 3], PackedWeights<'_>)> {
        let linears = self.layers.iter().flat_map(|layer| [layer.attention.linears(), layer.feed_forward.linears()]);
        self.embeddings
            .linears()
            .chain(linears.flatten())
            .map(|linear| (linear.packed_shape(), linear.weights(&self.weights)))
    }

    /// Returns the element type of the token embeddings in the checkpoint.
    pub(crate) fn dtype(&self) -> &'static str {
        self.embeddings.dtype()
    }
}
