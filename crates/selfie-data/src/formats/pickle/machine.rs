//! The stack machine that a pickle is a program for. It knows the instructions that Python writes for dicts, lists and
//! numbers in protocols 2 to 5, and refuses every other by its number.

use std::collections::HashMap;
use std::io::{BufReader, Read, Seek, SeekFrom};

use super::super::Fault;
use super::super::array::NumberType;
use super::latin1::Latin1;
use super::node::{Array, Encoding, Id, Known, Node, Text};

/// Values of a pickle: twice the labels of ImageNet.
const MAX_NODES: usize = 3_000_000;
/// Instructions of a pickle, which bounds what marks, stored values and lists of one value again and again take.
const MAX_STEPS: usize = 10_000_000;
/// Names of modules, types and keys.
const MAX_NAME_BYTES: u64 = 128;
/// Arguments of a call, parts of a state and dimensions of an array.
const MAX_ARGUMENTS: usize = 16;
const MAX_PROTOCOL: u8 = 5;

/// A pickle while it is read.
pub(super) struct Machine<R> {
    reader: BufReader<R>,
    /// Bytes of the file.
    len: u64,
    position: u64,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<R: Read + Seek> Machine<R> {
    pub(super) fn new(reader: R, len: u64) -> Self {
        Self {
            reader: BufReader::new(reader),
            len,
            position: 0,
            nodes: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        }
    }

    /// Runs the program to its end and returns what it leaves.
    pub(super) fn run(&mut self) -> Result<Id, Fault> {
        let [proto, protocol] = self.bytes()?;
        if proto != 0x80 || !(2..=MAX_PROTOCOL).contains(&protocol) {
            return Err(self.wrong("a pickle of protocol 2 to 5", format!("bytes {proto:#04x} {protocol:#04x}")));
        }
        for _ in 0..MAX_STEPS {
            let [opcode] = self.bytes()?;
            if opcode == b'.' {
                return self.pop();
            }
            self.step(opcode)?;
        }
        Err(self.wrong(&format!("at most {MAX_STEPS} instructions"), "more"))
    }

    pub(super) fn node(&self, id: Id) -> &Node {
        // Every index was given out by `push`.
        &self.nodes[id as usize]
    }

    /// A short text's bytes.
    pub(super) fn name(&mut self, text: Text) -> Result<Vec<u8>, Fault> {
        if text.len > MAX_NAME_BYTES {
            return Err(self.wrong(&format!("a name of at most {MAX_NAME_BYTES} bytes"), text.len));
        }
        let here = self.position;
        self.seek(text.start)?;
        let mut bytes = vec![0; text.len as usize];
        self.reader.read_exact(&mut bytes)?;
        self.reader.seek(SeekFrom::Start(here))?;
        self.position = here;
        Ok(bytes)
    }

    /// A reader at the first byte of a text.
    pub(super) fn into_reader(mut self, text: Text) -> Result<BufReader<R>, Fault> {
        self.seek(text.start)?;
        Ok(self.reader)
    }

    /// All bytes of a text that is known to be small enough.
    pub(super) fn read_all(&mut self, text: Text) -> Result<Vec<u8>, Fault> {
        self.seek(text.start)?;
        let mut bytes = Vec::new();
        self.reader.by_ref().take(text.len).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn seek(&mut self, position: u64) -> Result<(), Fault> {
        self.reader.seek(SeekFrom::Start(position))?;
        self.position = position;
        Ok(())
    }

    pub(super) fn wrong(&self, expected: &str, got: impl ToString) -> Fault {
        Fault::wrong(format!("byte {}", self.position), expected, got)
    }

    fn step(&mut self, opcode: u8) -> Result<(), Fault> {
        match opcode {
            b'(' => self.marks.push(self.stack.len()),
            b'N' => self.push(Node::None)?,
            0x88 => self.push(Node::Bool(true))?,
            0x89 => self.push(Node::Bool(false))?,
            b'}' => self.push(Node::Dict(Vec::new()))?,
            b']' => self.push(Node::List(Vec::new()))?,
            b')' => self.push(Node::Tuple(Vec::new()))?,
            b'K' | b'M' | b'J' | 0x8a => self.integer(opcode)?,
            b'G' => {
                self.bytes::<8>()?;
                self.push(Node::Float)?;
            }
            b'U' | b'T' | b'X' | 0x8c | 0x8d | b'B' | b'C' | 0x8e | 0x96 => self.text(opcode)?,
            0x85..=0x87 => {
                let items = self.pop_to(self.stack.len().checked_sub(usize::from(opcode - 0x84)))?;
                self.push(Node::Tuple(items))?;
            }
            b't' => {
                let items = self.pop_mark()?;
                self.push(Node::Tuple(items))?;
            }
            b'a' | b'e' => self.append(opcode)?,
            b's' | b'u' => self.set_items(opcode)?,
            b'q' | b'r' | 0x94 | b'h' | b'j' => self.memory(opcode)?,
            b'c' | 0x93 => self.global(opcode)?,
            b'R' => self.reduce()?,
            b'b' => self.build()?,
            // A frame's length only helps those who read ahead.
            0x95 => drop(self.bytes::<8>()?),
            // A read-only buffer: the bytes below it are all there is.
            0x98 => {}
            b'0' => drop(self.pop()?),
            _ => return Err(self.wrong("an instruction of dicts, lists, numbers and arrays", format!("{opcode:#04x}"))),
        }
        Ok(())
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        self.position += N as u64;
        Ok(bytes)
    }

    fn push(&mut self, node: Node) -> Result<(), Fault> {
        if self.nodes.len() >= MAX_NODES {
            return Err(self.wrong(&format!("at most {MAX_NODES} values"), "more"));
        }
        self.stack.push(self.nodes.len() as Id);
        self.nodes.push(node);
        Ok(())
    }

    fn pop(&mut self) -> Result<Id, Fault> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.pop() {
            Some(id) if self.stack.len() >= floor => Ok(id),
            _ => Err(self.wrong("a value on the stack", "none")),
        }
    }

    /// The stack's values from a height on.
    fn pop_to(&mut self, height: Option<usize>) -> Result<Vec<Id>, Fault> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match height.filter(|&height| height >= floor && height <= self.stack.len()) {
            Some(height) => Ok(self.stack.split_off(height)),
            None => Err(self.wrong("more values on the stack", self.stack.len())),
        }
    }

