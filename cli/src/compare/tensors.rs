//! The tensors of a file, without padding.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

use super::names::{Part, Target, rank, targets};
use crate::outcome::UsageError;

/// What the rows of a tensor are. Texts follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// A row for each token.
    Tokens,
    /// For each text the rows of one head after another.
    Heads,
    /// For each text and head a row for each query, with an element for each key.
    Pairs,
    /// A row for each text.
    Texts,
}

/// A tensor without the padding that it has in its file.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    pub(crate) layout: Layout,
    /// The elements of a row, zero for [`Layout::Pairs`].
    pub(crate) width: usize,
    pub(crate) data: Vec<f64>,
    /// The shape in the file.
    pub(crate) shape: Vec<usize>,
    /// The largest magnitude that a query of a text has at a key of padding.
    pub(crate) at_padding: Option<f64>,
    /// The sums of all rows of each text, those of padding included.
    pub(crate) padded_sums: Option<Vec<f64>>,
    /// The rows of each text in the file, padding included.
    pub(crate) padded_length: usize,
}

/// The tensors of one file by site.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) path: PathBuf,
    pub(crate) tensors: BTreeMap<String, Tensor>,
    /// The sites in the order of the computation, if the file says it.
    pub(crate) order: Vec<String>,
    /// The number of tokens of each text.
    pub(crate) counts: Vec<usize>,
    pub(crate) ids: Option<Vec<i64>>,
    pub(crate) token_types: Option<Vec<i64>>,
    /// All names in the file.
    pub(crate) names: Vec<String>,
}

/// The tensors that describe tokens, under the names of traces and of PyTorch's arguments.
const IDS: [&str; 2] = ["ids", "input_ids"];
const TOKEN_TYPES: [&str; 2] = ["token_types", "token_type_ids"];
const MASK: &str = "attention_mask";
const COUNTS: &str = "token_counts";
const NOT_SITES: [&str; 8] =
    ["ids", "input_ids", "token_types", "token_type_ids", MASK, COUNTS, "positions", "position_ids"];

/// Where the tokens of each text are in a padded batch.
struct Batch {
    /// The rows of each text that are tokens.
    rows: Vec<Vec<usize>>,
    /// The longest text, with the padding of all.
    length: usize,
}

impl Side {
    /// Reads a file. `map` has the sites of names that are not known, and `counts` the tokens of
    /// each text in the other file, for a file that does not say which are padding.
    ///
    /// # Errors
    /// If the file cannot be read, or has a type or a shape that is not known.
    pub(crate) fn read(
        path: &Path,
        map: &HashMap<String, String>,
        counts: Option<&[usize]>,
    ) -> Result<Self, UsageError> {
        let failed = |what: String| UsageError(format!("{}: {what}", path.display()));
        let bytes = std::fs::read(path).map_err(|error| failed(format!("cannot read it: {error}")))?;
        let not_safetensors = |error| {
            failed(format!(
                "expected a safetensors file, such as `likewise trace --output` and examples/dump_torch.py write: \
                 {error}"
            ))
        };
        let file = SafeTensors::deserialize(&bytes).map_err(not_safetensors)?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(not_safetensors)?;
        let metadata: HashMap<String, String> = header.metadata().clone().unwrap_or_default().into_iter().collect();
        let mut names: Vec<String> = file.names().iter().map(|name| (*name).to_owned()).collect();
        // The reader lists them in another order each time.
        names.sort();
        let reader = Reader { file: &file, metadata: &metadata, path, bytes: bytes.len() };
        let batch = reader.batch(counts)?;
        let mut tensors = BTreeMap::new();
        let mut site_of: HashMap<&str, Vec<String>> = HashMap::new();
        let is_trace = metadata.get("format").is_some_and(|format| format == "likewise-trace");
        let own = names.iter().map(|name| Target { name, site: name.clone(), part: Part::Whole });
        for Target { name, site, part } in if is_trace { own.collect() } else { targets(&names, map) } {
            if NOT_SITES.contains(&name) || tensors.contains_key(&site) {
                continue;
            }
            if let Some(tensor) = reader.tensor(name, &site, part, &batch)? {
                tensors.insert(site.clone(), tensor);
                site_of.entry(name).or_default().push(site);
            }
        }
        let listed = metadata.get("sites").map(String::as_str).unwrap_or_default();
        let named = listed.split_whitespace().flat_map(|name| site_of.get(name).cloned().unwrap_or_default());
        let mut order: Vec<String> = named.collect();
        // A file lists results as they are complete: scores before the last rotated query.
        order.sort_by_key(|site| rank(site));
        Ok(Self {
            path: path.to_owned(),
            tensors,
            order,
            counts: batch.rows.iter().map(Vec::len).collect(),
            ids: reader.integers(&IDS, &batch)?,
            token_types: reader.integers(&TOKEN_TYPES, &batch)?,
            names,
        })
    }
}

