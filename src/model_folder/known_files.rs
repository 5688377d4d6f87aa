//! Names of the files in a model folder, and the conditions under which they are read.

use crate::files::{MAX_SMALL_FILE_BYTES, MAX_VOCABULARY_BYTES};

/// The architecture of the encoder.
pub(crate) const CONFIG: &str = "config.json";
/// The weights of an encoder or a module.
pub(crate) const WEIGHTS: &str = "model.safetensors";
/// The names of the shards, if the weights are in several files.
pub(crate) const WEIGHTS_INDEX: &str = "model.safetensors.index.json";
/// The weights of an encoder or a module in the format of `torch.save`. Any safetensors take
/// precedence.
pub(crate) const PYTORCH_WEIGHTS: &str = "pytorch_model.bin";
/// The names of the shards in that format.
pub(crate) const PYTORCH_INDEX: &str = "pytorch_model.bin.index.json";
/// The weights of a converted model. They take precedence over [`WEIGHTS`].
pub(crate) const CONVERTED_WEIGHTS: &str = "likewise.safetensors";
/// The modules of the model and their subfolders.
pub(crate) const MODULES: &str = "modules.json";
/// The routes of a Router module, and the subfolders of their modules. Older versions call it
/// [`CONFIG`].
pub(crate) const ROUTER_CONFIG: &str = "router_config.json";
/// Prompts, the similarity function and the number of dimensions.
pub(crate) const SENTENCE_TRANSFORMERS_CONFIG: &str = "config_sentence_transformers.json";
/// Maximum length and lower-casing. The first of these files that exists and is not empty counts.
pub(crate) const SENTENCE_BERT_CONFIGS: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];
/// The tokenizer with its vocabulary.
pub(crate) const TOKENIZER: &str = "tokenizer.json";
/// The vocabulary of WordPiece.
pub(crate) const VOCAB_TXT: &str = "vocab.txt";
/// The vocabulary of byte-level BPE, which also needs [`MERGES`].
pub(crate) const VOCAB_JSON: &str = "vocab.json";
/// The merges of byte-level BPE.
pub(crate) const MERGES: &str = "merges.txt";
/// The vocabulary of SentencePiece, in models that fairseq trained.
pub(crate) const SENTENCEPIECE: &str = "sentencepiece.bpe.model";
/// The vocabulary of SentencePiece, in T5 and ALBERT.
pub(crate) const SPIECE: &str = "spiece.model";
/// The class and the settings of the tokenizer.
pub(crate) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// Special tokens by their roles.
pub(crate) const SPECIAL_TOKENS_MAP: &str = "special_tokens_map.json";
/// Added tokens and their ids.
pub(crate) const ADDED_TOKENS: &str = "added_tokens.json";
/// Markers and lengths of Stanford's ColBERT, in JSON.
pub(crate) const ARTIFACT_METADATA: &str = "artifact.metadata";
const ADAPTER_CONFIG: &str = "adapter_config.json";
const CHAT_TEMPLATE: &str = "chat_template.jinja";

/// The layer of bge-m3 that computes sparse vectors, without the ending.
pub(crate) const SPARSE_LAYER: &str = "sparse_linear";
/// The layer of bge-m3 that computes the vectors of tokens, without the ending.
pub(crate) const TOKEN_LAYER: &str = "colbert_linear";

/// The files of which a model needs at least one, in the order of precedence.
pub(crate) const VOCABULARIES: [&str; 5] = [TOKENIZER, VOCAB_TXT, VOCAB_JSON, SENTENCEPIECE, SPIECE];

/// Why a chat template is rejected in a model without modules.json.
pub(crate) const NO_CHAT_TEMPLATE: &str =
    "no chat template: without modules.json each text would become a message of a chat, which is not supported";

/// A file other than the weights.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownFile {
    pub(crate) name: &'static str,
    pub(crate) folder: Folder,
    pub(crate) role: Role,
    pub(crate) condition: Condition,
    max_bytes: u64,
}

/// The folder of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Folder {
    Model,
    /// The encoder's folder, which is a subfolder in the oldest models.
    Encoder,
}

/// How a file contributes to the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Opening the model fails without the file.
    Required,
    /// The model opens without the file, but may give other vectors.
    Optional,
    /// The file is read only if a preferred file is absent or empty.
    Fallback,
    /// Opening the model fails if the file exists.
    Unsupported { expected: &'static str, found: &'static str },
}

