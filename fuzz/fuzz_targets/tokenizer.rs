//! The files of a tokenizer: the first byte says which of them the rest is.
#![no_main]

use libfuzzer_sys::fuzz_target;

const AS_WRITTEN: &[u8] = br#"{"tokenizer_class": "PreTrainedTokenizerFast"}"#;
const PAIRS: &[u8] = br#"{"tokenizer_class": "RobertaTokenizer"}"#;
const PIECES: &[u8] = br#"{"tokenizer_class": "XLMRobertaTokenizer"}"#;

fuzz_target!(|data: &[u8]| {
    let Some((which, rest)) = data.split_first() else { return };
    // Two files are separated by a zero, which none of them can have.
    let (first, second) = match rest.iter().position(|&byte| byte == 0) {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (rest, &[][..]),
    };
    let (config, written) = ("tokenizer_config.json", "tokenizer.json");
    let model = |files: &[(&str, &[u8])]| likewise_fuzz::model_with(files);
    let files = match which % 9 {
        0 => model(&[(written, rest)]),
        1 => model(&[(config, rest)]),
        // Without tokenizer.json, or these would not be read.
        2 => model(&[("vocab.txt", rest)]).without(written),
        3 => model(&[("special_tokens_map.json", rest)]),
        4 => model(&[(config, AS_WRITTEN), (written, rest)]),
        5 => model(&[(config, first), (written, second)]),
        6 => model(&[("added_tokens.json", first), ("special_tokens_map.json", second)]),
        7 => model(&[(config, PIECES), ("sentencepiece.bpe.model", rest)]).without(written),
        _ => model(&[(config, PAIRS), ("vocab.json", first), ("merges.txt", second)]).without(written),
    };
    likewise_fuzz::open_and_embed(&files);
});
