//! A GGUF file's header: entries by key, and where its tensors lie. Every count in it is checked against the file before
//! anything is made of it. What the entries mean is in `gguf` and `vocabulary`.

use candle_core::quantized::GgmlDType;
use framework::error::{Error, Result};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

/// Formats of tensors that can be read, by GGML's numbers.
const KINDS: [(u32, GgmlDType); 13] = [
    (0, GgmlDType::F32),
    (1, GgmlDType::F16),
    (2, GgmlDType::Q4_0),
    (3, GgmlDType::Q4_1),
    (6, GgmlDType::Q5_0),
    (7, GgmlDType::Q5_1),
    (8, GgmlDType::Q8_0),
    (10, GgmlDType::Q2K),
    (11, GgmlDType::Q3K),
    (12, GgmlDType::Q4K),
    (13, GgmlDType::Q5K),
    (14, GgmlDType::Q6K),
    (30, GgmlDType::BF16),
];

/// The names of other formats, for messages.
const OTHERS: [(u32, &str); 20] = [
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
    (40, "NVFP4"),
];

const STRING: u32 = 8;
const LIST: u32 = 9;
const DIMENSIONS: u32 = 4;

/// What stands before the tensors.
pub(crate) struct Header {
    /// Single values.
    pub(super) entries: Map<String, Value>,
    lists: HashMap<String, List>,
    pub(super) tensors: BTreeMap<String, TensorInfo>,
    /// Where the tensors begin, in bytes.
    pub(super) start: usize,
}

/// A list that stays in the file until it is asked for: some are as long as the file.
struct List {
    kind: u32,
    count: usize,
    range: Range<usize>,
}

/// Where a tensor lies, and how.
pub(super) struct TensorInfo {
    pub(super) kind: GgmlDType,
    /// `[out, in]` for matrices.
    pub(super) shape: Vec<usize>,
    /// From the start of the tensors, in bytes.
    pub(super) offset: u64,
}

impl Header {
    /// Reads the header of a whole file's `bytes`.
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader { bytes, at: 0, short: false };
        if reader.take(4)? != b"GGUF" {
            return Err(Error::new("cannot read the header: the file does not begin with `GGUF`").fix("a GGUF file"));
        }
        let version = reader.u32()?;
        if !(1..=3).contains(&version) {
            let fix = "version 1, 2 or 3, little-endian";
            return Err(Error::new(format!("version {version} of GGUF is not supported")).fix(fix));
        }
        reader.short = version == 1;
        let (num_tensors, num_entries) = (reader.length()?, reader.length()?);
        let mut header = Self { entries: Map::new(), lists: HashMap::new(), tensors: BTreeMap::new(), start: 0 };
        for _ in 0..num_entries {
            header.entry(&mut reader)?;
        }
        for _ in 0..num_tensors {
            header.tensor(&mut reader)?;
        }
        let alignment = match header.entries.get("general.alignment") {
            None => 32,
            Some(value) => value
                .as_u64()
                .filter(|value| value.is_power_of_two() && *value <= 1 << 30)
                .ok_or_else(|| Error::new(format!("`general.alignment` is {value}")).fix("a power of two, as 32"))?,
        };
        header.start = reader.at.next_multiple_of(alignment as usize);
        Ok(header)
    }

    fn entry(&mut self, reader: &mut Reader) -> Result<()> {
        let key = reader.string()?.into_owned();
        let kind = reader.u32()?;
        let there = match kind {
            LIST => {
                let list = reader.list(&key)?;
                self.lists.insert(key.clone(), list).is_some() || self.entries.contains_key(&key)
            }
            _ => {
                let value = reader.value(kind, &key)?;
                self.entries.insert(key.clone(), value).is_some() || self.lists.contains_key(&key)
            }
        };
        if there { Err(damaged(format!("`{key}` stands there twice"))) } else { Ok(()) }
    }

    fn tensor(&mut self, reader: &mut Reader) -> Result<()> {
        let name = reader.string()?.into_owned();
        let dimensions = reader.u32()?;
        if dimensions == 0 || dimensions > DIMENSIONS {
            let error = Error::new(format!("the tensor `{name}` has {dimensions} dimensions"));
            return Err(error.fix(format!("1 to {DIMENSIONS}")));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            let size = reader.u64()?;
            shape.insert(0, usize::try_from(size).map_err(|_| damaged(format!("the tensor `{name}` is {size} wide")))?);
        }
        let kind = reader.u32()?;
        let offset = reader.u64()?;
        let Some((_, kind)) = KINDS.iter().find(|(number, _)| *number == kind) else {
            let called = OTHERS.iter().find(|(number, _)| *number == kind).map_or("unknown", |(_, name)| name);
            let error = Error::new(format!("the tensor `{name}` is of type {kind} ({called}), which is not supported"));
            return Err(error.fix("a file of F32, F16, BF16, Q4_0 to Q8_0 or Q2_K to Q6_K (not IQ, TQ, MXFP)"));
        };
        match self.tensors.insert(name.clone(), TensorInfo { kind: *kind, shape, offset }) {
            None => Ok(()),
            Some(_) => Err(damaged(format!("the tensor `{name}` stands there twice"))),
        }
    }

    /// How many elements the list `key` has, if there is such a list.
    pub(super) fn count(&self, key: &str) -> Option<usize> {
        self.lists.get(key).map(|list| list.count)
    }

    /// The list of texts `key` in the file's `bytes`, if there is such a list.
    pub(super) fn strings<'a>(&self, key: &str, bytes: &'a [u8]) -> Option<Vec<Cow<'a, str>>> {
        let list = self.lists.get(key).filter(|list| list.kind == STRING)?;
        let mut reader = Reader { bytes: bytes.get(..list.range.end)?, at: list.range.start, short: self.short(bytes) };
        (0..list.count).map(|_| reader.string().ok()).collect()
    }

    /// The list of numbers `key` in the file's `bytes`, if there is such a list.
    pub(super) fn numbers(&self, key: &str, bytes: &[u8]) -> Option<Vec<f64>> {
        let list = self.lists.get(key).filter(|list| list.kind != STRING)?;
        let mut reader = Reader { bytes: bytes.get(..list.range.end)?, at: list.range.start, short: false };
        let number = |_| match reader.value(list.kind, key).ok()? {
            Value::Bool(flag) => Some(f64::from(u8::from(flag))),
            value => value.as_f64(),
        };
        (0..list.count).map(number).collect()
    }

    fn short(&self, bytes: &[u8]) -> bool {
        bytes.get(4..8) == Some(&1u32.to_le_bytes())
    }
}

