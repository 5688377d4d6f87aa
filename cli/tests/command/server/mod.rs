//! `likewise serve`, tested by requests like those of its clients.

mod access;
mod classification;
mod cross_encoders;
mod explain;
pub(crate) mod harness;
mod hugging_face_api;
mod keep_alive;
mod late_interaction;
mod load;
mod logging;
mod malformed_requests;
mod memory;
mod model_names;
mod models;
mod mounting;
mod operations;
mod options;
mod other_programs;
mod private_paths;
mod request_forms;
mod reranking;
mod shutdown;
mod sparse_encoders;
mod static_embeddings;
mod tei_and_openai_api;
mod token_ids;
