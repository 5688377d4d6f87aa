//! `likewise eval`, `bench` and `info`.

use super::*;

/// Computes Pearson's correlation from raw sums of squares, which the library does differently.
fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len() as f64;
    let sum = |f: &dyn Fn(usize) -> f64| (0..a.len()).map(f).sum::<f64>();
    let (x, y) = (sum(&|i| a[i]), sum(&|i| b[i]));
    let (xx, yy, xy) = (sum(&|i| a[i] * a[i]), sum(&|i| b[i] * b[i]), sum(&|i| a[i] * b[i]));
    (n * xy - x * y) / ((n * xx - x * x).sqrt() * (n * yy - y * y).sqrt())
}

/// Returns the ranks: 1 + the count of smaller values + half the count of other equal values.
fn ranks(x: &[f64]) -> Vec<f64> {
    let count = |test: &dyn Fn(f64) -> bool| x.iter().filter(|y| test(**y)).count() as f64;
    x.iter().map(|&v| 1.0 + count(&|y| y < v) + (count(&|y| y == v) - 1.0) / 2.0).collect()
}

const PAIRS: [(&str, &str, &str); 6] = [
    ("5", "a happy person", "a very happy person"),
    ("0.5", "a happy person", "today is a sunny day"),
    ("3", "a happy dog", "a happy person"),
    ("3", "the cat", "a dog"),
    ("1e0", "", "the evening"),
    (" 4.5 ", "the cat", "the cat"),
];

#[test]
fn eval_of_judged_pairs_prints_correlations() {
    let model = library("tiny-mpnet");
    let desk = Desk::with_model("tiny-mpnet");
    let lines: Vec<String> = PAIRS.iter().map(|(judgement, a, b)| format!("{judgement}\t{a}\t{b}")).collect();
    let file = desk.write("pairs.tsv", format!("\u{feff}{}\r\n", lines.join("\r\n")));
    let second = desk.write("second.tsv", lines[..3].join("\n"));

    let expected = |pairs: &[(&str, &str, &str)]| {
        let score = |a: &str, b: &str| f64::from(model.similarity(a, &[b]).expect("a score")[0]);
        let scores: Vec<f64> = pairs.iter().map(|(_, a, b)| score(a, b)).collect();
        let judgements: Vec<f64> = pairs.iter().map(|(j, _, _)| j.trim().parse().expect("a number")).collect();
        (100.0 * correlation(&judgements, &scores), 100.0 * correlation(&ranks(&judgements), &ranks(&scores)))
    };
    let list = desk.json(&["eval", "--json", text(&file), text(&second)]);
    assert_eq!(list.as_array().expect("a list").len(), 2);
    for (result, (path, pairs)) in
        list.as_array().expect("a list").iter().zip([(&file, &PAIRS[..]), (&second, &PAIRS[..3])])
    {
        let (pearson, spearman) = expected(pairs);
        assert_eq!((result["file"].as_str(), result["pairs"].as_u64()), (Some(text(path)), Some(pairs.len() as u64)));
        approx::assert_abs_diff_eq!(result["pearson"].as_f64().expect("a number"), pearson, epsilon = 1e-6);
        approx::assert_abs_diff_eq!(result["spearman"].as_f64().expect("a number"), spearman, epsilon = 1e-6);
    }
    let table = desk.output(&["eval", text(&file)]);
    let (pearson, spearman) = expected(&PAIRS);
    let last: Vec<&str> = table.lines().nth(1).expect("a row").split_whitespace().collect();
    assert_eq!(last[1..], ["6".to_owned(), format!("{pearson:.2}"), format!("{spearman:.2}")], "{table}");
}

