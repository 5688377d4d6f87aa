//! Anything.

use super::*;

/// Files and how many of their bytes, from the beginning, are changed.
fn corruptible() -> Vec<(&'static str, usize)> {
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
    fn flipped_weight_bytes_never_panic(
        file in 0_usize..7,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (name, length) = corruptible()[file];
        let mut files = files("tiny-bert");
        let bytes = files.get_mut(name).expect("a file");
        for (place, value) in flips {
            bytes[place.index(length)] = value;
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| embed(&files, &TEXTS)));
        prop_assert!(outcome.is_ok(), "{} panicked", name);
        if let Ok(Err(error)) = outcome {
            prop_assert!(!message(&error).is_empty());
        }
    }

    /// The table of the normalizer is a trie in base 64.
    #[test]
    fn flipped_json_bytes_never_panic(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40)) {
        let mut files = files("tiny-xlm-roberta");
        edit_json(&mut files, "tokenizer.json", |json| {
            let table = &mut json["normalizer"]["normalizers"][0]["precompiled_charsmap"];
            let mut bytes = table.as_str().expect("base 64").as_bytes().to_vec();
            for (place, value) in &flips {
                let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";
                let length = bytes.len();
                bytes[place.index(length)] = letters[usize::from(*value) % letters.len()];
            }
            *table = Value::String(String::from_utf8(bytes).expect("ASCII"));
        });
        let outcome = catch_unwind(AssertUnwindSafe(|| embed(&files, &TEXTS)));
        prop_assert!(outcome.is_ok(), "panicked");
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), file in 0_usize..7) {
        let (name, _) = corruptible()[file];
        let outcome = catch_unwind(AssertUnwindSafe(|| embed(&with("tiny-bert", name, bytes.clone()), &TEXTS).is_err()));
        prop_assert!(matches!(outcome, Ok(true)), "{} of {:?}: {:?}", name, bytes, outcome.is_err());
    }
}
