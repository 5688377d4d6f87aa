//! Causes before the first tensor: other tokens.

use crate::compare::tensors::Side;

/// Returns what differs between the tokens, and why.
pub(in crate::compare) fn tokens(a: &Side, b: &Side) -> Option<(String, Option<String>)> {
    if a.counts.len() != b.counts.len() {
        let what = format!("texts: {} in A and {} in B", a.counts.len(), b.counts.len());
        return Some((what, Some("the files are of other texts; trace the same texts".to_owned())));
    }
    let (Some(x), Some(y)) = (&a.ids, &b.ids) else {
        if a.counts == b.counts {
            return token_types(a, b);
        }
        return Some((format!("tokens: {:?} in A and {:?} in B", a.counts, b.counts), Some(lengths(a, b))));
    };
    if x == y && a.counts == b.counts {
        return token_types(a, b);
    }
    let (x, y) = (by_text(x, &a.counts), by_text(y, &b.counts));
    let text = x.iter().zip(&y).position(|(x, y)| x != y)?;
    let (x, y) = (x[text], y[text]);
    let at = x.iter().zip(y).position(|(x, y)| x != y).unwrap_or(x.len().min(y.len()));
    let shown = |ids: &[i64]| ids.get(at).map_or("none".to_owned(), |id| format!("{id}"));
    let what = format!(
        "ids: text {text} has {} tokens in A and {} in B; token {at} is {} in A and {} in B",
        x.len(),
        y.len(),
        shown(x),
        shown(y)
    );
    Some((what, Some(cause(x, y))))
}

fn by_text<'a>(ids: &'a [i64], counts: &[usize]) -> Vec<&'a [i64]> {
    let mut rest = ids;
    let mut texts = Vec::new();
    for &count in counts {
        let (text, after) = rest.split_at(count.min(rest.len()));
        texts.push(text);
        rest = after;
    }
    texts
}

/// Explains the difference between the ids of a text.
fn cause(x: &[i64], y: &[i64]) -> String {
    let is_inside = |long: &[i64], short: &[i64]| long.windows(short.len().max(1)).any(|part| part == short);
    let without_ends = |ids: &[i64]| ids.get(1..ids.len().saturating_sub(1)).unwrap_or_default().to_vec();
    if without_ends(x) == y {
        return "B lacks the special tokens at both ends".to_owned();
    }
    if without_ends(y) == x {
        let is_twice = y.len() > 3 && y[0] == y[1] && y[y.len() - 1] == y[y.len() - 2];
        let text = if is_twice { "B adds the special tokens twice" } else { "B adds a token at both ends" };
        return text.to_owned();
    }
    let (long, short, who) = if x.len() >= y.len() { (x, y, "B") } else { (y, x, "A") };
    // Truncation keeps the special token at the end.
    let is_cut = |long: &[i64], short: &[i64]| {
        short.len() > 2
            && short.len() < long.len()
            && long.starts_with(&short[..short.len() - 1])
            && (long.last() == short.last() || long.starts_with(short))
    };
    if long.len() == short.len() + 1 && (long[1..] == *short || long[..short.len()] == *short) {
        let end = if long[1..] == *short { "first" } else { "last" };
        return format!("{who} lacks the {end} token: one special token is missing");
    }
    if is_cut(long, short) {
        let end = if long.last() == short.last() { "" } else { ", and the special token at the end is cut off" };
        let count = short.len();
        return format!("{who} truncates to {count} tokens: another truncation, the maximum length differs{end}");
    }
    if long.len() > short.len() && !short.is_empty() && long.ends_with(&short[1.min(short.len() - 1)..]) {
        return format!("{who} truncates to {} tokens from the start: the other side of truncation", short.len());
    }
    if is_inside(long, short) {
        return format!(
            "the tokens of {who} are a part of the other's: a prompt, prefix or special tokens are missing"
        );
    }
    let offsets: Vec<i64> = x.iter().zip(y).map(|(x, y)| y - x).filter(|&offset| offset != 0).collect();
    if x.len() == y.len()
        && offsets.len() + 4 > x.len()
        && offsets.len() > 2
        && offsets.iter().all(|offset| *offset == offsets[0])
    {
        return format!("the ids of B are shifted by {}: the vocabulary has another offset", offsets[0]);
    }
    "other tokens: another vocabulary, normalization (case, accents), or splitting; compare the tokenizers first"
        .to_owned()
}

fn lengths(a: &Side, b: &Side) -> String {
    let longest = b.counts.iter().max().copied().unwrap_or(0);
    let is_cut = a.counts.iter().zip(&b.counts).all(|(&x, &y)| y == x.min(longest));
    if is_cut {
        format!("B truncates to {longest} tokens: another truncation, the maximum length differs")
    } else {
        "other tokens: another tokenizer, or special tokens are missing".to_owned()
    }
}

/// Compares the types of tokens. A file of PyTorch has them even if the model does not read them,
/// so only types that the model reads count.
fn token_types(a: &Side, b: &Side) -> Option<(String, Option<String>)> {
    let (Some(x), Some(y)) = (&a.token_types, &b.token_types) else { return None };
    let reads = a.tensors.contains_key("embeddings.token_type");
    let at = x.iter().zip(y).position(|(x, y)| x != y).filter(|_| reads)?;
    let what = format!("token_types: token {at} of all texts has type {} in A and {} in B", x[at], y[at]);
    let all_zero = y.iter().all(|&y| y == 0);
    let cause = if all_zero {
        "B has token type 0 everywhere: token types are not passed to the model"
    } else if y.iter().all(|&other| other == y[0]) {
        "B has one token type everywhere, another than A: wrong token types"
    } else {
        "other token types: the second text of a pair has type 1, and its separator too"
    };
    Some((what, Some(cause.to_owned())))
}
