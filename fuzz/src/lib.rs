//! Shared by the targets: the files of a tiny model, and the panic hook.

#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../../tests/common/torch_archive.rs"]
mod torch_archive;

use std::sync::Once;

use likewise::{Embedder, ModelFiles, MultiVectorEncoder, SparseEncoder};

macro_rules! model_file {
    ($name:literal) => {
        ($name, include_bytes!(concat!("../../fixtures/models/tiny-bert/", $name)).as_slice())
    };
}

/// The files of the model tiny-bert.
const FILES: [(&str, &[u8]); 8] = [
    model_file!("config.json"),
    model_file!("config_sentence_transformers.json"),
    model_file!("model.safetensors"),
    model_file!("modules.json"),
    model_file!("sentence_bert_config.json"),
    model_file!("tokenizer.json"),
    model_file!("tokenizer_config.json"),
    model_file!("1_Pooling/config.json"),
];

/// Returns a file of tiny-bert.
pub fn file(name: &str) -> &'static [u8] {
    FILES.iter().find(|(other, _)| *other == name).map_or(&[], |(_, bytes)| bytes)
}

/// Returns tiny-bert with some files replaced.
pub fn model_with(replaced: &[(&str, &[u8])]) -> ModelFiles {
    let files = FILES.iter().fold(ModelFiles::in_memory(), |files, &(name, bytes)| files.with(name, bytes));
    replaced.iter().fold(files, |files, (name, bytes)| files.with(name, bytes.to_vec()))
}

/// Returns a file of `torch.save` with a pickle and three storages.
pub fn torch_archive_of(pickle: &[u8]) -> Vec<u8> {
    let storage = [0; 64];
    torch_archive::zip(&[
        ("archive/data.pkl", pickle),
        ("archive/byteorder", b"little"),
        ("archive/data/0", &storage[..24]),
        ("archive/data/1", &storage[..8]),
        ("archive/data/2", &storage),
    ])
}

/// Opens a model and embeds two texts with it. This may fail for any files, but must not panic.
pub fn open_and_embed(files: &ModelFiles) {
    abort_on_uncaught_panics();
    if let Ok(model) = Embedder::builder().threads(1).open_files(files) {
        drop(model.embed(&["That is a happy person, 今天", ""]));
    }
}

/// Opens a sparse model and embeds two texts with it, as [`open_and_embed`] does.
pub fn open_and_embed_sparse(files: &ModelFiles) {
    abort_on_uncaught_panics();
    if let Ok(model) = SparseEncoder::builder().threads(1).open_sparse_encoder_files(files) {
        drop(model.embed_queries(&["That is a happy person", ""]));
        drop(model.embed_documents(&["That is a happy dog, 今天", ""]));
    }
}

/// Opens a late-interaction model and scores two texts with it, as [`open_and_embed`] does.
pub fn open_and_score(files: &ModelFiles) {
    abort_on_uncaught_panics();
    if let Ok(model) = MultiVectorEncoder::builder().threads(1).open_multi_vector_encoder_files(files) {
        drop(model.similarity("That is a happy person", &["That is a happy dog, 今天", ""]));
    }
}

/// Aborts at every panic except those that the library catches, so that the fuzzer reports it.
pub fn abort_on_uncaught_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let default_hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !likewise::is_caught_panic(panic) {
                default_hook(panic);
                std::process::abort();
            }
        }));
    });
}
