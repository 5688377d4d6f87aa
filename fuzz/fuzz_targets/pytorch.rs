//! Weights of PyTorch. The first byte selects whether the others are the file or only its pickle.
#![no_main]

use libfuzzer_sys::fuzz_target;
use likewise::Checkpoint;

const WEIGHTS: &str = "model.safetensors";

fuzz_target!(|data: &[u8]| {
    let Some((selector, rest)) = data.split_first() else { return };
    let file = if selector % 2 == 0 { rest.to_vec() } else { likewise_fuzz::torch_archive_of(rest) };
    if let Ok(checkpoint) = Checkpoint::from_pytorch_bytes(file.clone()) {
        for (name, shape) in checkpoint.tensors() {
            if let Ok(tensor) = checkpoint.tensor(name, shape) {
                assert!(tensor.shape().iter().product::<usize>() <= file.len(), "{tensor:?} is larger than the file");
                drop(tensor.to_f32_vec());
            }
        }
        likewise_fuzz::open_and_embed(&likewise_fuzz::model_with(&[("pytorch_model.bin", &file)]).without(WEIGHTS));
    }
});
