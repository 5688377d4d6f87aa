//! ELECTRA (Clark et al. 2020, <https://arxiv.org/abs/2003.10555>).
//!
//! BERT's network, with narrower embeddings in some models, which are mapped to the hidden size.
//! Follows transformers 5.23.0, `models/electra/modeling_electra.py`.

use super::bert;
use super::sizes::Sizes;
use crate::batch::PositionIds;
use crate::config::{InertKeys, JsonObject};
use crate::encoder::spec::{EncoderSpec, Family, LinearSpec};
use crate::error::Result;

pub(super) const INERT_KEYS: InertKeys = InertKeys::NONE;

/// The defaults of `ElectraConfig`.
const DEFAULTS: Sizes = Sizes { hidden: 256, heads: 4, intermediate: 1024, ..Sizes::BERT };

pub(super) fn spec(config: &JsonObject) -> Result<EncoderSpec> {
    let sizes = Sizes::read(config, &DEFAULTS)?;
    let mut spec = bert::network(config, &sizes, Family::Electra, &["electra."], PositionIds::Sequential)?;
    let width = config.positive_integer("embedding_size")?.unwrap_or(128);
    if width != sizes.hidden {
        spec.embeddings.width = width;
        spec.embeddings.projection = Some(LinearSpec::module("embeddings_project", sizes.hidden, width));
    }
    Ok(spec)
}
