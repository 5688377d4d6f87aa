//! Pickles that are written by hand: each instruction that is read, and each that is not.

use super::*;

/// Why a file with other contents than tensors is not read.
const MAY_RUN_CODE: &[&str] = &["data.pkl, byte ", "may run code", "model.safetensors", "save_pretrained"];

/// Rejects a pickle because it may run code.
fn refuses(what: &str, parts: &[&[u8]], expected: &[&str]) {
    rejects(what, archive(&pickle(parts)), &[MAY_RUN_CODE, expected].concat());
}

/// Returns the shapes of the tensors in a pickle.
fn shapes(pickle: &[u8]) -> Vec<(String, Vec<usize>)> {
    let file = Checkpoint::from_pytorch_bytes(archive(pickle)).unwrap_or_else(|error| panic!("{error}"));
    for (name, shape) in file.tensors() {
        let elements: Vec<f32> = (0_u8..6).map(f32::from).collect();
        let tensor = file.tensor(name, shape).expect("a tensor").to_f32_vec().expect("elements");
        assert!(elements.ends_with(&tensor) || elements.starts_with(&tensor), "{tensor:?}");
    }
    file.tensors().into_iter().map(|(name, shape)| (name.to_owned(), shape.to_vec())).collect()
}

#[test]
fn every_way_to_write_a_tensor_is_read() {
    let storage = storage("FloatStorage", "0", 6);
    let untyped = [&b"(X\x07\0\0\0storagectorch.storage\nUntypedStorage\n"[..], &text("0"), &text("cpu"), b"K\x18tQ"];
    let hooks = b"ccollections\nOrderedDict\n)R";
    let v2 = b"ctorch._utils\n_rebuild_tensor_v2\n(";
    let sizes = b"K\0K\x02K\x03\x86K\x03K\x01\x86";
    let tensor = [&v2[..], &storage, sizes, b"\x89", hooks, b"tR"].concat();
    let long = b"\x8a\0\x8a\x01\x02\x8a\x02\x03\0\x86M\x03\0J\x01\0\0\0\x86";
    let ways: [(&str, Vec<u8>); 9] = [
        ("_rebuild_tensor_v2", tensor.clone()),
        ("integers of other lengths", [&v2[..], &storage, long, b"\x88", hooks, b"tR"].concat()),
        ("tuples after a mark", [&v2[..], &storage, b"K\0(K\x02K\x03t(K\x03K\x01t\x89", hooks, b"tR"].concat()),
        ("no bits", [&v2[..], &storage, sizes, b"\x89", hooks, b"}tR"].concat()),
        ("_rebuild_tensor", [&b"ctorch._utils\n_rebuild_tensor\n("[..], &storage, sizes, b"tR"].concat()),
        (
            "_rebuild_parameter",
            [&b"ctorch._utils\n_rebuild_parameter\n"[..], &tensor, b"\x88", hooks, b"\x87R"].concat(),
        ),
        (
            "_rebuild_parameter_with_state",
            [&b"ctorch._utils\n_rebuild_parameter_with_state\n("[..], &tensor, b"\x88", hooks, b"}tR"].concat(),
        ),
        (
            "STACK_GLOBAL",
            [&b"\x8c\x0ctorch._utils\x8c\x12_rebuild_tensor_v2\x93"[..], &tensor[v2.len() - 1..]].concat(),
        ),
        ("a list before it", [&b"](NK\x01e\x4e\x61"[..], b"q\x05r\xff\xff\xff\xffj\xff\xff\xff\xff"].concat()),
    ];
    for (what, way) in &ways[..8] {
        let found = shapes(&pickle(&[b"}", &text("w"), way, b"s"]));
        assert_eq!(found, [("w".to_owned(), vec![2, 3])], "{what}");
    }
    // Values that are not tensors are read also, so that the message can name them.
    rejects("a list", archive(&pickle(&[b"}", &text("a list"), &ways[8].1, b"\x86\x85s"])), &["`a list`", "a tuple"]);
    // One-byte types of an untyped storage are read, although no weight may have them.
    let v3 = [&b"ctorch._utils\n_rebuild_tensor_v3\n("[..], &untyped.concat(), b"K\0K\x18\x85K\x01\x85\x89", hooks];
    let bytes = archive(&pickle(&[b"}", &text("w"), &v3.concat(), b"ctorch\nfloat8_e4m3fn\ntRs"]));
    let file = Checkpoint::from_pytorch_bytes(bytes).expect("tensors");
    let error = file.tensor("w", &[24]).expect_err("one byte for each element").to_string();
    assert!(error.contains("`w`") && error.contains("F8_E4M3"), "{error}");
}