/// The elements of a tensor, and its shape.
type Elements = (Vec<f64>, Vec<usize>);

/// A file while it is read.
struct Reader<'a> {
    file: &'a SafeTensors<'a>,
    metadata: &'a HashMap<String, String>,
    path: &'a Path,
    /// The size of the file.
    bytes: usize,
}

impl Reader<'_> {
    /// Returns the elements of a tensor and its shape.
    fn elements(&self, name: &str) -> Result<Option<Elements>, UsageError> {
        let Ok(view) = self.file.tensor(name) else { return Ok(None) };
        let bytes = view.data();
        let elements = match view.dtype() {
            Dtype::F64 => bytes.as_chunks().0.iter().map(|&x| f64::from_le_bytes(x)).collect(),
            Dtype::F32 => bytes.as_chunks().0.iter().map(|&x| f64::from(f32::from_le_bytes(x))).collect(),
            Dtype::F16 => bytes.as_chunks().0.iter().map(|&x| f16::from_le_bytes(x).to_f64()).collect(),
            Dtype::BF16 => bytes.as_chunks().0.iter().map(|&x| bf16::from_le_bytes(x).to_f64()).collect(),
            Dtype::I64 => bytes.as_chunks().0.iter().map(|&x| i64::from_le_bytes(x) as f64).collect(),
            Dtype::I32 => bytes.as_chunks().0.iter().map(|&x| f64::from(i32::from_le_bytes(x))).collect(),
            Dtype::U8 | Dtype::BOOL => bytes.iter().map(|&x| f64::from(x)).collect(),
            other => {
                let path = self.path.display();
                return Err(UsageError(format!(
                    "{path}: {name}: expected F64, F32, F16, BF16, I64, I32, U8 or BOOL, found {other:?}; write it in \
                     one of these types"
                )));
            }
        };
        Ok(Some((elements, view.shape().to_vec())))
    }

    /// Finds where the tokens of each text are.
    fn batch(&self, counts: Option<&[usize]>) -> Result<Batch, UsageError> {
        if let Some((mask, shape)) = self.elements(MASK)? {
            return self.masked(&mask, &shape);
        }
        if let Some((counts, _)) = self.elements(COUNTS)? {
            return self.counted(counts.iter().map(|&count| count.max(0.0) as usize).collect());
        }
        let longest = counts.and_then(|counts| counts.iter().copied().max());
        for name in IDS {
            if let Some((_, shape)) = self.elements(name)? {
                let (texts, length) = two_dimensions(&shape);
                return match counts {
                    Some(counts) if counts.len() == texts && longest == Some(length) => self.counted(counts.to_vec()),
                    _ => self.counted(vec![length; texts]),
                };
            }
        }
        if let Some(counts) = counts {
            return self.counted(counts.to_vec());
        }
        Err(UsageError(format!(
            "{}: expected tensors that describe the tokens, found no attention_mask, token_counts, ids or input_ids; \
             add attention_mask [texts, tokens]",
            self.path.display()
        )))
    }

    /// Returns a batch of texts without padding before them.
    fn counted(&self, counts: Vec<usize>) -> Result<Batch, UsageError> {
        let most = self.bytes;
        if counts.iter().try_fold(0_usize, |all, &count| all.checked_add(count)).is_none_or(|all| all > most) {
            return Err(UsageError(format!(
                "{}: {COUNTS}: expected the number of tokens of each text, found more tokens than the file has bytes",
                self.path.display()
            )));
        }
        let length = counts.iter().copied().max().unwrap_or(0);
        Ok(Batch { rows: counts.into_iter().map(|count| (0..count).collect()).collect(), length })
    }

    fn masked(&self, mask: &[f64], shape: &[usize]) -> Result<Batch, UsageError> {
        let (_, length) = two_dimensions(shape);
        if shape.len() > 2 || length == 0 {
            return Err(UsageError(format!(
                "{}: {MASK}: expected the shape [texts, tokens], found {shape:?}",
                self.path.display()
            )));
        }
        let tokens = |row: &[f64]| (0..length).filter(|&i| row[i] != 0.0).collect();
        Ok(Batch { rows: mask.chunks_exact(length).map(tokens).collect(), length })
    }

    /// Returns integers of tokens without padding. A file may have one row for all texts.
    fn integers(&self, names: &[&str], batch: &Batch) -> Result<Option<Vec<i64>>, UsageError> {
        for name in names {
            let Some((elements, shape)) = self.elements(name)? else { continue };
            let tokens: usize = batch.rows.iter().map(Vec::len).sum();
            if shape.len() == 1 && elements.len() == tokens {
                return Ok(Some(elements.iter().map(|&x| x as i64).collect()));
            }
            let (texts, length) = two_dimensions(&shape);
            if length != batch.length || (texts != batch.rows.len() && texts != 1) {
                return Err(UsageError(format!(
                    "{}: {name}: expected the shape [{}, {}] as the other tensors of the tokens, found {shape:?}",
                    self.path.display(),
                    batch.rows.len(),
                    batch.length
                )));
            }
            let start = |text: usize| if texts == 1 { 0 } else { text * length };
            let all = batch.rows.iter().enumerate().flat_map(|(text, rows)| rows.iter().map(move |row| (text, row)));
            return Ok(Some(all.map(|(text, row)| elements[start(text) + row] as i64).collect()));
        }
        Ok(None)
    }

    /// Returns the tensor of a site without padding, or none if its shape is that of no site.
    fn tensor(&self, name: &str, site: &str, part: Part, batch: &Batch) -> Result<Option<Tensor>, UsageError> {
        let Some((elements, shape)) = self.elements(name)? else { return Ok(None) };
        let letters = self.metadata.get(name).map(String::as_str).unwrap_or_default();
        let tokens: usize = batch.rows.iter().map(Vec::len).sum();
        let texts = batch.rows.len();
        let is_pairs = site.ends_with("scores") && shape.len() != 2 || site.ends_with("probabilities");
        let packed = |layout, width| Tensor::packed(layout, width, elements.clone(), &shape);
        let found = match (shape.as_slice(), letters) {
            (&[rows, width], "[H·L of each text, d]") if rows % tokens.max(1) == 0 => packed(Layout::Heads, width),
            (&[_], "[H·L·L of each text]") => packed(Layout::Pairs, 0),
            (&[rows, _], _) if letters.starts_with("[T,") && rows != tokens => return Ok(None),
            (&[_, width], _) if letters.starts_with("[T,") => packed(Layout::Tokens, width),
            (&[b, heads, length, keys], _)
                if is_pairs && length == batch.length && keys == length && (b == texts || b == 1) =>
            {
                cut_pairs(&elements, [b, heads, length], batch, &shape)
            }
            (&[b, heads, length, width], _) if length == batch.length && (b == texts || b == 1) => {
                cut_rows(&elements, [b, heads, length, width], batch, &shape)
            }
            (&[b, length, width], _) if length == batch.length && (b == texts || b == 1) => {
                cut_rows(&elements, [b, 1, length, width], batch, &shape)
            }
            (&[rows, width], _) if rows == texts => packed(Layout::Texts, width),
            (&[rows, width], _) if rows == tokens => packed(Layout::Tokens, width),
            (&[length, width], _) if length == batch.length => {
                cut_rows(&elements, [1, 1, length, width], batch, &shape)
            }
            _ => return Ok(None),
        };
        Ok(Some(found.part(part)))
    }
}

