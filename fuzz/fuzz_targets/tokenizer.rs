//! The files of a tokenizer. The first byte selects the files that the other bytes replace.
#![no_main]

use libfuzzer_sys::fuzz_target;

const GENERIC_CLASS: &[u8] = br#"{"tokenizer_class": "PreTrainedTokenizerFast"}"#;
const BYTE_LEVEL_CLASS: &[u8] = br#"{"tokenizer_class": "RobertaTokenizer"}"#;
const T5_CLASS: &[u8] = br#"{"tokenizer_class": "T5Tokenizer"}"#;
const ALBERT_CLASS: &[u8] = br#"{"tokenizer_class": "AlbertTokenizer"}"#;
const SENTENCEPIECE_CLASS: &[u8] = br#"{"tokenizer_class": "XLMRobertaTokenizer"}"#;

fuzz_target!(|data: &[u8]| {
    let Some((selector, rest)) = data.split_first() else { return };
    // A zero byte, which no file contains, separates two files.
    let (first, second) = match rest.iter().position(|&byte| byte == 0) {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (rest, &[][..]),
    };
    let config = "tokenizer_config.json";
    let tokenizer = "tokenizer.json";
    let model = |files: &[(&str, &[u8])]| likewise_fuzz::model_with(files);
    let files = match selector % 11 {
        0 => model(&[(tokenizer, rest)]),
        1 => model(&[(config, rest)]),
        // The vocabulary is read only without tokenizer.json.
        2 => model(&[("vocab.txt", rest)]).without(tokenizer),
        3 => model(&[("special_tokens_map.json", rest)]),
        4 => model(&[(config, GENERIC_CLASS), (tokenizer, rest)]),
        5 => model(&[(config, first), (tokenizer, second)]),
        6 => model(&[("added_tokens.json", first), ("special_tokens_map.json", second)]),
        7 => model(&[(config, SENTENCEPIECE_CLASS), ("sentencepiece.bpe.model", rest)]).without(tokenizer),
        9 => model(&[(config, T5_CLASS), ("spiece.model", rest)]).without(tokenizer),
        10 => model(&[(config, ALBERT_CLASS), ("spiece.model", rest)]).without(tokenizer),
        _ => model(&[(config, BYTE_LEVEL_CLASS), ("vocab.json", first), ("merges.txt", second)]).without(tokenizer),
    };
    likewise_fuzz::open_and_embed(&files);
});
