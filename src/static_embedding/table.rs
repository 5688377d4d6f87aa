//! The table: one vector for each token.
//!
//! | tensor | shape | content |
//! |---|---|---|
//! | `embedding.weight` or `embeddings` | `[R, D]` | the vectors; without a mapping R is V |
//! | `mapping` | `[V]` | the row of each token, if several tokens share one |
//! | `weights` | `[V]` | a factor for each token |
//!
//! The vector of token t is `embeddings[mapping[t]] * weights[t]`. sentence-transformers names the
//! tensor `embedding.weight`; Model2Vec names it `embeddings` and has the other two.

use crate::checkpoint::{AllowedTypes, Checkpoint, NumberTensor};
use crate::error::{ContentError, Error, Result};

/// The name in sentence-transformers.
const EMBEDDING_WEIGHT: &str = "embedding.weight";
/// The name in Model2Vec.
const EMBEDDINGS: &str = "embeddings";
const MAPPING: &str = "mapping";
const WEIGHTS: &str = "weights";

/// More elements than a vector of any model has.
const MAX_WIDTH: usize = 1 << 24;

/// The vectors of all tokens, in the file.
pub(crate) struct Table {
    embeddings: NumberTensor,
    mapping: Option<NumberTensor>,
    weights: Option<NumberTensor>,
    /// The number of tokens, V.
    tokens: usize,
    bytes_in_memory: usize,
}

impl Table {
    /// Finds the tensors and checks that they fit each other.
    ///
    /// # Errors
    /// If one is missing, has another type or shape, or refers to a row that does not exist.
    pub(super) fn load(checkpoint: &Checkpoint) -> Result<Self> {
        let embeddings = embeddings(checkpoint)?;
        let mapping = checkpoint.number_tensor(MAPPING, AllowedTypes::INDICES)?;
        let weights = checkpoint.number_tensor(WEIGHTS, AllowedTypes::FLOATS)?;
        let rows = embeddings.shape()[0];
        let tokens = match &mapping {
            None => rows,
            Some(mapping) => checked_mapping(mapping, rows)?,
        };
        if let Some(weights) = &weights
            && weights.shape() != [tokens]
        {
            let of = if mapping.is_some() { MAPPING } else { "the embeddings" };
            let expected = format!("shape [{tokens}], a weight for each token of {of}");
            return Err(weights.unsuitable(expected, format!("{:?}", weights.shape()), SAVE_AGAIN));
        }
        Ok(Self { embeddings, mapping, weights, tokens, bytes_in_memory: checkpoint.bytes_in_memory() })
    }

    /// Rejects a table that has another number of vectors than the tokenizer has tokens, as
    /// Model2Vec does. A mapping may have any number.
    pub(super) fn require_row_of_each_token(&self, tokens: usize) -> Result<()> {
        if self.mapping.is_some() || self.tokens == tokens {
            return Ok(());
        }
        let expected = format!("{tokens} rows, one for each token of tokenizer.json, because there is no `{MAPPING}`");
        Err(self.embeddings.unsuitable(expected, self.tokens.to_string(), "use the tokenizer.json of this table"))
    }

    /// Returns V, the number of tokens.
    pub(crate) fn tokens(&self) -> usize {
        self.tokens
    }

    /// Returns D, the width of a vector.
    pub(crate) fn width(&self) -> usize {
        self.embeddings.shape()[1]
    }

    /// Returns the element type of the embeddings.
    pub(crate) fn dtype(&self) -> &'static str {
        self.embeddings.dtype()
    }

    /// Returns the number of trained numbers.
    pub(crate) fn parameters(&self) -> usize {
        self.embeddings.shape().iter().product::<usize>() + self.weights.as_ref().map_or(0, |_| self.tokens)
    }

    /// Returns the bytes of all tensors in the file.
    pub(crate) fn bytes(&self) -> usize {
        let size = |tensor: &Option<NumberTensor>| tensor.as_ref().map_or(0, NumberTensor::bytes);
        self.embeddings.bytes() + size(&self.mapping) + size(&self.weights)
    }

    /// Returns the bytes of the file if it was given in memory.
    pub(crate) fn bytes_in_memory(&self) -> usize {
        self.bytes_in_memory
    }

    /// Adds the vector of a token to `sums` `[D]`.
    ///
    /// # Panics
    /// If the table has no such token.
    pub(super) fn add(&self, id: u32, sums: &mut [f64]) {
        let token = id as usize;
        let row = self.mapping.as_ref().map_or(token, |mapping| mapping.integer(token) as usize);
        let weight = self.weights.as_ref().map(|weights| weights.float(token));
        self.embeddings.add_row(row, weight, sums);
    }

    /// Returns the error of the first of the tokens whose vector has an element that is not finite.
    pub(super) fn find_bad_row(&self, ids: &[u32]) -> Option<Error> {
        let mut sums = vec![0.0; self.width()];
        ids.iter().find_map(|&id| {
            sums.fill(0.0);
            self.add(id, &mut sums);
            let value = sums.iter().map(|&x| x as f32).find(|x| !x.is_finite())?;
            let token = id as usize;
            let row = self.mapping.as_ref().map_or(token, |mapping| mapping.integer(token) as usize);
            let weight = self.weights.as_ref().filter(|weights| !weights.float(token).is_finite());
            Some(
                weight
                    .map_or_else(|| self.embeddings.not_finite(row, value), |weights| weights.not_finite(token, value)),
            )
        })
    }
}

