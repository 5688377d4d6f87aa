//! The kind of a model, from the files of its folder.

use super::known_files::{CONFIG, SENTENCE_TRANSFORMERS_CONFIG};
use super::manifest::Manifest;
use super::module_list::ModuleList;
use super::task::{is_sequence_classifier, is_stanford_colbert};
use crate::config::JsonObject;
use crate::error::Result;
use crate::files::ModelFiles;

/// The key of config_sentence_transformers.json that names the kind.
const MODEL_TYPE: &str = "model_type";

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
    /// A vector for each token of a text, whose products with those of another text are the score:
    /// [`MultiVectorEncoder`](crate::MultiVectorEncoder).
    MultiVector,
}

/// The keys of config_sentence_transformers.json that only PyLate writes, which not always names
/// its kind of model.
const PYLATE_KEYS: [&str; 5] =
    ["query_prefix", "document_prefix", "do_query_expansion", "attend_to_expansion_tokens", "skiplist_words"];

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
            return Ok(keys.as_ref().map_or(Ok(None), Self::of_keys)?.unwrap_or(Self::Embedder));
        }
        let Some(config) = manifest.json(files, CONFIG)? else { return Ok(Self::Embedder) };
        Ok(if is_sequence_classifier(&config)? {
            Self::CrossEncoder
        } else if is_stanford_colbert(&config)? {
            Self::MultiVector
        } else {
            Self::Embedder
        })
    }

    /// Returns the kind that config_sentence_transformers.json says, or None if it names another.
    fn of_keys(keys: &JsonObject) -> Result<Option<Self>> {
        let is_pylate = PYLATE_KEYS.iter().any(|key| keys.get(key).is_some() || keys.is_null(key));
        Ok(match keys.string(MODEL_TYPE)? {
            Some("ColBERT") => Some(Self::MultiVector),
            None | Some("SentenceTransformer") if is_pylate => Some(Self::MultiVector),
            None => (!keys.is_null(MODEL_TYPE)).then_some(Self::Embedder),
            Some(name) => Self::ALL.into_iter().find(|kind| kind.model_type() == name),
        })
    }

    /// All kinds.
    const ALL: [Self; 4] = [Self::Embedder, Self::CrossEncoder, Self::SparseEncoder, Self::MultiVector];

    /// Returns the name of the class in sentence-transformers.
    pub(super) fn model_type(self) -> &'static str {
        match self {
            Self::Embedder => "SentenceTransformer",
            Self::CrossEncoder => "CrossEncoder",
            Self::SparseEncoder => "SparseEncoder",
            Self::MultiVector => "MultiVectorEncoder",
        }
    }

    /// Rejects a model that config_sentence_transformers.json says is of another kind. Without the
    /// key the model is an embedder.
    pub(super) fn check_model_type(self, keys: &JsonObject) -> Result<()> {
        let found = Self::of_keys(keys)?;
        if found == Some(self) {
            return Ok(());
        }
        let hint = found.map_or(String::new(), |kind| format!(" (open this one as {})", kind.type_name()));
        Err(keys.invalid_value(MODEL_TYPE, format!("{}, {}{hint}", self.model_type(), self.purpose())))
    }

    /// Returns the name of the type that opens such a model.
    fn type_name(self) -> &'static str {
        match self {
            Self::Embedder => "Embedder",
            Self::CrossEncoder => "CrossEncoder",
            Self::SparseEncoder => "SparseEncoder",
            Self::MultiVector => "MultiVectorEncoder",
        }
    }

    fn purpose(self) -> &'static str {
        match self {
            Self::Embedder => "a model that computes a vector for each text",
            Self::CrossEncoder => "a model that scores pairs of texts",
            Self::SparseEncoder => "a model that computes a sparse vector for each text",
            Self::MultiVector => "a model that computes a vector for each token",
        }
    }
}
