//! Output files: what they keep of an existing file, and what is left when writing them fails.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::process::Child;
use std::time::{Duration, Instant};

use super::*;

const NPY: &[u8] = b"\x93NUMPY";

fn desk() -> Desk {
    Desk::with_model("tiny-bert")
}

fn starts_with_vectors(path: &Path) -> bool {
    fs::read(path).expect("a file").starts_with(NPY)
}

/// Returns the names in the working folder.
fn names(desk: &Desk) -> BTreeSet<String> {
    let entries = fs::read_dir(desk.home.path()).expect("a folder");
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o7777
}

/// Runs a script of the shell, in which "$LW" is the command.
fn shell(desk: &Desk, script: &str) -> Run {
    let mut command = Command::new("sh");
    command.args(["-c", script]).env_clear().current_dir(desk.home.path()).env("HOME", desk.home.path());
    command.env("LW", env!("CARGO_BIN_EXE_likewise")).env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.envs(desk.variables.iter().map(|(name, value)| (name, value)));
    let output = command.stdin(Stdio::null()).output().expect("a shell");
    Run {
        code: output.status.code().expect("no signal"),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

#[test]
fn replaced_file_keeps_mode_and_owner() {
    let desk = desk();
    let path = desk.write("v.npy", "old");
    for expected in [0o600, 0o644, 0o640, 0o606, 0o755] {
        fs::set_permissions(&path, fs::Permissions::from_mode(expected)).expect("a mode");
        desk.output(&["embed", "a", "--output", "v.npy"]);
        assert!(starts_with_vectors(&path));
        assert_eq!(mode(&path), expected, "{expected:o}");
    }
    // Only root may give a file away.
    let given = std::os::unix::fs::chown(&path, Some(12345), Some(54321)).is_ok();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4750)).expect("a mode");
    let before = fs::metadata(&path).expect("a file");
    desk.output(&["embed", "b", "--output", "v.npy"]);
    let after = fs::metadata(&path).expect("a file");
    assert_eq!((after.uid(), after.gid(), after.mode()), (before.uid(), before.gid(), before.mode()), "given: {given}");
    // A new file has the mode of any new file.
    desk.output(&["embed", "a", "--output", "new.npy"]);
    assert_eq!(mode(&desk.path("new.npy")), mode(&desk.write("ordinary", "")));
}

#[test]
fn symbolic_links_are_written_through() {
    let desk = desk();
    let target = desk.write("folder/target.npy", "old");
    fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).expect("a mode");
    // A chain of relative and absolute links.
    symlink("../folder/target.npy", desk.path("folder/second.npy")).expect("a link");
    symlink(desk.path("folder/second.npy"), desk.path("first.npy")).expect("a link");
    desk.output(&["embed", "a", "--output", "first.npy"]);
    assert!(starts_with_vectors(&target));
    assert_eq!(mode(&target), 0o600);
    for link in ["first.npy", "folder/second.npy"] {
        assert!(fs::symlink_metadata(desk.path(link)).expect("a file").is_symlink(), "{link}");
    }
    // The target of a dangling link is created.
    symlink("folder/new.npy", desk.path("dangling.npy")).expect("a link");
    desk.output(&["embed", "a", "--output", "dangling.npy"]);
    assert!(starts_with_vectors(&desk.path("folder/new.npy")));
    assert!(fs::symlink_metadata(desk.path("dangling.npy")).expect("a link").is_symlink());
    // A loop is an error.
    symlink("loop.npy", desk.path("loop.npy")).expect("a link");
    desk.fails(&["embed", "a", "--output", "loop.npy"], 1, &["loop.npy", "symbolic links"]);
    assert_eq!(fs::read_dir(desk.path("folder")).expect("a folder").count(), 3, "nothing else is left");
}

#[test]
fn hard_links_stay_links_to_one_file() {
    let desk = desk();
    let first = desk.write("first.npy", "x".repeat(100_000));
    let second = desk.path("second.npy");
    fs::hard_link(&first, &second).expect("a link");
    desk.output(&["embed", "a", "--output", "first.npy"]);
    let (a, b) = (fs::metadata(&first).expect("a file"), fs::metadata(&second).expect("a file"));
    assert_eq!((a.ino(), a.nlink()), (b.ino(), 2));
    desk.output(&["embed", "a", "--output", "other.npy"]);
    assert_eq!(fs::read(&second).expect("a file"), fs::read(desk.path("other.npy")).expect("a file"));
}

