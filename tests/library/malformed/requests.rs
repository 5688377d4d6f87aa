//! Requests that a model cannot fulfil.

use super::*;

#[test]
fn call_beyond_model_limits_is_an_error_with_the_limits() {
    let mut cases = Cases::default();
    for (name, max_tokens) in [("tiny-mpnet", 128), ("tiny-xlm-roberta", 64), ("tiny-bert", 64)] {
        let builder = || Embedder::builder().threads(1);
        let memory = in_memory(&files(name));
        let model = builder().open_files(&memory).expect("a model");
        cases.fails("no sentences", || model.similarity::<&str>(TEXT, &[]), "Empty", &["no sentences", "at least one"]);
        cases.fails("no texts to trace", || model.trace::<&str>(&[]), "Empty", &["at least one"]);
        let empty = model.embed::<&str>(&[]).expect("no vectors");
        assert!(empty.is_empty() && empty.as_slice().is_empty() && empty.rows().next().is_none());

        for length in [0, 1, 2, max_tokens + 1, usize::MAX] {
            let parts = [length.to_string(), "3 to".to_owned(), max_tokens.to_string()];
            let parts = parts.each_ref().map(String::as_str);
            let run = || builder().max_length(length).open_files(&memory);
            cases.fails(&format!("{name} max_length {length}"), run, "MaxLength", &parts);
        }
        for length in [3, max_tokens] {
            let model = builder().max_length(length).open_files(&memory).expect("a valid length");
            let long = "happy ".repeat(200);
            assert_eq!(model.embed(&[long]).expect("a vector").usage()[0].used, length, "{name}");
        }

        let limit = model.info().max_length;
        let long = "happy ".repeat(limit);
        let tokens = model.embed(&[&long]).expect("a vector").usage()[0].total;
        let strict = builder().truncation(TruncationPolicy::Error).open_files(&memory).expect("a model");
        let parts = ["text 70".to_owned(), format!("at most {limit} tokens, found {tokens}")];
        let parts = parts.each_ref().map(String::as_str);
        let texts: Vec<&str> = (0..100).map(|i| if i == 70 { long.as_str() } else { "a dog" }).collect();
        cases.fails("a long text", || strict.embed(&texts), "TooLong", &parts);
        cases.fails("a long source", || strict.similarity(&long, &["a"]), "TooLong", &["text 0"]);
        cases.fails("a long sentence", || strict.similarity("a", &["b", long.as_str()]), "TooLong", &["text 2"]);
        cases.fails("vectors of different lengths", || model.score(&[1.0], &[1.0, 2.0]), "WidthMismatch", &["1", "2"]);
    }
    for name in ["tiny-xlm-roberta", "tiny-bert", "tiny-mpnet"] {
        let run = |files: Files| Embedder::builder().prompt_name("passage").open_files(&in_memory(&files));
        cases.fails(
            &format!("{name} prompt"),
            || run(files(name)),
            "Prompt",
            &["passage", SENTENCE, "document, query"],
        );
        let mut without = files(name);
        without.remove(SENTENCE);
        cases.fails(
            &format!("{name} no prompts"),
            || run(without),
            "Prompt",
            &["passage", SENTENCE, "document, query"],
        );
    }
    cases.finish();
}
