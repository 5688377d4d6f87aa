//! The instructions of the matmul's inner loop.
//!
//! The loop is written in Rust, and the compiler decides whether its accumulators stay in registers. If it decides
//! otherwise, say because a check at the wrong place made it give up unrolling, results stay right and half of the speed
//! is gone. So the assembly is made and read: the full tile's loop must be multiply-adds, broadcasts and loads of
//! weights, as many as the tile has, and must not touch the stack.

#![cfg(target_arch = "x86_64")]

use std::path::Path;
use std::process::Command;

/// What one pass of a loop executes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Body {
    multiply_adds: usize,
    /// Instructions on whole words of bf16 and of bytes.
    bf16: usize,
    int8: usize,
    /// Instructions that take words apart.
    halves: usize,
    broadcasts: usize,
    loads: usize,
    /// Loads, stores or operands that are vectors on the stack: spilled registers.
    spilled: usize,
}

/// The crate's assembly, as the release profile compiles it but in one piece and without the linker's optimisation, which
/// would leave several files or none.
fn assembly() -> String {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hot_loop");
    let output = Command::new(env!("CARGO"))
        .args(["rustc", "--release", "--lib", "--offline", "--quiet", "--target-dir"])
        .arg(&target)
        .args(["--", "--emit", "asm", "-C", "codegen-units=1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("RUSTFLAGS")
        .output()
        .expect("cargo runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the crate does not compile ({}): {said}", output.status);
    let folder = target.join("release/deps");
    let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let newest = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "s"))
        .max_by_key(|path| path.metadata().unwrap().modified().unwrap());
    std::fs::read_to_string(newest.expect("an assembly file")).unwrap()
}

/// The innermost loops: from a label to a jump back to it, without another label between.
fn loops(assembly: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines: Vec<&str> = assembly.lines().map(str::trim).filter(|line| !line.starts_with('#')).collect();
    let mut found = Vec::new();
    let mut start = 0;
    for (i, line) in lines.iter().enumerate() {
        if line.ends_with(':') {
            start = i;
        } else if line.starts_with('j') && line.split_whitespace().nth(1) == lines[start].strip_suffix(':') {
            found.push(lines[start + 1..=i].to_vec());
        }
    }
    found.into_iter()
}

/// Counts the instructions of a loop, with vectors in registers of one kind ("zmm", "ymm").
fn count(lines: &[&str], register: &str) -> Body {
    let mut body = Body::default();
    for line in lines {
        let vector = line.contains(register);
        body.multiply_adds += usize::from(vector && line.starts_with("vfmadd"));
        body.bf16 += usize::from(vector && line.starts_with("vdpbf16ps"));
        body.int8 += usize::from(vector && line.starts_with("vpdpbusd"));
        body.halves += usize::from(["vpsll", "vpsra", "vpand", "vandps"].iter().any(|name| line.starts_with(name)));
        body.broadcasts +=
            usize::from(vector && (line.starts_with("vbroadcastss") || line.starts_with("vpbroadcastd")));
        body.loads += usize::from(vector && line.starts_with("vmov") && line.contains('('));
        body.spilled += usize::from(vector && line.contains("(%rsp"));
    }
    body
}

#[test]
fn the_full_tiles_keep_their_accumulators_in_registers() {
    let assembly = assembly();
    // AVX-512: 12 rows of 2 vectors. AVX2: 6 rows of 1 vector, which is 2 registers.
    for (level, register, rows) in [("avx512", "zmm", 12), ("avx2", "ymm", 6)] {
        let expected = Body { multiply_adds: 2 * rows, broadcasts: rows, loads: 2, ..Body::default() };
        // The tile is there twice, for panels of full width and for the last, narrower one. Other loops with so many multiply-adds
        // do not load (that of `peak`) or do not broadcast (that of `quantize`).
        let bodies: Vec<Body> = loops(&assembly).map(|lines| count(&lines, register)).collect();
        let tiles: Vec<&Body> = bodies
            .iter()
            .filter(|body| {
                // Those of words, on CPUs without instructions for them, take words apart.
                let words = body.halves > 0;
                body.multiply_adds >= expected.multiply_adds && body.broadcasts > 0 && body.loads > 0 && !words
            })
            .collect();
        assert!(!tiles.is_empty(), "{level}: no loop of {} multiply-adds", expected.multiply_adds);
        assert!(tiles.iter().all(|&tile| *tile == expected), "{level}: expected {expected:?}, found {tiles:?}");
    }
    // Words, where there are instructions for them: the same, with another instruction.
    for (name, expected) in [
        ("bf16", Body { bf16: 24, broadcasts: 12, loads: 2, ..Body::default() }),
        ("int8", Body { int8: 24, broadcasts: 12, loads: 2, ..Body::default() }),
    ] {
        let bodies: Vec<Body> = loops(&assembly).map(|lines| count(&lines, "zmm")).collect();
        let of_words = |body: &&Body| body.bf16 >= expected.bf16 && body.int8 >= expected.int8;
        let tiles: Vec<&Body> = bodies.iter().filter(of_words).collect();
        assert!(!tiles.is_empty(), "{name}: no loop with 24 of its instructions");
        assert!(tiles.iter().all(|&tile| *tile == expected), "{name}: expected {expected:?}, found {tiles:?}");
    }
}
