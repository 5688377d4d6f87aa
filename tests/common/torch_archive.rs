//! Writes files as `torch.save` does: a zip archive without compression around a pickle.

/// The pickle of an empty OrderedDict.
const HOOKS: &[u8] = b"ccollections\nOrderedDict\n)R";

/// A tensor to write.
pub struct Tensor<'t> {
    pub name: &'t str,
    /// The class of its storage, such as "FloatStorage".
    pub class: &'t str,
    pub element_bytes: usize,
    pub shape: Vec<usize>,
    pub data: &'t [u8],
}

/// Writes a file of tensors.
pub fn save(tensors: &[Tensor<'_>]) -> Vec<u8> {
    let mut pickle = b"\x80\x02}(".to_vec();
    for (key, tensor) in tensors.iter().enumerate() {
        pickle.extend(text(tensor.name));
        let elements = tensor.data.len() / tensor.element_bytes;
        pickle.extend(view(tensor.class, &key.to_string(), elements, &tensor.shape));
    }
    pickle.extend(b"u.");
    let names: Vec<String> = (0..tensors.len()).map(|key| format!("archive/data/{key}")).collect();
    let mut entries: Vec<(&str, &[u8])> = vec![("archive/data.pkl", &pickle), ("archive/version", b"3\n")];
    entries.extend(names.iter().map(String::as_str).zip(tensors.iter().map(|tensor| tensor.data)));
    zip(&entries)
}

/// Writes the pickle of a text.
pub fn text(text: &str) -> Vec<u8> {
    [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

/// Writes the pickle of an integer.
pub fn int(value: i32) -> Vec<u8> {
    [&b"J"[..], &value.to_le_bytes()].concat()
}

/// Writes the pickle of a storage.
pub fn storage(class: &str, key: &str, elements: usize) -> Vec<u8> {
    let class = format!("ctorch\n{class}\n").into_bytes();
    [b"(".to_vec(), text("storage"), class, text(key), text("cpu"), int(elements as i32), b"tQ".to_vec()].concat()
}

/// Writes the pickle of a tensor that is a whole storage.
pub fn view(class: &str, key: &str, elements: usize, shape: &[usize]) -> Vec<u8> {
    let strides = |axis: usize| shape[axis + 1..].iter().product::<usize>();
    let tuple = |sizes: Vec<usize>| {
        let items: Vec<u8> = sizes.into_iter().flat_map(|size| int(size as i32)).collect();
        [b"(".to_vec(), items, b"t".to_vec()].concat()
    };
    let start = [&b"ctorch._utils\n_rebuild_tensor_v2\n("[..], &storage(class, key, elements), b"K\0"].concat();
    let sizes = [tuple(shape.to_vec()), tuple((0..shape.len()).map(strides).collect())].concat();
    [start, sizes, b"\x89".to_vec(), HOOKS.to_vec(), b"tR".to_vec()].concat()
}

/// Writes a zip archive without compression.
pub fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut list = Vec::new();
    for (name, bytes) in entries {
        let size = (bytes.len() as u32).to_le_bytes();
        let start = (file.len() as u32).to_le_bytes();
        // The version, the flags and the method, then the time, the date and the checksum.
        let fields =
            [&b"\0\0\0\x08\0\0"[..], &[0; 8], &size, &size, &(name.len() as u16).to_le_bytes(), &[0; 2]].concat();
        file.extend([&b"PK\x03\x04"[..], &fields, name.as_bytes(), bytes].concat());
        list.extend([&b"PK\x01\x02\0\0"[..], &fields, &[0; 10], &start, name.as_bytes()].concat());
    }
    let count = (entries.len() as u16).to_le_bytes();
    let (size, start) = ((list.len() as u32).to_le_bytes(), (file.len() as u32).to_le_bytes());
    let end = [&b"PK\x05\x06\0\0\0\0"[..], &count, &count, &size, &start, &[0; 2]].concat();
    [file, list, end].concat()
}
