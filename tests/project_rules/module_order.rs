//! The order of the modules: a module uses only modules before it in the list, and no two files use
//! each other.

use std::collections::{BTreeMap, BTreeSet};

use crate::module_graph::{Edge, ModulePath, edges};
use crate::rust_source::{files, read, root};

/// The modules of the package `likewise`, lowest first. docs/architecture.md shows the same list.
const LIBRARY: [&str; 31] = [
    "error",
    "bytes",
    "config",
    "files",
    "flush",
    "output_file",
    "tensor_file",
    "model_folder",
    "checkpoint",
    "parallel",
    "trace",
    "batch",
    "encoder",
    "tokenizer",
    "vector_math",
    "backbone",
    "static_embedding",
    "modules",
    "similarity",
    "model_info",
    "quantize",
    "vectors",
    "explanation",
    "hub",
    "embedder",
    "cross_encoder",
    "sparse_encoder",
    "multi_vector",
    "bge_m3",
    "quickstart",
    "server",
];

/// The modules of the package `likewise-kernels`, lowest first.
const KERNELS: [&str; 20] = [
    "memory",
    "activation",
    "precision",
    "simd",
    "view",
    "dot_kernel",
    "level",
    "reference",
    "arch",
    "reduce",
    "elementwise",
    "rotary",
    "math",
    "quant",
    "distance",
    "layer_norm",
    "gated",
    "softmax",
    "peak",
    "gemm",
];

/// The order of some modules inside a folder. The others may be anywhere, as long as there is no
/// cycle.
const FOLDERS: [(&str, &[&str]); 4] = [
    ("encoder", &["spec", "families"]),
    (
        "encoder",
        &[
            "spec",
            "arena",
            "activations",
            "relative_position",
            "pass",
            "linear",
            "norm",
            "packing",
            "loader",
            "embeddings",
            "layer",
            "attention",
            "feed_forward",
        ],
    ),
    ("checkpoint", &["shard", "tensor", "converted", "open", "reader"]),
    ("server", &["inference", "api", "http"]),
];

/// The rules for one package.
struct Order<'a> {
    modules: &'a [&'a str],
    folders: &'a [(&'a str, &'a [&'a str])],
}

/// Returns every violation of the order.
fn violations(order: &Order<'_>, sources: &BTreeMap<String, String>) -> Vec<String> {
    let edges = edges(sources);
    let mut violations = unlisted(order, sources);
    for edge in &edges {
        let wrong = |list: &[&str], from: &str, to: &str| {
            let position = |name: &str| list.iter().position(|listed| *listed == name);
            position(from).zip(position(to)).is_some_and(|(from, to)| from < to)
        };
        let top_level = wrong(order.modules, &edge.from[0], &edge.to[0]);
        let inside = order.folders.iter().any(|(folder, list)| match (edge.from.as_slice(), edge.to.as_slice()) {
            ([a, from, ..], [b, to, ..]) => a == folder && b == folder && wrong(list, from, to),
            _ => false,
        });
        if top_level || inside {
            violations.push(format!("{} uses a later module", show(edge)));
        }
    }
    violations.extend(cycles(&edges));
    violations
}

/// Modules that are missing in the list, and names in the list that are no modules.
fn unlisted(order: &Order<'_>, sources: &BTreeMap<String, String>) -> Vec<String> {
    let modules: BTreeSet<&str> = sources
        .keys()
        .filter_map(|file| file.split('/').next())
        .map(|name| name.trim_end_matches(".rs"))
        .filter(|name| *name != "lib")
        .collect();
    let missing = modules.iter().filter(|module| !order.modules.contains(module));
    let missing = missing.map(|module| format!("`{module}` is missing in the list of modules"));
    let stale = order.modules.iter().filter(|module| !modules.contains(*module));
    missing.chain(stale.map(|module| format!("`{module}` is in the list, but there is no such module"))).collect()
}

fn show(edge: &Edge) -> String {
    format!("{} (line {}) -> {}", edge.from.join("::"), edge.line, edge.to.join("::"))
}

/// Describes every set of files that use each other.
fn cycles(edges: &BTreeSet<Edge>) -> Vec<String> {
    let modules: BTreeSet<&ModulePath> = edges.iter().flat_map(|edge| [&edge.from, &edge.to]).collect();
    let reachable: BTreeMap<&ModulePath, BTreeSet<&ModulePath>> =
        modules.iter().map(|module| (*module, reachable_from(module, edges))).collect();
    let mut found: BTreeSet<Vec<&ModulePath>> = BTreeSet::new();
    for module in &modules {
        let cycle: Vec<_> =
            reachable[module].iter().copied().filter(|other| reachable[other].contains(*module)).collect();
        if !cycle.is_empty() {
            found.insert(cycle);
        }
    }
    let inside = |cycle: &[&ModulePath], edge: &&Edge| cycle.contains(&&edge.from) && cycle.contains(&&edge.to);
    found
        .iter()
        .map(|cycle| {
            let uses: Vec<String> = edges.iter().filter(|edge| inside(cycle, edge)).map(show).collect();
            format!("a cycle of {} modules:\n    {}", cycle.len(), uses.join("\n    "))
        })
        .collect()
}