#[test]
fn pipes_and_devices_are_written_directly() {
    let desk = desk();
    let expected = desk.output(&["embed", "a", "b"]);
    let made = Command::new("mkfifo").arg(desk.path("pipe.jsonl")).status().expect("mkfifo");
    assert!(made.success());
    let pipe = desk.path("pipe.jsonl");
    let reader = std::thread::spawn(move || fs::read_to_string(pipe).expect("a pipe"));
    desk.output(&["embed", "a", "b", "--output", "pipe.jsonl"]);
    assert_eq!(reader.join().expect("a text"), expected);
    assert!(fs::metadata(desk.path("pipe.jsonl")).expect("a pipe").file_type().is_fifo());
    // Without an ending, JSON lines as on stdout.
    for stdout in ["-", "/dev/stdout", "/proc/self/fd/1"] {
        assert_eq!(desk.output(&["embed", "a", "b", "--output", stdout]), expected, "{stdout}");
    }
    symlink("/dev/stdout", desk.path("link.jsonl")).expect("a link");
    assert_eq!(desk.output(&["embed", "a", "b", "--output", "link.jsonl"]), expected);
    symlink("/dev/stdout", desk.path("link.npy")).expect("a link");
    desk.output(&["embed", "a", "--output", "v.npy"]);
    assert_eq!(shell(&desk, "\"$LW\" embed a --output link.npy > w.npy").code, 0);
    assert_eq!(fs::read(desk.path("v.npy")).expect("a file"), fs::read(desk.path("w.npy")).expect("a file"));
    assert_eq!(desk.output(&["embed", "a", "b", "--output", "/dev/null"]), "");
    assert!(fs::metadata("/dev/null").expect("a device").file_type().is_char_device());
    // What others wrote to the file of a descriptor stays.
    let script = "(echo before; \"$LW\" embed a b --output link.jsonl; echo after) > all";
    assert_eq!(shell(&desk, script).code, 0);
    assert_eq!(fs::read_to_string(desk.path("all")).expect("a file"), format!("before\n{expected}after\n"));
    symlink("/dev/full", desk.path("full.npy")).expect("a link");
    desk.fails(&["embed", "a", "--output", "full.npy"], 1, &["full.npy", "cannot write", "No space left"]);
}

#[test]
fn files_with_similar_names_are_not_touched() {
    let desk = desk();
    desk.write("v.npy.partial", "precious");
    let victim = desk.write("victim", "victim");
    symlink(&victim, desk.path("w.npy.partial")).expect("a link");
    for output in ["v.npy", "w.npy"] {
        desk.output(&["embed", "a", "--output", output]);
    }
    assert_eq!(fs::read(desk.path("v.npy.partial")).expect("a file"), b"precious");
    assert_eq!(fs::read(&victim).expect("a file"), b"victim");
    assert_eq!(names(&desk), ["v.npy", "v.npy.partial", "victim", "w.npy", "w.npy.partial"].map(str::to_owned).into());
    // The longest name that a file may have.
    let longest = format!("{}.npy", "n".repeat(251));
    desk.output(&["embed", "a", "--output", &longest]);
    assert!(starts_with_vectors(&desk.path(&longest)));
}

#[test]
fn unusable_output_is_reported_before_the_model_is_opened() {
    let desk = Desk::new();
    fs::create_dir(desk.path("folder.npy")).expect("a folder");
    desk.write("file", "");
    for (output, part) in [
        ("nowhere/v.npy", "there is no folder nowhere"),
        ("file/v.npy", "Not a directory"),
        ("folder.npy", "directory"),
    ] {
        let arguments = ["embed", "a", "--model", "no-such-model", "--output", output];
        desk.fails(&arguments, 1, &[output, "cannot write", part]);
    }
    assert_eq!(names(&desk), ["file", "folder.npy"].map(str::to_owned).into());
}

#[test]
fn output_may_be_an_input() {
    let desk = desk();
    let lines = desk.write("texts.jsonl", "a happy dog\nthe sea\n");
    desk.output(&["embed", "--input", "texts.jsonl", "--output", "texts.jsonl"]);
    let rows = fs::read_to_string(&lines).expect("a file");
    assert!(rows.lines().count() == 2 && rows.contains("\"a happy dog\""), "{rows}");
    desk.output(&["embed", "a", "b", "c", "--output", "v.npy"]);
    let expected = desk.output(&["embed", "d", "--quantize", "int8", "--calibration", "v.npy"]);
    let calibration = fs::read(desk.path("v.npy")).expect("a file");
    let from_stdin = desk.run_with(&["embed", "d", "--quantize", "int8", "--calibration", "-"], &calibration);
    assert_eq!(from_stdin.stdout, expected);
    desk.output(&["embed", "d", "--quantize", "int8", "--calibration", "v.npy", "--output", "v.npy"]);
    assert!(starts_with_vectors(&desk.path("v.npy")));
    assert_ne!(fs::read(desk.path("v.npy")).expect("a file"), calibration);
}

