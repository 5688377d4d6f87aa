//! An opened model of any kind.

use likewise::{Builder, CrossEncoder, Embedder, ModelFiles, ModelKind, MultiVectorEncoder};

use crate::outcome::Outcome;
use crate::output;

/// A model of the kind that its files say.
pub(crate) enum Model {
    Embedder(Box<Embedder>),
    CrossEncoder(Box<CrossEncoder>),
    MultiVector(Box<MultiVectorEncoder>),
}

impl Model {
    /// Opens a model.
    pub(crate) fn open(files: &ModelFiles, builder: Builder) -> Outcome<Self> {
        Ok(match ModelKind::detect(files)? {
            ModelKind::CrossEncoder => Self::CrossEncoder(Box::new(cross_encoder(files, builder)?)),
            ModelKind::MultiVector => Self::MultiVector(Box::new(multi_vector_encoder(files, builder)?)),
            _ => Self::Embedder(Box::new(embedder(files, builder)?)),
        })
    }

    /// Opens a model that computes vectors: of texts or of tokens.
    ///
    /// # Errors
    /// If it cannot be opened, or is of another kind.
    pub(crate) fn open_with_vectors(files: &ModelFiles, builder: Builder) -> Outcome<Self> {
        if ModelKind::detect(files)? == ModelKind::CrossEncoder {
            return Err(no_vectors(files).into());
        }
        Self::open(files, builder)
    }

    /// Opens a model that ranks texts.
    ///
    /// # Errors
    /// If it cannot be opened, or is of another kind.
    pub(crate) fn open_ranker(files: &ModelFiles, builder: Builder) -> Outcome<Self> {
        if ModelKind::detect(files)? == ModelKind::Embedder {
            return Err(format!(
                "{}: expected a cross-encoder or a late-interaction model, found a model that computes a vector for each \
                 text; use `likewise similarity` with it, or --model cross-encoder/ms-marco-MiniLM-L6-v2",
                files.name()
            )
            .into());
        }
        Self::open(files, builder)
    }
}

fn no_vectors(files: &ModelFiles) -> String {
    format!(
        "{}: expected a model that computes a vector for each text, found a cross-encoder, which scores pairs of texts; \
         use `likewise rerank` with it",
        files.name()
    )
}

/// Opens a model that computes a vector for each text.
fn embedder(files: &ModelFiles, builder: Builder) -> Outcome<Embedder> {
    let model = builder.open_files(files)?;
    let info = model.info();
    output::note_fewer_threads(info.threads, info.requested_threads);
    Ok(model)
}

/// Opens a model that scores pairs of texts.
fn cross_encoder(files: &ModelFiles, builder: Builder) -> Outcome<CrossEncoder> {
    let model = builder.open_cross_encoder_files(files)?;
    let info = model.info();
    output::note_fewer_threads(info.threads, info.requested_threads);
    Ok(model)
}

/// Opens a model that computes a vector for each token.
fn multi_vector_encoder(files: &ModelFiles, builder: Builder) -> Outcome<MultiVectorEncoder> {
    let model = builder.open_multi_vector_encoder_files(files)?;
    let info = model.info();
    output::note_fewer_threads(info.threads, info.requested_threads);
    Ok(model)
}