/// When a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Always,
    /// The model has a modules.json.
    WithModules,
    /// The model has no modules.json.
    WithoutModules,
    /// tokenizer_config.json has no `added_tokens_decoder`, which would replace the file.
    WithoutTokenList,
}

impl KnownFile {
    const fn new(folder: Folder, role: Role, name: &'static str) -> Self {
        Self { name, folder, role, condition: Condition::Always, max_bytes: MAX_SMALL_FILE_BYTES }
    }

    const fn when(self, condition: Condition) -> Self {
        Self { condition, ..self }
    }

    const fn up_to(self, max_bytes: u64) -> Self {
        Self { max_bytes, ..self }
    }
}

const UNSUPPORTED_ADAPTER: Role =
    Role::Unsupported { expected: "no adapter; merge the adapter into the base model first", found: "an adapter" };
const UNSUPPORTED_CHAT_TEMPLATE: Role = Role::Unsupported { expected: NO_CHAT_TEMPLATE, found: "a template" };

/// All files other than weights, licenses and READMEs that are read.
pub(crate) const KNOWN_FILES: [KnownFile; 22] = {
    use Condition::{WithModules, WithoutModules, WithoutTokenList};
    use Folder::{Encoder, Model};
    use Role::{Fallback, Optional, Required};
    let [bert, roberta, distilbert, camembert, albert, xlm_roberta, xlnet] = SENTENCE_BERT_CONFIGS;
    [
        KnownFile::new(Model, Optional, MODULES),
        KnownFile::new(Model, Optional, SENTENCE_TRANSFORMERS_CONFIG).when(WithModules),
        KnownFile::new(Model, Optional, ARTIFACT_METADATA).when(WithoutModules),
        KnownFile::new(Encoder, Required, CONFIG),
        KnownFile::new(Encoder, Optional, bert).when(WithModules),
        KnownFile::new(Encoder, Fallback, roberta).when(WithModules),
        KnownFile::new(Encoder, Fallback, distilbert).when(WithModules),
        KnownFile::new(Encoder, Fallback, camembert).when(WithModules),
        KnownFile::new(Encoder, Fallback, albert).when(WithModules),
        KnownFile::new(Encoder, Fallback, xlm_roberta).when(WithModules),
        KnownFile::new(Encoder, Fallback, xlnet).when(WithModules),
        KnownFile::new(Encoder, Optional, TOKENIZER_CONFIG),
        KnownFile::new(Encoder, Optional, TOKENIZER).up_to(MAX_VOCABULARY_BYTES),
        KnownFile::new(Encoder, Fallback, VOCAB_TXT).up_to(MAX_VOCABULARY_BYTES),
        KnownFile::new(Encoder, Fallback, VOCAB_JSON).up_to(MAX_VOCABULARY_BYTES),
        KnownFile::new(Encoder, Fallback, MERGES).up_to(MAX_VOCABULARY_BYTES),
        KnownFile::new(Encoder, Fallback, SENTENCEPIECE),
        KnownFile::new(Encoder, Fallback, SPIECE),
        KnownFile::new(Encoder, Optional, SPECIAL_TOKENS_MAP).when(WithoutTokenList),
        KnownFile::new(Encoder, Optional, ADDED_TOKENS).when(WithoutTokenList),
        KnownFile::new(Encoder, UNSUPPORTED_ADAPTER, ADAPTER_CONFIG),
        KnownFile::new(Encoder, UNSUPPORTED_CHAT_TEMPLATE, CHAT_TEMPLATE).when(WithoutModules),
    ]
};

/// Returns the number of bytes of a file that are read at most.
pub(crate) fn size_limit(name: &str) -> u64 {
    let name = name.rsplit('/').next().unwrap_or(name);
    if name.ends_with(".safetensors") || is_pytorch_weights(name) {
        return u64::MAX;
    }
    KNOWN_FILES.iter().find(|file| file.name == name).map_or(MAX_SMALL_FILE_BYTES, |file| file.max_bytes)
}

/// Returns whether a file, by its name, contains the license or the model card.
pub(crate) fn is_license_or_readme(name: &str) -> bool {
    const PREFIXES: [&str; 5] = ["license", "licence", "copying", "notice", "readme"];
    PREFIXES.iter().any(|prefix| name.to_lowercase().starts_with(prefix))
}

