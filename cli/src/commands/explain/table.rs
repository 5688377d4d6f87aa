//! The explanation in a terminal of 80 columns: the score, and what carries most of it.

use std::io::{self, Write};

use likewise::{Explanation, ExplanationKind};

use crate::output;

/// The columns of a token.
pub(super) const TOKEN_WIDTH: usize = 19;
const BAR_WIDTH: usize = 18;
const LINE_WIDTH: usize = 80;

/// A line of the table: a contribution and what has it.
struct Row {
    contribution: f64,
    columns: [String; 2],
}

/// Prints the score, the `top_k` pairs or terms that carry most, and what the others carry.
pub(super) fn print(out: &mut dyn Write, explanation: &Explanation, top_k: usize) -> io::Result<()> {
    writeln!(out, "{:8.4}  {}", explanation.score, explanation.similarity)?;
    let is_terms = explanation.kind == ExplanationKind::SharedTerms;
    let mut rows = if is_terms { of_terms(explanation) } else { of_pairs(explanation) };
    // The sort is stable, so equal pairs stay in the order of the texts.
    rows.sort_by(|a, b| b.contribution.abs().total_cmp(&a.contribution.abs()));
    let others = rows.split_off(top_k.min(rows.len()));
    let total = explanation.explained;
    let share = |value: f64| if total == 0.0 { String::new() } else { format!("{:.1} %", 100.0 * value / total) };
    let largest = rows.first().map_or(1.0, |row| row.contribution.abs());
    let headings = if is_terms { ["term", "weights"] } else { ["first text", "second text"] };
    writeln!(out)?;
    writeln!(
        out,
        "{:>8}  {:>7}  {:BAR_WIDTH$}  {:TOKEN_WIDTH$}  {}",
        "carries", "share", "", headings[0], headings[1]
    )?;
    for Row { contribution, columns: [first, second] } in &rows {
        let bar = output::bar((contribution.abs() / largest) as f32, BAR_WIDTH);
        let first = pad(first, TOKEN_WIDTH);
        writeln!(out, "{contribution:8.4}  {:>7}  {bar}  {first}  {second}", share(*contribution))?;
    }
    if !others.is_empty() {
        let carried: f64 = others.iter().map(|row| row.contribution).sum();
        let what = if is_terms { "terms" } else { "pairs" };
        writeln!(out, "{carried:8.4}  {:>7}  the other {} {what}", share(carried), others.len())?;
    }
    if explanation.rest != 0.0 {
        writeln!(out, "{:8.4}  {:>7}  what belongs to no token", explanation.rest, share(explanation.rest))?;
    }
    for note in &explanation.notes {
        writeln!(out)?;
        wrap(out, note)?;
    }
    Ok(())
}

fn of_pairs(explanation: &Explanation) -> Vec<Row> {
    let [a, b] = &explanation.texts;
    let columns = b.tokens.len();
    let pairs = explanation.pairs.iter().enumerate().filter(|(_, contribution)| **contribution != 0.0);
    let row = |(at, &contribution): (usize, &f64)| {
        let [i, j] = [at / columns, at % columns];
        Row { contribution, columns: [numbered(i, a.tokens[i].label()), numbered(j, b.tokens[j].label())] }
    };
    pairs.map(row).collect()
}

fn of_terms(explanation: &Explanation) -> Vec<Row> {
    let row = |term: &likewise::SharedTerm| {
        let weights = format!("{:.4} · {:.4}", term.weights[0], term.weights[1]);
        Row { contribution: term.contribution, columns: [clip(&output::one_line(&term.token), TOKEN_WIDTH), weights] }
    };
    explanation.terms.iter().map(row).collect()
}

/// Returns a token with its index in the text, on one line of [`TOKEN_WIDTH`] columns at most.
pub(super) fn numbered(index: usize, label: &str) -> String {
    clip(&format!("{index:>3} {}", output::one_line(label)), TOKEN_WIDTH)
}

/// Cuts a text to so many columns.
fn clip(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += column_width(c);
        if used > width {
            break;
        }
        kept.push(c);
    }
    kept.push('…');
    kept
}

/// Puts spaces after a text until it has so many columns.
pub(super) fn pad(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(columns(text));
    format!("{text}{}", " ".repeat(missing))
}

fn columns(text: &str) -> usize {
    text.chars().map(column_width).sum()
}

/// Returns the columns of a character: two for those of East Asia and emoji, none for combining
/// marks.
fn column_width(c: char) -> usize {
    match u32::from(c) {
        0x300..=0x36f | 0x200b..=0x200f | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f => 2,
        0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1faff | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// Prints a text in lines of [`LINE_WIDTH`] columns.
fn wrap(out: &mut dyn Write, text: &str) -> io::Result<()> {
    let mut line = String::new();
    for word in format!("Note: {text}").split(' ') {
        if !line.is_empty() && columns(&line) + 1 + columns(word) > LINE_WIDTH {
            writeln!(out, "{line}")?;
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    writeln!(out, "{line}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_cut_by_columns() {
        assert_eq!(clip("happy", 5), "happy");
        assert_eq!(clip("happiness", 5), "happ…");
        assert_eq!(clip("今日は", 4), "今…");
        assert_eq!(pad("今日", 6), "今日  ");
    }

    #[test]
    fn notes_are_wrapped() {
        let mut out = Vec::new();
        wrap(&mut out, &"word ".repeat(40)).expect("memory");
        let text = String::from_utf8(out).expect("UTF-8");
        assert!(text.lines().all(|line| line.len() <= LINE_WIDTH), "{text}");
        assert_eq!(text.matches("word").count(), 40);
    }
}