#[test]
fn malformed_pairs_are_rejected_by_line() {
    let desk = Desk::with_model("tiny-mpnet");
    for (bytes, words) in [
        ("1\ta\tb\n2\ta\n3\ta\tb\n", &["line 2", "three fields"][..]),
        ("1\ta\tb\n\n", &["line 2", "three fields"]),
        ("1\ta\tb\n2\ta\tb\tc\n", &["line 2", "three fields"]),
        ("1\ta\tb\nhigh\ta\tb\n", &["line 2", "a number", "`high`"]),
        ("NaN\ta\tb\n1\ta\tb\n", &["line 1", "a number", "`NaN`"]),
        ("inf\ta\tb\n", &["line 1", "a number"]),
        ("1\ta\tb\n", &["two pairs", "found 1"]),
        ("", &["two pairs", "found 0"]),
    ] {
        let file = desk.write("bad.tsv", bytes);
        desk.fails(&["eval", text(&file)], 1, &[words, &["bad.tsv"]].concat());
    }
    desk.fails(&["eval", "nowhere.tsv"], 1, &["nowhere.tsv", "cannot read"]);
    desk.fails(&["eval"], 2, &["PAIRS.tsv"]);
}

#[test]
fn bench_reports_throughput_and_fraction_of_peak() {
    let desk = Desk::with_model("tiny-bert");
    let file = desk.write("texts.txt", "a dog\na cat\n\nhappy people\n");
    let arguments = ["bench", "--input", text(&file), "--repeat", "2", "--threads", "1"];
    let result = desk.json(&words(&[&arguments, &["--json"]]));
    let keys: Vec<&str> = result.as_object().expect("an object").keys().map(String::as_str).collect();
    let mut expected = [
        "texts",
        "tokens",
        "seconds",
        "texts_per_s",
        "tokens_per_s",
        "load_seconds",
        "peak_rss_mib",
        "resident_mib",
        "level",
        "precision",
        "threads",
        "simd_peak_gflops",
        "fraction_of_peak",
    ];
    expected.sort_unstable();
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    let number = |key: &str| result[key].as_f64().unwrap_or_else(|| panic!("{key}: {result}"));
    let tokens: usize = library("tiny-bert")
        .embed(&["a dog", "a cat", "", "happy people"])
        .expect("vectors")
        .usage()
        .iter()
        .map(|usage| usage.used)
        .sum();
    assert_eq!((number("texts"), number("tokens"), number("threads")), (4.0, tokens as f64, 1.0));
    assert_eq!((result["level"].as_str(), result["precision"].as_str()), (Some(Level::best().name()), Some("f32")));
    for key in ["seconds", "load_seconds", "simd_peak_gflops", "fraction_of_peak"] {
        assert!(number(key) > 0.0 && number(key).is_finite(), "{key}: {result}");
    }
    assert!(number("fraction_of_peak") <= 1.0 && number("seconds") < 60.0, "{result}");
    approx::assert_relative_eq!(number("texts_per_s"), 4.0 / number("seconds"), max_relative = 1e-9);
    approx::assert_relative_eq!(number("tokens_per_s"), tokens as f64 / number("seconds"), max_relative = 1e-9);
    if cfg!(target_os = "linux") {
        assert!((1.0..4096.0).contains(&number("peak_rss_mib")), "{result}");
        assert!((1.0..=number("peak_rss_mib")).contains(&number("resident_mib")), "{result}");
    }
    let shown = desk.output(&arguments);
    assert!(["4 texts", "texts/s", "GFLOP/s", "loaded in"].iter().all(|part| shown.contains(part)), "{shown}");
    let empty = desk.write("empty.txt", "");
    desk.fails(&["bench", "--input", text(&empty)], 1, &["empty.txt", "at least one text"]);
    desk.fails(&["bench", "--input", text(&file), "--repeat", "0"], 2, &["--repeat"]);
    desk.fails(&["bench"], 2, &["--input"]);
}

#[test]
fn info_describes_each_architecture() {
    for (name, family, width, heads, max_length, similarity) in [
        ("tiny-mpnet", "MPNet", 48, 3, 128, "cosine"),
        ("tiny-xlm-roberta", "XLM-RoBERTa", 64, 2, 64, "cosine"),
        ("tiny-bert", "BERT", 32, 4, 48, "dot"),
    ] {
        let desk = Desk::with_model(name);
        let info = desk.json(&["info", "--json", "--threads", "2"]);
        for (key, value) in [("model", name), ("architecture", family), ("similarity", similarity), ("dtype", "F32")] {
            assert_eq!(info[key], value, "{info}");
        }
        for (key, value) in [
            ("layers", 2),
            ("width", width),
            ("dimension", width),
            ("heads", heads),
            ("max_length", max_length),
            ("threads", 2),
        ] {
            assert_eq!(info[key], value, "{key}: {info}");
        }
        assert!(info["modules"].as_array().expect("a list").contains(&Value::from("mean pooling")), "{info}");
        let shown = desk.output(&["info"]);
        let parts = [name, family, similarity, "mean pooling", "MiB", Level::best().name()];
        assert!(parts.iter().all(|part| shown.contains(part)), "{shown}");
    }
}