/// Returns all modules that a module uses directly or indirectly.
fn reachable_from<'a>(module: &'a ModulePath, edges: &'a BTreeSet<Edge>) -> BTreeSet<&'a ModulePath> {
    let mut found = BTreeSet::new();
    let mut pending = vec![module];
    while let Some(from) = pending.pop() {
        pending
            .extend(edges.iter().filter(|edge| edge.from == *from).map(|edge| &edge.to).filter(|to| found.insert(*to)));
    }
    found
}

/// Reads the files of a package by their names below its source folder.
fn sources(folder: &str) -> BTreeMap<String, String> {
    let folder = root().join(folder);
    let name = |path: &std::path::Path| path.strip_prefix(&folder).expect("below").to_string_lossy().replace('\\', "/");
    files(&folder, "rs").iter().map(|path| (name(path), read(path))).collect()
}

fn check(order: &Order<'_>, folder: &str) {
    let violations = violations(order, &sources(folder));
    assert!(violations.is_empty(), "{folder}: {} violations\n{}", violations.len(), violations.join("\n"));
}

#[test]
fn library_modules_use_only_earlier_modules() {
    check(&Order { modules: &LIBRARY, folders: &FOLDERS }, "src");
}

#[test]
fn kernel_modules_use_only_earlier_modules() {
    check(&Order { modules: &KERNELS, folders: &[] }, "kernels/src");
}

#[test]
fn architecture_document_shows_the_module_order() {
    const MARK: &str = "<!-- module order -->";
    let document = read(&root().join("docs/architecture.md"));
    let block = document.split_once(MARK).and_then(|(_, after)| after.trim_start().strip_prefix("```"));
    let block = block.and_then(|block| block.split_once("```")).map(|(block, _)| block);
    // The first line is the language of the block.
    let lines = block.unwrap_or_else(|| panic!("docs/architecture.md: no code block after {MARK}")).lines().skip(1);
    let listed: Vec<&str> = lines.map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(listed, LIBRARY, "docs/architecture.md: the list after {MARK}");
}

/// The rules find each kind of violation in a small package.
mod mutants {
    use super::*;

    const ORDER: Order<'_> =
        Order { modules: &["low", "middle", "high"], folders: &[("middle", &["first", "second"])] };

    const FILES: [(&str, &str); 6] = [
        ("lib.rs", "mod low; mod middle; mod high; pub use high::High;"),
        ("low.rs", "pub struct Low; #[cfg(test)] mod tests { use crate::high::High; }"),
        ("middle/mod.rs", "mod first; mod second; pub use first::First; use second::Second;"),
        ("middle/first.rs", "use crate::low::Low; // use crate::high::High;\npub struct First(Low);"),
        ("middle/second.rs", "use super::First; pub struct Second(First);"),
        ("high.rs", "use crate::{low::Low, middle::{self, First}}; pub struct High(middle::First, Low);"),
    ];

    /// The violations of the package after some code is appended to a file.
    fn with(file: &str, code: &str) -> Vec<String> {
        let mut sources: BTreeMap<String, String> =
            FILES.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        sources.entry(file.to_owned()).or_default().push_str(code);
        violations(&ORDER, &sources)
    }

    fn assert_one(violations: &[String], parts: &[&str]) {
        assert_eq!(violations.len(), 1, "{violations:#?}");
        assert!(parts.iter().all(|part| violations[0].contains(part)), "{violations:#?}");
    }

    #[test]
    fn ordered_modules_are_accepted() {
        assert_eq!(with("low.rs", ""), Vec::<String>::new());
    }

    #[test]
    fn backward_use_is_found() {
        for code in [
            "\nuse crate::middle::First;",
            "\nuse crate::{middle::{First}};",
            "\nfn f() { crate::middle::first(); }",
            "\nmod inner { use super::super::middle; }",
            "\nuse super::middle as other;",
            "\nuse crate::High;",
        ] {
            let found = with("low.rs", code);
            assert!(
                found.iter().any(|v| v.contains("low (line 2) -> ") && v.contains("later module")),
                "{code}: {found:#?}"
            );
        }
    }

    #[test]
    fn backward_use_in_folder_is_found() {
        let found = with("middle/first.rs", "\nuse super::second::Second;");
        assert!(found.iter().any(|v| v.contains("middle::first (line 3) -> middle::second")), "{found:#?}");
        assert!(found.iter().any(|v| v.contains("a cycle of 2 modules")), "{found:#?}");
    }

    #[test]
    fn cycle_is_found() {
        assert_one(&with("middle/second.rs", "\nuse super::helper;"), &["cycle", "middle::second (line 2) -> middle"]);
    }

    #[test]
    fn unlisted_module_is_found() {
        assert_one(&with("new.rs", "struct New;"), &["`new`", "missing"]);
    }
}
