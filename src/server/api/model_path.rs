//! The model and the task that a path names.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use super::error::ApiError;
use super::state::ApiState;

/// The patterns of `{id}` in a path: a name, or an organisation and a name.
pub(in crate::server) const ID_PATTERNS: [&str; 2] = ["{name}", "{organisation}/{name}"];

/// The model and the task that a path names, if any.
pub(in crate::server) struct ModelPath(HashMap<String, String>);

impl FromRequestParts<Arc<ApiState>> for ModelPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<ApiState>) -> Result<Self, ApiError> {
        match Option::<Path<HashMap<String, String>>>::from_request_parts(parts, state).await {
            Ok(found) => Ok(Self(found.map(|Path(found)| found).unwrap_or_default())),
            Err(error) => Err(ApiError::bad_request(format!("the path could not be read: {error}"))),
        }
    }
}

impl ModelPath {
    /// The model's id.
    pub(in crate::server) fn id(&self) -> Option<String> {
        let name = self.0.get("name")?;
        Some(self.0.get("organisation").map_or_else(|| name.clone(), |organisation| format!("{organisation}/{name}")))
    }

    /// The task's name.
    pub(in crate::server) fn task(&self) -> Option<&str> {
        self.0.get("task").map(String::as_str)
    }
}