#[test]
fn dicts_and_references_of_every_protocol_are_read() {
    let w = [("w".to_owned(), vec![2, 3])];
    for protocol in 2..=5 {
        let bytes = [&[0x80, protocol][..], b"}X\x01\0\0\0w", &matrix(), b"s."].concat();
        assert_eq!(shapes(&bytes), w, "protocol {protocol}");
    }
    let frame = [&b"\x80\x04\x95\xff\0\0\0\0\0\0\0}\x8c\x01w"[..], &matrix(), b"s."].concat();
    assert_eq!(shapes(&frame), w);
    let metadata = b"}X\x09\0\0\0_metadataccollections\nOrderedDict\n)R(X\0\0\0\0}X\x07\0\0\0versionK\x01susb";
    assert_eq!(shapes(&pickle(&[b"ccollections\nOrderedDict\n)R(", &text("w"), &matrix(), b"u", metadata])), w);
    // One tensor under two names, by each of the instructions that refer to an earlier value.
    for (put, get) in [
        (&b"q\x07"[..], &b"h\x07"[..]),
        (b"r\x07\0\0\0", b"h\x07"),
        (b"\x94", b"h\0"),
        (b"r\xff\xff\xff\xff", b"j\xff\xff\xff\xff"),
    ] {
        let tied = pickle(&[b"}(", &text("a"), &matrix(), put, &text("b"), get, b"u"]);
        assert_eq!(shapes(&tied), [("a".to_owned(), vec![2, 3]), ("b".to_owned(), vec![2, 3])], "{put:?}");
    }
    assert_eq!(shapes(&pickle(&[b"}"])), []);
}

#[test]
fn other_opcodes_are_refused_by_name() {
    for (opcode, name) in [
        (&b"0"[..], "POP"),
        (b"1", "POP_MARK"),
        (b"2", "DUP"),
        (b"F1\n", "FLOAT"),
        (b"I1\n", "INT"),
        (b"L1L\n", "LONG"),
        (b"P../../etc/passwd\n", "PERSID"),
        (b"S'a'\n", "STRING"),
        (b"T\0\0\0\0", "BINSTRING"),
        (b"U\0", "SHORT_BINSTRING"),
        (b"Va\n", "UNICODE"),
        (b"(d", "DICT"),
        (b"g0\n", "GET"),
        (b"(ios\nsystem\n", "INST"),
        (b"(l", "LIST"),
        (b"(cos\nsystem\no", "`os.system`"),
        (b"(o", "OBJ"),
        (b"p0\n", "PUT"),
        (b"B\0\0\0\0", "BINBYTES"),
        (b"C\0", "SHORT_BINBYTES"),
        (b")\x81", "NEWOBJ"),
        (b"\x82\x01", "EXT1"),
        (b"\x83\x01\0", "EXT2"),
        (b"\x84\x01\0\0\0", "EXT4"),
        (b"\x8b\x01\0\0\0\0", "LONG4"),
        (b"\x8d\0\0\0\0\0\0\0\0", "BINUNICODE8"),
        (b"\x8e\0\0\0\0\0\0\0\0", "BINBYTES8"),
        (b"\x8f", "EMPTY_SET"),
        (b"\x90", "ADDITEMS"),
        (b"\x91", "FROZENSET"),
        (b"))}\x92", "NEWOBJ_EX"),
        (b"\x96\0\0\0\0\0\0\0\0", "BYTEARRAY8"),
        (b"\x97", "NEXT_BUFFER"),
        (b"\x98", "READONLY_BUFFER"),
    ] {
        refuses(name, &[b"}", opcode], &[name]);
    }
    rejects("no opcode", archive(&pickle(&[b"\xff"])), &["data.pkl, byte 2", "0xff", "damaged"]);
}

