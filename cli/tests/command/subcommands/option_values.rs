//! Options whose value is empty, and results that are undefined.

use super::*;

#[test]
fn empty_value_is_a_usage_error_that_names_the_option() {
    let desk = Desk::with_model("tiny-bert");
    let pairs = desk.write("pairs.tsv", "1\ta\tb\n2\ta\tc\n");
    for arguments in [
        &["similarity", "a", "b", "--model", ""][..],
        &["similarity", "a", "b", "--model="],
        &["similarity", "a", "b", "--prompt-name", ""],
        &["similarity", "a", "b", "--revision", ""],
        &["similarity", "a", "b", "--threads", ""],
        &["similarity", "a", "b", "--precision", ""],
        &["similarity", "a", "b", "--simd", ""],
        &["similarity", "a", "b", "--truncation", ""],
        &["similarity", "a", "b", "--max-length", ""],
        &["similarity", "a", "b", "--truncate-dim", ""],
        &["similarity", "a", "--input", ""],
        &["embed", "a", "--output", ""],
        &["embed", "--input", ""],
        &["embed", "a", "--quantize", ""],
        &["embed", "a", "--quantize", "int8", "--calibration", ""],
        &["bench", "--input", ""],
        &["bench", "--input", "pairs.tsv", "--repeat", ""],
        &["convert", "--precision", "int8", "--output", ""],
        &["info", "--model", ""],
    ] {
        let option = arguments.iter().rev().find(|argument| argument.starts_with("--")).expect("an option");
        desk.fails(arguments, 2, &[option.trim_end_matches('=')]);
    }
    desk.fails(&["eval", ""], 2, &["PAIRS.tsv"]);
    if cfg!(feature = "hub") {
        desk.fails(&["pull", ""], 2, &["ID"]);
    }
    // An empty prompt is a prompt, and an empty text is a text.
    desk.output(&["similarity", "a", "", "--prompt", ""]);
    desk.output(&["embed", ""]);
    desk.output(&["eval", text(&pairs)]);
}

#[cfg(feature = "serve")]
#[test]
fn empty_value_of_the_server_is_a_usage_error_that_names_the_option() {
    let desk = Desk::with_model("tiny-bert");
    let model = crate::common::model("tiny-bert");
    for (option, value) in [
        ("--model", String::new()),
        ("--model", format!("={}", text(&model))),
        ("--model", "=x".to_owned()),
        ("--model", "x=".to_owned()),
        ("--host", String::new()),
        ("--port", String::new()),
        ("--api-key", String::new()),
        ("--api-key", " ".to_owned()),
        ("--cors-allow-origin", String::new()),
    ] {
        desk.fails(&["serve", "--port", "0", option, &value], 2, &[option]);
    }
}

/// An empty variable counts as unset, as in a service file whose value was left empty.
#[cfg(feature = "quickstart")]
#[test]
fn empty_model_variable_counts_as_unset() {
    let desk = Desk { variables: vec![("LIKEWISE_MODEL", PathBuf::new())], ..Desk::new() };
    let run = desk.run(&["info", "--json"]);
    assert!(run.code == 0 && run.stderr.contains("built-in"), "{run:?}");
    assert_eq!(json(&run.stdout)["model"], "quickstart");
}

/// A correlation of constants is undefined, which is not the number 0.
#[test]
fn undefined_correlation_is_null_with_a_note() {
    let desk = Desk::with_model("tiny-bert");
    for (name, pairs, reason) in [
        ("judgements.tsv", "0.1\ta dog\ta cat\n0.1\ta\tb\n0.1\tthe sun\tday\n", "all judgements are equal"),
        ("scores.tsv", "1\ta dog\ta cat\n2\ta dog\ta cat\n3\ta dog\ta cat\n", "all scores are equal"),
    ] {
        let file = desk.write(name, pairs);
        let run = desk.run(&["eval", "--json", text(&file)]);
        assert!(run.code == 0 && run.stderr.contains(name) && run.stderr.contains(reason), "{run:?}");
        let result = &json(&run.stdout)[0];
        assert_eq!(
            (&result["pearson"], &result["spearman"], &result["pairs"]),
            (&Value::Null, &Value::Null, &3.into())
        );
        let run = desk.run(&["eval", text(&file)]);
        let row = run.stdout.lines().nth(1).unwrap_or_else(|| panic!("{run:?}"));
        assert!(run.code == 0 && row.ends_with('–') && !row.contains("0.00"), "{run:?}");
    }
    // Defined correlations of other files are printed beside an undefined one.
    let both = desk.write("both.tsv", "1\ta dog\ta cat\n2\ta\tb\n3\tthe sun\tday\n");
    let run = desk.run(&["eval", "--json", text(&both), text(&desk.path("scores.tsv"))]);
    let list = json(&run.stdout);
    assert!(run.code == 0 && list[0]["pearson"].is_number() && list[1]["pearson"].is_null(), "{run:?}");
}

/// With cosine, the scores of a text with itself differ by rounding only. A correlation of such
/// differences would be one of noise.
#[test]
fn correlation_of_rounding_errors_is_undefined() {
    let desk = Desk::with_model("tiny-mpnet");
    let texts = ["a dog", "the sun", "happy people", "a lighthouse", "every evening"];
    let pairs: String = texts.iter().enumerate().map(|(i, text)| format!("{i}\t{text}\t{text}\n")).collect();
    let file = desk.write("same.tsv", pairs);
    let run = desk.run(&["eval", "--json", text(&file)]);
    assert!(run.code == 0 && json(&run.stdout)[0]["pearson"].is_null(), "{run:?}");
}

#[test]
fn cosine_is_at_most_one() {
    let desk = Desk::with_model("tiny-mpnet");
    let texts: Vec<String> = (0..200).map(|i| format!("the {i} dogs of day {i}")).collect();
    let file = desk.write("texts.txt", texts.join("\n"));
    for text_of in [0, 7, 99] {
        let scores = floats(&desk.json(&["similarity", "--json", &texts[text_of], "--input", text(&file)]));
        assert!(scores.iter().all(|score| (-1.0..=1.0).contains(score)), "{scores:?}");
        assert!(scores[text_of] > 0.999_999, "{}", scores[text_of]);
    }
}
