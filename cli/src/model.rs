//! An opened model of any kind.

use likewise::{Builder, CrossEncoder, Embedder, ModelFiles, ModelInfo, ModelKind};

use crate::outcome::Outcome;
use crate::output;

/// A model of the kind that its files say.
pub(crate) enum Model {
    Embedder(Box<Embedder>),
    CrossEncoder(Box<CrossEncoder>),
}

impl Model {
    /// Opens a model.
    pub(crate) fn open(files: &ModelFiles, builder: Builder) -> Outcome<Self> {
        Ok(match ModelKind::detect(files)? {
            ModelKind::CrossEncoder => Self::CrossEncoder(Box::new(cross_encoder(files, builder)?)),
            _ => Self::Embedder(Box::new(embedder(files, builder)?)),
        })
    }

    /// Describes the model and how it is run.
    pub(crate) fn info(&self) -> ModelInfo {
        match self {
            Self::Embedder(model) => model.info(),
            Self::CrossEncoder(model) => model.info(),
        }
    }
}

/// Opens a model that computes vectors.
///
/// # Errors
/// If it cannot be opened, or is of another kind.
pub(crate) fn embedder(files: &ModelFiles, builder: Builder) -> Outcome<Embedder> {
    if ModelKind::detect(files)? == ModelKind::CrossEncoder {
        return Err(format!(
            "{}: expected a model that computes a vector for each text, found a cross-encoder, which scores pairs of \
             texts; use `likewise rerank` with it",
            files.name()
        )
        .into());
    }
    let model = builder.open_files(files)?;
    let info = model.info();
    output::note_fewer_threads(info.threads, info.requested_threads);
    Ok(model)
}

/// Opens a model that scores pairs of texts.
///
/// # Errors
/// If it cannot be opened, or is of another kind.
pub(crate) fn cross_encoder(files: &ModelFiles, builder: Builder) -> Outcome<CrossEncoder> {
    if ModelKind::detect(files)? != ModelKind::CrossEncoder {
        return Err(format!(
            "{}: expected a cross-encoder, which scores pairs of texts, found a model that computes vectors; use \
             `likewise similarity` with it, or --model cross-encoder/ms-marco-MiniLM-L6-v2",
            files.name()
        )
        .into());
    }
    let model = builder.open_cross_encoder_files(files)?;
    let info = model.info();
    output::note_fewer_threads(info.threads, info.requested_threads);
    Ok(model)
}
