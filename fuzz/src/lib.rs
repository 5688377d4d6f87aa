//! What the targets share: the files of a tiny model, and which panics are not ours.

use std::sync::Once;

use likewise::{Embedder, ModelFiles};

macro_rules! model_file {
    ($name:literal) => {
        ($name, include_bytes!(concat!("../../fixtures/models/tiny-bert/", $name)).as_slice())
    };
}

/// The files of tiny-bert.
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

/// A file of tiny-bert.
pub fn file(name: &str) -> &'static [u8] {
    FILES.iter().find(|(other, _)| *other == name).map_or(&[], |(_, bytes)| bytes)
}

/// tiny-bert with some files replaced.
pub fn model_with(replaced: &[(&str, &[u8])]) -> ModelFiles {
    let files = FILES.iter().fold(ModelFiles::in_memory(), |files, &(name, bytes)| files.with(name, bytes));
    replaced.iter().fold(files, |files, (name, bytes)| files.with(name, bytes.to_vec()))
}

/// Opens a model and embeds a text with it. Whatever the files hold, this may fail and not panic.
pub fn open_and_embed(files: &ModelFiles) {
    quiet_about_caught_panics();
    if let Ok(model) = Embedder::builder().threads(1).open_files(files) {
        drop(model.embed(&["That is a happy person, 今天", ""]));
    }
}

/// The tokenizers crate panics where a tokenizer.json is damaged in certain places, and the library makes errors of that; the
/// fuzzer would count them as its findings. Every other panic is ours and ends the run.
pub fn quiet_about_caught_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        const CAUGHT: [&str; 2] = ["tokenizers-", "spm_precompiled-"];
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let place = panic.location().map_or("", |location| location.file());
            if !CAUGHT.iter().any(|package| place.contains(package)) {
                usual(panic);
                std::process::abort();
            }
        }));
    });
}
