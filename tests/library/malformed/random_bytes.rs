//! Property tests with random bytes.

use super::*;

/// Returns the names of files and the lengths of their prefixes that the tests change. Of the
/// weights, the tests change only the header.
fn corruptible_prefixes() -> Vec<(&'static str, usize)> {
    let files = files("tiny-bert");
    let header = 8 + split(&files[WEIGHTS]).0.len();
    ["config.json", "tokenizer.json", "modules.json", POOLING, SENTENCE, "sentence_bert_config.json"]
        .into_iter()
        .map(|name| (name, files[name].len()))
        .chain([(WEIGHTS, header)])
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn flipped_file_bytes_never_panic(
        file in 0_usize..7,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (name, length) = corruptible_prefixes()[file];
        let mut files = files("tiny-bert");
        let bytes = files.get_mut(name).expect("a file");
        for (index, value) in flips {
            bytes[index.index(length)] = value;
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| embed(&files, &TEXTS)));
        prop_assert!(outcome.is_ok(), "{} panicked", name);
        if let Ok(Err(error)) = outcome {
            prop_assert!(!message(&error).is_empty());
        }
    }

    /// Changes the character map of the normalizer, which is a trie in base64.
    #[test]
    fn flipped_charsmap_bytes_never_panic(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40)) {
        let mut files = files("tiny-xlm-roberta");
        edit_json(&mut files, "tokenizer.json", |json| {
            let table = &mut json["normalizer"]["normalizers"][0]["precompiled_charsmap"];
            let mut bytes = table.as_str().expect("base 64").as_bytes().to_vec();
            for (index, value) in &flips {
                let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";
                let length = bytes.len();
                bytes[index.index(length)] = digits[usize::from(*value) % digits.len()];
            }
            *table = Value::String(String::from_utf8(bytes).expect("ASCII"));
        });
        let outcome = catch_unwind(AssertUnwindSafe(|| embed(&files, &TEXTS)));
        prop_assert!(outcome.is_ok(), "tokenizer.json panicked");
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), file in 0_usize..7) {
        let (name, _) = corruptible_prefixes()[file];
        let outcome = catch_unwind(AssertUnwindSafe(|| embed(&with("tiny-bert", name, bytes.clone()), &TEXTS).is_err()));
        prop_assert!(matches!(outcome, Ok(true)), "{} of {:?}: {:?}", name, bytes, outcome.is_err());
    }
}
