//! Missing, unreadable and oversized files.

use super::*;

#[test]
fn missing_files_are_named() {
    let mut cases = Cases::default();
    for model in TINY {
        for (name, parts) in [
            ("config.json", &["config.json", "architecture"][..]),
            ("tokenizer.json", &["tokenizer.json", "vocab.txt", "sentencepiece.bpe.model"]),
            (WEIGHTS, &[WEIGHTS, INDEX, "pytorch_model.bin"]),
            (POOLING, &[POOLING, "Pooling"]),
        ] {
            let mut files = files(model);
            files.remove(name);
            cases.rejects_model(&format!("{model} without {name}"), &files, "MissingFile", parts);
            let folder = write_folder(&files);
            let path = folder.path().display().to_string();
            let parts = [parts, &[path.as_str()]].concat();
            cases.fails(
                &format!("{model} folder without {name}"),
                || Embedder::open(folder.path()),
                "MissingFile",
                &parts,
            );
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("nothing here");
    cases.fails("a missing folder", || Embedder::open(&missing), "MissingFile", &["nothing here", "config.json"]);
    std::fs::write(&missing, "").expect("a file");
    cases.fails("a file as a folder", || Embedder::open(&missing), "Io|MissingFile", &["nothing here", "modules.json"]);
    cases.finish();
}

#[test]
fn unreadable_files_are_rejected_by_name() {
    let mut cases = Cases::default();
    let model = "tiny-bert";
    // Replace each file by a folder of the same name.
    for name in ["config.json", "tokenizer.json", "modules.json", POOLING, SENTENCE, WEIGHTS] {
        let mut files = files(model);
        files.remove(name);
        files.insert(format!("{name}/inside"), Vec::new());
        let folder = write_folder(&files);
        cases.fails(
            &format!("{name} is a folder"),
            || Embedder::open(folder.path()),
            "Io",
            &[name, "cannot", "a folder"],
        );
    }
    // Only some operating systems can map an empty file.
    let folder = write_folder(&with(model, WEIGHTS, ""));
    cases.fails("empty weights", || Embedder::open(folder.path()), "Content", &[WEIGHTS, "an empty file"]);
    cases.finish();
}

/// Opening a pipe would block until a process writes to it.
#[cfg(unix)]
#[test]
fn pipes_and_devices_are_rejected_without_waiting() {
    let mut cases = Cases::default();
    for name in
        ["config.json", "tokenizer.json", "tokenizer_config.json", "modules.json", POOLING, SENTENCE, INPUTS, WEIGHTS]
    {
        let folder = write_folder(&files("tiny-bert"));
        let path = folder.path().join(name);
        for device in [false, true] {
            std::fs::remove_file(&path).expect("a removed file");
            if device {
                std::os::unix::fs::symlink("/dev/zero", &path).expect("a link");
            } else {
                let status = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo");
                assert!(status.success(), "mkfifo: {status}");
            }
            // A link that leaves the folder of a module is rejected as a link.
            let variants = "Io|Config";
            let parts = [name, if device { "" } else { "not a file" }];
            let kind = if device { "a device" } else { "a pipe" };
            cases.fails(&format!("{name} is {kind}"), || Embedder::open(folder.path()), variants, &parts);
            let read = || Embedder::builder().open_files(&likewise::ModelFiles::folder(folder.path()).without_mmap());
            cases.fails(&format!("{name} is {kind}, without mmap"), read, variants, &parts);
        }
    }
    cases.finish();
}

/// A file above its size limit is rejected before it is read. The files are sparse and occupy no
/// disk space.
#[test]
fn oversized_files_are_rejected() {
    let mut cases = Cases::default();
    for name in
        ["config.json", "tokenizer.json", "tokenizer_config.json", "modules.json", POOLING, SENTENCE, INPUTS, INDEX]
    {
        let mut files = files("tiny-bert");
        if name == INDEX {
            files.remove(WEIGHTS);
            files.insert(name.to_owned(), Vec::new());
        }
        let folder = write_folder(&files);
        let file = std::fs::OpenOptions::new().write(true).open(folder.path().join(name)).expect("a file");
        file.set_len(1 << 40).expect("a size");
        let parts = [name, "at most", "bytes", "1099511627776"];
        cases.fails(&format!("{name} of 1 TiB"), || Embedder::open(folder.path()), "Config", &parts);
    }
    cases.finish();
}

#[test]
fn invalid_json_is_rejected_by_name() {
    let mut cases = Cases::default();
    let not_json: [&[u8]; 4] = [b"not json", b"{\"a\": 1", b"{\"a\": 1e999}", b"{\"a\": \"\xff\"}"];
    let model = "tiny-bert";
    for name in ["config.json", "modules.json", POOLING, SENTENCE, "sentence_bert_config.json", "tokenizer_config.json"]
    {
        for bytes in not_json {
            let what = format!("{name} = {:?}", String::from_utf8_lossy(bytes));
            cases.rejects_model(&what, &with(model, name, bytes), "Json", &[name, "not valid JSON", "line"]);
        }
        let truncated = with(model, name, &b"{\"a\": [1, "[..]);
        cases.rejects_model(&format!("{name} is truncated"), &truncated, "Json", &[name, "download or copy"]);
        for (bytes, found) in
            [(&b""[..], "an empty file"), (b" \n", "only white space"), (b"No such file", "`No such file`")]
        {
            let parts = [name, "expected JSON", found, "download or copy"];
            cases.rejects_model(&format!("{name} = {bytes:?}"), &with(model, name, bytes), "Content", &parts);
        }
        let deep = "[".repeat(100_000);
        cases.rejects_model(&format!("{name} is deeply nested"), &with(model, name, deep), "Json", &[name]);
        for (bytes, found) in [("null", "null"), ("3", "a number"), ("\"x\"", "a string"), ("true", "true or false")] {
            cases.rejects_model(
                &format!("{name} = {bytes}"),
                &with(model, name, bytes),
                "Config",
                &[name, "expected", found],
            );
        }
        let (other, found) = if name == "modules.json" { ("{}", "an object") } else { ("[]", "an array") };
        cases.rejects_model(
            &format!("{name} = {other}"),
            &with(model, name, other),
            "Config",
            &[name, "expected", found],
        );
    }
    let mut files = files(model);
    files.remove(WEIGHTS);
    for bytes in not_json {
        files.insert(INDEX.to_owned(), bytes.to_vec());
        cases.rejects_model("the shard index", &files, "Json", &[INDEX, "not valid JSON"]);
    }
    cases.finish();
}
