//! The files of a tokenizer: the first byte says which of them the rest is.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((which, rest)) = data.split_first() else { return };
    let name = match which % 4 {
        0 => "tokenizer.json",
        1 => "tokenizer_config.json",
        2 => "vocab.txt",
        _ => "special_tokens_map.json",
    };
    let files = match name {
        // Without this the words would not be read.
        "vocab.txt" => likewise_fuzz::model_with(&[(name, rest)]).without("tokenizer.json"),
        _ => likewise_fuzz::model_with(&[(name, rest)]),
    };
    likewise_fuzz::open_and_embed(&files);
});
