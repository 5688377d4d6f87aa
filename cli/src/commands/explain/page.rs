//! The explanation as a page that stands alone: its style, its script and its data are inside.

use likewise::{ExplainedText, Explanation, LayerAttention};
use serde_json::{Value, json};

use crate::outcome::Outcome;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The most weights of attention in a page: some 3 bytes each. Longer texts have the means over
/// heads only.
const MAX_WEIGHTS: usize = 4_000_000;

/// Returns the page.
pub(super) fn page(explanation: &Explanation) -> Outcome<String> {
    let mut without = explanation.clone();
    let attention = without.texts.each_mut().map(|text| std::mem::take(&mut text.attention));
    let mut data: Value = serde_json::from_str(&without.to_json())?;
    let weights = |text: &ExplainedText| -> usize {
        let heads: usize = text.attention.iter().map(LayerAttention::heads).sum();
        heads * text.tokens.len() * text.tokens.len()
    };
    let has_heads = explanation.texts.iter().map(weights).sum::<usize>() <= MAX_WEIGHTS;
    if !has_heads {
        let note = "the texts are long: the page has the mean of the heads of each layer, --json has every head";
        data["notes"] = [data["notes"].as_array().cloned().unwrap_or_default(), vec![json!(note)]].concat().into();
    }
    data["first_layer"] = attention[0].first().map_or(0, LayerAttention::layer).into();
    data["attention"] =
        json!(attention.map(|layers| { layers.iter().map(|layer| thousandths(layer, has_heads)).collect::<Vec<_>>() }));
    Ok(fill(&data))
}

/// Puts the parts into the page. Texts are data of the script, which shows them as text only. The
/// data comes last, so that nothing in a text is taken for the name of a part.
fn fill(data: &Value) -> String {
    // Without `<`, no text can end the element or start a comment.
    let data = data.to_string().replace('<', "\\u003c");
    let page = PAGE.replace("{{style}}", STYLE).replace("{{script}}", SCRIPT);
    match page.split_once("{{data}}") {
        Some((before, after)) => [before, &data, after].concat(),
        None => page,
    }
}

/// Returns the mean of the heads, then each head, in thousandths.
fn thousandths(layer: &LayerAttention, has_heads: bool) -> Vec<Vec<u16>> {
    let round = |weights: &[f32]| weights.iter().map(|weight| (weight * 1000.0).round() as u16).collect();
    let heads = if has_heads { 0..layer.heads() } else { 0..0 };
    std::iter::once(round(&layer.mean())).chain(heads.map(|head| round(layer.head(head)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_data_and_no_markup() {
        let text = "<script>alert(1)</script> <!-- {{style}} {{data}} & \" '";
        let page = fill(&json!({"text": text}));
        assert_eq!(page.matches("<script").count(), PAGE.matches("<script").count());
        assert!(!page.contains("alert(1)</script>") && page.contains("\\u003cscript>alert(1)"));
        let (_, data) = page.split_once("id=\"data\">").expect("data");
        let (data, _) = data.split_once("</script>").expect("an end");
        let data: Value = serde_json::from_str(data).expect("JSON");
        assert_eq!(data["text"], text);
    }

    #[test]
    fn page_needs_nothing_from_elsewhere() {
        let page = fill(&json!({}));
        for outside in ["http://", "https://", "src=", "@import", "url("] {
            let found = page.matches(outside).count();
            // The namespace of the icon is a name, and no address to load.
            assert_eq!(found, usize::from(outside == "http://"), "{outside}");
        }
    }
}
