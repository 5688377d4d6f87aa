//! The command line, before clap reads it: texts that begin with a hyphen.
//!
//! For clap, `-Very good` is the option `-V` and `-5` an unknown one, and the settings that allow
//! hyphens make every option after a text part of the text. So the arguments are sorted first:
//! options and their values, then `--`, then the texts.

use std::ffi::{OsStr, OsString};

use clap::{Arg, Command};

use crate::outcome::UsageError;

/// The explanation of the rule in the help of subcommands that take texts.
pub(crate) const TEXT_RULE: &str = "A text may begin with a hyphen (\"-5 degrees\") unless it looks like an option (--word): put -- before\n\
    such texts. One text may be '-': the lines of stdin take its place.";

/// Ends the options.
const ESCAPE: &str = "--";

/// The arguments of a subcommand, sorted.
#[derive(Default)]
struct Sorted {
    options: Vec<OsString>,
    texts: Vec<OsString>,
}

/// Sorts the arguments of the program, so that clap takes texts for texts. `texts` lists the
/// subcommands that take texts.
///
/// # Errors
/// If an option lacks its value, or an argument looks like a misspelt option.
pub(crate) fn sort(cli: &Command, arguments: Vec<OsString>, texts: &[&str]) -> Result<Vec<OsString>, UsageError> {
    let name = arguments.get(1).and_then(|name| name.to_str()).filter(|&name| name != "help");
    let Some(subcommand) = name.and_then(|name| cli.find_subcommand(name)) else { return Ok(arguments) };
    let takes_texts = texts.contains(&subcommand.get_name());
    let mut sorted = Sorted::default();
    let mut rest = arguments[2..].iter().peekable();
    while let Some(argument) = rest.next() {
        if argument == ESCAPE {
            sorted.texts.extend(rest.by_ref().cloned());
            break;
        }
        match Kind::of(subcommand, argument) {
            Kind::Option(option) if needs_value(option, argument) => {
                let value = rest.next_if(|value| !is_option(subcommand, value));
                sorted.options.push(match (value, rest.peek()) {
                    (Some(value), _) => {
                        [argument.as_os_str(), OsStr::new("="), value.as_os_str()].into_iter().collect()
                    }
                    (None, Some(next)) if matches!(Kind::of(subcommand, next), Kind::LikeOption) => {
                        return Err(UsageError(misspelt_value(argument, next)));
                    }
                    // clap reports that the value is missing.
                    (None, _) => argument.clone(),
                });
            }
            Kind::Option(_) | Kind::LikeOption => sorted.options.push(argument.clone()),
            Kind::Text if takes_texts || !starts_with_hyphen(argument) => sorted.texts.push(argument.clone()),
            Kind::SingleHyphen(name) if takes_texts => return Err(UsageError(single_hyphen(name))),
            // clap reports the unknown option.
            Kind::Text | Kind::SingleHyphen(_) => sorted.options.push(argument.clone()),
        }
    }
    Ok(sorted.joined(&arguments[..2]))
}

impl Sorted {
    fn joined(mut self, start: &[OsString]) -> Vec<OsString> {
        let mut all = start.to_vec();
        all.append(&mut self.options);
        if !self.texts.is_empty() {
            all.push(ESCAPE.into());
        }
        all.append(&mut self.texts);
        all
    }
}

