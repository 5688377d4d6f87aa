//! An opened model of any kind.

use likewise::{Builder, CrossEncoder, Embedder, ModelFiles, ModelInfo, ModelKind, SparseEncoder};

use crate::outcome::Outcome;
use crate::output;

/// A model of the kind that its files say.
pub(crate) enum Model {
    Embedder(Box<Embedder>),
    CrossEncoder(Box<CrossEncoder>),
    SparseEncoder(Box<SparseEncoder>),
}

/// A model that computes vectors.
pub(crate) enum VectorModel {
    Dense(Box<Embedder>),
    Sparse(Box<SparseEncoder>),
}

impl Model {
    /// Opens a model, as a sparse encoder also if `is_sparse` is set.
    pub(crate) fn open(files: &ModelFiles, builder: Builder, is_sparse: bool) -> Outcome<Self> {
        Ok(match ModelKind::detect(files)? {
            _ if is_sparse => Self::SparseEncoder(Box::new(sparse_encoder(files, builder)?)),
            ModelKind::CrossEncoder => Self::CrossEncoder(Box::new(cross_encoder(files, builder)?)),
            ModelKind::SparseEncoder => Self::SparseEncoder(Box::new(sparse_encoder(files, builder)?)),
            _ => Self::Embedder(Box::new(embedder(files, builder)?)),
        })
    }

    /// Describes the model and how it is run.
    pub(crate) fn info(&self) -> ModelInfo {
        match self {
            Self::Embedder(model) => model.info(),
            Self::CrossEncoder(model) => model.info(),
            Self::SparseEncoder(model) => model.info(),
        }
    }
}

impl VectorModel {
    /// Opens a model as a sparse encoder if its files say that it is one, or if `is_sparse` is set.
    pub(crate) fn open(files: &ModelFiles, builder: Builder, is_sparse: bool) -> Outcome<Self> {
        if is_sparse || ModelKind::detect(files)? == ModelKind::SparseEncoder {
            return Ok(Self::Sparse(Box::new(sparse_encoder(files, builder)?)));
        }
        Ok(Self::Dense(Box::new(embedder(files, builder)?)))
    }
}

/// Opens a model that computes a dense vector for each text.
///
/// # Errors
/// If it cannot be opened, or is of another kind.
pub(crate) fn embedder(files: &ModelFiles, builder: Builder) -> Outcome<Embedder> {
    let found = match ModelKind::detect(files)? {
        ModelKind::CrossEncoder => "a cross-encoder, which scores pairs of texts; use `likewise rerank` with it",
        ModelKind::SparseEncoder => {
            "a sparse encoder, which computes sparse vectors; use `likewise embed` or `likewise similarity` with it"
        }
        _ => {
            let model = builder.open_files(files)?;
            let info = model.info();
            output::note_fewer_threads(info.threads, info.requested_threads);
            return Ok(model);
        }
    };
    Err(format!("{}: expected a model that computes a vector for each text, found {found}", files.name()).into())
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

/// Opens a model that computes a sparse vector for each text. Without modules.json its class
/// decides whether it can.
///
/// # Errors
/// If it cannot be opened, or is of another kind.
pub(crate) fn sparse_encoder(files: &ModelFiles, builder: Builder) -> Outcome<SparseEncoder> {
    if ModelKind::detect(files)? == ModelKind::CrossEncoder {
        return Err(format!(
            "{}: expected a model that computes vectors, found a cross-encoder, which scores pairs of texts; use \
             `likewise rerank` with it",
            files.name()
        )
        .into());
    }
    let model = builder.open_sparse_encoder_files(files)?;
    let info = model.info();
    output::note_fewer_threads(info.threads, info.requested_threads);
    Ok(model)
}
