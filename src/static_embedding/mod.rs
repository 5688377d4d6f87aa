//! Static embeddings: the vector of a text is the mean of its tokens' rows in a table.
//!
//! There is no encoder, so a token has the same vector in every text. Two libraries have such
//! models, and their folders differ little: StaticEmbedding of sentence-transformers 6.2.0
//! (`sentence_transformer/modules/static_embedding.py`) and Model2Vec 0.10.0 (`model.py`).
//!
//! | | with modules.json | config.json of Model2Vec alone |
//! |---|---|---|
//! | follows | sentence-transformers | Model2Vec |
//! | unknown tokens | count | are left out |
//! | texts are cut | as tokenizer.json says | at `max_length` tokens (512) |
//! | length 1 | if modules.json has Normalize | if `normalize` is true |
//!
//! Both take tokenizer.json as written, without special tokens around a text. Before it cuts the
//! tokens, Model2Vec cuts the text: at as many characters as that number of tokens of median length
//! have.

mod model;
mod open;
mod reading;
mod table;

pub(crate) use model::{Buffers, StaticModel};
pub(crate) use open::StaticFolder;
