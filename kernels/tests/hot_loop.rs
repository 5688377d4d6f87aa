//! The instructions of the GEMM's inner loop.
//!
//! The compiler decides whether the accumulators of the loop stay in registers. If they do not, for
//! example because a bounds check prevented unrolling, the results are still correct but half of
//! the speed is lost. So this test compiles the crate to assembly and counts: the full tile's loop
//! must consist of the tile's multiply-adds, broadcasts and loads of weights, and must not access
//! the stack.

#![cfg(target_arch = "x86_64")]

use std::path::Path;
use std::process::Command;

/// The instructions of one iteration of a loop.
#[derive(Debug, Default, PartialEq, Eq)]
struct Body {
    multiply_adds: usize,
    /// Dot-product instructions of bf16.
    bf16: usize,
    /// Dot-product instructions of bytes.
    int8: usize,
    /// Instructions that extract a half of each packed element.
    halves: usize,
    broadcasts: usize,
    loads: usize,
    /// Vector loads, stores or operands on the stack: spilled registers.
    spilled: usize,
}

/// Returns the crate's assembly, as the release profile compiles it, but as one codegen unit and
/// without link-time optimization, which would produce several files or none.
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
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the crate does not compile ({}): {stderr}", output.status);
    let folder = target.join("release/deps");
    let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let newest = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "s"))
        .max_by_key(|path| path.metadata().unwrap().modified().unwrap());
    std::fs::read_to_string(newest.expect("an assembly file")).unwrap()
}

/// Returns the innermost loops: from a label to a jump back to it, without another label in
/// between.
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

/// Counts the instructions of a loop with vectors in registers of one size ("zmm", "ymm").
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
#[ignore = "compiles the package once more; half a minute"]
fn hot_loop_of_full_tiles_keeps_accumulators_in_registers() {
    let assembly = assembly();
    // AVX-512: 12 rows of 2 vectors. AVX2: 6 rows of 1 vector, which is 2 registers.
    for (level, register, rows) in [("avx512", "zmm", 12), ("avx2", "ymm", 6)] {
        let expected = Body { multiply_adds: 2 * rows, broadcasts: rows, loads: 2, ..Body::default() };
        // Other loops with as many multiply-adds do not load (`peak`) or do not broadcast
        // (`quantize`).
        let bodies: Vec<Body> = loops(&assembly).map(|lines| count(&lines, register)).collect();
        let tiles: Vec<&Body> = bodies
            .iter()
            .filter(|body| {
                // The loops of bf16 and int8 for CPUs without dot-product instructions extract
                // halves.
                let is_f32 = body.halves == 0;
                body.multiply_adds >= expected.multiply_adds && body.broadcasts > 0 && body.loads > 0 && is_f32
            })
            .collect();
        assert!(!tiles.is_empty(), "{level}: no loop of {} multiply-adds", expected.multiply_adds);
        assert!(tiles.iter().all(|&tile| *tile == expected), "{level}: expected {expected:?}, found {tiles:?}");
    }
    // bf16 and int8 by dot-product instructions: the same loop with another instruction.
    for (name, expected) in [
        ("bf16", Body { bf16: 24, broadcasts: 12, loads: 2, ..Body::default() }),
        ("int8", Body { int8: 24, broadcasts: 12, loads: 2, ..Body::default() }),
    ] {
        let bodies: Vec<Body> = loops(&assembly).map(|lines| count(&lines, "zmm")).collect();
        let is_dot_loop = |body: &&Body| body.bf16 >= expected.bf16 && body.int8 >= expected.int8;
        let tiles: Vec<&Body> = bodies.iter().filter(is_dot_loop).collect();
        assert!(!tiles.is_empty(), "{name}: no loop with 24 dot-product instructions");
        assert!(tiles.iter().all(|&tile| *tile == expected), "{name}: expected {expected:?}, found {tiles:?}");
    }
}
