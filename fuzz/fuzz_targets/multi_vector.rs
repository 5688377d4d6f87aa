//! The configurations of a late-interaction model, separated by zero bytes. With a last one,
//! artifact.metadata, the folder is one of Stanford's ColBERT.
#![no_main]

use libfuzzer_sys::fuzz_target;

const MODULES: &[u8] = br#"[
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_MultiVectorMask",
     "type": "sentence_transformers.multi_vector_encoder.models.MultiVectorMask"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}
]"#;

fuzz_target!(|data: &[u8]| {
    let defaults = [
        ("modules.json", MODULES),
        ("config_sentence_transformers.json", br#"{"model_type": "MultiVectorEncoder"}"#.as_slice()),
        ("sentence_bert_config.json", b"{}".as_slice()),
        ("1_MultiVectorMask/config.json", b"{}".as_slice()),
    ];
    let metadata = "artifact.metadata";
    // An empty or missing part leaves the default.
    let mut parts = data.splitn(defaults.len() + 1, |&byte| byte == 0);
    let mut replaced: Vec<(&str, &[u8])> = Vec::new();
    for (name, default) in defaults {
        let part = parts.next().filter(|part| !part.is_empty());
        replaced.push((name, part.unwrap_or(default)));
    }
    let Some(content) = parts.next() else {
        return likewise_fuzz::open_and_score(&likewise_fuzz::model_with(&replaced));
    };
    let config = String::from_utf8_lossy(likewise_fuzz::file("config.json")).replace("BertModel", "HF_ColBERT");
    let files = likewise_fuzz::model_with(&[("config.json", config.as_bytes()), (metadata, content)]);
    likewise_fuzz::open_and_score(&files.without("modules.json"));
});
