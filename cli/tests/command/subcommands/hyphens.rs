//! Arguments that begin with a hyphen, `-` for stdin, and names of files that are not UTF-8.

use super::*;

fn desk() -> Desk {
    Desk::with_model("tiny-bert")
}

/// Returns the texts of the JSON lines.
fn texts(lines: &str) -> Vec<String> {
    lines.lines().map(|line| json(line)["text"].as_str().expect("a text").to_owned()).collect()
}

#[test]
fn text_with_a_hyphen_is_a_text() {
    let desk = desk();
    for text in [
        "-Very good, thanks",
        "-how are you",
        "-h ow are you",
        "- first item",
        "-5",
        "-5 degrees",
        "-x",
        "--- dashes",
        "---",
        "--5",
        "-- a b",
        "--no way",
        "-V.",
        "-hV",
        "-é",
        "--é",
        "-\t",
        "-json yes",
    ] {
        for arguments in [&["embed", text][..], &["embed", text, "--threads", "1"], &["embed", "--threads", "1", text]]
        {
            assert_eq!(texts(&desk.output(arguments)), [text], "{arguments:?}");
        }
        assert_eq!(texts(&desk.output(&["embed", "a", text, "--max-length", "48", "b"])), ["a", text, "b"]);
        let expected = desk.json(&["similarity", "--json", "--", text, text, "a"]);
        for arguments in [
            ["similarity", text, text, "a", "--json"],
            ["similarity", "--json", text, text, "a"],
            ["similarity", text, text, "--json", "a"],
        ] {
            assert_eq!(desk.json(&arguments), expected, "{arguments:?}");
        }
    }
}

#[test]
fn options_are_options_anywhere_before_two_hyphens() {
    let desk = desk();
    desk.output(&["embed", "-a text", "--output", "v.npy", "-b"]);
    assert!(desk.path("v.npy").is_file());
    assert!(desk.output(&["embed", "-a text", "-h"]).contains("Usage: likewise embed"));
    assert!(desk.output(&["embed", "-a text", "-V"]).contains(env!("CARGO_PKG_VERSION")));
    assert_eq!(texts(&desk.output(&["embed", "a", "--", "-h", "--json", "--"])), ["a", "-h", "--json", "--"]);
    for (misspelt, part) in [
        (&["--modle", "x"][..], "'--model'"),
        (&["--modle", "x"], "Put '--' before a text"),
        (&["--modle=x y"], "--modle"),
        (&["--wrong"], "-- --wrong"),
        (&["-model", "x"], "--model"),
        (&["-output=v.npy"], "--output"),
        (&["--prompt", "--x-y"], "--prompt=--x-y"),
        (&["--prompt", "--normalize"], "--prompt"),
        (&["--prompt"], "--prompt"),
    ] {
        desk.fails(&words(&[&["embed", "a"], misspelt]), 2, &[part]);
        // Here the next text would be the missing value.
        if misspelt != ["--prompt"] {
            desk.fails(&words(&[&["embed"], misspelt, &["a", "-b"]]), 2, &[part]);
        }
    }
    // Commands that take no texts know no such exception.
    for arguments in [&["info", "-x"][..], &["info", "text"], &["eval", "-5"], &["bench", "-5 degrees"], &["-5"]] {
        desk.fails(arguments, 2, &["unexpected argument"]);
    }
}

#[test]
fn option_value_may_begin_with_a_hyphen() {
    let desk = desk();
    let vector = |arguments: &[&str]| json(&desk.output(&words(&[&["embed"], arguments])))["embedding"].clone();
    for prompt in ["-x: ", "- ", "-5 ", "-h ", "--- "] {
        let expected = vector(&["--", &format!("{prompt}dog")]);
        assert_eq!(vector(&["dog", "--prompt", prompt]), expected, "{prompt}");
        assert_eq!(vector(&["--prompt", prompt, "dog"]), expected, "{prompt}");
        assert_eq!(vector(&[&format!("--prompt={prompt}"), "dog"]), expected, "{prompt}");
    }
    desk.write("-texts.txt", "a\nb\n");
    assert_eq!(texts(&desk.output(&["embed", "--input", "-texts.txt"])), ["a", "b"]);
    desk.output(&["embed", "a", "--output", "-v.npy"]);
    assert!(desk.path("-v.npy").is_file());
}

