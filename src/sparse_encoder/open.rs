//! Opening sparse encoders.

use std::path::PathBuf;

use super::model::SparseEncoder;
use super::route::Route;
use super::router::{RouteNames, Router, Task};
use crate::embedder::Builder;
use crate::error::{Error, Result, SparseEncoderError};
use crate::files::ModelFiles;
use crate::model_folder::{Manifest, ModelKind, ModuleList, SentenceConfig};
use crate::similarity::Similarity;

impl Builder {
    /// Opens the folder of a sparse encoder: SPLADE, or a model whose queries need no network. A
    /// folder without modules.json is opened as SPLADE with pooling by the maximum, if its class is
    /// one for masked language. [`Self::open`] documents what must not happen to the files while
    /// the model is open.
    ///
    /// # Errors
    /// - If a file is missing, damaged or needs something that is not supported.
    /// - If the model is of another kind.
    /// - If a setting is for other vectors: [`Self::truncate_dim`] or [`Self::normalize`].
    pub fn open_sparse_encoder(self, folder: impl Into<PathBuf>) -> Result<SparseEncoder> {
        self.open_sparse_encoder_files(&ModelFiles::folder(folder))
    }

    /// Opens a sparse encoder whose files are in a folder or in memory.
    ///
    /// # Errors
    /// See [`Self::open_sparse_encoder`].
    pub fn open_sparse_encoder_files(self, files: &ModelFiles) -> Result<SparseEncoder> {
        let settings = [("truncate_dim", self.truncate_dim.is_some()), ("normalize", self.normalize)];
        if let Some((setting, _)) = settings.into_iter().find(|(_, is_set)| *is_set) {
            return Err(Error::SparseEncoder(Box::new(SparseEncoderError::Setting { setting })));
        }
        let mut manifest = Manifest::default();
        let modules = ModuleList::read(files, &mut manifest)?;
        let config = SentenceConfig::load(files, &mut manifest, modules.is_some(), ModelKind::SparseEncoder)?;
        let prompts = config.prompts()?;
        let prompt = match &self.prompt {
            Some(prompt) => prompt.clone(),
            None => config.prompt(self.prompt_name.clone(), &prompts)?,
        };
        let similarity = match config.keys() {
            Some(keys) if keys.get("similarity_fn_name").is_some() => Similarity::from_config(Some(keys))?,
            _ => Similarity::Dot,
        };
        let max_active_dims = config.keys().map_or(Ok(None), |keys| keys.positive_integer("max_active_dims"))?;
        let load = |modules, manifest| Route::load(files, modules, manifest, &self.backbone);
        let (routes, route_of_task, route_names) = match modules {
            Some(modules) if modules.has_router() => Self::open_router(files, &modules, &load)?,
            modules => (vec![load(modules, manifest)?], [Some(0); 3], None),
        };
        let name = files.name();
        Ok(SparseEncoder { name, routes, route_of_task, route_names, similarity, max_active_dims, prompt, prompts })
    }

    /// Opens the routes of a model whose only module is a Router.
    #[expect(clippy::type_complexity, reason = "the caller takes the parts at once")]
    fn open_router(
        files: &ModelFiles,
        modules: &ModuleList,
        load: &dyn Fn(Option<ModuleList>, Manifest) -> Result<Route>,
    ) -> Result<(Vec<Route>, [Option<usize>; 3], Option<RouteNames>)> {
        if let Some(other) = modules.entries.get(1) {
            return Err(other.keys.invalid_value("type", "no module after the Router"));
        }
        if !modules.entries[0].path.is_empty() {
            return Err(modules.entries[0].keys.invalid_value("path", "the model's folder"));
        }
        let mut router = Router::read(files)?;
        let mut route_of_task = [None; 3];
        for (route, task) in route_of_task.iter_mut().zip(Task::ALL) {
            *route = match router.route(task) {
                Ok(route) => Some(route),
                // Texts of the other tasks can be encoded.
                Err(Error::SparseEncoder(_)) => None,
                Err(error) => return Err(error),
            };
        }
        let mut routes = Vec::new();
        for (_, modules) in &mut router.routes {
            let modules = std::mem::replace(modules, ModuleList::of_route("", &[])?);
            routes.push(load(Some(modules), Manifest::default())?);
        }
        Ok((routes, route_of_task, Some(router.into_names())))
    }
}

impl SparseEncoder {
    /// Opens the folder of a sparse encoder with default settings.
    ///
    /// # Errors
    /// See [`Builder::open_sparse_encoder`].
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self> {
        Self::builder().open_sparse_encoder(folder)
    }
}