#[test]
fn file_size_limit_is_an_error_that_leaves_nothing() {
    let desk = desk();
    desk.write("old.npy", "old");
    let hard = desk.write("hard.npy", "old");
    fs::hard_link(&hard, desk.path("linked.npy")).expect("a link");
    let before = names(&desk);
    let texts = "a b c d e f g h i j k l m n o p q r s t u v w x y z";
    for output in ["new.npy", "old.npy", "hard.npy", "new.jsonl", "new.safetensors"] {
        let run = shell(&desk, &format!("ulimit -f 1; \"$LW\" embed {texts} --output {output}"));
        run.failed(output, 1, &[output, "cannot write", "File too large"]);
    }
    let run = shell(&desk, &format!("ulimit -f 1; \"$LW\" embed {texts} > printed"));
    run.failed("stdout", 1, &["stdout", "cannot write", "File too large"]);
    fs::remove_file(desk.path("printed")).expect("what the shell created");
    let run = shell(&desk, "ulimit -f 1; \"$LW\" convert --precision int8 --output converted");
    run.failed("convert", 1, &["converted/", "cannot write", "File too large"]);
    assert_eq!(names(&desk), before);
    for name in ["old.npy", "hard.npy"] {
        assert_eq!(fs::read(desk.path(name)).expect("a file"), b"old", "{name}");
    }
}

#[test]
fn concurrent_writers_leave_one_complete_file() {
    let desk = desk();
    fs::hard_link(desk.write("linked.npy", "old"), desk.path("link.npy")).expect("a link");
    let results: Vec<Vec<u8>> = [2, 7]
        .map(|texts| {
            desk.output(&words(&[&["embed", "--output", "alone.npy"], &vec!["text"; texts]]));
            fs::read(desk.path("alone.npy")).expect("a file")
        })
        .into();
    for name in ["new.npy", "linked.npy"] {
        for _ in 0..4 {
            let runs: Vec<Child> = [2, 7, 2, 7]
                .map(|texts| desk.command(&words(&[&["embed", "--output", name], &vec!["text"; texts]])))
                .map(|mut command| command.spawn().expect("the command"))
                .into();
            for mut run in runs {
                assert!(run.wait().expect("an end").success());
            }
            assert!(results.contains(&fs::read(desk.path(name)).expect("a file")), "{name}");
        }
    }
    assert_eq!(names(&desk), ["alone.npy", "link.npy", "linked.npy", "new.npy"].map(str::to_owned).into());
}

/// Whether the process has an open file that has no name.
#[cfg(target_os = "linux")]
fn has_unnamed_file(process: u32, folder: &Path) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    let targets = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    targets.into_iter().any(|target| target.starts_with(folder) && target.to_string_lossy().ends_with("(deleted)"))
}

/// Whether this process, and so the processes that it starts, ignore a signal. Shells start
/// background jobs in that way.
#[cfg(target_os = "linux")]
fn is_ignored(signal: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").expect("the state of this process");
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("a mask");
    u64::from_str_radix(mask.trim(), 16).expect("a mask") >> (signal - 1) & 1 == 1
}

/// No handler runs after SIGKILL, so the file must not have a name yet.
#[cfg(target_os = "linux")]
#[test]
fn killed_process_leaves_nothing() {
    let desk = desk();
    let many = desk.write("many.txt", "a happy dog and the sea\n".repeat(400_000));
    desk.write("old.npy", "old");
    let before = names(&desk);
    for (signal, number) in [("INT", 2), ("TERM", 15), ("HUP", 1), ("KILL", 9)] {
        if is_ignored(number) {
            println!("SKIPPED: the signal {signal} is ignored here");
            continue;
        }
        for output in ["old.npy", "new.npy"] {
            let mut command = desk.command(&["embed", "--input", text(&many), "--output", output]);
            let mut process = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("the command");
            let start = Instant::now();
            while !has_unnamed_file(process.id(), desk.home.path()) {
                assert!(start.elapsed() < Duration::from_secs(60), "{signal}: no output file");
                std::thread::sleep(Duration::from_millis(2));
            }
            let killed = Command::new("sh").args(["-c", &format!("kill -{signal} {}", process.id())]).status();
            assert!(killed.expect("a shell").success());
            assert_eq!(process.wait().expect("an end").code(), None, "{signal} ends the process");
            assert_eq!(names(&desk), before, "{signal}, {output}");
        }
    }
    assert_eq!(fs::read(desk.path("old.npy")).expect("a file"), b"old");
}

#[test]
fn convert_to_the_models_own_folder_is_refused() {
    let desk = desk();
    for (name, bytes) in crate::common::files("tiny-bert") {
        desk.write(&format!("model/{name}"), bytes);
    }
    let convert = ["convert", "--model", "model", "--precision", "int8", "--output"];
    desk.fails(&words(&[&convert, &["model"]]), 1, &["model", "not empty"]);
    desk.fails(&words(&[&convert, &["model/config.json"]]), 1, &["model/config.json"]);
    // A folder that exists and is empty keeps its mode.
    fs::create_dir(desk.path("empty")).expect("a folder");
    fs::set_permissions(desk.path("empty"), fs::Permissions::from_mode(0o700)).expect("a mode");
    for folder in ["empty", "new/below"] {
        desk.output(&words(&[&convert, &[folder]]));
        desk.output(&["embed", "a", "--model", folder]);
    }
    assert_eq!(mode(&desk.path("empty")), 0o700);
    assert_eq!(names(&desk), ["empty", "model", "new"].map(str::to_owned).into());
}
