//! Opening cross-encoders.

use std::path::PathBuf;

#[cfg(feature = "serve")]
use super::activation::ProblemType;
use super::activation::ScoreActivation;
use super::labels::read_labels;
use super::model::CrossEncoder;
use crate::backbone::{LoadedBackbone, ModelFolder, PreparedBackbone};
use crate::embedder::Builder;
use crate::encoder::families::classifier_spec;
use crate::error::{CrossEncoderError, Error, Result};
use crate::files::ModelFiles;
use crate::model_folder::{ModelKind, ModuleList, SentenceConfig, TransformerTask, require_sequence_classifier};
use crate::modules::{ClassificationHead, ModuleOutput, PoolingHead};

/// The modules that compute scores from token vectors.
struct ScoreModules {
    pooling: PoolingHead,
    classifier: Option<ClassificationHead>,
    labels: Vec<String>,
}

impl Builder {
    /// Opens the folder of a cross-encoder. [`Self::open`] documents what must not happen to the
    /// files while the model is open.
    ///
    /// # Errors
    /// - If a file is missing, damaged or needs something that is not supported.
    /// - If the model is of another kind.
    /// - If a setting is for vectors: [`Self::truncate_dim`] or [`Self::normalize`].
    pub fn open_cross_encoder(self, folder: impl Into<PathBuf>) -> Result<CrossEncoder> {
        self.open_cross_encoder_files(&ModelFiles::folder(folder))
    }

    /// Opens a cross-encoder whose files are in a folder or in memory.
    ///
    /// # Errors
    /// See [`Self::open_cross_encoder`].
    pub fn open_cross_encoder_files(self, files: &ModelFiles) -> Result<CrossEncoder> {
        self.reject_settings_of_vectors()?;
        let mut folder = ModelFolder::read(files)?;
        let has_modules = folder.modules.is_some();
        let sentence_config = SentenceConfig::load(files, &mut folder.manifest, has_modules, ModelKind::CrossEncoder)?;
        if !has_modules {
            require_sequence_classifier(&folder.config)?;
        }
        let prompts = sentence_config.prompts()?;
        let prompt = match &self.prompt {
            Some(prompt) => prompt.clone(),
            None => sentence_config.prompt(self.prompt_name.clone(), &prompts)?,
        };
        let task = match ScoreModules::after_encoder(&folder) {
            Some(_) => TransformerTask::FeatureExtraction,
            None => TransformerTask::SequenceClassification,
        };
        let prepared = PreparedBackbone::read(&mut folder, &self.backbone, task)?;
        prepared.require_room_for_pairs(&folder.config)?;
        let ScoreModules { pooling, classifier, labels } = ScoreModules::load(&folder, &prepared)?;
        let activation = ScoreActivation::read(sentence_config.keys(), &folder.config, labels.len())?;
        #[cfg(feature = "serve")]
        let problem_type = ProblemType::read(&folder.config)?;
        let LoadedBackbone { backbone, .. } = prepared.load()?;
        Ok(CrossEncoder {
            backbone,
            pooling,
            classifier,
            activation,
            #[cfg(feature = "serve")]
            problem_type,
            labels,
            prompt,
            prompts,
        })
    }

    fn reject_settings_of_vectors(&self) -> Result<()> {
        let settings = [("truncate_dim", self.truncate_dim.is_some()), ("normalize", self.normalize)];
        match settings.into_iter().find(|(_, is_set)| *is_set) {
            Some((setting, _)) => Err(Error::CrossEncoder(Box::new(CrossEncoderError::Setting { setting }))),
            None => Ok(()),
        }
    }
}

impl ScoreModules {
    /// Returns the modules, if there are some after the encoder.
    fn after_encoder(folder: &ModelFolder) -> Option<&ModuleList> {
        folder.modules.as_ref().filter(|modules| modules.entries.len() > 1)
    }

    /// Loads the modules of modules.json after the encoder, or without any the head of the model's
    /// class.
    fn load(folder: &ModelFolder, prepared: &PreparedBackbone) -> Result<Self> {
        let level = prepared.compute.level;
        let encoder = prepared.spec();
        let modules = Self::after_encoder(folder);
        if modules.is_some() {
            let output = ModuleOutput::Scores;
            let pooling = PoolingHead::load(&folder.files, modules, level, encoder.hidden_size, output)?;
            let labels = (0..pooling.width()).map(|i| format!("LABEL_{i}")).collect();
            return Ok(Self { pooling, classifier: None, labels });
        }
        // Without a class for classification, the reference would start with random weights.
        require_sequence_classifier(&folder.config)?;
        let labels = read_labels(&folder.config)?;
        let spec = classifier_spec(&folder.config, encoder.family)?;
        let (pooling, classifier) =
            ClassificationHead::load(&prepared.checkpoint, encoder, &spec, labels.len(), level)?;
        Ok(Self { pooling, classifier: Some(classifier), labels })
    }
}

impl CrossEncoder {
    /// Opens the folder of a cross-encoder with default settings.
    ///
    /// # Errors
    /// See [`Builder::open_cross_encoder`].
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self> {
        Self::builder().open_cross_encoder(folder)
    }
}
