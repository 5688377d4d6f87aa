//! `likewise serve`, tested by requests like those of its clients.

mod access;
pub(crate) mod harness;
mod hugging_face_api;
mod keep_alive;
mod load;
mod logging;
mod malformed_requests;
mod memory;
mod models;
mod mounting;
mod operations;
mod other_programs;
mod shutdown;
mod tei_and_openai_api;
