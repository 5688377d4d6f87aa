//! The routes of a sparse model, the configuration of its pooling and that of the whole model,
//! separated by zero bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use likewise::ModelFiles;

const MODULES: &[u8] = br#"[{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Router"}]"#;
const ROUTER: &[u8] = br#"{
    "types": {
        "query_0_SparseStaticEmbedding": "sentence_transformers.sparse_encoder.models.SparseStaticEmbedding",
        "document_0_Transformer": "sentence_transformers.models.Transformer",
        "document_1_SpladePooling": "sentence_transformers.sparse_encoder.models.SpladePooling"
    },
    "structure": {
        "query": ["query_0_SparseStaticEmbedding"],
        "document": ["document_0_Transformer", "document_1_SpladePooling"]
    },
    "parameters": {"default_route": "document"}
}"#;

fuzz_target!(|data: &[u8]| {
    let defaults = [
        ("router_config.json", ROUTER),
        ("document_1_SpladePooling/config.json", br#"{"pooling_strategy": "max"}"#.as_slice()),
        ("config_sentence_transformers.json", br#"{"model_type": "SparseEncoder"}"#.as_slice()),
    ];
    // An empty or missing part leaves the default.
    let mut parts = data.splitn(defaults.len(), |&byte| byte == 0);
    let mut files = ModelFiles::in_memory().with("modules.json", MODULES);
    for (name, default) in defaults {
        let part = parts.next().filter(|part| !part.is_empty());
        files = files.with(name, part.unwrap_or(default).to_vec());
    }
    for name in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        let bytes = likewise_fuzz::file(name);
        files = files.with(&format!("document_0_Transformer/{name}"), bytes);
        if name.starts_with("tokenizer") {
            files = files.with(&format!("query_0_SparseStaticEmbedding/{name}"), bytes);
        }
    }
    likewise_fuzz::open_and_embed_sparse(&files);
});
