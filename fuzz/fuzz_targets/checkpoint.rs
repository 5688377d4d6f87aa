//! A safetensors file: all its tensors are read, and it becomes the weights of a model, or a table
//! of static embeddings.
#![no_main]

use libfuzzer_sys::fuzz_target;
use likewise::Checkpoint;

fuzz_target!(|data: &[u8]| {
    if let Ok(checkpoint) = Checkpoint::from_bytes(data.to_vec()) {
        for (name, shape) in checkpoint.tensors() {
            if let Ok(tensor) = checkpoint.tensor(name, shape) {
                drop(tensor.to_f32_vec());
            }
        }
        likewise_fuzz::open_and_embed(&likewise_fuzz::model_with(&[("model.safetensors", data)]));
        let modules = br#"[{"path": "", "type": "sentence_transformers.models.StaticEmbedding"}]"#;
        let table = [("modules.json", modules.as_slice()), ("model.safetensors", data)];
        likewise_fuzz::open_and_embed(&likewise_fuzz::model_with(&table));
    }
    likewise_fuzz::open_and_embed(&likewise_fuzz::model_with(&[("likewise.safetensors", data)]));
});
