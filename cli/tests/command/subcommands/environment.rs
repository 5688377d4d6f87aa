//! Runs in minimal environments: no HOME, no locale, folders that cannot be written.

use super::*;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Asserts that no path below the working folder was searched for the cache.
fn assert_not_in_working_folder(desk: &Desk, run: &Run, what: &str) {
    assert!(run.code == 1 && run.stdout.is_empty() && !run.stderr.contains("panicked"), "{what}: {run:?}");
    let searched: Vec<&str> = run.stderr.lines().map(str::trim).filter(|line| line.contains("models--")).collect();
    for path in &searched {
        let path = Path::new(path);
        assert!(path.is_absolute() && !path.starts_with(desk.home.path()), "{what}: {run:?}");
    }
    // Without a home folder, the error names the variable to set.
    assert!(!searched.is_empty() || run.stderr.contains("HF_HOME"), "{what}: {run:?}");
    assert_eq!(std::fs::read_dir(desk.home.path()).expect("a folder").count(), 0, "{what}: nothing is created");
}

/// cron and systemd set no HOME. huggingface_hub then uses the home folder of the user database.
#[test]
fn cache_without_home_variable_is_not_in_the_working_folder() {
    let desk = Desk::new();
    for home in [None, Some(""), Some("."), Some("relative/home")] {
        for other in [None, Some("HF_HOME"), Some("HF_HUB_CACHE"), Some("XDG_CACHE_HOME")] {
            let mut command = desk.command(&["similarity", "--model", "zz/zz", "a", "b"]);
            command.env_remove("HOME").envs(home.map(|home| ("HOME", home))).envs(other.map(|name| (name, "")));
            let output = command.output().expect("the command");
            let run = Run {
                code: output.status.code().expect("no signal"),
                stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
                stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            };
            assert_not_in_working_folder(&desk, &run, &format!("HOME={home:?}, {other:?} is empty"));
        }
    }
}

/// /proc is a folder in which not even root can create a file.
#[cfg(target_os = "linux")]
#[test]
fn every_command_works_in_a_read_only_working_folder() {
    let desk = Desk::with_model("tiny-bert");
    let texts = desk.write("texts.txt", "a dog\na cat\n");
    let pairs = desk.write("pairs.tsv", "1\ta dog\ta cat\n2\ta dog\ta dog\n3\ta\tb\n");
    let (output, converted) = (desk.path("out.npy"), desk.path("converted"));
    for arguments in [
        &["similarity", "a", "b"][..],
        &["embed", "a"],
        &["embed", "a", "--output", text(&output)],
        &["eval", text(&pairs)],
        &["bench", "--repeat", "1", "--input", text(&texts)],
        &["info"],
        &["convert", "--precision", "int8", "--output", text(&converted)],
    ] {
        let mut command = desk.command(arguments);
        command.current_dir("/proc").env("TMPDIR", "/proc").env_remove("HOME");
        let output = command.output().expect("the command");
        assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}: {output:?}");
    }
}

#[test]
fn text_is_utf8_in_every_locale() {
    let desk = Desk::with_model("tiny-bert");
    let texts = desk.write("Größe.txt", "Ein schöner Tag\n今天\n");
    let arguments = ["similarity", "été", "--input", text(&texts)];
    let expected = desk.output(&arguments);
    for (name, value) in
        [("LC_ALL", "C"), ("LC_ALL", "POSIX"), ("LANG", ""), ("LC_ALL", "de_DE.ISO-8859-1"), ("TERM", "dumb")]
    {
        let mut command = desk.command(&arguments);
        let output = command.env(name, value).env("NO_COLOR", "1").env("COLUMNS", "0").output().expect("the command");
        assert_eq!(String::from_utf8(output.stdout).expect("UTF-8"), expected, "{name}={value}");
        assert!(output.stderr.is_empty() && expected.contains("今天"), "{name}={value}");
    }
}

/// A cached model needs no lock and no other file.
#[test]
fn complete_model_in_a_read_only_cache_opens() {
    use std::os::unix::fs::PermissionsExt;
    let desk = Desk::new();
    let model = desk.path("hub/models--org--tiny");
    for (name, bytes) in crate::common::files("tiny-bert") {
        desk.write(&format!("hub/models--org--tiny/snapshots/{COMMIT}/{name}"), bytes);
    }
    desk.write("hub/models--org--tiny/refs/main", COMMIT);
    // Root may write to any folder, but not to the path of a file.
    desk.write("hub/.locks", "");
    let mut paths = vec![model.clone(), desk.path("hub")];
    paths.extend(["refs", "snapshots"].map(|name| model.join(name)));
    let protect = |mode| {
        for path in &paths {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("permissions");
        }
    };
    protect(0o555);
    let output =
        desk.command(&["similarity", "--model", "org/tiny", "a", "b"]).env("HF_HUB_CACHE", desk.path("hub")).output();
    protect(0o755);
    let output = output.expect("the command");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(std::fs::read_dir(&model).expect("a folder").count(), 2, "nothing is written");
}
