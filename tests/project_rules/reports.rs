//! Rules for docs/reports.md: each report has a link, a result and tests that exist.

use std::collections::BTreeSet;

use crate::rust_source::{files, read, root};

/// The fields of a report.
const FIELDS: [&str; 5] = ["- Report: ", "- Reported: ", "- Here: ", "- At first: ", "- Tests: "];

/// The results that a report can have.
const RESULTS: [&str; 3] = ["right", "failed, fixed", "as reported, by decision"];

/// Returns the names of all tests of the workspace.
fn test_names() -> BTreeSet<String> {
    let folders = ["src", "kernels", "cli", "tests"].map(|folder| files(&root().join(folder), "rs"));
    folders.iter().flatten().flat_map(|path| names_of_tests(&read(path))).collect()
}

/// Returns the names of the functions with the attribute `test`.
fn names_of_tests(source: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        is_test |= line == "#[test]" || line.starts_with("#[tokio::test");
        let function = line.trim_start_matches("async ").strip_prefix("fn ");
        let Some(function) = function.filter(|_| is_test) else { continue };
        names.extend(function.split('(').next().map(str::to_owned));
        is_test = false;
    }
    names
}

/// Returns what a document of reports violates.
fn violations(document: &str, tests: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    let mut links = BTreeSet::new();
    for report in document.split("\n### ").skip(1) {
        let title = report.lines().next().unwrap_or_default();
        let field = |name: &str| report.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        for name in FIELDS {
            if field(name).is_empty() {
                found.push(format!("{title}: no {name:?}"));
            }
        }
        let link = field(FIELDS[0]);
        if !link.contains("](https://") || !links.insert(link) {
            found.push(format!("{title}: a link of another report, or none"));
        }
        if !RESULTS.contains(&field(FIELDS[3])) {
            found.push(format!("{title}: the result is none of {RESULTS:?}"));
        }
        let named = field(FIELDS[4]).split('`').skip(1).step_by(2);
        found.extend(named.filter(|name| !tests.contains(*name)).map(|name| format!("{title}: no test {name}")));
    }
    let count = |result: &str| document.matches(&format!("{}{result}\n", FIELDS[3])).count();
    let [right, failed, decided] = RESULTS.map(count);
    let total = format!(
        "Of {} reports, {right} were right at first, {failed} failed and are fixed, and {decided} is as reported by decision.",
        right + failed + decided
    );
    if !document.contains(&total) {
        found.push(format!("the summary is not: {total}"));
    }
    found
}

#[test]
fn reports_name_links_results_and_existing_tests() {
    let document = read(&root().join("docs/reports.md"));
    assert!(document.matches("\n### ").count() >= 30, "the document has its reports");
    let found = violations(&document, &test_names());
    assert!(found.is_empty(), "docs/reports.md:\n{}", found.join("\n"));
}

#[test]
fn report_without_a_test_or_a_link_is_found() {
    let tests = names_of_tests("    #[test]\n    #[cfg(unix)]\n    fn a_test() {\n#[test]\nfn b() {}\nfn c() {}\n");
    let tests: BTreeSet<String> = tests.into_iter().collect();
    assert_eq!(tests, BTreeSet::from(["a_test".to_owned(), "b".to_owned()]));
    let report = |link: &str, result: &str, test: &str| {
        format!(
            "### T\n\n- Report: [a]({link})\n- Reported: A.\n- Here: B.\n- At first: {result}\n- Tests: `{test}`, `b`\n\n"
        )
    };
    let summary = "Of 1 reports, 1 were right at first, 0 failed and are fixed, and 0 is as reported by decision.\n\n";
    let check = |reports: &str| violations(&format!("{summary}{reports}"), &tests).len();
    let valid = report("https://a", "right", "a_test");
    assert_eq!(check(&valid), 0);
    assert_eq!(check(&report("https://a", "right", "c")), 1, "no such test");
    assert_eq!(check(&report("a", "right", "b")), 1, "no link");
    // The result, and the summary that counts it.
    assert_eq!(check(&report("https://a", "wrong", "b")), 2, "no such result");
    assert_eq!(check(&valid.replace("- Here: B.\n", "")), 1, "no field");
    // The link, and the summary.
    assert_eq!(check(&valid.repeat(2)), 2, "the same link twice");
}
