//! The model and its files.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;

use likewise_kernels::Level;
use likewise_kernels::quant::Precision;

use crate::backbone::{Backbone, LoadedBackbone, ModelFolder, PreparedBackbone};
use crate::embedder::Builder;
use crate::error::{Error, Result};
use crate::files::ModelFiles;
use crate::model_folder::{ModelKind, SPARSE_LAYER, SentenceConfig, TOKEN_LAYER, TransformerTask};
use crate::modules::LinearFile;

/// The roles of the tokens that have no weight in sparse vectors.
const UNWEIGHTED: [&str; 4] = ["cls_token", "eos_token", "pad_token", "unk_token"];

/// A model such as BAAI/bge-m3, open and ready to use: one pass gives a dense vector, a sparse
/// vector and a vector for each token.
///
/// Open one with [`BgeM3::open`] or [`Builder::open_bge_m3`]. The type is `Send` and `Sync`. All
/// methods take `&self`, and any number of threads may call them at once. A text's vectors have the
/// same bits alone and in any batch, in any order, and with any number of threads.
///
/// ```no_run
/// # fn main() -> likewise::Result<()> {
/// let model = likewise::BgeM3::open("path/to/bge-m3")?;
/// let queries = model.encode(&["What is BM25?"])?;
/// let passages = model.encode(&["BM25 is a ranking function.", "It rains."])?;
/// let weights = [0.4, 0.2, 0.4];
/// let score = model.scores(&queries, 0, &passages, 0)?.weighted_mean(weights);
/// assert!(score > model.scores(&queries, 0, &passages, 1)?.weighted_mean(weights));
/// # Ok(())
/// # }
/// ```
pub struct BgeM3 {
    pub(super) backbone: Backbone,
    /// Computes a token's weight `[1, D]`.
    pub(super) sparse: LinearFile,
    /// Computes a token's vector `[width, D]`.
    pub(super) tokens: LinearFile,
    /// The ids of tokens without a weight.
    pub(super) unweighted: HashSet<u32>,
    /// The text that is put before every text.
    pub(super) prompt: String,
    /// How many elements of a dense vector are kept.
    pub(super) dense_width: usize,
    /// How many elements of a token's vector are kept.
    pub(super) token_width: usize,
}

impl Builder {
    /// Opens the folder of bge-m3, or of a model of the same form: an encoder with the files
    /// `sparse_linear.pt` and `colbert_linear.pt`, or with the ending `.safetensors`.
    /// [`Self::open`] documents what must not happen to the files while the model is open.
    ///
    /// FlagEmbedding truncates texts to 512 tokens unless told otherwise, and this to the maximum
    /// of the folder: see [`Self::max_length`]. [`Self::truncate_dim`] cuts dense and token
    /// vectors, as in FlagEmbedding. Both are then scaled to length 1, so [`Self::normalize`]
    /// changes nothing.
    ///
    /// # Errors
    /// - If a file is missing, damaged or needs something that is not supported.
    /// - If [`Self::truncate_dim`] is 0 or exceeds the width of dense vectors.
    pub fn open_bge_m3(self, folder: impl Into<PathBuf>) -> Result<BgeM3> {
        self.open_bge_m3_files(&ModelFiles::folder(folder))
    }

    /// Opens a model as [`Self::open_bge_m3`] does, whose files are in a folder or in memory.
    ///
    /// # Errors
    /// See [`Self::open_bge_m3`].
    pub fn open_bge_m3_files(self, files: &ModelFiles) -> Result<BgeM3> {
        let mut folder = ModelFolder::read(files)?;
        let has_modules = folder.modules.is_some();
        let config = SentenceConfig::load(files, &mut folder.manifest, has_modules, ModelKind::Embedder)?;
        let prompts = config.prompts()?;
        let prompt = match &self.prompt {
            Some(prompt) => prompt.clone(),
            None => config.prompt(self.prompt_name.clone(), &prompts)?,
        };
        let prepared = PreparedBackbone::read(&mut folder, &self.backbone, TransformerTask::FeatureExtraction)?;
        let (level, width) = (prepared.compute.level, prepared.spec().hidden_size);
        let dense_width = match self.truncate_dim {
            Some(requested) if !(1..=width).contains(&requested) => {
                return Err(Error::TruncateDim { requested, max: width });
            }
            requested => requested.unwrap_or(width),
        };
        let why = "a weight for each token, for which FlagEmbedding would take random numbers";
        let sparse = LinearFile::load(files, level, SPARSE_LAYER, Some(1), width, why)?;
        let why = "a vector for each token, for which FlagEmbedding would take random numbers";
        let tokens = LinearFile::load(files, level, TOKEN_LAYER, None, width, why)?;
        let tokenizer = prepared.tokenizer();
        let unweighted = UNWEIGHTED.iter().filter_map(|role| tokenizer.id_of_role(role)).collect();
        let LoadedBackbone { backbone, .. } = prepared.load()?;
        let token_width = tokens.width().min(self.truncate_dim.unwrap_or(usize::MAX));
        Ok(BgeM3 { backbone, sparse, tokens, unweighted, prompt, dense_width, token_width })
    }
}

impl BgeM3 {
    /// Opens a folder with default settings.
    ///
    /// # Errors
    /// See [`Builder::open_bge_m3`].
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self> {
        Self::builder().open_bge_m3(folder)
    }

    /// Returns the default settings, to be changed before a model is opened with
    /// [`Builder::open_bge_m3`].
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Returns the number of elements of a dense vector.
    pub fn dense_width(&self) -> usize {
        self.dense_width
    }

    /// Returns the number of elements of a sparse vector, most of them 0: one for each vocabulary
    /// entry.
    pub fn sparse_width(&self) -> usize {
        self.backbone.spec().embeddings.tokens.rows
    }

    /// Returns the number of elements of a token's vector.
    pub fn token_width(&self) -> usize {
        self.token_width
    }

    /// Returns the SIMD level of the computation.
    pub fn level(&self) -> Level {
        self.backbone.level()
    }

    /// Returns the type of the elements that the linear layers multiply.
    pub fn precision(&self) -> Precision {
        self.backbone.precision()
    }
}

impl fmt::Debug for BgeM3 {
    /// Formats the settings. Weights, vocabulary and buffers are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BgeM3")
            .field("name", &self.backbone.name())
            .field("level", &self.level())
            .field("precision", &self.precision())
            .field("threads", &self.backbone.thread_pool().size())
            .field("max_length", &self.backbone.tokenizer().max_tokens())
            .field("truncation", &self.backbone.truncation())
            .field("prompt", &self.prompt)
            .finish_non_exhaustive()
    }
}