const SAVE_AGAIN: &str = "save the model again, with all tensors from one source";

/// Finds the embeddings. Rejects tensors of unknown use.
fn embeddings(checkpoint: &Checkpoint) -> Result<NumberTensor> {
    let tensors = checkpoint.tensors();
    let has = |name: &str| tensors.contains_key(name);
    let file = || checkpoint.label().to_owned();
    let name = match (has(EMBEDDING_WEIGHT), has(EMBEDDINGS)) {
        (true, true) => {
            let expected = "a tensor `embedding.weight` (sentence-transformers) or `embeddings` (Model2Vec)";
            return Err(ambiguous(file(), expected, "both", "remove the one that is not meant"));
        }
        (false, false) => {
            let similar = tensors.keys().take(3).map(|&name| name.to_owned()).collect();
            let name = format!("{EMBEDDING_WEIGHT}` or `{EMBEDDINGS}");
            return Err(Error::MissingTensor { file: file(), name, similar });
        }
        // sentence-transformers would ignore these.
        (true, false) if has(MAPPING) || has(WEIGHTS) => {
            let expected = "no `mapping` and no `weights` beside `embedding.weight`, which has a row for each token";
            let found = if has(MAPPING) { "`mapping`" } else { "`weights`" };
            let advice = "name the table `embeddings` if they apply to it; otherwise remove them";
            return Err(ambiguous(file(), expected, found, advice));
        }
        (true, false) => EMBEDDING_WEIGHT,
        (false, true) => EMBEDDINGS,
    };
    let known = [name, MAPPING, WEIGHTS];
    let unknown: Vec<String> =
        tensors.keys().filter(|name| !known.contains(name)).map(|&name| name.to_owned()).collect();
    if !unknown.is_empty() {
        return Err(Error::UnknownTensor { file: file(), family: "StaticEmbedding", names: unknown });
    }
    let Some(embeddings) = checkpoint.number_tensor(name, AllowedTypes::EMBEDDINGS)? else {
        return Err(Error::MissingTensor { file: file(), name: name.to_owned(), similar: Vec::new() });
    };
    match embeddings.shape() {
        [rows, 1..=MAX_WIDTH] if *rows > 0 => Ok(embeddings),
        shape => {
            let expected = format!("a matrix of at least one row, of 1 to {MAX_WIDTH} elements each");
            Err(embeddings.unsuitable(expected, format!("shape {shape:?}"), SAVE_AGAIN))
        }
    }
}

/// Makes the error that the tensors of a file leave open what is meant.
fn ambiguous(file: String, expected: &str, found: &str, advice: &'static str) -> Error {
    let [expected, found] = [expected, found].map(str::to_owned);
    Error::Content(Box::new(ContentError { file, place: None, expected, found, advice }))
}

/// Checks that every token has a row, and returns the number of tokens.
fn checked_mapping(mapping: &NumberTensor, rows: usize) -> Result<usize> {
    let &[tokens] = mapping.shape() else {
        let expected = "a vector with the row of each token".to_owned();
        return Err(mapping.unsuitable(expected, format!("shape {:?}", mapping.shape()), SAVE_AGAIN));
    };
    let is_row = |row: i64| usize::try_from(row).is_ok_and(|row| row < rows);
    match (0..tokens).find(|&token| !is_row(mapping.integer(token))) {
        None => Ok(tokens),
        Some(token) => {
            let expected = format!("rows from 0 to {}, those of the embeddings", rows - 1);
            let found = format!("{} for token {token}", mapping.integer(token));
            Err(mapping.unsuitable(expected, found, SAVE_AGAIN))
        }
    }
}