/// JSON knows no other numbers: one of them would be taken for a missing value.
fn finite(key: &str, number: f64) -> Result<Value> {
    match number.is_finite() {
        true => Ok(number.into()),
        false => Err(Error::new(format!("`{key}` is {number}")).fix("a finite number, in a file that is whole")),
    }
}

/// Reads on from a place in a file.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Whether lengths have 32 bits, as in version 1.
    short: bool,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let taken = self.at.checked_add(count).and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| damaged("cannot read the header: the file ends within it"))?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A count of things that follow, at least a byte each.
    fn length(&mut self) -> Result<usize> {
        let length = if self.short { u64::from(self.u32()?) } else { self.u64()? };
        let rest = self.bytes.len() - self.at;
        match usize::try_from(length) {
            Ok(length) if length <= rest => Ok(length),
            _ => Err(damaged(format!("cannot read the header: it counts {length} parts where {rest} bytes are left"))),
        }
    }

    fn string(&mut self) -> Result<Cow<'a, str>> {
        let length = self.length()?;
        let text = self.take(length)?;
        // Some files end their texts with zeros.
        let end = text.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Ok(String::from_utf8_lossy(&text[..end]))
    }

    fn value(&mut self, kind: u32, key: &str) -> Result<Value> {
        Ok(match kind {
            0 => self.array::<1>()?[0].into(),
            1 => i8::from_le_bytes(self.array()?).into(),
            2 => u16::from_le_bytes(self.array()?).into(),
            3 => i16::from_le_bytes(self.array()?).into(),
            4 => self.u32()?.into(),
            5 => i32::from_le_bytes(self.array()?).into(),
            // By way of its shortest decimal form, so that 1e-5 stays 1e-5.
            6 => finite(key, f32::from_le_bytes(self.array()?).to_string().parse().unwrap_or(f64::NAN))?,
            7 => (self.array::<1>()?[0] != 0).into(),
            STRING => self.string()?.into(),
            10 => self.u64()?.into(),
            11 => i64::from_le_bytes(self.array()?).into(),
            12 => finite(key, f64::from_le_bytes(self.array()?))?,
            _ => return Err(damaged(format!("`{key}` is of the unknown type {kind}"))),
        })
    }

    /// Skips a list.
    fn list(&mut self, key: &str) -> Result<List> {
        let kind = self.u32()?;
        let count = self.length()?;
        let begin = self.at;
        let size = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            STRING => 0,
            LIST => return Err(damaged(format!("`{key}` is a list of lists"))),
            _ => return Err(damaged(format!("`{key}` is a list of the unknown type {kind}"))),
        };
        if kind == STRING {
            for _ in 0..count {
                let length = self.length()?;
                self.take(length)?;
            }
        } else {
            let bytes = count.checked_mul(size).ok_or_else(|| damaged(format!("`{key}` is longer than the file")))?;
            self.take(bytes)?;
        }
        Ok(List { kind, count, range: begin..self.at })
    }
}

fn damaged(what: impl std::fmt::Display) -> Error {
    Error::new(what).fix(super::COMPLETE)
}