#[test]
fn lines_of_stdin_take_the_place_of_a_hyphen() {
    let desk = desk();
    let run = |arguments: &[&str], stdin: &str| {
        let run = desk.run_with(arguments, stdin.as_bytes());
        assert_eq!(run.code, 0, "{arguments:?}: {run:?}");
        run.stdout
    };
    assert_eq!(texts(&run(&["embed", "-"], "piped text\n")), ["piped text"]);
    assert_eq!(texts(&run(&["embed", "a", "-", "b"], "one\r\n\ntwo")), ["a", "one", "", "two", "b"]);
    assert_eq!(texts(&run(&["embed", "--", "-"], "-x\n")), ["-x"]);
    let expected = desk.output(&["similarity", "--json", "a dog", "the sea", "a cat"]);
    assert_eq!(run(&["similarity", "--json", "-", "the sea", "a cat"], "a dog\n"), expected);
    assert_eq!(run(&["similarity", "--json", "a dog", "-"], "the sea\na cat\n"), expected);
    assert_eq!(run(&["similarity", "--json", "-"], "a dog\nthe sea\na cat\n"), expected);
    let pairs = "1\ta\tb\n2\ta\ta\n";
    assert_eq!(json(&run(&["eval", "--json", "-"], pairs))[0]["pairs"], 2);
    // Nothing takes the place of another argument.
    for arguments in [&["embed", "-"][..], &["embed", "a", "-"], &["similarity", "-", "a", "b"]] {
        desk.run_with(arguments, b"").failed("empty", 1, &["stdin is empty"]);
    }
    desk.write("pairs.tsv", pairs);
    let calibrated = ["embed", "-", "--quantize", "int8", "--calibration", "-"];
    for arguments in [
        &["embed", "-", "-"][..],
        &["embed", "-", "--input", "-"],
        &["similarity", "-", "-"],
        &["eval", "-", "-"],
        &calibrated,
    ] {
        desk.run_with(arguments, b"1\ta\tb\n").failed("twice", 2, &["'-' (stdin) at most once"]);
    }
}

#[cfg(target_os = "linux")]
mod not_utf8 {
    use std::ffi::{OsStr, OsString};
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    /// A name with a byte that UTF-8 does not have.
    fn name(ending: &str) -> OsString {
        OsStr::from_bytes(&[b"na\xffme", ending.as_bytes()].concat()).to_owned()
    }

    fn run(desk: &Desk, arguments: &[&OsStr]) -> Run {
        let output = desk.command(&[]).args(arguments).stdin(Stdio::null()).output().expect("the command");
        Run {
            code: output.status.code().expect("no signal"),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    fn succeeds(desk: &Desk, arguments: &[&OsStr]) -> String {
        let run = run(desk, arguments);
        assert!(run.code == 0 && run.stderr.is_empty(), "{arguments:?}: {run:?}");
        run.stdout
    }

    /// Copies a model to a folder with such a name.
    pub(super) fn model_folder(desk: &Desk) -> PathBuf {
        let folder = desk.home.path().join(name(""));
        for (file, bytes) in crate::common::files("tiny-bert") {
            let path = folder.join(file);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
            std::fs::write(path, bytes).expect("a file");
        }
        folder
    }

    #[test]
    fn path_that_is_not_utf8_is_accepted() {
        let mut desk = Desk::new();
        let folder = model_folder(&desk);
        let o = OsStr::new;
        let model = [o("--model"), folder.as_os_str()];
        let expected = Desk::with_model("tiny-bert").output(&["embed", "a", "b"]);
        let [txt, npy, tsv, converted] = ["t.txt", "v.npy", "p.tsv", "converted"].map(name);
        std::fs::write(desk.home.path().join(&txt), "a\nb\n").expect("a file");
        std::fs::write(desk.home.path().join(&tsv), "1\ta\tb\n2\ta\ta\n").expect("a file");
        let embed = [&[o("embed"), o("--input"), &txt], &model[..]].concat();
        assert_eq!(succeeds(&desk, &embed), expected);
        succeeds(&desk, &[&embed[..], &[o("--output"), &npy]].concat());
        assert!(desk.home.path().join(&npy).is_file());
        succeeds(&desk, &[&embed[..], &[o("--quantize"), o("uint8"), o("--calibration"), &npy]].concat());
        succeeds(&desk, &[&[o("eval"), tsv.as_os_str()], &model[..]].concat());
        succeeds(&desk, &[&[o("bench"), o("--repeat"), o("1"), o("--input"), &txt], &model[..]].concat());
        let equal = [o("--model="), folder.as_os_str()].into_iter().collect::<OsString>();
        assert_eq!(succeeds(&desk, &[o("embed"), &equal, o("a"), o("b")]), expected);
        let convert = [&[o("convert"), o("--precision"), o("f32"), o("--output"), &converted], &model[..]].concat();
        succeeds(&desk, &convert);
        assert_eq!(succeeds(&desk, &[o("embed"), o("a"), o("b"), o("--model"), &converted]), expected);
        desk.variables.push(("LIKEWISE_MODEL", folder.clone()));
        assert_eq!(succeeds(&desk, &[o("embed"), o("a"), o("b")]), expected);
        // A text must be UTF-8.
        run(&desk, &[o("embed"), &txt]).failed("text", 2, &["UTF-8"]);
        run(&desk, &[o("info"), o("--model"), &name("nothing")]).failed("missing", 1, &["no such folder"]);
    }

    #[cfg(feature = "serve")]
    #[test]
    fn served_folder_that_is_not_utf8_is_opened() {
        let desk = Desk::new();
        let folder = model_folder(&desk);
        let mut named = OsString::from("org/tiny=");
        named.push(&folder);
        let mut command = desk.command(&["serve", "--port", "0", "--threads", "1", "--model"]);
        command.arg(named);
        let server = crate::server::harness::Server::of(command);
        server.wait_until_ready();
        let response = server.post("/models/org/tiny", &serde_json::json!({"inputs": "a"}));
        assert_eq!(response.status, 200, "{response:?}");
    }
}
