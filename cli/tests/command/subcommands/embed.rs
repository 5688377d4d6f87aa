//! `likewise embed`.

use super::*;

const TEXTS: [&str; 4] = [SOURCE, "", "\"quoted\" and \\ and ünïcödé 今天", "a dog"];

/// Compares the objects of JSON lines with the vectors of the library.
fn check_lines(lines: &str, texts: &[&str], model: &Embedder) {
    let vectors = model.embed(texts).expect("vectors");
    assert_eq!(lines.lines().count(), texts.len());
    for (i, line) in lines.lines().enumerate() {
        let line = json(line);
        let keys: Vec<&String> = line.as_object().expect("an object").keys().collect();
        assert_eq!(keys.len(), 5, "{keys:?}");
        assert_eq!(line["text"], texts[i]);
        assert!(same_bits(&floats(&line["embedding"]), vectors.row(i)), "text {i}");
        let usage = vectors.usage()[i];
        assert_eq!(
            (line["tokens"].as_u64(), line["used"].as_u64()),
            (Some(usage.total as u64), Some(usage.used as u64))
        );
        assert_eq!(line["truncated"], usage.truncated());
    }
}

#[test]
fn embed_to_jsonl_writes_one_object_per_text() {
    let model = library("tiny-mpnet");
    let desk = Desk::with_model("tiny-mpnet");
    check_lines(&desk.output(&words(&[&["embed"], &TEXTS])), &TEXTS, &model);
    let path = desk.path("vectors.jsonl");
    assert_eq!(desk.output(&words(&[&["embed", "--output", text(&path)], &TEXTS])), "");
    check_lines(&std::fs::read_to_string(path).expect("a file"), &TEXTS, &model);

    // Empty lines are texts. Line ends and the byte order mark are not part of a text.
    for (bytes, texts) in [
        ("a dog\n\nThat\n", &["a dog", "", "That"][..]),
        ("a dog\n\nThat", &["a dog", "", "That"]),
        ("\u{feff}a dog\r\n\r\nThat\r\n", &["a dog", "", "That"]),
        ("\n", &[""]),
        ("a\tb \n", &["a\tb "]),
    ] {
        let file = desk.write("in.txt", bytes);
        check_lines(&desk.output(&["embed", "--input", text(&file)]), texts, &model);
        check_lines(&desk.run_with(&["embed", "--input", "-"], bytes.as_bytes()).stdout, texts, &model);
    }
    // More texts than in one part.
    let many: Vec<String> = (0..5000).map(|i| format!("dog {i}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let file = desk.write("many.txt", many.join("\n"));
    check_lines(&desk.output(&["embed", "--input", text(&file)]), &many, &model);
}

#[test]
fn embed_to_npy_writes_aligned_float32_array() {
    let vectors = library("tiny-bert").embed(&TEXTS).expect("vectors");
    let desk = Desk::with_model("tiny-bert");
    let path = desk.path("vectors.npy");
    desk.output(&words(&[&["embed", "--output", text(&path)], &TEXTS]));
    let bytes = std::fs::read(&path).expect("a file");
    assert_eq!(bytes[..8], *b"\x93NUMPY\x01\x00");
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    assert_eq!((10 + length) % 64, 0, "data is aligned");
    let header = std::str::from_utf8(&bytes[10..10 + length]).expect("ASCII");
    assert!(header.is_ascii() && header.ends_with('\n'), "{header:?}");
    let dict = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", TEXTS.len(), vectors.width());
    assert_eq!(header.trim_end(), dict);
    let data: Vec<f32> = bytes[10 + length..].as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    assert_eq!(bytes.len(), 10 + length + 4 * data.len());
    assert!(same_bits(&data, vectors.as_slice()));
}

#[test]
fn embed_to_safetensors_writes_vectors_and_token_counts() {
    let vectors = library("tiny-xlm-roberta").embed(&TEXTS).expect("vectors");
    let desk = Desk::with_model("tiny-xlm-roberta");
    let path = desk.path("vectors.safetensors");
    desk.output(&words(&[&["embed", "--output", text(&path)], &TEXTS]));
    let bytes = std::fs::read(&path).expect("a file");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let names: std::collections::BTreeSet<_> = file.names().into_iter().collect();
    assert_eq!(names, ["embeddings", "tokens", "used"].into());
    let tensor = |name: &str| file.tensor(name).expect("a tensor");
    let embeddings = tensor("embeddings");
    assert_eq!((embeddings.dtype(), embeddings.shape()), (Dtype::F32, &[TEXTS.len(), vectors.width()][..]));
    let data: Vec<f32> = embeddings.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    assert!(same_bits(&data, vectors.as_slice()));
    for (name, expected) in [
        ("tokens", vectors.usage().iter().map(|usage| usage.total as u32).collect::<Vec<_>>()),
        ("used", vectors.usage().iter().map(|usage| usage.used as u32).collect()),
    ] {
        assert_eq!((tensor(name).dtype(), tensor(name).shape()), (Dtype::U32, &[TEXTS.len()][..]));
        let counts: Vec<u32> = tensor(name).data().as_chunks().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
        assert_eq!(counts, expected, "{name}");
    }
}

#[test]
fn unwritable_output_fails_and_keeps_the_old_file() {
    let desk = Desk::with_model("tiny-bert");
    for name in ["vectors.csv", "vectors", "vectors.npz", ".npy"] {
        desk.fails(&["embed", "a", "--output", name], 2, &[name, ".npy, .safetensors or .jsonl"]);
    }
    std::fs::create_dir(desk.path("folder.npy")).expect("a folder");
    for name in ["nowhere/vectors.npy", "folder.npy"] {
        desk.fails(&["embed", "a", "--output", name], 1, &[name, "cannot write"]);
    }
    let left: Vec<_> =
        std::fs::read_dir(desk.home.path()).expect("a folder").map(|e| e.expect("a file").file_name()).collect();
    assert_eq!(left, ["folder.npy"], "nothing half-written is left");
    // A run that fails leaves the old file.
    let path = desk.write("old.npy", "old");
    desk.fails(&["embed", "--input", "nowhere.txt", "--output", text(&path)], 1, &["nowhere.txt"]);
    assert_eq!(std::fs::read(&path).expect("a file"), b"old");
    desk.output(&["embed", "a", "--output", text(&path)]);
    assert_ne!(std::fs::read(&path).expect("a file"), b"old");
}

#[test]
fn input_with_invalid_utf8_is_rejected_by_line() {
    let desk = Desk::with_model("tiny-bert");
    let bytes = b"one\ntwo\nthr\xffee\nfour\n";
    let file = desk.write("latin.txt", bytes);
    for command in [&["embed"][..], &["similarity", SOURCE], &["bench"]] {
        let arguments = words(&[command, &["--input", text(&file)]]);
        desk.fails(&arguments, 1, &["latin.txt", "line 3", "UTF-8", "0xff"]);
        let arguments = words(&[command, &["--input", "-"]]);
        desk.run_with(&arguments, bytes).failed("stdin", 1, &["stdin", "line 3", "UTF-8", "0xff"]);
    }
    desk.fails(&["eval", text(&file)], 1, &["latin.txt", "line 3", "UTF-8", "0xff"]);
}

/// Windows PowerShell writes UTF-16 by `>`.
#[test]
fn input_in_utf16_is_rejected_by_its_name() {
    let desk = Desk::with_model("tiny-bert");
    for mark in [[0xff, 0xfe], [0xfe, 0xff]] {
        let bytes = [&mark[..], b"o\0n\0e\0\n\0"].concat();
        let file = desk.write("utf16.txt", &bytes);
        desk.fails(&["embed", "--input", text(&file)], 1, &["utf16.txt", "expected UTF-8", "found UTF-16"]);
        desk.run_with(&["embed", "--input", "-"], &bytes).failed("stdin", 1, &["stdin", "found UTF-16"]);
        desk.fails(&["eval", text(&file)], 1, &["utf16.txt", "found UTF-16"]);
    }
    // The mark of UTF-8 is no part of the first text.
    let run = desk.run_with(&["embed", "--input", "-"], "\u{feff}one\n".as_bytes());
    assert_eq!(json(&run.stdout)["text"], "one", "{run:?}");
}

#[test]
fn truncated_texts_are_reported_or_rejected() {
    let desk = Desk::with_model("tiny-bert");
    let long = "happy ".repeat(60);
    let note = ["note: 1 of 2 text", "48 tokens", "--truncation error"];
    for arguments in [&["embed", &long, "a"][..], &["similarity", "--json", &long, "a"], &["similarity", "a", &long]] {
        let run = desk.run(arguments);
        assert!(run.code == 0 && !run.stdout.contains("note"), "{run:?}");
        assert!(note.iter().all(|part| run.stderr.contains(part)) && run.stderr.lines().count() == 1, "{run:?}");
        let strict = words(&[arguments, &["--truncation", "error"]]);
        desk.fails(&strict, 1, &["at most 48 tokens"]);
    }
    let line = json(desk.run(&["embed", &long, "--max-length", "5"]).stdout.trim());
    assert_eq!((line["used"].as_u64(), line["truncated"].as_bool()), (Some(5), Some(true)));
}

#[test]
fn quantized_vectors_have_their_type_and_range() {
    let desk = Desk::with_model("tiny-mpnet");
    let input = desk.write("five.txt", "a\nhappy dog\nsunny day\nThat is a happy person\nthe sea\n");
    let embed = ["embed", "--input", text(&input)];
    let row = |line: &str| json(line)["embedding"].as_array().expect("an array").len();
    for (form, width, least) in [("int8", 48, -128), ("uint8", 48, 0), ("binary", 6, -128), ("ubinary", 6, 0)] {
        let run = desk.run(&words(&[&embed, &["--quantize", form]]));
        assert_eq!((run.code, run.stdout.lines().count()), (0, 5), "{form}: {}", run.stderr);
        for line in run.stdout.lines() {
            assert_eq!(row(line), width, "{form}: {line}");
            let numbers = json(line)["embedding"].as_array().expect("an array").clone();
            let within = |x: &Value| x.as_i64().is_some_and(|x| (least..least + 256).contains(&x));
            assert!(numbers.iter().all(within), "{form}: {line}");
        }
        assert_eq!(run.stderr.contains("only 5 vectors"), form.ends_with("int8"), "{form}: {}", run.stderr);
        for (file, kind) in [("q.npy", "1', 'fortran_order'"), ("q.safetensors", "embeddings")] {
            assert_eq!(desk.run(&words(&[&embed, &["--quantize", form, "--output", file]])).code, 0, "{form}: {file}");
            let bytes = std::fs::read(desk.path(file)).expect("a file");
            assert!(String::from_utf8_lossy(&bytes).contains(kind), "{form}: {file}");
        }
    }
    // A file with the same vectors, in either format, gives the same bytes and no note.
    let expected = desk.run(&words(&[&embed, &["--quantize", "int8"]])).stdout;
    for file in ["v.npy", "v.safetensors"] {
        desk.output(&words(&[&embed, &["--output", file]]));
        let run = desk.run(&words(&[&embed, &["--quantize", "int8", "--calibration", file]]));
        assert_eq!((run.stdout.as_str(), run.stderr.as_str()), (expected.as_str(), ""), "{file}");
    }
    desk.fails(&["embed", "one", "--quantize", "int8"], 1, &["at least 2 vectors", "--calibration"]);
    desk.fails(&["embed", "a", "b", "--quantize", "int7"], 2, &["int8, uint8, binary or ubinary"]);
    desk.fails(&["embed", "a", "--calibration", "v.npy"], 2, &["--quantize"]);
    desk.fails(&["embed", "a", "--quantize", "binary", "--calibration", "v.npy"], 2, &["int8 or uint8"]);
    let none = ["embed", "a", "b", "--quantize", "int8", "--calibration"];
    desk.fails(&words(&[&none, &["nothing.npy"]]), 1, &["nothing.npy", "cannot read"]);
    desk.fails(&words(&[&none, &[text(&input)]]), 1, &["five.txt", "safetensors"]);
    // Files over the size limit are not read, and other things than files are rejected.
    let sparse = desk.path("sparse.npy");
    std::fs::File::create(&sparse).and_then(|file| file.set_len(2 << 30)).expect("a file of nothing");
    desk.fails(&words(&[&none, &[text(&sparse)]]), 1, &["sparse.npy", "at most 1073741824 bytes", "2147483648"]);
    desk.fails(&words(&[&none, &["."]]), 1, &["not a file"]);
    let narrow = ["embed", "a", "b", "--truncate-dim", "8", "--quantize", "int8", "--calibration", "v.npy"];
    desk.fails(&narrow, 1, &["48", "8"]);
}

#[test]
fn prompt_and_dimension_options_change_vectors() {
    let desk = Desk::with_model("tiny-mpnet");
    let numbers = |arguments: &[&str]| -> Vec<f64> {
        let line = desk.output(&words(&[&["embed"], arguments]));
        let row = json(&line)["embedding"].as_array().expect("an array").clone();
        row.iter().map(|x| x.as_f64().expect("a number")).collect()
    };
    let whole = numbers(&["happy dog"]);
    let cut = numbers(&["happy dog", "--truncate-dim", "8"]);
    assert_eq!(cut, whole[..8]);
    let length = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
    let unit = numbers(&["happy dog", "--truncate-dim", "8", "--normalize"]);
    assert!(length(&cut) < 0.9 && (length(&unit) - 1.0).abs() < 1e-6);
    assert_eq!(numbers(&["dog", "--prompt", "happy "]), whole);
    for wrong in ["0", "49"] {
        desk.fails(&["embed", "a", "--truncate-dim", wrong], 1, &["truncate_dim", wrong, "1 to 48"]);
    }
    desk.fails(&["embed", "a", "--prompt", "b", "--prompt-name", "query"], 2, &["--prompt"]);
}
