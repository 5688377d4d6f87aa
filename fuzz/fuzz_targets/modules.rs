//! The list of modules, their configurations and the weights of one, separated by zero bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let names = [
        "modules.json",
        "1_Pooling/config.json",
        "2_Dense/config.json",
        "config_sentence_transformers.json",
        "sentence_bert_config.json",
        // The last file also contains the remaining zero bytes.
        "2_Dense/model.safetensors",
    ];
    // An empty or missing part leaves the model's file unchanged.
    let parts = names.into_iter().zip(data.splitn(names.len(), |&byte| byte == 0));
    let parts: Vec<(&str, &[u8])> = parts.filter(|(_, bytes)| !bytes.is_empty()).collect();
    likewise_fuzz::open_and_embed(&likewise_fuzz::model_with(&parts));
});
