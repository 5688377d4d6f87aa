//! `/embed_sparse` of text-embeddings-inference: the elements of sparse vectors that are not zero.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use super::error::ApiError;
use super::fields::{is_flat, text_inputs};
use super::json_body::JsonBody;
use super::known_keys::KnownKeys;
use super::response::inference_response;
use super::state::ApiState;
use super::tei::{Target, check_prompt, error_of_inputs, option_fields};
use crate::server::inference::request::SparseJob;

/// An element of a sparse vector.
#[derive(Serialize)]
struct SparseValue {
    index: u32,
    value: f32,
}

/// POST `/embed_sparse`: a list of elements for each text, also for a single one.
pub(in crate::server) async fn embed_sparse(
    State(state): State<Arc<ApiState>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    body.report_unused_keys(&KnownKeys::TEI_EMBED_SPARSE);
    let value = body.root.get("inputs");
    let is_flat = is_flat(value);
    let inputs = text_inputs("inputs", value)?;
    let encode = option_fields(&body)?.encode_options()?;
    check_prompt(&inputs, &encode)?;
    let job = SparseJob { inputs, encode };
    let target = Target::parse(&body)?;
    drop(body);
    let response = state.inference.infer(target.model.as_deref(), job, target.options).await;
    let response = response.map_err(|error| error_of_inputs(error, is_flat))?;
    let elements = |(indices, values): (&Vec<u32>, &Vec<f32>)| -> Vec<SparseValue> {
        indices.iter().zip(values).map(|(&index, &value)| SparseValue { index, value }).collect()
    };
    let result = &response.result;
    let vectors: Vec<_> = result.indices.iter().zip(&result.rows).map(elements).collect();
    Ok(inference_response(&response, &vectors)?)
}