impl Tensor {
    fn packed(layout: Layout, width: usize, data: Vec<f64>, shape: &[usize]) -> Self {
        let shape = shape.to_vec();
        Self { layout, width, data, shape, at_padding: None, padded_sums: None, padded_length: 0 }
    }

    /// Returns the rows.
    pub(crate) fn rows(&self) -> std::slice::ChunksExact<'_, f64> {
        self.data.chunks_exact(self.width.max(1))
    }

    /// Returns some of the columns.
    fn part(self, part: Part) -> Self {
        let Part::Columns(index, of) = part else { return self };
        if !self.width.is_multiple_of(of) || self.layout != Layout::Tokens {
            return self;
        }
        let width = self.width / of;
        let data = self.rows().flat_map(|row| row[index * width..][..width].to_vec()).collect();
        Self { width, data, padded_sums: None, ..self }
    }
}

/// Returns the first dimension and the product of the others, of a shape of two dimensions or less.
fn two_dimensions(shape: &[usize]) -> (usize, usize) {
    match *shape {
        [texts, length] => (texts, length),
        [length] => (1, length),
        _ => (0, 0),
    }
}

/// Cuts the padding of rows `[texts or 1, heads, length, width]`.
fn cut_rows(elements: &[f64], [texts, heads, length, width]: [usize; 4], batch: &Batch, shape: &[usize]) -> Tensor {
    let mut data = Vec::new();
    let mut sums = Vec::new();
    for (text, rows) in batch.rows.iter().enumerate() {
        let text = if texts == 1 { 0 } else { text };
        for head in 0..heads {
            let all = &elements[(text * heads + head) * length * width..][..length * width];
            for &row in rows {
                data.extend_from_slice(&all[row * width..][..width]);
            }
            if heads == 1 {
                sums.extend((0..width).map(|column| all.iter().skip(column).step_by(width).sum::<f64>()));
            }
        }
    }
    let layout = if shape.len() == 4 { Layout::Heads } else { Layout::Tokens };
    let padded_sums = (layout == Layout::Tokens).then_some(sums);
    Tensor { padded_sums, padded_length: length, ..Tensor::packed(layout, width, data, shape) }
}

/// Cuts the padding of pairs `[texts or 1, heads, length, length]`.
fn cut_pairs(elements: &[f64], [texts, heads, length]: [usize; 3], batch: &Batch, shape: &[usize]) -> Tensor {
    let mut data = Vec::new();
    let mut at_padding: f64 = 0.0;
    for (text, rows) in batch.rows.iter().enumerate() {
        let text = if texts == 1 { 0 } else { text };
        for head in 0..heads {
            for &query in rows {
                let all = &elements[((text * heads + head) * length + query) * length..][..length];
                data.extend(rows.iter().map(|&key| all[key]));
                let padding = all.iter().enumerate().filter(|(key, _)| !rows.contains(key));
                at_padding = padding.fold(at_padding, |most, (_, &x)| most.max(x.abs()));
            }
        }
    }
    Tensor { at_padding: Some(at_padding), padded_length: length, ..Tensor::packed(Layout::Pairs, 0, data, shape) }
}