#[test]
fn converted_model_gives_the_same_scores() {
    let desk = Desk::with_model("tiny-mpnet");
    let sizes = &desk.json(&["info", "--json"])["precisions"];
    let bytes = |precision: &str| sizes[precision]["packed_bytes"].as_u64().unwrap_or_else(|| panic!("{sizes}"));
    assert!(bytes("f32") > bytes("bf16") && bytes("bf16") > bytes("int8"), "{sizes}");
    let similarity = words(&[&["similarity", "--json", SOURCE], &SENTENCES]);
    // Without the names of the precisions, which the test searches in the output.
    let folder_of = |precision| match precision {
        "f32" => "whole",
        "bf16" => "half",
        _ => "small",
    };
    for precision in ["f32", "bf16", "int8"] {
        let expected = desk.output(&words(&[&similarity, &["--precision", precision]]));
        let folder = folder_of(precision);
        let said = desk.output(&["convert", "--precision", precision, "--output", folder]);
        assert!([precision, Level::best().name(), "7 other files"].iter().all(|part| said.contains(part)), "{said}");
        let converted = ["--model", folder];
        assert_eq!(desk.output(&words(&[&similarity, &converted])), expected);
        let info = desk.json(&words(&[&["info", "--json"], &converted]));
        assert_eq!((&info["converted"], &info["precision"]), (&Value::from(true), &Value::from(precision)));
        let only: Vec<&String> = info["precisions"].as_object().expect("an object").keys().collect();
        assert_eq!(only, [precision]);
        assert_eq!(info["packed_bytes"], bytes(precision));
    }
    let other = words(&[&similarity, &["--model", "small", "--precision", "bf16"]]);
    desk.fails(&other, 1, &["small/likewise.safetensors", "`precision`", "expected bf16", "found int8"]);
    desk.fails(&["convert", "--output", "new"], 2, &["--precision"]);
    desk.fails(&["convert", "--precision", "int8"], 2, &["--output"]);
    desk.fails(&["convert", "--precision", "int8", "--output", "half"], 1, &["half", "not empty"]);
    let twice = ["convert", "--model", "small", "--output", "new"];
    desk.fails(&words(&[&twice, &["--precision", "int8"]]), 1, &["small/likewise.safetensors", "converted before"]);
    assert!(!desk.path("new").exists(), "nothing is written");
}

/// A process that may use one CPU starts one thread. `.ci/threads` tests the quota of a control
/// group.
#[test]
#[cfg(target_os = "linux")]
fn default_thread_count_follows_cpu_affinity() {
    let model = crate::common::model("tiny-bert");
    let arguments = ["info", "--json", "--model", text(&model)];
    let threads = |command: &mut Command| {
        let output = command.output().expect("likewise");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        json(&String::from_utf8_lossy(&output.stdout))["threads"].as_u64().expect("a number")
    };
    let likewise = env!("CARGO_BIN_EXE_likewise");
    let all = std::thread::available_parallelism().expect("a number").get() as u64;
    assert_eq!(threads(Command::new(likewise).args(arguments)), all);
    assert_eq!(threads(Command::new(likewise).args(arguments).args(["--threads", "3"])), 3);
    // The first CPU of the mask of this process. The kernel lists it as "0-1" or "2,4".
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel's account of us");
    let mask = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("a mask").trim();
    let first = mask.split([',', '-']).next().expect("a CPU");
    let confined = Command::new("taskset").args(["-c", first, likewise]).args(arguments).output();
    match confined {
        Ok(_) => assert_eq!(threads(Command::new("taskset").args(["-c", first, likewise]).args(arguments)), 1),
        Err(error) => println!("not tested with a mask: taskset: {error}"),
    }
}
