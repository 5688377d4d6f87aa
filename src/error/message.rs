//! Parts of error messages.

pub(super) fn similar(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; the nearest names are {}", near.join(", ")) }
}

pub(super) fn some(names: &[String]) -> String {
    let rest = if names.len() > 3 { format!(" and {} more", names.len() - 3) } else { String::new() };
    format!("{}{rest}", names[..names.len().min(3)].join(", "))
}

/// The advice for a repository without weights in safetensors.
pub(super) const CONVERT_WEIGHTS: &str =
    "try a newer revision, or write model.safetensors with `save_pretrained` of sentence-transformers";

pub(super) fn only(found: &[String]) -> String {
    if found.is_empty() { "files without weights".to_owned() } else { some(found) }
}

pub(super) fn after_attempts(attempts: u32) -> String {
    if attempts > 1 { format!(" after {attempts} attempts without progress") } else { String::new() }
}

pub(super) fn remark(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

pub(super) fn list(paths: &[String]) -> String {
    paths.iter().map(|path| format!("\n  {path}")).collect()
}
