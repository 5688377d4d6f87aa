//! Errors of stdout and stderr.

use std::fs::File;

use super::*;

/// One run of each command that prints.
const PRINTING: [&[&str]; 12] = [
    &["embed", "a"],
    &["embed", "a", "b", "--quantize", "binary"],
    &["embed", "a", "--output", "-"],
    &["similarity", "a", "b"],
    &["similarity", "--json", "a", "b"],
    &["eval", "pairs.tsv"],
    &["eval", "--json", "pairs.tsv"],
    &["bench", "--input", "texts.txt", "--repeat", "1"],
    &["info"],
    &["info", "--json"],
    &["--help"],
    &["embed", "--version"],
];

fn desk() -> Desk {
    let desk = Desk::with_model("tiny-bert");
    desk.write("texts.txt", "a\nb\n");
    desk.write("pairs.tsv", "1\ta\tb\n2\ta\ta\n3\tb\tc\n");
    desk
}

/// Runs with the redirections of a shell, and returns the exit code and stderr.
fn redirected(desk: &Desk, arguments: &[&str], redirections: &str) -> (Option<i32>, String) {
    let likewise = desk.command(arguments);
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec \"$0\" \"$@\" {redirections}"), env!("CARGO_BIN_EXE_likewise")]);
    shell.args(arguments).env_clear().current_dir(desk.home.path());
    shell.envs(likewise.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = shell.stdin(Stdio::null()).output().expect("a shell");
    (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
}

#[test]
fn stdout_that_cannot_be_written_is_an_error() {
    let desk = desk();
    let convert = ["convert", "--precision", "int8", "--output", "converted"];
    for (redirection, reason) in
        [("> /dev/full", "No space left"), (">&-", "it is closed"), ("1< texts.txt", "os error")]
    {
        for arguments in PRINTING.iter().copied().chain([&convert[..]]) {
            let (code, stderr) = redirected(&desk, arguments, redirection);
            let found = format!("{arguments:?} {redirection}: {code:?}, {stderr}");
            assert_eq!(code, Some(1), "{found}");
            assert!(stderr.contains("error: stdout: cannot write: ") && stderr.contains(reason), "{found}");
        }
        std::fs::remove_dir_all(desk.path("converted")).expect("the conversion itself succeeded");
    }
}

#[test]
fn stdout_that_is_not_used_may_be_closed() {
    let desk = desk();
    for redirection in [">&-", "> /dev/full", "> /dev/null", "<&- >&- 2>&-"] {
        let (code, stderr) = redirected(&desk, &["embed", "a", "--output", "v.npy"], redirection);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{redirection}");
        std::fs::remove_file(desk.path("v.npy")).expect("the vectors");
    }
    // Output that is thrown away on purpose, also when opened for reading and writing.
    for redirection in ["> /dev/null", "1<> /dev/null"] {
        assert_eq!(redirected(&desk, &["embed", "a"], redirection), (Some(0), String::new()), "{redirection}");
    }
}

#[test]
fn stderr_that_cannot_be_written_changes_no_exit_code() {
    let desk = desk();
    let long = "happy ".repeat(60);
    for redirection in ["2>&-", "2> /dev/full", "2< texts.txt"] {
        for (arguments, expected) in [
            (&["embed", &long][..], 0),
            (&["info", "--model", "nothing"], 1),
            (&["embed", "--dance"], 2),
            (&["embed"], 2),
            (&[], 2),
            (&["--help"], 0),
        ] {
            let (code, _) = redirected(&desk, arguments, redirection);
            assert_eq!(code, Some(expected), "{arguments:?} {redirection}");
        }
    }
}

#[test]
fn printed_lines_are_complete_in_a_file() {
    let desk = desk();
    let file = File::create(desk.path("printed")).expect("a file");
    let mut command = desk.command(&["embed", "--input", "texts.txt"]);
    assert!(command.stdout(file).status().expect("an end").success());
    let printed = std::fs::read_to_string(desk.path("printed")).expect("a file");
    assert_eq!(printed, desk.output(&["embed", "a", "b"]));
}
