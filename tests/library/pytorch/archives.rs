//! Zip archives: those that PyTorch writes, and damaged or hostile ones.

use proptest::prelude::*;
use safetensors::SafeTensors;

use super::*;
use crate::common::same_bits;

/// Returns an archive with a tensor, and where its list of entries starts.
fn valid() -> (Vec<u8>, usize) {
    let bytes = archive(&pickle(&[b"}", &text("w"), &matrix(), b"s"]));
    let list = u32::from_le_bytes(bytes[bytes.len() - 6..bytes.len() - 2].try_into().expect("four bytes")) as usize;
    (bytes, list)
}

/// Returns an archive with some bytes replaced. Offsets below zero are from the end.
fn patched(at: isize, replaced: &[u8]) -> Vec<u8> {
    let (mut bytes, _) = valid();
    let at = if at < 0 { bytes.len() - at.unsigned_abs() } else { at.unsigned_abs() };
    bytes[at..at + replaced.len()].copy_from_slice(replaced);
    bytes
}

/// Compares all tensors of a file of torch.save with the same ones in safetensors.
fn assert_equals_safetensors(name: &str, expected: &str) {
    let expected = read_fixture(expected);
    let expected = SafeTensors::deserialize(&expected).expect("safetensors");
    let memory = Checkpoint::from_pytorch_bytes(read_fixture(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let folder = likewise::ModelFiles::folder(root().join("fixtures/pytorch"));
    let mapped = Checkpoint::open_pytorch(&folder, name).unwrap_or_else(|error| panic!("{name}: {error}"));
    for file in [&memory, &mapped] {
        assert_eq!(file.tensors().into_keys().collect::<Vec<_>>(), {
            let mut names = expected.names();
            names.sort_unstable();
            names
        });
        for (tensor_name, view) in expected.tensors() {
            let shape = view.shape();
            assert_eq!(file.tensors()[tensor_name.as_str()], shape, "{name}: {tensor_name}");
            let dtype = format!("{:?}", view.dtype());
            match file.tensor(&tensor_name, shape) {
                Ok(tensor) => {
                    let bytes = safetensors::serialize([("x", &view)], None).expect("a file");
                    let same = Checkpoint::from_bytes(bytes).expect("a file").tensor("x", shape).expect("a tensor");
                    let elements = [tensor.to_f32_vec(), same.to_f32_vec()].map(|elements| elements.expect("numbers"));
                    assert!(same_bits(&elements[0], &elements[1]), "{name}: {tensor_name}");
                    assert_eq!(tensor.dtype(), dtype, "{name}: {tensor_name}");
                }
                Err(error) => {
                    assert!(!["F32", "F16", "BF16"].contains(&dtype.as_str()), "{name}: {tensor_name}: {error}");
                    assert!(error.to_string().contains(&dtype), "{name}: {tensor_name}: {error}");
                }
            }
        }
    }
}

#[test]
fn files_of_torch_save_equal_their_safetensors() {
    for protocol in 2..=5 {
        assert_equals_safetensors(&format!("protocol-{protocol}.bin"), "tensors.safetensors");
    }
    assert_equals_safetensors("parameters.bin", "tensors.safetensors");
    assert_equals_safetensors("state-dict.bin", "state-dict.safetensors");
    let untyped = Checkpoint::from_pytorch_bytes(read_fixture("untyped.bin")).expect("tensors");
    assert_eq!(untyped.tensor("w", &[2]).expect("w").to_f32_vec().expect("numbers"), [1.0, 1.0]);
}

#[test]
fn other_files_of_pytorch_are_rejected_by_name() {
    for (name, parts) in [
        ("rejected-whole-module.bin", &["the global `torch.nn.modules.linear.Linear`", "may run code"][..]),
        ("rejected-training.bin", &["`epoch`", "the integer 3", "an inner dict"]),
        ("rejected-sparse.bin", &["the global `torch._utils._rebuild_sparse_tensor`"]),
        ("rejected-subclass.bin", &["the global `posix.system`", "may run code"]),
        ("rejected-script.pt", &["TorchScript", "may run code"]),
    ] {
        rejects(name, read_fixture(name), parts);
    }
    // Only a tensor that is requested must be contiguous.
    let file = Checkpoint::from_pytorch_bytes(read_fixture("rejected-transposed.bin")).expect("tensors");
    let error = file.tensor("w", &[3, 2]).expect_err("a transposed tensor").to_string();
    for part in ["pytorch_model.bin", "`w`", "row-major", "save_pretrained"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn content_of_another_kind_is_named() {
    for (bytes, found) in [
        (&b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"[..], "Git LFS pointer"),
        (b"<!DOCTYPE html><html></html>", "HTML page"),
        (b"\x1f\x8b\x08\0", "gzip"),
        // The file format of PyTorch before 1.6 has no archive: it starts with this number.
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "PyTorch before 1.6"),
        (b"\x80\x04}.", "a Python pickle"),
        (b"\x08\0\0\0\0\0\0\0{\"a\": 1}", "safetensors"),
        (b"", "an empty file"),
        (b"Entry not found", "`Entry not found`"),
        (b"\x01\x02\x03\xff\xfe", "other bytes"),
    ] {
        rejects(found, bytes.to_vec(), &[found]);
    }
}

#[test]
fn archives_of_other_programs_are_rejected() {
    let pickle = pickle(&[b"}"]);
    for (what, entries, parts) in [
        ("no entry", &[][..], &["`data.pkl`"][..]),
        ("no folder", &[("data.pkl", &pickle[..])], &["in one folder", "`data.pkl`"]),
        ("two folders", &[("a/data.pkl", &pickle), ("b/version", b"3")], &["in one folder", "`b/version`"]),
        ("a folder beside", &[("a/data.pkl", &pickle), ("ab/x", b"")], &["in one folder", "`ab/x`"]),
        ("no pickle", &[("a/version", b"3")], &["`data.pkl`"]),
        ("big endian", &[("a/data.pkl", &pickle), ("a/byteorder", b"big")], &["byteorder", "`little`", "`big`"]),
        ("a later version", &[("a/data.pkl", &pickle), ("a/version", b"11\n")], &["version", "`11`"]),
        ("no version", &[("a/data.pkl", &pickle), ("a/version", b"x")], &["version", "`x`"]),
        ("TorchScript", &[("a/data.pkl", &pickle), ("a/code/x.py", b"")], &["TorchScript"]),
        ("constants", &[("a/constants.pkl", &pickle), ("a/data.pkl", &pickle)], &["TorchScript"]),
        ("another entry", &[("a/data.pkl", &pickle), ("a/data/x", b"")], &["`data/x`"]),
        ("another pickle", &[("a/data.pkl", &pickle), ("a/attributes.pkl", b"")], &["`attributes.pkl`"]),
        ("two of a name", &[("a/data.pkl", &pickle), ("a/data.pkl", &pickle)], &["`a/data.pkl`", "two entries"]),
    ] {
        rejects(what, zip(entries), parts);
    }
    for entries in [
        &[("pytorch_model/data.pkl", &pickle[..])][..],
        &[("a b/data.pkl", &pickle), ("a b/.format_version", b"1"), ("a b/.data/serialization_id", b"0")],
        &[("a/version", b"3\n"), ("a/data.pkl", &pickle)],
    ] {
        assert!(Checkpoint::from_pytorch_bytes(zip(entries)).expect("no tensors").tensors().is_empty());
    }
    rejects(
        "a large pickle",
        zip(&[("a/data.pkl", &vec![b'N'; (64 << 20) + 1])]),
        &["data.pkl", "at most 67108864 bytes"],
    );
}

#[test]
fn contradictions_in_an_archive_are_rejected() {
    let (bytes, list) = valid();
    let list = list as isize;
    Checkpoint::from_pytorch_bytes(bytes.clone()).expect("a valid archive");
    for (what, at, replaced, parts) in [
        ("compression", list + 10, &b"\x08\0"[..], &["method 8", "without compression"][..]),
        ("encryption", list + 8, b"\x01\x08", &["encrypted"]),
        ("a masked header", list + 8, b"\0\x28", &["flags 0x2800"]),
        ("another compressed size", list + 20, b"\x01\0\0\0", &["as many bytes stored", "`archive/data.pkl`"]),
        ("another size", list + 24, b"\xff\xff\xff\x7f", &["as many bytes stored"]),
        ("a header outside", list + 42, b"\xf0\xff\xff\x7f", &["an entry before byte"]),
        ("a header in the list", list + 42, &(list as u32).to_le_bytes(), &["an entry before byte"]),
        ("an offset without 64 bits", list + 42, b"\xff\xff\xff\xff", &["64-bit"]),
        ("a long name", list + 28, b"\xff\xff", &["the end of the list"]),
        ("a comment of an entry", list + 32, b"\xff\xff", &["the end of the list"]),
        ("another mark", list, b"PK\x01\x03", &["entry 0", "the header of an entry"]),
        ("another local name", 30, b"x", &["both headers"]),
        ("another local method", 8, b"\x08", &["both headers"]),
        ("another local size", 22, b"\x01", &["both headers"]),
        ("another local mark", 3, b"\x05", &["a zip archive"]),
        ("a comment", -2, b"\x01\0", &["a comment"]),
        ("a second disk", -18, b"\x01\0", &["a part of an archive"]),
        ("fewer entries", -14, b"\x02\0\x02\0", &["2 entries", "bytes more"]),
        ("more entries", -14, b"\x04\0\x04\0", &["the header of an entry"]),
        ("many entries", -14, b"\xff\xff\xff\xff", &["as many as the list has"]),
        ("another list", -6, b"\0\0\0\0", &["a list of entries that ends at byte"]),
        ("a list outside", -6, b"\xff\xff\xff\xff", &["a list of entries that ends at byte"]),
        ("no end record", -22, b"QK", &["truncated"]),
    ] {
        if what == "another local mark" {
            // Without the mark at its start, the file is no archive.
            assert!(Checkpoint::from_pytorch_bytes(patched(at, replaced)).is_err());
        } else {
            rejects(what, patched(at, replaced), parts);
        }
    }
    // The second entry points to the first one, whose name differs, or with its name.
    let second = list + 46 + 16;
    rejects("the header of another entry", patched(second + 42, b"\0\0\0\0"), &["both headers"]);
    let inner = zip(&[("a/data/0", b"")]);
    let inner = &inner[..inner.len() - 22 - 54];
    let outer = zip(&[("a/data.pkl", &[&pickle(&[b"}"])[..], inner].concat()), ("a/data/0", b"")]);
    let mut overlapping = outer.clone();
    let start = overlapping.windows(inner.len()).position(|window| window == inner).expect("the inner header");
    let list = overlapping.len() - 22 - 54;
    overlapping[list + 42..list + 46].copy_from_slice(&(start as u32).to_le_bytes());
    rejects("an entry in another one", overlapping, &["share no bytes", "`a/data/0`", "`a/data.pkl`"]);
}

/// Returns an archive whose numbers have 64 bits, as in files of more than four gigabytes.
fn with_64_bits(edit: impl Fn(&mut [u64; 4])) -> Vec<u8> {
    let (bytes, list) = valid();
    let (body, entries) = bytes[..bytes.len() - 22].split_at(list);
    let mut wide = Vec::new();
    let mut rest = entries;
    let mut count = 0_u64;
    while !rest.is_empty() {
        let name = usize::from(rest[28]);
        let numbers = [24, 20, 42].map(|at| u64::from(u32::from_le_bytes(rest[at..at + 4].try_into().expect("4"))));
        let mut header = rest[..46 + name].to_vec();
        for at in [20, 24, 42] {
            header[at..at + 4].fill(0xff);
        }
        header[30] = 28;
        wide.extend(header);
        // Another extra field comes first, as alignment does.
        wide.extend(*b"FB\0\0\x01\0\x18\0");
        wide.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        rest = &rest[46 + name..];
        count += 1;
    }
    for at in
        wide.windows(4).enumerate().filter(|(_, bytes)| bytes == b"PK\x01\x02").map(|(at, _)| at).collect::<Vec<_>>()
    {
        wide[at + 30] = 32;
    }
    let mut numbers = [count, count, wide.len() as u64, body.len() as u64];
    edit(&mut numbers);
    let end = (body.len() + wide.len()) as u64;
    let numbers: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let record = [&b"PK\x06\x06\x2c\0\0\0\0\0\0\0"[..], &[0; 12], &numbers].concat();
    let locator = [&b"PK\x06\x07\0\0\0\0"[..], &end.to_le_bytes(), b"\x01\0\0\0"].concat();
    let last = [&b"PK\x05\x06\0\0\0\0"[..], &[0xff; 12], b"\0\0"].concat();
    [body.to_vec(), wide, record, locator, last].concat()
}

#[test]
fn numbers_of_64_bits_are_read_and_checked() {
    let bytes = with_64_bits(|_| {});
    let file = Checkpoint::from_pytorch_bytes(bytes.clone()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(file.tensors()["w"], [2, 3]);
    for (what, index, value) in [
        ("a count", 1, 4),
        ("counts that differ", 0, 1),
        ("a size", 2, u64::MAX),
        ("an offset", 3, u64::MAX),
        ("a size and an offset that wrap", 3, u64::MAX - 200),
    ] {
        rejects(what, with_64_bits(|numbers| numbers[index] = value), &["zip archive"]);
    }
    rejects("many entries", with_64_bits(|numbers| (numbers[0], numbers[1]) = (1 << 60, 1 << 60)), &["at most 100000"]);
    // Each 64-bit number of the first entry: its size, its stored size and its offset.
    let list = bytes.windows(4).position(|window| window == b"PK\x01\x02").expect("a list");
    let numbers = list + 46 + 16 + 8;
    for at in [0, 8, 16] {
        for value in [u64::MAX, 1 << 63, u64::from(u32::MAX)] {
            let mut bytes = bytes.clone();
            bytes[numbers + at..numbers + at + 8].copy_from_slice(&value.to_le_bytes());
            rejects("a large number", bytes, &["damaged"]);
        }
    }
    let mut both = bytes.clone();
    both[numbers..numbers + 16].fill(0xff);
    // The header before the bytes has no sizes if they follow the bytes.
    both[18..26].fill(0);
    rejects("two large sizes", both, &["an entry before byte"]);
    let end = bytes.len() - 22;
    let mut other = bytes;
    other[end + 8] = 7;
    other[end + 9] = 0;
    rejects("end records that differ", other, &["two end records that agree"]);
}

#[test]
fn truncated_files_are_rejected() {
    for whole in [valid().0, read_fixture("protocol-2.bin"), read_fixture("state-dict.bin")] {
        for length in 0..whole.len() {
            let message = rejection("a cut file", whole[..length].to_vec());
            assert!(message.contains("truncated") || length < 9, "{length}: {message}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn flipped_bytes_of_a_file_never_panic(
        file in 0_usize..3,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = match file {
            0 => valid().0,
            1 => read_fixture("protocol-4.bin"),
            _ => read_fixture("parameters.bin"),
        };
        for (index, value) in flips {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        let size = bytes.len();
        if let Ok(file) = Checkpoint::from_pytorch_bytes(bytes) {
            for (name, shape) in file.tensors() {
                if let Ok(tensor) = file.tensor(name, shape) {
                    prop_assert!(tensor.shape().iter().product::<usize>() <= size);
                    drop(tensor.to_f32_vec());
                }
            }
        }
    }

    #[test]
    fn arbitrary_pickles_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        drop(Checkpoint::from_pytorch_bytes(archive(&pickle(&[&bytes]))));
    }
}
