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

/// The advice for a model whose weights are in formats that are not read.
pub(super) const CONVERT_WEIGHTS: &str = "these formats are not read: take a revision with model.safetensors (a newer one, or the \
     pull request `refs/pr/N` of the hub's safetensors converter), or load the model in sentence-transformers and save \
     it with `save_pretrained`";

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

/// Suggests the models that may have been meant, and lists the paths and addresses that were
/// searched, one a line.
pub(super) fn did_you_mean(similar: &[String], searched: &[String]) -> String {
    let mut text = if similar.is_empty() { String::new() } else { format!("; did you mean {}?", similar.join(" or ")) };
    if !searched.is_empty() {
        text += if similar.is_empty() { ". Searched:" } else { " Searched:" };
        text.extend(searched.iter().map(|path| format!("\n  {path}")));
    }
    text
}

/// Explains a JSON error at the end of the file.
pub(super) fn early_end(error: &serde_json::Error) -> &'static str {
    if error.is_eof() { " (it ends too early: download or copy the file again)" } else { "" }
}

/// Explains a size that differs from the one that the file's header implies.
pub(super) fn announced(bytes: usize, announced: Option<u64>) -> String {
    match announced {
        Some(announced) if announced > bytes as u64 => {
            format!("; its header announces {announced}: it is truncated, download or copy the file again")
        }
        Some(announced) if announced < bytes as u64 => format!("; its header announces {announced}"),
        _ => String::new(),
    }
}
