//! `likewise similarity`.

use super::*;

#[test]
fn similarity_prints_the_scores_of_the_library() {
    for name in crate::common::TINY {
        let desk = Desk::with_model(name);
        let expected = library(name).similarity(SOURCE, &SENTENCES).expect("scores").values;
        let printed = desk.json(&words(&[&["similarity", "--json", SOURCE], &SENTENCES]));
        assert!(same_bits(&floats(&printed), &expected), "{name}: {printed}");

        let table = desk.output(&words(&[&["similarity", SOURCE], &SENTENCES]));
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), SENTENCES.len(), "{table}");
        for ((line, score), sentence) in lines.iter().zip(&expected).zip(SENTENCES) {
            assert!(line.trim_start().starts_with(&format!("{score:.4} ")), "{line}");
            assert!(line.ends_with(sentence), "{line}");
        }
        // All bars are padded to one width, and the best score has the longest bar.
        let starts = lines.iter().zip(SENTENCES).map(|(line, s)| line.chars().count() - s.chars().count());
        assert_eq!(starts.collect::<std::collections::BTreeSet<_>>().len(), 1, "{table}");
        let full = |line: &str| line.chars().filter(|c| *c == '█').count();
        let best = (0..3).max_by(|&a, &b| expected[a].total_cmp(&expected[b])).expect("three");
        assert!(lines.iter().all(|line| full(line) <= full(lines[best])) && full(lines[best]) > 0, "{table}");
    }
}

#[test]
fn sentences_from_arguments_files_and_stdin_are_joined() {
    let desk = Desk::with_model("tiny-mpnet");
    let expected = desk.json(&words(&[&["similarity", "--json", SOURCE], &SENTENCES]));
    let file = desk.write("sentences.txt", SENTENCES.join("\n"));
    assert_eq!(desk.json(&["similarity", "--json", SOURCE, "--input", text(&file)]), expected);
    let run = desk.run_with(&["similarity", "--json", SOURCE, "--input", "-"], SENTENCES.join("\r\n").as_bytes());
    assert_eq!(json(&run.stdout), expected);
    // Sentences of arguments precede those of the file.
    let file = desk.write("last.txt", format!("{}\n", SENTENCES[2]));
    let mixed = ["similarity", "--json", SOURCE, SENTENCES[0], SENTENCES[1], "--input", text(&file)];
    assert_eq!(desk.json(&mixed), expected);
    // After `--`, a text may look like an option.
    let scores = desk.json(&["similarity", "--json", "--", "--json", "--json", "-5"]);
    assert!(floats(&scores)[0] > 0.9999 && floats(&scores).len() == 2, "{scores}");
}

#[test]
fn control_characters_in_sentences_are_escaped() {
    let desk = Desk::with_model("tiny-mpnet");
    let table = desk.output(&["similarity", SOURCE, "red \u{1b}[31m and a\nnew line"]);
    assert!(table.lines().count() == 1 && !table.contains('\u{1b}') && table.contains("\\u{1b}[31m"), "{table:?}");
}

#[test]
fn empty_input_is_rejected() {
    let desk = Desk::with_model("tiny-mpnet");
    desk.fails(&["similarity", SOURCE], 2, &["no sentences", "--input"]);
    desk.fails(&["similarity"], 2, &["SOURCE"]);
    let empty = desk.write("empty.txt", "");
    desk.fails(&["similarity", SOURCE, "--input", text(&empty)], 1, &["no sentences", "empty.txt"]);
    desk.run(&["similarity", SOURCE, "--input", "-"]).failed("stdin", 1, &["no sentences", "stdin"]);
    desk.fails(&["similarity", SOURCE, "--input", "nowhere.txt"], 1, &["nowhere.txt", "cannot read"]);
    desk.fails(&["embed"], 2, &["no texts", "--input"]);
    desk.fails(&["embed", "--input", text(&empty)], 1, &["no texts"]);
}
