//! Tests of the library through its public API.
//!
//! All files form one test program to save build time. Each program must be linked with the
//! embedded model, which takes as long as running the tests of one file.

#![recursion_limit = "256"]

use likewise_tests as common;

mod api;
mod bge_m3;
mod convert;
mod cross_encoders;
mod embedding_outputs;
mod explanations;
mod goldens;
mod invariance;
mod malformed;
mod model_matrix;
mod models;
mod multi_vector;
mod mutants;
mod precision;
mod pytorch;
mod sparse_encoders;
mod static_embeddings;
mod tokenizers;
mod traces;