#[test]
fn other_globals_are_refused_by_name() {
    for (global, name) in [
        (&b"cos\nsystem\n(X\x06\0\0\0exit 1tR"[..], "`os.system`"),
        (b"\x8c\x02os\x8c\x06system\x93", "`os.system`"),
        (b"cposix\nsystem\n", "`posix.system`"),
        (b"c__builtin__\neval\n", "`__builtin__.eval`"),
        (b"cbuiltins\ngetattr\n", "`builtins.getattr`"),
        (b"ctorch\nload\n", "`torch.load`"),
        (b"ctorch._utils\n_rebuild_sparse_tensor\n", "`torch._utils._rebuild_sparse_tensor`"),
        (b"ctorch.storage\n_load_from_bytes\n", "`torch.storage._load_from_bytes`"),
        (b"cnumpy.core.multiarray\n_reconstruct\n", "`numpy.core.multiarray._reconstruct`"),
        (b"ccollections\nOrderedDict.__reduce__\n", "`collections.OrderedDict.__reduce__`"),
        (b"ctorch._utils\n_rebuild_tensor_v2.__globals__\n", "__globals__"),
        // A name that would change the terminal.
        (b"cos\n\x1b[2Jsystem\n", "`os.\\u{1b}[2Jsystem`"),
    ] {
        refuses(name, &[b"}X\x01\0\0\0w", global, b"s"], &["global", name]);
    }
    let long = [&b"c"[..], &[b'x'; 5000], b"\ny\n"].concat();
    assert!(rejection("a long name", archive(&pickle(&[&long]))).len() < 800);
}

#[test]
fn calls_with_other_arguments_are_refused() {
    let hooks = b"ccollections\nOrderedDict\n)R";
    let v2 = b"ctorch._utils\n_rebuild_tensor_v2\n";
    let storage = storage("FloatStorage", "0", 6);
    for (what, call) in [
        ("a call of a text", [&b"X\x02\0\0\0os)R"[..]].concat()),
        ("a call of a dict", b"})R".to_vec()),
        ("a call of a storage class", b"ctorch\nFloatStorage\n)R".to_vec()),
        ("a call without a tuple", b"ccollections\nOrderedDict\n}R".to_vec()),
        ("a dict of items", b"ccollections\nOrderedDict\n]\x85R".to_vec()),
        ("a tensor without arguments", [&v2[..], b")R"].concat()),
        ("a tensor of a text", [&v2[..], b"(X\x01\0\0\0/K\0))\x89", hooks, b"tR"].concat()),
        ("sizes of text", [&v2[..], b"(", &storage, b"K\0X\0\0\0\0\x85)\x89", hooks, b"tR"].concat()),
        ("bits of a conjugate", [&v2[..], b"(", &storage, b"K\0))\x89", hooks, b"}X\x04\0\0\0conj\x88stR"].concat()),
        (
            "a parameter of a storage",
            [&b"ctorch._utils\n_rebuild_parameter\n"[..], &storage, b"\x88", hooks, b"\x87R"].concat(),
        ),
        (
            "a type beside a typed storage",
            [&v2[..], b"(", &storage, b"K\0))\x89", hooks, b"ctorch\nuint16\ntR"].concat(),
        ),
    ] {
        refuses(what, &[&call], &[]);
    }
    for (what, build) in [
        ("a state of a dict", &b"}}X\x09\0\0\0_metadata}sb"[..]),
        ("a state without `_metadata`", b"ccollections\nOrderedDict\n)R}X\x08\0\0\0__init__}sb"),
        ("a state of two attributes", b"ccollections\nOrderedDict\n)R}(X\x09\0\0\0_metadata}X\x01\0\0\0a}ub"),
        ("a state that is no dict", b"ccollections\nOrderedDict\n)RNb"),
    ] {
        refuses(what, &[build], &[]);
    }
    refuses("items of a tuple", &[b")NNs"], &["a dict"]);
    refuses("an item of a dict", &[b"}Na"], &["a list"]);
}

