//! Rules for the project itself: no C in any build, the places of `unsafe`, threads and networking,
//! the order of the modules, and the text.

mod module_graph;
mod module_order;
mod reports;
mod rust_source;
mod text;

use std::path::{Path, PathBuf};
use std::process::Command;

use rust_source::{files, root};

/// Returns the packages that a build compiles or runs, from `cargo tree`.
fn packages(features: &[&str]) -> Vec<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["tree", "--package", "likewise", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"])
        .args(features)
        .current_dir(root())
        .output()
        .expect("cargo tree");
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let mut names: Vec<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Text that only networking code contains.
const NETWORK: [&str; 8] =
    ["std::net", "TcpStream", "TcpListener", "UdpSocket", "::connect(", "http://", "ureq", "rustls"];

/// Packages that do networking.
const NETWORK_PACKAGES: [&str; 8] = ["ureq", "reqwest", "hyper", "curl", "hf-hub", "rustls", "tokio", "socket2"];

/// The server listens and never connects. With the feature `hub`, one file makes requests.
#[test]
fn networking_is_confined_to_server_and_hub() {
    let hub = std::fs::read_to_string(root().join("src/hub/mod.rs")).expect("a source file");
    for module in ["client", "connection", "name_resolver", "url", "download", "pull"] {
        assert!(hub.contains(&format!("#[cfg(feature = \"hub\")]\nmod {module};")), "{module} is without its feature");
    }
    for path in sources(&root().join("src")) {
        let name = path.strip_prefix(root()).expect("below the root").to_string_lossy().replace('\\', "/");
        let serves = name.starts_with("src/server/");
        let text = std::fs::read_to_string(&path).expect("a source file");
        for (i, line) in code(&text) {
            for word in NETWORK {
                let listens = serves && ["std::net", "TcpStream", "TcpListener", "http://"].contains(&word);
                let asks = match name.as_str() {
                    "src/hub/client.rs" | "src/hub/name_resolver.rs" => word == "ureq",
                    // The configuration of connections.
                    "src/hub/connection.rs" | "src/hub/tls_support.rs" => ["ureq", "rustls"].contains(&word),
                    // Parses and compares addresses; the examples of its tests are not code that
                    // connects.
                    "src/hub/url.rs" => ["ureq", "http://"].contains(&word),
                    _ => false,
                };
                assert!(listens || asks || !line.contains(word), "{}:{i}: {word}", path.display());
            }
        }
    }
    for (features, allowed) in [
        (&["--no-default-features"][..], &[][..]),
        (&["--features", "quickstart"][..], &[][..]),
        (&["--features", "serve,quickstart"][..], &["hyper", "tokio", "socket2"][..]),
        (&["--features", "hub"][..], &["ureq", "rustls"][..]),
        (&["--all-features"][..], &["hyper", "tokio", "socket2", "ureq", "rustls"][..]),
    ] {
        let packages = packages(features);
        for name in NETWORK_PACKAGES.iter().filter(|name| !allowed.contains(name)) {
            assert!(!packages.iter().any(|package| package == name), "{features:?}: {name} is networking code");
        }
    }
}

/// Whether a package compiles C, or binds to a C library that a linker must find.
fn brings_c(name: &str) -> bool {
    const COMPILERS: [&str; 8] = ["cc", "cmake", "bindgen", "pkg-config", "vcpkg", "nasm-rs", "autotools", "cxx-build"];
    const LIBRARIES: [&str; 8] = ["openssl", "native-tls", "onig", "ring", "aws-lc-rs", "libz-ng", "zstd-safe", "lzma"];
    // Bindings to the interface of the operating system, which compile nothing.
    const SYSTEM: [&str; 3] = ["windows-sys", "linux-raw-sys", "js-sys"];
    let bindings = name.ends_with("-sys") || name.ends_with("_sys");
    COMPILERS.contains(&name) || LIBRARIES.contains(&name) || (bindings && !SYSTEM.contains(&name))
}

#[test]
fn builds_with_any_features_need_no_c() {
    let hub = &["--no-default-features", "--features", "hub"][..];
    for features in [&["--no-default-features"][..], hub, &[][..], &["--all-features"][..]] {
        let packages = packages(features);
        assert!(packages.iter().any(|name| name == "tokenizers"), "cargo tree lists the packages: {packages:?}");
        let c: Vec<&String> = packages.iter().filter(|name| brings_c(name)).collect();
        assert!(c.is_empty(), "{features:?} brings C: {c:?}");
        println!("{features:?}: {} packages, none with C", packages.len());
    }
}

/// No package declares that it links a native library.
#[test]
fn packages_link_no_native_library() {
    // Declares a name only so that a program contains one version of it. It links nothing.
    const ONLY_ONCE: [&str; 1] = ["rayon-core"];
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--all-features"])
        .current_dir(root())
        .output()
        .expect("cargo metadata");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let used = packages(&["--all-features"]);
    let linking: Vec<&str> = metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .filter(|package| !package["links"].is_null())
        .filter_map(|package| package["name"].as_str())
        .filter(|name| used.iter().any(|used| used == name) && !ONLY_ONCE.contains(name))
        .collect();
    assert!(linking.is_empty(), "these link a library: {linking:?}");
}

#[test]
fn library_core_excludes_command_service_and_hub() {
    let packages = packages(&["--no-default-features"]);
    for name in ["clap", "indicatif", "axum", "tokio", "ureq", "sha2"] {
        assert!(!packages.iter().any(|package| package == name), "the library core does not need {name}");
    }
}

/// Returns all Rust files below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    files(folder, "rs")
}

