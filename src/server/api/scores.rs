//! Scores of a cross-encoder in responses: ranked texts, and labels.

use std::sync::Arc;

use serde::Serialize;

use crate::server::inference::request::{ScoredInputs, ScoringJob};

/// A text in a ranking. text-embeddings-inference and the Inference API write it alike.
#[derive(Serialize)]
pub(super) struct RankedText<'a> {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    score: f32,
}

/// A label and its score.
#[derive(Serialize)]
pub(super) struct LabelScore<'a> {
    score: f32,
    label: &'a str,
}

/// Returns the index and the score of each text, best first. Texts of equal score keep their order.
pub(super) fn ranked(rows: &[Vec<f32>]) -> Vec<(usize, f32)> {
    let mut ranked: Vec<(usize, f32)> = rows.iter().map(|row| row[0]).enumerate().collect();
    // The sort is stable. An order of 0.0 and -0.0 would not be one of scores.
    ranked.sort_by(|(_, a), (_, b)| (b + 0.0).total_cmp(&(a + 0.0)));
    ranked
}

/// Returns the ranking of a request's texts, with the texts if there is a job to take them from.
pub(super) fn ranked_texts<'a>(rows: &[Vec<f32>], texts_of: Option<&'a Arc<ScoringJob>>) -> Vec<RankedText<'a>> {
    let texts = texts_of.and_then(|job| match &job.inputs {
        ScoredInputs::Ranking { texts, .. } => Some(texts),
        ScoredInputs::Each(_) => None,
    });
    let text = |index: usize| Some(texts?[index].as_str());
    ranked(rows).into_iter().map(|(index, score)| RankedText { index, text: text(index), score }).collect()
}

/// Returns the labels of an input by their score, best first, at most `count`.
pub(super) fn ranked_labels<'a>(labels: &'a [String], row: &[f32], count: usize) -> Vec<LabelScore<'a>> {
    let mut scores: Vec<LabelScore<'_>> =
        labels.iter().zip(row).map(|(label, &score)| LabelScore { score, label }).collect();
    scores.sort_by(|a, b| (b.score + 0.0).total_cmp(&(a.score + 0.0)));
    scores.truncate(count);
    scores
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranking_is_best_first_and_keeps_the_order_of_equal_scores() {
        let rows = [0.5, -0.0, 0.0, 2.0, 0.5].map(|score| vec![score]);
        let order: Vec<usize> = ranked(&rows).into_iter().map(|(index, _)| index).collect();
        assert_eq!(order, [3, 0, 4, 1, 2]);
    }

    #[test]
    fn labels_are_best_first_and_cut() {
        let labels = ["a", "b", "c"].map(str::to_owned);
        let names = |count| -> Vec<&str> {
            ranked_labels(&labels, &[0.1, 0.7, 0.2], count).into_iter().map(|one| one.label).collect()
        };
        assert_eq!(names(usize::MAX), ["b", "c", "a"]);
        assert_eq!(names(1), ["b"]);
    }
}