#[test]
fn ids_of_other_things_than_storages_are_rejected() {
    for (what, id) in [
        ("a path", &b"X\x0b\0\0\0/etc/passwd"[..]),
        ("a short tuple", b"(X\x07\0\0\0storagetQ"),
        ("a module", b"(X\x06\0\0\0modulectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x06t"),
        ("a function", b"(X\x07\0\0\0storageccollections\nOrderedDict\nX\x01\0\0\x000X\x03\0\0\0cpuK\x06t"),
    ] {
        refuses(what, &[id, b"Q"], &["the id of a storage"]);
    }
    for key in ["1", "", "00", "../data.pkl", "0/../0", "-1", "0\0"] {
        rejects(key, archive(&pickle(&[&storage("FloatStorage", key, 6)])), &["a storage in the archive", "no entry"]);
    }
    for (class, elements) in [("FloatStorage", 5), ("FloatStorage", 7), ("HalfStorage", 6), ("BoolStorage", usize::MAX)]
    {
        rejects(class, archive(&pickle(&[&storage(class, "0", elements)])), &["data/0", "damaged"]);
    }
    let two = pickle(&[&storage("FloatStorage", "0", 6), &storage("IntStorage", "0", 6)]);
    rejects("two classes", archive(&two), &["one type of elements", "I32 after F32"]);
}

#[test]
fn views_outside_of_a_storage_are_rejected() {
    let tensor = |numbers: &str| {
        let numbers: Vec<&str> = numbers.split('|').collect();
        let tuple = |list: &str| {
            let items = list.split_whitespace().flat_map(|x| int(x.parse().expect("a number")));
            [b"(".to_vec(), items.collect(), b"t".to_vec()].concat()
        };
        let view = [int(numbers[0].parse().expect("an offset")), tuple(numbers[1]), tuple(numbers[2])].concat();
        let start = [&b"ctorch._utils\n_rebuild_tensor\n("[..], &storage("FloatStorage", "0", 6)].concat();
        archive(&pickle(&[b"}", &text("w"), &start, &view, b"tRs"]))
    };
    for accepted in ["0|2 3|3 1", "5|1|1", "5||", "6|0|1", "0|0 2147483647|9 9", "2|1 2|77 1", "0|3 2|1 3", "0|6|0"] {
        Checkpoint::from_pytorch_bytes(tensor(accepted)).unwrap_or_else(|error| panic!("{accepted}: {error}"));
    }
    for outside in [
        "1|2 3|3 1",
        "0|7|1",
        "6||",
        "7|0|1",
        "-1|1|1",
        "0|-1|1",
        "0|2|-1",
        "0|2 2|5 1",
        "2147483647|1|1",
        "0|2147483647 2147483647 2147483647|2147483647 2147483647 2147483647",
    ] {
        rejects(outside, tensor(outside), &["inside of its storage", "24 bytes"]);
    }
    rejects("sizes without strides", tensor("0|2 3|3"), &["2 sizes and 1 strides"]);
    rejects("nine axes", tensor("0|1 1 1 1 1 1 1 1 1|1 1 1 1 1 1 1 1 1"), &["at most 8 axes"]);
}