    fn pop_mark(&mut self) -> Result<Vec<Id>, Fault> {
        let mark = self.marks.pop();
        if mark.is_none() {
            return Err(self.wrong("a mark on the stack", "none"));
        }
        self.pop_to(mark)
    }

    fn integer(&mut self, opcode: u8) -> Result<(), Fault> {
        let value = match opcode {
            b'K' => i64::from(self.bytes::<1>()?[0]),
            b'M' => i64::from(u16::from_le_bytes(self.bytes()?)),
            b'J' => i64::from(i32::from_le_bytes(self.bytes()?)),
            _ => {
                let [n] = self.bytes()?;
                if n > 8 {
                    return Err(self.wrong("an integer of at most 8 bytes", n));
                }
                let mut wide = [0; 8];
                for byte in &mut wide[..usize::from(n)] {
                    [*byte] = self.bytes()?;
                }
                if n > 0 && wide[usize::from(n) - 1] & 0x80 != 0 {
                    wide[usize::from(n)..].fill(0xff);
                }
                i64::from_le_bytes(wide)
            }
        };
        self.push(Node::Int(value))
    }

    /// A text stays in the file, which must hold it.
    fn text(&mut self, opcode: u8) -> Result<(), Fault> {
        let len = match opcode {
            b'U' | 0x8c | b'C' => u64::from(self.bytes::<1>()?[0]),
            b'T' | b'X' | b'B' => u64::from(u32::from_le_bytes(self.bytes()?)),
            _ => u64::from_le_bytes(self.bytes()?),
        };
        let encoding = if matches!(opcode, b'X' | 0x8c | 0x8d) { Encoding::Text } else { Encoding::Bytes };
        let start = self.position;
        let left = self.len.saturating_sub(start);
        if len > left {
            return Err(self.wrong(&format!("at most the {left} bytes that follow"), len));
        }
        self.reader.seek_relative(len as i64)?;
        self.position += len;
        self.push(Node::Text(Box::new(Text { start, len, encoding })))
    }

