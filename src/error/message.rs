//! Parts of error messages.

/// Returns an error and its causes on one line.
pub fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Some errors repeat the text of their cause.
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// The advice for a repository without weights in safetensors.
pub(super) const CONVERT_WEIGHTS: &str =
    "try a newer revision, or write model.safetensors with `save_pretrained` of sentence-transformers";

/// Lists the names that resemble a missing one.
pub(super) fn similar_names(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("; similar names: {}", names.join(", ")) }
}

/// Lists the first three names and the number of the others.
pub(super) fn first_names(names: &[String]) -> String {
    let others = if names.len() > 3 { format!(" and {} more", names.len() - 3) } else { String::new() };
    format!("{}{others}", names[..names.len().min(3)].join(", "))
}

/// Lists the weight files in formats that are not supported.
pub(super) fn only(found: &[String]) -> String {
    if found.is_empty() { "files without weights".to_owned() } else { first_names(found) }
}

/// Lists the prompts that a model defines.
pub(super) fn known_prompts(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// States the number of attempts, if there were several.
pub(super) fn after_attempts(attempts: u32) -> String {
    if attempts > 1 { format!(" after {attempts} attempts without progress") } else { String::new() }
}

/// Formats the hub's own message, if there is one.
pub(super) fn remark(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

/// Lists paths and addresses, one a line.
pub(super) fn list(paths: &[String]) -> String {
    paths.iter().map(|path| format!("\n  {path}")).collect()
}