#[test]
fn damaged_pickles_are_rejected() {
    let whole = pickle(&[b"}", &text("w"), &matrix(), b"s"]);
    for length in 0..whole.len() {
        let message = rejection("a cut pickle", archive(&whole[..length]));
        assert!(message.contains("data.pkl, byte ") && message.contains("damaged"), "{length}: {message}");
    }
    rejects("bytes after the end", archive(&[&whole[..], b"cos\nsystem\n)R."].concat()), &["after STOP"]);
    rejects("protocol 1", archive(b"\x80\x01}."), &["protocol 2 to 5"]);
    rejects("protocol 6", archive(b"\x80\x06}."), &["protocol 2 to 5"]);
    rejects("no protocol", archive(b"}."), &["protocol 2 to 5"]);
    rejects("a protocol in the middle", archive(&pickle(&[b"}\x80\x04"])), &["byte 3", "protocol"]);
    for (what, bytes) in [
        ("an empty stack", &b"s"[..]),
        ("no mark", b"}u"),
        ("a key without a value", b"}(Nu"),
        ("a value before the mark", b"}(\x85"),
        ("an unknown reference", b"h\0"),
        ("a name in another encoding", b"X\x02\0\0\0\xff\xfe"),
    ] {
        rejects(what, archive(&pickle(&[bytes])), &["data.pkl, byte ", "damaged"]);
    }
}

#[test]
fn results_other_than_a_dict_of_tensors_are_named() {
    for (what, parts, expected) in [
        ("a tensor", &[&matrix()[..]][..], "a tensor"),
        ("nothing", &[], "nothing"),
        ("two dicts", &[b"}}"], "a dict"),
        ("an open mark", &[b"(}"], "a dict"),
        ("a number for a name", &[b"}K\x01", &matrix(), b"s"], "the integer 1"),
    ] {
        rejects(what, archive(&pickle(parts)), &["data.pkl", expected, "an inner dict"]);
    }
    for (value, kind) in [
        (&b"}"[..], "a dict"),
        (b"K\x03", "the integer 3"),
        (b"G\0\0\0\0\0\0\0\0", "a float"),
        (b"N", "None"),
        (b"\x88", "a bool"),
        (b"]", "a list"),
        (b"X\x01\0\0\0x", "the text `x`"),
        (b"\x8a\x09\0\0\0\0\0\0\0\0\x01", "an integer"),
        (b"ctorch\nFloatStorage\n", "`torch.FloatStorage`"),
    ] {
        let bytes = archive(&pickle(&[b"}", &text("epoch"), value, b"s"]));
        rejects(kind, bytes, &["`epoch`", "expected a tensor", kind, "an inner dict"]);
    }
    let twice = pickle(&[b"}(", &text("w"), &matrix(), &text("w"), &matrix(), b"u"]);
    rejects("two tensors of a name", archive(&twice), &["`w`", "two of that name"]);
}

/// None of these may take gigabytes, minutes, or the stack.
#[test]
fn bombs_are_refused() {
    refuses("marks within marks", &[&b"(".repeat(1 << 20)], &["at most 64 marks"]);
    refuses("many instructions", &[&b"N".repeat(3 << 20)], &["at most 2000000 instructions"]);
    refuses("many dicts", &[&b"}".repeat(3 << 20)], &["at most 2000000 instructions"]);
    let nested = [&b"N"[..], &b"\x85".repeat(1 << 20)].concat();
    rejects("tuples within tuples", archive(&pickle(&[&nested])), &["one dict of tensors"]);
    // Each tuple has ten references to the one before it: 10^30 values if they were copied.
    let mut laughs = b"]q\0".to_vec();
    for level in 0..30_u8 {
        laughs.extend([&b"("[..], &[b'h', level].repeat(10), b"tq", &[level + 1]].concat());
    }
    rejects("a billion laughs", archive(&pickle(&[&laughs])), &["one dict of tensors"]);
    let cycle = b"}q\0X\x01\0\0\0ah\0s";
    rejects("a dict in itself", archive(&pickle(&[cycle])), &["`a`", "a dict"]);
    // A tuple of a hundred thousand sizes, used a hundred thousand times.
    let sizes = [&b"(("[..], &b"K\x01".repeat(100_000), b"tq\0"].concat();
    let call = [&b"ctorch._utils\n_rebuild_tensor\n("[..], &storage("FloatStorage", "0", 6), b"K\0h\0h\0tR"].concat();
    rejects("long sizes", archive(&pickle(&[&sizes, &call.repeat(2)])), &["at most 8 axes"]);
    // A text whose length is that of four gigabytes.
    rejects("a long text", archive(&pickle(&[b"X\xff\xff\xff\xff"])), &["its end", "damaged"]);
}
