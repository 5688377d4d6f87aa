//! The errors of cross-encoders.

/// A pair of texts, or a setting, does not suit a cross-encoder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CrossEncoderError {
    /// A pair exceeds the maximum length, and the truncation policy is to fail.
    #[error(
        "pair {pair}: too long: expected at most {limit} tokens, found {} with {special} special tokens; \
         {} would be cut: shorten it or allow truncation", tokens[0] + tokens[1] + special, cut_texts(*cut)
    )]
    PairTooLong {
        /// The index of the pair.
        pair: usize,
        /// The tokens of its two texts, without special tokens.
        tokens: [usize; 2],
        /// The number of special tokens.
        special: usize,
        /// Which of the two texts would lose tokens.
        cut: [bool; 2],
        /// The maximum length in tokens.
        limit: usize,
    },

    /// A score is infinite or NaN, although the weights are finite.
    #[error("pair {pair}: score is not finite (corrupt weights)")]
    NotFinite {
        /// The index of the pair.
        pair: usize,
    },

    /// A setting applies to sentence vectors only.
    #[error("setting `{setting}`: expected none for a cross-encoder, which has no sentence vectors")]
    Setting {
        /// The name of the setting.
        setting: &'static str,
    },

    /// Texts cannot be ranked by a model with several labels.
    #[error("cannot rank texts by a model with {labels} labels: expected one label, as a reranker has")]
    SeveralLabels {
        /// The number of labels.
        labels: usize,
    },
}

/// Names the texts of a pair that are cut.
fn cut_texts(cut: [bool; 2]) -> &'static str {
    match cut {
        [true, false] => "the first text",
        [false, true] => "the second text",
        _ => "both texts",
    }
}