/// Returns the lines of code with their numbers.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")).map(|(i, line)| (i + 1, line))
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|part| part == word)
}

#[test]
fn unsafe_code_is_confined_to_listed_files() {
    const ALLOWED: [&str; 9] = [
        "kernels/src/level.rs",
        "kernels/src/arch/avx2.rs",
        "kernels/src/arch/avx512.rs",
        "kernels/src/arch/dot_product.rs",
        "kernels/src/arch/neon.rs",
        "kernels/src/gemm/microkernel.rs",
        "kernels/src/view.rs",
        "src/bytes.rs",
        "src/parallel/shared.rs",
    ];
    for folder in ["src", "kernels/src"] {
        for path in sources(&root().join(folder)) {
            let name = path.strip_prefix(root()).expect("below the root").to_string_lossy().replace('\\', "/");
            let text = std::fs::read_to_string(&path).expect("a source file");
            let lines: Vec<usize> = code(&text).filter(|(_, line)| has_word(line, "unsafe")).map(|(i, _)| i).collect();
            assert!(lines.is_empty() || ALLOWED.contains(&name.as_str()), "{name} has unsafe in lines {lines:?}");
        }
    }
}

#[test]
fn threads_and_printing_are_confined() {
    for path in sources(&root().join("src")) {
        let name = path.strip_prefix(root()).expect("below the root").to_string_lossy().replace('\\', "/");
        let text = std::fs::read_to_string(&path).expect("a source file");
        for (i, line) in code(&text) {
            if !name.starts_with("src/parallel/") {
                assert!(!line.contains("rayon"), "{name}:{i}: rayon is for src/parallel/ alone");
            }
            {
                for word in ["println!", "eprintln!", "env::var", "stdout()"] {
                    // The one place that reads the hub's settings, for the library and the command.
                    if name == "src/hub/environment.rs" && word == "env::var" {
                        continue;
                    }
                    assert!(
                        !line.contains(word),
                        "{name}:{i}: only the command prints and reads the environment ({word})"
                    );
                }
                for word in ["avx2", "avx512", "neon", "x86_64"] {
                    // One file checks for the instructions that TLS connections need.
                    if name == "src/hub/tls_support.rs" {
                        continue;
                    }
                    assert!(!line.contains(word), "{name}:{i}: no CPU is named above the kernels ({word})");
                }
            }
        }
    }
}
