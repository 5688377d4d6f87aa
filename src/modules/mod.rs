//! The sentence head: the modules that modules.json lists after the encoder.
//!
//! The first module is the encoder, and the second pools its token vectors. The others change the
//! sentence vector, in the order of the list. Class paths changed over the years:
//! `sentence_transformers.models.Pooling` became
//! `sentence_transformers.sentence_transformer.modules.pooling.Pooling`. The class names did not
//! change, so they identify the modules. Follows sentence-transformers 6.2.0, `base/model.py`.

mod dense;
mod head;
mod module_config;
mod pooling;

pub(crate) use head::{OutputOptions, PoolingHead};
