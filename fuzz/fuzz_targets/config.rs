//! config.json, and after a zero byte, which JSON cannot contain, the index of a sharded model.
#![no_main]

use libfuzzer_sys::fuzz_target;

const WEIGHTS: &str = "model.safetensors";

fuzz_target!(|data: &[u8]| {
    let (config, index) = match data.iter().position(|&byte| byte == 0) {
        Some(at) => (&data[..at], Some(&data[at + 1..])),
        None => (data, None),
    };
    // An empty configuration stands for the model's.
    let config = Some(("config.json", config)).filter(|(_, bytes)| !bytes.is_empty());
    let index = index.map(|index| ("model.safetensors.index.json", index));
    let shard = index.map(|_| ("model-1.safetensors", likewise_fuzz::file(WEIGHTS)));
    let replaced: Vec<(&str, &[u8])> = [config, index, shard].into_iter().flatten().collect();
    let files = likewise_fuzz::model_with(&replaced);
    likewise_fuzz::open_and_embed(&if index.is_some() { files.without(WEIGHTS) } else { files });
});
