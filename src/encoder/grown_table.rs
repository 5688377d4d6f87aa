//! Tables with a row for each position or distance, as far as a text has needed them.

use std::sync::{Arc, PoisonError, RwLock};

/// A table that is computed for the longest text so far, and again for a longer one.
///
/// A model may allow texts of 8,192 tokens and read only short ones. The entries do not depend on
/// the length, so neither do the bits of a vector.
pub(super) struct GrownTable<T> {
    max_tokens: usize,
    /// The number of tokens that the table is for, and the table.
    current: RwLock<Option<(usize, Arc<T>)>>,
}

impl<T> GrownTable<T> {
    /// Makes a table without entries for texts of at most `max_tokens`.
    pub(super) fn new(max_tokens: usize) -> Self {
        Self { max_tokens, current: RwLock::default() }
    }

    /// Returns the table, which `compute` computes for a number of tokens if the present one is too
    /// short.
    pub(super) fn get(&self, tokens: usize, compute: impl FnOnce(usize) -> T) -> Arc<T> {
        let fits = |current: &Option<(usize, Arc<T>)>| {
            current.as_ref().filter(|(length, _)| *length >= tokens).map(|(_, table)| table.clone())
        };
        if let Some(table) = fits(&self.current.read().unwrap_or_else(PoisonError::into_inner)) {
            return table;
        }
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = fits(&current) {
            return table;
        }
        let length = Self::length(tokens, self.max_tokens);
        let table = Arc::new(compute(length));
        *current = Some((length, table.clone()));
        table
    }

    /// Returns the number of tokens that a table is computed for. Powers of two, so that texts of
    /// growing lengths do not compute it again each time.
    pub(super) fn length(tokens: usize, max_tokens: usize) -> usize {
        const MIN_TOKENS: usize = 64;
        tokens.next_power_of_two().max(MIN_TOKENS).min(max_tokens.max(tokens))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_grows_in_powers_of_two_up_to_the_longest_text() {
        let table = GrownTable::new(1000);
        let length = |tokens| *table.get(tokens, |length| length);
        assert_eq!([1, 64, 65, 10, 128, 600, 1000].map(length), [64, 64, 128, 128, 128, 1000, 1000]);
    }
}
