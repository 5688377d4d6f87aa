//! An opened model of any kind.

use likewise::{
    BgeM3, Builder, CrossEncoder, Embedder, ModelFiles, ModelInfo, ModelKind, MultiVectorEncoder, SparseEncoder,
};

use crate::outcome::Outcome;
use crate::output;

/// A model of the kind that its files say.
pub(crate) enum Model {
    Embedder(Box<Embedder>),
    CrossEncoder(Box<CrossEncoder>),
    SparseEncoder(Box<SparseEncoder>),
    MultiVector(Box<MultiVectorEncoder>),
}

/// A model that computes vectors.
pub(crate) enum VectorModel {
    Dense(Box<Embedder>),
    Sparse(Box<SparseEncoder>),
    /// It computes a vector for each token.
    MultiVector(Box<MultiVectorEncoder>),
}

/// A model that ranks texts.
pub(crate) enum Ranker {
    CrossEncoder(Box<CrossEncoder>),
    MultiVector(Box<MultiVectorEncoder>),
}

impl Model {
    /// Opens a model, as a sparse encoder also if `is_sparse` is set.
    pub(crate) fn open(files: &ModelFiles, builder: Builder, is_sparse: bool) -> Outcome<Self> {
        Ok(match ModelKind::detect(files)? {
            _ if is_sparse => Self::SparseEncoder(Box::new(sparse_encoder(files, builder)?)),
            ModelKind::CrossEncoder => Self::CrossEncoder(Box::new(cross_encoder(files, builder)?)),
            ModelKind::SparseEncoder => Self::SparseEncoder(Box::new(sparse_encoder(files, builder)?)),
            ModelKind::MultiVector => Self::MultiVector(Box::new(multi_vector_encoder(files, builder)?)),
            _ => Self::Embedder(Box::new(embedder(files, builder)?)),
        })
    }

    /// Describes the model and how it is run.
    pub(crate) fn info(&self) -> ModelInfo {
        match self {
            Self::Embedder(model) => model.info(),
            Self::CrossEncoder(model) => model.info(),
            Self::SparseEncoder(model) => model.info(),
            Self::MultiVector(model) => model.info(),
        }
    }
}

impl VectorModel {
    /// Opens a model that computes vectors, as a sparse encoder also if `is_sparse` is set.
    ///
    /// # Errors
    /// If it cannot be opened, or is a cross-encoder.
    pub(crate) fn open(files: &ModelFiles, builder: Builder, is_sparse: bool) -> Outcome<Self> {
        Ok(match ModelKind::detect(files)? {
            ModelKind::CrossEncoder => return Err(is_cross_encoder("a model that computes vectors", files).into()),
            ModelKind::SparseEncoder => Self::Sparse(Box::new(sparse_encoder(files, builder)?)),
            _ if is_sparse => Self::Sparse(Box::new(sparse_encoder(files, builder)?)),
            ModelKind::MultiVector => Self::MultiVector(Box::new(multi_vector_encoder(files, builder)?)),
            _ => Self::Dense(Box::new(embedder(files, builder)?)),
        })
    }
}

impl Ranker {
    /// Opens a model that ranks texts.
    ///
    /// # Errors
    /// If it cannot be opened, or computes one vector for each text.
    pub(crate) fn open(files: &ModelFiles, builder: Builder) -> Outcome<Self> {
        match ModelKind::detect(files)? {
            ModelKind::CrossEncoder => Ok(Self::CrossEncoder(Box::new(cross_encoder(files, builder)?))),
            ModelKind::MultiVector => Ok(Self::MultiVector(Box::new(multi_vector_encoder(files, builder)?))),
            _ => Err(format!(
                "{}: expected a cross-encoder or a late-interaction model, found a model that computes a vector for each \
                 text; use `likewise similarity` with it, or --model cross-encoder/ms-marco-MiniLM-L6-v2",
                files.name()
            )
            .into()),
        }
    }
}

fn is_cross_encoder(expected: &str, files: &ModelFiles) -> String {
    format!(
        "{}: expected {expected}, found a cross-encoder, which scores pairs of texts; use `likewise rerank` with it",
        files.name()
    )
}

/// Opens a model that computes a dense vector for each text.
///
/// # Errors
/// If it cannot be opened, or is of another kind.
pub(crate) fn embedder(files: &ModelFiles, builder: Builder) -> Outcome<Embedder> {
    const EXPECTED: &str = "a model that computes a vector for each text";
    let found = match ModelKind::detect(files)? {
        ModelKind::CrossEncoder => return Err(is_cross_encoder(EXPECTED, files).into()),
        ModelKind::SparseEncoder => "a sparse encoder, which computes sparse vectors",
        ModelKind::MultiVector => "a late-interaction model, which computes a vector for each token",
        _ => {
            let model = builder.open_files(files)?;
            note_threads(&model.info());
            return Ok(model);
        }
    };
    let name = files.name();
    Err(format!("{name}: expected {EXPECTED}, found {found}; use `likewise embed` or `likewise similarity` with it")
        .into())
}

/// Opens a model that scores pairs of texts.
fn cross_encoder(files: &ModelFiles, builder: Builder) -> Outcome<CrossEncoder> {
    let model = builder.open_cross_encoder_files(files)?;
    note_threads(&model.info());
    Ok(model)
}

/// Opens a model that computes a sparse vector for each text. Without modules.json its class
/// decides whether it can.
///
/// # Errors
/// If it cannot be opened, or is of another kind.
fn sparse_encoder(files: &ModelFiles, builder: Builder) -> Outcome<SparseEncoder> {
    if ModelKind::detect(files)? == ModelKind::CrossEncoder {
        return Err(is_cross_encoder("a model that computes vectors", files).into());
    }
    let model = builder.open_sparse_encoder_files(files)?;
    note_threads(&model.info());
    Ok(model)
}

/// Opens a model that computes a vector for each token.
fn multi_vector_encoder(files: &ModelFiles, builder: Builder) -> Outcome<MultiVectorEncoder> {
    let model = builder.open_multi_vector_encoder_files(files)?;
    note_threads(&model.info());
    Ok(model)
}

/// Opens a model that computes dense, sparse and token vectors.
///
/// # Errors
/// If it cannot be opened, lacks the layers of sparse and token vectors, or is a cross-encoder.
pub(crate) fn hybrid(files: &ModelFiles, builder: Builder) -> Outcome<BgeM3> {
    if ModelKind::detect(files)? == ModelKind::CrossEncoder {
        return Err(is_cross_encoder("a model as bge-m3 (--hybrid)", files).into());
    }
    Ok(builder.open_bge_m3_files(files)?)
}

fn note_threads(info: &ModelInfo) {
    output::note_fewer_threads(info.threads, info.requested_threads);
}
