//! The kind of a model, from the files of its folder.

use super::known_files::{CONFIG, SENTENCE_TRANSFORMERS_CONFIG};
use super::manifest::Manifest;
use super::module_list::ModuleList;
use super::task::is_sequence_classifier;
use crate::config::JsonObject;
use crate::error::Result;
use crate::files::ModelFiles;

/// What a model computes from texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelKind {
    /// A vector for each text: [`Embedder`](crate::Embedder).
    Embedder,
    /// A score, or one for each label, for a pair of texts: [`CrossEncoder`](crate::CrossEncoder).
    CrossEncoder,
    /// A vector with an element for each vocabulary entry, most of them 0, for each text:
    /// [`SparseEncoder`](crate::SparseEncoder).
    SparseEncoder,
}

impl ModelKind {
    /// Returns the kind of a model, without opening it.
    ///
    /// config_sentence_transformers.json says it if there is a modules.json, and otherwise
    /// `architectures` in config.json. A model of no kind counts as an embedder; opening it fails
    /// and says why. A model for masked language without modules.json counts as an embedder too;
    /// [`SparseEncoder`](crate::SparseEncoder) opens it as well.
    ///
    /// # Errors
    /// If one of these files is not valid.
    pub fn detect(files: &ModelFiles) -> Result<Self> {
        let mut manifest = Manifest::default();
        if ModuleList::read(files, &mut manifest)?.is_some() {
            let keys = manifest.json(files, SENTENCE_TRANSFORMERS_CONFIG)?;
            let model_type = keys.as_ref().map_or(Ok(None), |keys| keys.string("model_type"))?;
            return Ok(Self::ALL
                .into_iter()
                .find(|kind| Some(kind.model_type()) == model_type)
                .unwrap_or(Self::Embedder));
        }
        let config = manifest.json(files, CONFIG)?;
        let is_classifier = config.as_ref().map_or(Ok(false), is_sequence_classifier)?;
        Ok(if is_classifier { Self::CrossEncoder } else { Self::Embedder })
    }

    /// All kinds.
    const ALL: [Self; 3] = [Self::Embedder, Self::CrossEncoder, Self::SparseEncoder];

    /// Returns the name of the class in sentence-transformers.
    pub(super) fn model_type(self) -> &'static str {
        match self {
            Self::Embedder => "SentenceTransformer",
            Self::CrossEncoder => "CrossEncoder",
            Self::SparseEncoder => "SparseEncoder",
        }
    }

    /// Rejects a model that config_sentence_transformers.json says is of another kind. Without the
    /// key the model is an embedder.
    pub(super) fn check_model_type(self, keys: &JsonObject) -> Result<()> {
        const KEY: &str = "model_type";
        let found = keys.string(KEY)?.unwrap_or(Self::Embedder.model_type());
        if found == self.model_type() && !keys.is_null(KEY) {
            return Ok(());
        }
        let other = Self::ALL.into_iter().find(|kind| kind.model_type() == found && *kind != self);
        let hint = other.map_or(String::new(), |kind| format!(" (open this one as {})", kind.type_name()));
        Err(keys.invalid_value(KEY, format!("{}, {}{hint}", self.model_type(), self.purpose())))
    }

    /// Returns the name of the type that opens such a model.
    fn type_name(self) -> &'static str {
        match self {
            Self::Embedder => "Embedder",
            Self::CrossEncoder => "CrossEncoder",
            Self::SparseEncoder => "SparseEncoder",
        }
    }

    fn purpose(self) -> &'static str {
        match self {
            Self::Embedder => "a model that computes a vector for each text",
            Self::CrossEncoder => "a model that scores pairs of texts",
            Self::SparseEncoder => "a model that computes a sparse vector for each text",
        }
    }
}
