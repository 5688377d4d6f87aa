//! Opening static embeddings: a table of token vectors instead of an encoder.

use super::builder::{Builder, SentenceSettings};
use super::model::Embedder;
use super::source::TokenVectors;
use crate::error::Result;
use crate::files::ModelFiles;
use crate::model_folder::{ModelKind, SentenceConfig};
use crate::modules::PoolingHead;
use crate::static_embedding::StaticFolder;

impl Builder {
    pub(super) fn load_table(&self, files: &ModelFiles, mut folder: StaticFolder) -> Result<Embedder> {
        let model = folder.open(&self.backbone)?;
        let modules = folder.modules.as_ref();
        let config = SentenceConfig::load(files, &mut folder.manifest, modules.is_some(), ModelKind::Embedder)?;
        let (level, width) = (model.runtime().level(), model.table().width());
        let head = PoolingHead::load_after_table(files, modules, level, width, folder.normalizes())?;
        let SentenceSettings { similarity, prompts, prompt } = self.sentence_settings(&config)?;
        let output_options = self.output_options(&config, head.width())?;
        let token_vectors = TokenVectors::Table(Box::new(model));
        Ok(Embedder { token_vectors, head, output_options, similarity, prompt, prompts })
    }
}