    fn append(&mut self, opcode: u8) -> Result<(), Fault> {
        let items = if opcode == b'a' { vec![self.pop()?] } else { self.pop_mark()? };
        let list = self.top()?;
        match &mut self.nodes[list as usize] {
            Node::List(list) => list.extend(items),
            other => {
                let kind = other.kind();
                return Err(self.wrong("a list to append to", kind));
            }
        }
        Ok(())
    }

    fn set_items(&mut self, opcode: u8) -> Result<(), Fault> {
        let items = if opcode == b's' { self.pop_to(self.stack.len().checked_sub(2))? } else { self.pop_mark()? };
        let (pairs, rest) = items.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(self.wrong("keys with values", "an odd number of values"));
        }
        let dict = self.top()?;
        match &mut self.nodes[dict as usize] {
            Node::Dict(dict) => dict.extend(pairs.iter().map(|&[key, value]| (key, value))),
            other => {
                let kind = other.kind();
                return Err(self.wrong("a dict to set items of", kind));
            }
        }
        Ok(())
    }

    fn top(&self) -> Result<Id, Fault> {
        self.stack.last().copied().ok_or_else(|| self.wrong("a value on the stack", "none"))
    }

    fn memory(&mut self, opcode: u8) -> Result<(), Fault> {
        let key = match opcode {
            b'q' | b'h' => u32::from(self.bytes::<1>()?[0]),
            b'r' | b'j' => u32::from_le_bytes(self.bytes()?),
            _ => self.memo.len() as u32,
        };
        if matches!(opcode, b'h' | b'j') {
            let id = self.memo.get(&key).copied().ok_or_else(|| self.wrong("a value that was stored", key))?;
            if self.stack.len() >= MAX_NODES {
                return Err(self.wrong(&format!("at most {MAX_NODES} values"), "more"));
            }
            self.stack.push(id);
            return Ok(());
        }
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn global(&mut self, opcode: u8) -> Result<(), Fault> {
        let (module, name) = if opcode == b'c' {
            (self.line()?, self.line()?)
        } else {
            let (name, module) = (self.pop()?, self.pop()?);
            (self.text_of(module)?, self.text_of(name)?)
        };
        let known = Known::find(&module, &name).ok_or_else(|| {
            self.wrong("names that arrays of numbers need", format!("`{module}.{name}`, which is never called"))
        })?;
        self.push(Node::Known(known))
    }

    fn line(&mut self) -> Result<String, Fault> {
        let mut line = Vec::new();
        loop {
            match self.bytes()? {
                [b'\n'] => return Ok(String::from_utf8_lossy(&line).into_owned()),
                _ if line.len() as u64 >= MAX_NAME_BYTES => {
                    return Err(self.wrong(&format!("a name of at most {MAX_NAME_BYTES} bytes"), "a longer one"));
                }
                [byte] => line.push(byte),
            }
        }
    }

    fn text_of(&mut self, id: Id) -> Result<String, Fault> {
        match self.node(id) {
            Node::Text(text) => {
                let text = **text;
                Ok(String::from_utf8_lossy(&self.name(text)?).into_owned())
            }
            other => Err(self.wrong("a name", other.kind())),
        }
    }

    /// Calls one of the known names.
    fn reduce(&mut self) -> Result<(), Fault> {
        let (arguments, called) = (self.pop()?, self.pop()?);
        let Node::Known(known) = *self.node(called) else {
            return Err(self.wrong("a known name to call", self.node(called).kind()));
        };
        let arguments = self.short_tuple(arguments)?;
        let made = match (known, arguments.as_slice()) {
            (Known::Reconstruct, [_, _, _]) => Node::Array(None),
            (Known::Dtype, [name, ..]) => {
                let name = self.text_of(*name)?;
                Node::Dtype(NumberType::parse(&format!("byte {}", self.position), &name)?)
            }
            (Known::FromBuffer, &[numbers, number_type, shape, _]) => self.array(number_type, shape, numbers)?,
            (Known::Scalar, &[number_type, number]) => self.scalar(number_type, number)?,
            (Known::Encode, &[text, _]) => match self.node(text) {
                Node::Text(text) => Node::Text(Box::new(Text { encoding: Encoding::Latin1, ..**text })),
                other => return Err(self.wrong("a text to encode", other.kind())),
            },
            _ => return Err(self.wrong("the arguments of an array", format!("{} of {known:?}", arguments.len()))),
        };
        self.push(made)
    }

    /// Gives an array or a number type its state.
    fn build(&mut self) -> Result<(), Fault> {
        let (state, built) = (self.pop()?, self.top()?);
        let state = self.short_tuple(state)?;
        match (self.node(built), state.as_slice()) {
            (Node::Dtype(number_type), &[_, order, ..]) => {
                let one_byte = number_type.bytes == 1;
                let order = self.text_of(order)?;
                if order == ">" && !one_byte {
                    return Err(self.wrong("little-endian numbers", "big-endian ones"));
                }
            }
            (Node::Array(None), &[_, shape, number_type, in_columns, numbers]) => {
                if !matches!(self.node(in_columns), Node::Bool(false) | Node::Int(0)) {
                    return Err(self.wrong("an array in C order", "Fortran order"));
                }
                self.nodes[built as usize] = self.array(number_type, shape, numbers)?;
            }
            (other, _) => return Err(self.wrong("an array or a number type to give a state", other.kind())),
        }
        Ok(())
    }

    /// The values of a tuple of arguments: a long one, used again and again, would take time to copy.
    fn short_tuple(&self, id: Id) -> Result<Vec<Id>, Fault> {
        match self.node(id) {
            Node::Tuple(values) if values.len() <= MAX_ARGUMENTS => Ok(values.clone()),
            other => Err(self.wrong(&format!("a tuple of at most {MAX_ARGUMENTS} values"), other.kind())),
        }
    }

    fn array(&self, number_type: Id, shape: Id, numbers: Id) -> Result<Node, Fault> {
        let (Node::Dtype(number_type), Node::Text(numbers)) = (self.node(number_type), self.node(numbers)) else {
            return Err(self.wrong("an array's number type, shape and bytes", "other values"));
        };
        let shape = self.short_tuple(shape)?;
        let size = |&id: &Id| match self.node(id) {
            Node::Int(size) => u64::try_from(*size).ok(),
            _ => None,
        };
        let shape: Option<Vec<u64>> = shape.iter().map(size).collect();
        let shape = shape.ok_or_else(|| self.wrong("sizes of an array", "other values"))?;
        let n_bytes = shape.iter().try_fold(number_type.bytes as u64, |bytes, &size| bytes.checked_mul(size));
        // A Latin-1 text has more bytes in the file than the array has.
        let fits = match numbers.encoding {
            Encoding::Bytes => n_bytes == Some(numbers.len),
            Encoding::Latin1 => n_bytes.is_some_and(|n| n <= numbers.len),
            Encoding::Text => false,
        };
        if !fits {
            return Err(self.wrong(&format!("the bytes of an array {shape:?}"), format!("{} bytes", numbers.len)));
        }
        Ok(Node::Array(Some(Box::new(Array { number_type: *number_type, shape, numbers: **numbers }))))
    }

    fn scalar(&mut self, number_type: Id, number: Id) -> Result<Node, Fault> {
        let (Node::Dtype(number_type), Node::Text(text)) = (self.node(number_type), self.node(number)) else {
            return Err(self.wrong("a number type and a number's bytes", "other values"));
        };
        let (number_type, text) = (*number_type, **text);
        let mut bytes = self.name(text)?;
        if text.encoding == Encoding::Latin1 {
            let mut decoded = Vec::new();
            Latin1::new(bytes.as_slice()).read_to_end(&mut decoded)?;
            bytes = decoded;
        }
        match number_type.integers("a number", &bytes)?[..] {
            [number] if bytes.len() == number_type.bytes => Ok(Node::Int(number)),
            _ => Err(self.wrong(&format!("a number of {} bytes", number_type.bytes), bytes.len())),
        }
    }
}
