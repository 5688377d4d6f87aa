//! Executes the pickle of a state dict.
//!
//! A pickle is a program for a stack machine. Python's machine imports any function and calls it.
//! This one knows the few functions that rebuild tensors, and calls nothing else. No value contains
//! another one: tuples and dicts are indices, so that no nesting is too deep to be dropped.

use std::collections::{BTreeMap, HashMap};

use super::globals::Global;
use super::opcode::{Instruction, Instructions};
use super::problem::{DAMAGED, MAY_RUN_CODE, Problem, Result, quoted};
use super::tensor::{MAX_AXES, StorageClass, Storages, View};
use super::zip::Archive;
use crate::checkpoint::stored_tensor::StoredTensor;

/// Limits the memory of the machine. A tensor takes about 45 instructions.
const MAX_INSTRUCTIONS: usize = 2_000_000;

/// Marks within marks. A state dict has three.
const MAX_MARKS: usize = 64;

const INNER_DICT: &str = "a checkpoint of training keeps the tensors in an inner dict: save that dict alone with \
     torch.save, or the model with `save_pretrained`";

/// A value of the machine.
#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    None,
    Bool,
    Int(i64),
    LongInt,
    Float,
    Text(&'a str),
    Tuple(usize),
    /// The values of lists are dropped: no tensor is in one.
    List,
    Dict(usize),
    Global(Global),
    Storage(usize),
    Tensor(usize),
}

#[derive(Default)]
struct Dict<'a> {
    /// Whether it is an OrderedDict, which may have an attribute.
    is_ordered: bool,
    items: Vec<(Value<'a>, Value<'a>)>,
}

/// The state of the machine.
struct Machine<'a> {
    stack: Vec<Value<'a>>,
    /// The lengths of the stack when the open marks were set.
    marks: Vec<usize>,
    memo: HashMap<u32, Value<'a>>,
    tuples: Vec<Vec<Value<'a>>>,
    dicts: Vec<Dict<'a>>,
    tensors: Vec<StoredTensor>,
    storages: Storages<'a>,
}

/// Reads the tensors of a state dict, by their names.
///
/// # Errors
/// If the pickle does anything else than to build a dict of tensors.
pub(super) fn read_state_dict<'a>(
    pickle: &'a [u8],
    archive: &'a Archive<'a>,
) -> Result<BTreeMap<&'a str, StoredTensor>> {
    let mut instructions = Instructions::new(pickle);
    let mut machine = Machine {
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        tuples: Vec::new(),
        dicts: Vec::new(),
        tensors: Vec::new(),
        storages: Storages::new(archive),
    };
    for count in 0.. {
        let offset = instructions.offset();
        let place = |problem: Problem| problem.at(|| format!("data.pkl, byte {offset}"));
        let instruction = instructions.next().map_err(place)?;
        if count > MAX_INSTRUCTIONS {
            let expected = format!("at most {MAX_INSTRUCTIONS} instructions");
            return Err(place(Problem::new(expected, "more", MAY_RUN_CODE)));
        }
        let is_first = offset == 0;
        match instruction {
            Instruction::Protocol(2..=5) if is_first => {}
            _ if is_first || matches!(instruction, Instruction::Protocol(_)) => {
                let expected = "a pickle of protocol 2 to 5 from its first byte";
                return Err(place(Problem::new(expected, format!("{instruction:?}"), DAMAGED)));
            }
            Instruction::Stop if instructions.is_at_end() => break,
            Instruction::Stop => return Err(place(Problem::new("the end after STOP", "more bytes", MAY_RUN_CODE))),
            instruction => machine.step(instruction).map_err(place)?,
        }
    }
    machine.into_tensors()
}

