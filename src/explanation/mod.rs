//! Explanations of a score: which pairs of tokens carry it, and which tokens attend to which.
//!
//! A sentence vector that pooling and linear modules compute is a sum with a term s_i for each
//! token, and so is the dot product of two of them:
//!
//! ```text
//! a · b = (Σ_i s_i) · (Σ_j t_j) = Σ_i Σ_j s_i · t_j
//! ```
//!
//! The contribution of a pair of tokens is s_i · t_j, divided by the lengths of a and b if the
//! score is a cosine. The contributions add up to the score, up to rounding. docs/explain.md says
//! what is left where a module is not linear.

mod attention;
mod json;
mod result;
mod shares;

pub(crate) use attention::observe;
pub use attention::{AttentionLayers, LayerAttention};
pub use result::{ExplainedText, ExplainedToken, Explanation, ExplanationKind, SharedTerm};
pub(crate) use result::{Parts, TextParts, require_sum, require_tokens};
pub(crate) use shares::{Contributions, contributions};