/// What an argument is, by its form.
enum Kind<'a> {
    /// An option of the subcommand by its exact name, perhaps with `=value`.
    Option(&'a Arg),
    /// No option of the subcommand, but probably meant to be one: `--word` or `--word=value`.
    LikeOption,
    /// The name of an option after one hyphen instead of two.
    SingleHyphen(&'a str),
    /// Anything else.
    Text,
}

impl<'a> Kind<'a> {
    fn of(subcommand: &'a Command, argument: &OsStr) -> Self {
        let argument = argument.to_string_lossy();
        if let Some(long) = argument.strip_prefix("--") {
            let name = long.split('=').next().unwrap_or(long);
            return match subcommand.get_arguments().find(|option| has_long_name(option, name)) {
                Some(option) => Kind::Option(option),
                None if is_word(name) => Kind::LikeOption,
                None => Kind::Text,
            };
        }
        let Some(short) = argument.strip_prefix('-') else { return Kind::Text };
        if let Some(option) = subcommand.get_arguments().find(|option| has_short_name(option, short)) {
            return Kind::Option(option);
        }
        let name = short.split('=').next().unwrap_or(short);
        let option = subcommand.get_arguments().find(|option| has_long_name(option, name));
        option.and_then(Arg::get_long).map_or(Kind::Text, Kind::SingleHyphen)
    }
}

/// Whether the next argument is the value of this option.
fn needs_value(option: &Arg, argument: &OsStr) -> bool {
    option.get_action().takes_values() && !argument.as_encoded_bytes().contains(&b'=')
}

fn has_long_name(option: &Arg, name: &str) -> bool {
    option.get_long() == Some(name) || option.get_all_aliases().is_some_and(|aliases| aliases.contains(&name))
}

fn has_short_name(option: &Arg, name: &str) -> bool {
    let mut names = option.get_short().into_iter().chain(option.get_all_short_aliases().into_iter().flatten());
    names.any(|short| name.chars().eq([short]))
}

/// Whether this could be the name of an option: ASCII letters, digits, hyphens and underscores.
fn is_word(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// Whether an argument cannot be the value of the option before it.
fn is_option(subcommand: &Command, argument: &OsStr) -> bool {
    argument == ESCAPE || matches!(Kind::of(subcommand, argument), Kind::Option(_) | Kind::LikeOption)
}

fn starts_with_hyphen(argument: &OsStr) -> bool {
    argument.as_encoded_bytes().starts_with(b"-") && argument != "-"
}

fn misspelt_value(option: &OsStr, value: &OsStr) -> String {
    let (option, value) = (option.display(), value.display());
    format!(
        "{option}: expected a value, found {value}, which looks like an option; write {option}={value} for this value"
    )
}

fn single_hyphen(name: &str) -> String {
    format!("unexpected argument -{name}: write --{name} for the option, or put -- before the text")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// Sorts the arguments after the program's name.
    fn sorted(arguments: &[&str]) -> Result<Vec<String>, String> {
        let mut cli = crate::Cli::command();
        cli.build();
        let all = ["likewise"].iter().chain(arguments).map(OsString::from).collect();
        let sorted = sort(&cli, all, &crate::commands::WITH_TEXTS).map_err(|error| error.0)?;
        Ok(sorted[1..].iter().map(|argument| argument.to_string_lossy().into_owned()).collect())
    }

    fn assert_sorted(arguments: &[&str], expected: &[&str]) {
        let expected: Vec<String> = expected.iter().map(|&argument| argument.to_owned()).collect();
        assert_eq!(sorted(arguments).as_ref(), Ok(&expected), "{arguments:?}");
    }

    #[test]
    fn texts_with_hyphens_follow_the_escape() {
        for text in
            ["-5", "-Very good", "-how", "- item", "-", "---", "--- x", "-- x", "--5", "--no way", "-V x", "--ö"]
        {
            assert_sorted(&["embed", text], &["embed", "--", text]);
            assert_sorted(&["embed", "a", text, "b"], &["embed", "--", "a", text, "b"]);
        }
    }

    #[test]
    fn options_are_recognized_before_and_after_texts() {
        let expected = ["similarity", "--json", "--prompt=- x: ", "--threads=-1", "--", "a", "-b", "--json"];
        assert_sorted(
            &["similarity", "--json", "a", "--prompt", "- x: ", "-b", "--threads", "-1", "--", "--json"],
            &expected,
        );
        assert_sorted(&["embed", "-h", "a"], &["embed", "-h", "--", "a"]);
        assert_sorted(&["embed", "a", "--output=-x"], &["embed", "--output=-x", "--", "a"]);
        assert_sorted(&["embed", "a", "--input", "-"], &["embed", "--input=-", "--", "a"]);
    }

    #[test]
    fn misspelt_options_stay_options() {
        assert_sorted(&["embed", "a", "--modle", "x"], &["embed", "--modle", "--", "a", "x"]);
        assert_sorted(&["embed", "--modle=a b", "x"], &["embed", "--modle=a b", "--", "x"]);
        assert_sorted(&["info", "-x"], &["info", "-x"]);
        assert_sorted(&["embed", "--prompt"], &["embed", "--prompt"]);
        assert_sorted(&["embed", "--prompt", "--normalize", "a"], &["embed", "--prompt", "--normalize", "--", "a"]);
        for (arguments, part) in [
            (["embed", "-model", "x"], "--model"),
            (["embed", "-output=x.npy", "x"], "--output"),
            (["embed", "--prompt", "--word"], "--prompt=--word"),
        ] {
            let error = sorted(&arguments).expect_err("a usage error");
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn arguments_without_a_subcommand_are_unchanged() {
        for arguments in [&[][..], &["--help"], &["help", "embed"], &["dance", "-5"]] {
            assert_sorted(arguments, arguments);
        }
    }
}