/// Returns whether a file, by its name, contains weights. That includes formats that are not read.
pub(crate) fn is_weights(name: &str) -> bool {
    const EXTENSIONS: [&str; 12] = [
        ".bin",
        ".onnx",
        ".h5",
        ".msgpack",
        ".pt",
        ".pth",
        ".ckpt",
        ".ot",
        ".gguf",
        ".tflite",
        ".mlmodel",
        ".safetensors",
    ];
    /// Files that training leaves behind.
    const TRAINING: [&str; 5] = ["training_args.", "optimizer.", "scheduler.", "rng_state", "scaler."];
    let file = name.rsplit('/').next().unwrap_or(name);
    EXTENSIONS.iter().any(|extension| file.ends_with(extension))
        && !TRAINING.iter().any(|prefix| file.starts_with(prefix))
}

/// Returns whether a file, by its name, contains weights in the format of `torch.save`: all or a
/// shard.
fn is_pytorch_weights(name: &str) -> bool {
    name.starts_with("pytorch_model") && name.ends_with(".bin")
}

/// Returns the name of a file in a subfolder. The folder "" is the model's own.
pub(crate) fn file_in(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// The files of which an encoder needs one, in the order of precedence.
pub(crate) const ENCODER_WEIGHTS: [&str; 5] =
    [CONVERTED_WEIGHTS, WEIGHTS, WEIGHTS_INDEX, PYTORCH_WEIGHTS, PYTORCH_INDEX];

/// Finds the weights in the encoder's folder: a file, or the index of shards. `has`: whether a file
/// exists in that folder.
pub(crate) fn find_weights(has: impl Fn(&str) -> bool) -> Option<&'static str> {
    ENCODER_WEIGHTS.into_iter().find(|name| has(name))
}

/// Returns the ending of the names in an index of shards, or None if the file is no index.
pub(crate) fn shard_ending(index: &str) -> Option<&'static str> {
    if index.ends_with(WEIGHTS_INDEX) {
        Some(".safetensors")
    } else if index.ends_with(PYTORCH_INDEX) {
        Some(".bin")
    } else {
        None
    }
}

/// Returns the name of the weights in a module's folder. `has`: whether a file exists.
pub(crate) fn module_weights(has: impl Fn(&str) -> bool, path: &str) -> String {
    let [safetensors, pytorch] = [WEIGHTS, PYTORCH_WEIGHTS].map(|name| file_in(path, name));
    if !has(&safetensors) && has(&pytorch) { pytorch } else { safetensors }
}

/// Returns the name of the file of a layer of bge-m3: in safetensors, or else as torch.save wrote
/// it.
/// `has`: whether a file exists.
pub(crate) fn layer_file(has: impl Fn(&str) -> bool, layer: &str) -> Option<String> {
    ["safetensors", "pt"].map(|ending| format!("{layer}.{ending}")).into_iter().find(|name| has(name))
}

/// Returns whether a model has the layers of bge-m3 beside its encoder.
#[cfg(feature = "hub")]
pub(crate) fn has_bge_m3_layers(has: impl Fn(&str) -> bool) -> bool {
    [SPARSE_LAYER, TOKEN_LAYER].into_iter().all(|layer| layer_file(&has, layer).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_files_have_unique_names() {
        for (i, file) in KNOWN_FILES.iter().enumerate() {
            assert!(KNOWN_FILES[..i].iter().all(|other| other.name != file.name), "{}", file.name);
        }
        assert!(VOCABULARIES.iter().all(|name| KNOWN_FILES.iter().any(|file| file.name == *name)));
    }

    #[test]
    fn weights_are_recognized_in_every_format() {
        for name in
            ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "onnx/model.onnx", "q4.gguf", "tf_model.h5"]
        {
            assert!(is_weights(name), "{name}");
        }
        for name in ["training_args.bin", "optimizer.pt", "config.json", "pytorch_model.bin.index.json", "bin"] {
            assert!(!is_weights(name), "{name}");
        }
    }

    #[test]
    fn size_limit_depends_on_the_file_name_without_the_folder() {
        let mebibytes = |name: &str| size_limit(name) >> 20;
        assert_eq!(mebibytes("tokenizer.json"), 512);
        assert_eq!(mebibytes("0_Transformer/merges.txt"), 512);
        assert_eq!(mebibytes("sentencepiece.bpe.model"), 64);
        assert_eq!(mebibytes("1_Pooling/config.json"), 64);
        assert_eq!(mebibytes("README.md"), 64);
        assert_eq!(size_limit("2_Dense/model.safetensors"), u64::MAX);
        assert_eq!(size_limit("2_Dense/pytorch_model.bin"), u64::MAX);
        assert_eq!(size_limit("pytorch_model-00001-of-00002.bin"), u64::MAX);
    }
}
