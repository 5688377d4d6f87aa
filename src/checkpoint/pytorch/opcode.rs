//! The instructions of a pickle that a state dict needs, and the names of all others.

use super::problem::{DAMAGED, MAY_RUN_CODE, Problem, Result};

/// An instruction with its argument.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Instruction<'a> {
    Protocol(u8),
    /// The length of the instructions after it, which need not be known.
    Frame,
    Mark,
    None,
    Bool(bool),
    Int(i64),
    /// An integer of more than 64 bits.
    LongInt,
    Float,
    Text(&'a str),
    EmptyTuple,
    /// A tuple of that many values.
    Tuple(usize),
    /// A tuple of all values since the mark.
    MarkedTuple,
    EmptyList,
    Append,
    MarkedAppend,
    EmptyDict,
    SetItem,
    MarkedSetItems,
    Put(u32),
    Memoize,
    Get(u32),
    Global {
        module: &'a str,
        name: &'a str,
    },
    StackGlobal,
    PersistentId,
    Reduce,
    Build,
    Stop,
}

/// The names of the other instructions. A state dict contains none of them.
const REFUSED: [(u8, &str); 33] = [
    (b'0', "POP"),
    (b'1', "POP_MARK"),
    (b'2', "DUP"),
    (b'F', "FLOAT"),
    (b'I', "INT"),
    (b'L', "LONG"),
    (b'P', "PERSID"),
    (b'S', "STRING"),
    (b'T', "BINSTRING"),
    (b'U', "SHORT_BINSTRING"),
    (b'V', "UNICODE"),
    (b'd', "DICT"),
    (b'g', "GET"),
    (b'i', "INST"),
    (b'l', "LIST"),
    (b'o', "OBJ"),
    (b'p', "PUT"),
    (b'B', "BINBYTES"),
    (b'C', "SHORT_BINBYTES"),
    (0x81, "NEWOBJ"),
    (0x82, "EXT1"),
    (0x83, "EXT2"),
    (0x84, "EXT4"),
    (0x8b, "LONG4"),
    (0x8d, "BINUNICODE8"),
    (0x8e, "BINBYTES8"),
    (0x8f, "EMPTY_SET"),
    (0x90, "ADDITEMS"),
    (0x91, "FROZENSET"),
    (0x92, "NEWOBJ_EX"),
    (0x96, "BYTEARRAY8"),
    (0x97, "NEXT_BUFFER"),
    (0x98, "READONLY_BUFFER"),
];

/// Reads the instructions of a pickle.
pub(super) struct Instructions<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Instructions<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Returns the offset of the next instruction.
    pub(super) fn offset(&self) -> usize {
        self.at
    }

    /// Whether all bytes have been read.
    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Reads an instruction.
    ///
    /// # Errors
    /// If the pickle ends, or the instruction is not one that a state dict needs.
    pub(super) fn next(&mut self) -> Result<Instruction<'a>> {
        use Instruction as I;
        let opcode = self.number::<1>()?[0];
        Ok(match opcode {
            0x80 => I::Protocol(self.number::<1>()?[0]),
            0x95 => {
                self.number::<8>()?;
                I::Frame
            }
            b'(' => I::Mark,
            b'N' => I::None,
            0x88 => I::Bool(true),
            0x89 => I::Bool(false),
            b'K' => I::Int(self.number::<1>()?[0].into()),
            b'M' => I::Int(u16::from_le_bytes(self.number()?).into()),
            b'J' => I::Int(i32::from_le_bytes(self.number()?).into()),
            0x8a => self.long()?,
            b'G' => {
                self.number::<8>()?;
                I::Float
            }
            0x8c => {
                let length = self.number::<1>()?[0].into();
                I::Text(self.text(length)?)
            }
            b'X' => {
                let length = u32::from_le_bytes(self.number()?) as usize;
                I::Text(self.text(length)?)
            }
            b')' => I::EmptyTuple,
            0x85..=0x87 => I::Tuple(usize::from(opcode - 0x84)),
            b't' => I::MarkedTuple,
            b']' => I::EmptyList,
            b'a' => I::Append,
            b'e' => I::MarkedAppend,
            b'}' => I::EmptyDict,
            b's' => I::SetItem,
            b'u' => I::MarkedSetItems,
            b'q' => I::Put(self.number::<1>()?[0].into()),
            b'r' => I::Put(u32::from_le_bytes(self.number()?)),
            0x94 => I::Memoize,
            b'h' => I::Get(self.number::<1>()?[0].into()),
            b'j' => I::Get(u32::from_le_bytes(self.number()?)),
            b'c' => I::Global { module: self.line()?, name: self.line()? },
            0x93 => I::StackGlobal,
            b'Q' => I::PersistentId,
            b'R' => I::Reduce,
            b'b' => I::Build,
            b'.' => I::Stop,
            _ => return Err(refused(opcode)),
        })
    }

    /// Reads an integer of up to 255 bytes in two's complement.
    fn long(&mut self) -> Result<Instruction<'a>> {
        const MAX_BYTES: usize = size_of::<i64>();
        let length = self.number::<1>()?[0].into();
        let bytes = self.take(length)?;
        if length > MAX_BYTES {
            return Ok(Instruction::LongInt);
        }
        let is_negative = bytes.last().is_some_and(|last| *last >= 0x80);
        let mut wide = [if is_negative { 0xff } else { 0 }; MAX_BYTES];
        wide[..length].copy_from_slice(bytes);
        Ok(Instruction::Int(i64::from_le_bytes(wide)))
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.first_chunk().copied().ok_or_else(cut)
    }

    fn text(&mut self, length: usize) -> Result<&'a str> {
        std::str::from_utf8(self.take(length)?).map_err(|_| Problem::new("text in UTF-8", "other bytes", DAMAGED))
    }

    /// Reads text up to the end of the line.
    fn line(&mut self) -> Result<&'a str> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|byte| *byte == b'\n').ok_or_else(cut)?;
        let text = self.text(length)?;
        self.at += 1;
        Ok(text)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(length).ok_or_else(cut)?;
        let taken = self.bytes.get(self.at..end).ok_or_else(cut)?;
        self.at = end;
        Ok(taken)
    }
}

fn cut() -> Problem {
    Problem::new("more of the pickle", "its end", DAMAGED)
}

/// Names an instruction that a state dict does not contain.
fn refused(opcode: u8) -> Problem {
    let expected = "the opcodes of a state dict";
    match REFUSED.iter().find(|(known, _)| *known == opcode) {
        Some((_, name)) => Problem::new(expected, format!("the opcode {name}"), MAY_RUN_CODE),
        None => Problem::new(expected, format!("the byte {opcode:#04x}, which is no opcode"), DAMAGED),
    }
}
