//! Requests.

use super::*;

#[test]
fn requests_that_cannot_be_met() {
    let mut cases = Cases::default();
    for (name, most) in [("tiny-mpnet", 128), ("tiny-xlm-roberta", 64), ("tiny-bert", 64)] {
        let builder = || Embedder::builder().threads(1);
        let memory = in_memory(&files(name));
        let model = builder().open_files(&memory).expect("a model");
        cases.fails("no sentences", || model.similarity::<&str>(TEXT, &[]), "Empty", &["no sentences", "at least one"]);
        cases.fails("no texts to trace", || model.trace::<&str>(&[]), "Empty", &["at least one"]);
        let none = model.embed::<&str>(&[]).expect("no vectors");
        assert!(none.is_empty() && none.as_slice().is_empty() && none.rows().next().is_none());

        for asked in [0, 1, 2, most + 1, usize::MAX] {
            let words = [asked.to_string(), "3 to".to_owned(), most.to_string()];
            let words = words.each_ref().map(String::as_str);
            let run = || builder().max_length(asked).open_files(&memory);
            cases.fails(&format!("{name} max_length {asked}"), run, "MaxLength", &words);
        }
        for asked in [3, most] {
            let model = builder().max_length(asked).open_files(&memory).expect("a length that is possible");
            let long = "happy ".repeat(200);
            assert_eq!(model.embed(&[long]).expect("a vector").usage()[0].used, asked, "{name}");
        }

        let limit = model.info().max_length;
        let long = "happy ".repeat(limit);
        let tokens = model.embed(&[&long]).expect("a vector").usage()[0].total;
        let strict = builder().truncation(TruncationPolicy::Error).open_files(&memory).expect("a model");
        let words = [format!("text 70 has {tokens} tokens"), format!("the limit is {limit}")];
        let words = words.each_ref().map(String::as_str);
        let texts: Vec<&str> = (0..100).map(|i| if i == 70 { long.as_str() } else { "a dog" }).collect();
        cases.fails("a long text", || strict.embed(&texts), "TooLong", &words);
        cases.fails("a long source", || strict.similarity(&long, &["a"]), "TooLong", &["text 0"]);
        cases.fails("a long sentence", || strict.similarity("a", &["b", long.as_str()]), "TooLong", &["text 2"]);
        cases.fails("a width", || model.score(&[1.0], &[1.0, 2.0]), "Width", &["1", "2"]);
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
