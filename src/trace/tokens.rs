//! The tokens of a traced pass.

/// The tokens of a pass.
#[derive(Debug, Default)]
pub(crate) struct TracedTokens {
    /// `[T]`.
    pub(crate) ids: Vec<u32>,
    /// `[T]`.
    pub(crate) positions: Vec<usize>,
    /// `[T]`.
    pub(crate) types: Vec<usize>,
    /// The number of tokens of each text `[S]`.
    pub(crate) counts: Vec<usize>,
}

impl TracedTokens {
    /// Returns the tokens of texts for which the model has neither positions nor types.
    pub(crate) fn of_table<'a>(texts: impl IntoIterator<Item = &'a [u32]>) -> Self {
        let mut tokens = Self::default();
        for ids in texts {
            tokens.ids.extend_from_slice(ids);
            tokens.positions.extend(0..ids.len());
            tokens.types.resize(tokens.ids.len(), 0);
            tokens.counts.push(ids.len());
        }
        tokens
    }
}