impl<'a> Machine<'a> {
    fn step(&mut self, instruction: Instruction<'a>) -> Result<()> {
        use Instruction as I;
        match instruction {
            I::Protocol(_) | I::Frame | I::Stop => {}
            I::Mark if self.marks.len() == MAX_MARKS => {
                let expected = format!("at most {MAX_MARKS} marks within each other");
                return Err(Problem::new(expected, "more", MAY_RUN_CODE));
            }
            I::Mark => self.marks.push(self.stack.len()),
            I::None => self.stack.push(Value::None),
            I::Bool(_) => self.stack.push(Value::Bool),
            I::Int(value) => self.stack.push(Value::Int(value)),
            I::LongInt => self.stack.push(Value::LongInt),
            I::Float => self.stack.push(Value::Float),
            I::Text(text) => self.stack.push(Value::Text(text)),
            I::EmptyList => self.stack.push(Value::List),
            I::EmptyDict => self.push_dict(false),
            I::EmptyTuple => self.push_tuple(Vec::new()),
            I::Tuple(length) => {
                let mut items = (0..length).map(|_| self.pop()).collect::<Result<Vec<_>>>()?;
                items.reverse();
                self.push_tuple(items);
            }
            I::MarkedTuple => {
                let items = self.pop_marked()?;
                self.push_tuple(items);
            }
            I::Append => self.pop().and_then(|_| self.append())?,
            I::MarkedAppend => self.pop_marked().and_then(|_| self.append())?,
            I::SetItem => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(vec![key, value])?;
            }
            I::MarkedSetItems => {
                let items = self.pop_marked()?;
                self.set_items(items)?;
            }
            I::Put(index) => drop(self.memo.insert(index, self.top()?)),
            I::Memoize => drop(self.memo.insert(self.memo.len() as u32, self.top()?)),
            I::Get(index) => {
                let known = self.memo.get(&index).copied();
                let missing = || Problem::new("a value that was memorized", format!("none at {index}"), DAMAGED);
                self.stack.push(known.ok_or_else(missing)?);
            }
            I::Global { module, name } => self.push_global(module, name)?,
            I::StackGlobal => match (self.pop()?, self.pop()?) {
                (Value::Text(name), Value::Text(module)) => self.push_global(module, name)?,
                (name, _) => return Err(Problem::new("the name of a global", name.kind(), MAY_RUN_CODE)),
            },
            I::PersistentId => self.load_storage()?,
            I::Reduce => self.reduce()?,
            I::Build => self.build()?,
        }
        Ok(())
    }

    fn push_tuple(&mut self, items: Vec<Value<'a>>) {
        self.stack.push(Value::Tuple(self.tuples.len()));
        self.tuples.push(items);
    }

    fn push_dict(&mut self, is_ordered: bool) {
        self.stack.push(Value::Dict(self.dicts.len()));
        self.dicts.push(Dict { is_ordered, items: Vec::new() });
    }

    fn push_global(&mut self, module: &str, name: &str) -> Result<()> {
        let Some(global) = Global::find(module, name) else {
            let found = format!("the global {}", quoted(&format!("{module}.{name}")));
            return Err(Problem::new("the globals of a state dict", found, MAY_RUN_CODE));
        };
        self.stack.push(Value::Global(global));
        Ok(())
    }

    /// Returns the last value, which must be after the last mark.
    fn top(&self) -> Result<Value<'a>> {
        let first = self.marks.last().copied().unwrap_or(0);
        let values = self.stack.get(first..).unwrap_or_default();
        values.last().copied().ok_or_else(|| Problem::new("a value on the stack", "none", DAMAGED))
    }

    fn pop(&mut self) -> Result<Value<'a>> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// Removes the last mark and all values after it.
    fn pop_marked(&mut self) -> Result<Vec<Value<'a>>> {
        let mark = self.marks.pop().ok_or_else(|| Problem::new("a mark on the stack", "none", DAMAGED))?;
        Ok(self.stack.split_off(mark))
    }

    /// Checks the last value.
    fn expect(&self, is_expected: impl Fn(Value<'a>) -> bool, expected: &str) -> Result<Value<'a>> {
        let top = self.top()?;
        if is_expected(top) { Ok(top) } else { Err(Problem::new(expected, top.kind(), MAY_RUN_CODE)) }
    }

    /// Checks that values are appended to a list. They are dropped.
    fn append(&self) -> Result<()> {
        self.expect(|value| matches!(value, Value::List), "a list").map(drop)
    }

    fn set_items(&mut self, items: Vec<Value<'a>>) -> Result<()> {
        let top = self.expect(|value| matches!(value, Value::Dict(_)), "a dict")?;
        let (pairs, rest) = items.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(Problem::new("a value for each key", "a key without a value", DAMAGED));
        }
        if let Value::Dict(index) = top {
            self.dicts[index].items.extend(pairs.iter().map(|[key, value]| (*key, *value)));
        }
        Ok(())
    }

    /// Replaces the id of a storage by the storage.
    fn load_storage(&mut self) -> Result<()> {
        let id = self.pop()?;
        let Some(
            [
                Value::Text("storage"),
                Value::Global(Global::Storage(class)),
                Value::Text(key),
                Value::Text(_),
                Value::Int(elements),
            ],
        ) = self.tuple(id)
        else {
            let expected = "the id of a storage: its class, its key, a device and its length";
            return Err(Problem::new(expected, self.describe(id), MAY_RUN_CODE));
        };
        let (class, key, elements): (StorageClass, &'a str, i64) = (*class, key, *elements);
        let storage = self.storages.find(key, class, elements)?;
        self.stack.push(Value::Storage(storage));
        Ok(())
    }

    /// Replaces a function and its arguments by the result. All functions are known.
    fn reduce(&mut self) -> Result<()> {
        use Value as V;
        let (arguments, function) = (self.pop()?, self.pop()?);
        let V::Global(global) = function else {
            return Err(Problem::new("a function of a state dict", function.kind(), MAY_RUN_CODE));
        };
        let (view, dtype) = match (global, self.tuple(arguments).unwrap_or_default()) {
            (Global::OrderedDict, []) if matches!(arguments, V::Tuple(_)) => {
                self.push_dict(true);
                return Ok(());
            }
            (Global::RebuildParameter, [tensor @ V::Tensor(_), V::Bool, V::Dict(_)])
            | (Global::RebuildParameterWithState, [tensor @ V::Tensor(_), V::Bool, V::Dict(_), _]) => {
                self.stack.push(*tensor);
                return Ok(());
            }
            (Global::RebuildTensor, view) => (view, None),
            (Global::RebuildTensorV2, [view @ .., V::Bool, V::Dict(_)]) => (view, None),
            (Global::RebuildTensorV2, [view @ .., V::Bool, V::Dict(_), V::Dict(bits)]) if self.is_empty(*bits) => {
                (view, None)
            }
            (Global::RebuildTensorV3, [view @ .., V::Bool, V::Dict(_), V::Global(Global::Dtype(dtype))]) => {
                (view, Some(*dtype))
            }
            _ => return Err(self.invalid_call(global, arguments)),
        };
        let &[V::Storage(storage), V::Int(offset), V::Tuple(shape), V::Tuple(strides)] = view else {
            return Err(self.invalid_call(global, arguments));
        };
        let (Some(shape), Some(strides)) = (self.sizes(shape), self.sizes(strides)) else {
            return Err(self.invalid_call(global, arguments));
        };
        let view = View { storage, dtype, offset, shape: &shape, strides: &strides };
        let tensor = self.storages.view(&view)?;
        self.stack.push(V::Tensor(self.tensors.len()));
        self.tensors.push(tensor);
        Ok(())
    }

    fn invalid_call(&self, global: Global, arguments: Value<'a>) -> Problem {
        let expected = format!("the arguments of {}", global.name());
        Problem::new(expected, self.describe(arguments), MAY_RUN_CODE)
    }

    /// Sets the attribute `_metadata` of an OrderedDict: the versions of PyTorch's modules, which
    /// no tensor depends on.
    fn build(&mut self) -> Result<()> {
        let state = self.pop()?;
        let is_ordered = |value| matches!(value, Value::Dict(index) if self.dicts[index].is_ordered);
        self.expect(is_ordered, "an OrderedDict")?;
        let items = if let Value::Dict(index) = state { self.dicts[index].items.as_slice() } else { &[] };
        match items {
            [(Value::Text("_metadata"), Value::Dict(_))] => Ok(()),
            _ => Err(Problem::new("the attribute `_metadata` alone", self.describe(state), MAY_RUN_CODE)),
        }
    }

    /// Returns the values of a tuple, or None if it is something else.
    fn tuple(&self, value: Value<'a>) -> Option<&[Value<'a>]> {
        let Value::Tuple(index) = value else { return None };
        self.tuples.get(index).map(Vec::as_slice)
    }

    fn is_empty(&self, dict: usize) -> bool {
        self.dicts[dict].items.is_empty()
    }

    /// Returns the sizes of a tuple. Copies no more than can be valid: a pickle may use a long
    /// tuple many times.
    fn sizes(&self, tuple: usize) -> Option<Vec<i64>> {
        let sizes = self.tuples.get(tuple)?.iter().take(MAX_AXES + 1);
        sizes.map(|value| if let Value::Int(size) = value { Some(*size) } else { None }).collect()
    }

    /// Names a value in messages, and the values of a tuple.
    fn describe(&self, value: Value<'a>) -> String {
        const MAX_SHOWN: usize = 10;
        let Some(items) = self.tuple(value) else { return value.kind() };
        let mut kinds: Vec<String> = items.iter().take(MAX_SHOWN).map(|item| item.kind()).collect();
        kinds.extend((items.len() > MAX_SHOWN).then(|| "…".to_owned()));
        format!("({})", kinds.join(", "))
    }

    /// Returns the tensors of the dict that the pickle has built.
    fn into_tensors(self) -> Result<BTreeMap<&'a str, StoredTensor>> {
        let place = |problem: Problem| problem.at(|| "data.pkl".to_owned());
        let ([Value::Dict(index)], []) = (self.stack.as_slice(), self.marks.as_slice()) else {
            let found = self.stack.last().map_or_else(|| "nothing".to_owned(), |value| self.describe(*value));
            return Err(place(Problem::new("one dict of tensors", found, INNER_DICT)));
        };
        let mut tensors = BTreeMap::new();
        for (key, value) in &self.dicts[*index].items {
            let Value::Text(name) = key else {
                return Err(place(Problem::new("the name of a tensor", key.kind(), INNER_DICT)));
            };
            let Value::Tensor(tensor) = value else {
                return Err(Problem::new("a tensor", value.kind(), INNER_DICT).at(|| quoted(name)));
            };
            if tensors.insert(*name, self.tensors[*tensor].clone()).is_some() {
                return Err(Problem::new("one tensor", "two of that name", DAMAGED).at(|| quoted(name)));
            }
        }
        Ok(tensors)
    }
}

impl Value<'_> {
    fn kind(self) -> String {
        let kind = match self {
            Self::None => "None",
            Self::Bool => "a bool",
            Self::Int(value) => return format!("the integer {value}"),
            Self::LongInt => "an integer",
            Self::Float => "a float",
            Self::Text(text) => return format!("the text {}", quoted(text)),
            Self::Tuple(_) => "a tuple",
            Self::List => "a list",
            Self::Dict(_) => "a dict",
            Self::Global(global) => return global.name(),
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
        };
        kind.to_owned()
    }
}
