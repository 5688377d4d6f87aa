//! The attention of a layer in a terminal: a matrix of percentages, or for longer texts the tokens
//! that each token attends to most.

use std::io::{self, Write};

use likewise::ExplainedText;

use super::table::{TOKEN_WIDTH, numbered, pad};

/// The most tokens whose matrix fits into 80 columns: each takes three.
const MOST_COLUMNS: usize = (80 - TOKEN_WIDTH) / 3;
/// The tokens that a line lists, if the matrix does not fit.
const LISTED: usize = 3;

/// Prints the attention of the layer that the text has, of a head or the mean of all.
pub(super) fn print(out: &mut dyn Write, text: &ExplainedText, head: Option<usize>) -> io::Result<()> {
    let Some(layer) = text.attention.first() else { return Ok(()) };
    let weights = head.map_or_else(|| layer.mean(), |head| layer.head(head).to_vec());
    let which = head.map_or(format!("mean of {} heads", layer.heads()), |head| format!("head {head}"));
    let count = text.tokens.len();
    writeln!(out, "\nAttention of layer {}, {which}, in percent.", layer.layer())?;
    let rows = text.tokens.iter().zip(weights.chunks_exact(count.max(1))).enumerate();
    if count <= MOST_COLUMNS {
        writeln!(out, "A row for each token that attends, a column for each token that it attends to.")?;
        write!(out, "{}", " ".repeat(TOKEN_WIDTH))?;
        (0..count).try_for_each(|column| write!(out, "{column:3}"))?;
        writeln!(out)?;
        for (i, (token, row)) in rows {
            write!(out, "{}", pad(&numbered(i, token.label()), TOKEN_WIDTH))?;
            row.iter().try_for_each(|&weight| write!(out, "{:3.0}", percent(weight)))?;
            writeln!(out)?;
        }
        return Ok(());
    }
    writeln!(out, "The {LISTED} tokens that each token attends to most.")?;
    for (i, (token, row)) in rows {
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
        write!(out, "{}", pad(&numbered(i, token.label()), TOKEN_WIDTH))?;
        for &other in order.iter().take(LISTED) {
            write!(out, "  {:2.0} {}", percent(row[other]), pad(&short(other, text.tokens[other].label()), 15))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Returns a percentage that takes two columns: a token's whole attention is 99.
fn percent(weight: f32) -> f32 {
    (weight * 100.0).min(99.0)
}

/// Returns a token with its index, in at most 15 columns.
fn short(index: usize, label: &str) -> String {
    let label: String = numbered(index, label).trim_start().chars().take(15).collect();
    label
}
