//! The list of modules, and their configurations: parts of the input with a zero byte between them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let names = [
        "modules.json",
        "1_Pooling/config.json",
        "2_Dense/config.json",
        "2_Dense/model.safetensors",
        "config_sentence_transformers.json",
        "sentence_bert_config.json",
    ];
    // A part that is not there leaves the file as it is.
    let parts: Vec<(&str, &[u8])> = names.into_iter().zip(data.splitn(names.len(), |&byte| byte == 0)).collect();
    likewise_fuzz::open_and_embed(&likewise_fuzz::model_with(&parts));
});
