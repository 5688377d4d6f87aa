//! A model folder whose two most important files have been read: modules.json and config.json.

use crate::checkpoint::Checkpoint;
use crate::config::JsonObject;
use crate::error::Result;
use crate::files::ModelFiles;
use crate::model_folder::{CONFIG, Manifest, ModuleList};

/// The files of a model, its modules, and the configuration of its encoder.
pub(crate) struct ModelFolder {
    pub(crate) files: ModelFiles,
    /// The encoder's folder, which is a subfolder in the oldest models.
    pub(crate) encoder_files: ModelFiles,
    /// None if there is no modules.json.
    pub(crate) modules: Option<ModuleList>,
    /// The encoder's config.json.
    pub(crate) config: JsonObject,
    /// The files that have been read so far.
    pub(crate) manifest: Manifest,
}

impl ModelFolder {
    /// Reads modules.json and config.json.
    ///
    /// # Errors
    /// If config.json is missing, a file is not valid, or the weights are only in formats that are
    /// not read.
    pub(crate) fn read(files: &ModelFiles) -> Result<Self> {
        let mut manifest = Manifest::default();
        let modules = ModuleList::read(files, &mut manifest)?;
        Self::of_modules(files, modules, manifest)
    }

    /// Reads config.json of a model with these modules.
    ///
    /// # Errors
    /// See [`Self::read`].
    pub(crate) fn of_modules(files: &ModelFiles, modules: Option<ModuleList>, mut manifest: Manifest) -> Result<Self> {
        let encoder_files = files.subfolder(modules.as_ref().map_or(Ok(""), ModuleList::encoder_path)?);
        Checkpoint::reject_other_formats(&encoder_files)?;
        let bytes = manifest.require(&encoder_files, CONFIG, "the architecture")?;
        let config = JsonObject::parse(&encoder_files.label(CONFIG), &bytes)?;
        Ok(Self { files: files.clone(), encoder_files, modules, config, manifest })
    }
}
