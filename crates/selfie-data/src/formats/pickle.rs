//! Python's pickles, as far as a data set of rows and labels needs them: a dict of arrays, lists and texts.
//!
//! A pickle is a program. This one's machine ([`machine`]) builds values and calls nothing; arrays stay in the file and
//! are read from there, row by row.

use std::io::{self, Read, Seek};

use super::{Fault, MAX_LABELS, Rows};

mod latin1;
mod machine;
mod node;
#[cfg(test)]
mod tests;

use latin1::Latin1;
use machine::Machine;
use node::{Array, Encoding, Id, Node};

/// Keys of a data set's dict, of which it has a handful.
const MAX_KEYS: usize = 64;
/// Texts of a list, such as names of classes.
const MAX_TEXTS: usize = 1000;

/// The array `data`, `[n, row bytes]` of u8, and as many labels, of a pickle of `len` bytes; each under the first of its
/// names that the dict has.
pub(crate) fn rows<'a, R: Read + Seek + 'a>(
    reader: R,
    len: u64,
    data: &[&str],
    labels: &[&str],
) -> Result<Rows<'a>, Fault> {
    let mut pickle = Pickle::read(reader, len)?;
    let labels_id = pickle.value(labels)?;
    let labels = pickle.integers(labels[0], labels_id)?;
    let data_id = pickle.value(data)?;
    let Node::Array(Some(array)) = pickle.machine.node(data_id) else {
        return Err(Fault::wrong(data[0], "an array", pickle.machine.node(data_id).kind()));
    };
    let array = (**array).clone();
    if !array.number_type.is_u8() {
        return Err(Fault::wrong(data[0], "an array of u1", format!("numbers of {} bytes", array.number_type.bytes)));
    }
    let bytes = pickle.machine.into_reader(array.numbers)?.take(array.numbers.len);
    let reader: Box<dyn Read + 'a> = match array.numbers.encoding {
        Encoding::Latin1 => Box::new(Latin1::new(bytes)),
        _ => Box::new(bytes),
    };
    Rows::new(&array.shape, labels, reader)
}

/// The list of texts under a name of the dict, such as CIFAR's `label_names`.
pub(crate) fn texts<R: Read + Seek>(reader: R, len: u64, name: &str) -> Result<Vec<String>, Fault> {
    let mut pickle = Pickle::read(reader, len)?;
    let id = pickle.value(&[name])?;
    let Node::List(items) = pickle.machine.node(id) else {
        return Err(Fault::wrong(name, "a list of texts", pickle.machine.node(id).kind()));
    };
    if items.len() > MAX_TEXTS {
        return Err(Fault::wrong(name, format!("at most {MAX_TEXTS} texts"), items.len()));
    }
    let items = items.clone();
    let text = |item: Id| match pickle.machine.node(item) {
        Node::Text(text) => {
            let text = **text;
            Ok(String::from_utf8_lossy(&pickle.machine.name(text)?).into_owned())
        }
        other => Err(Fault::wrong(name, "texts", other.kind())),
    };
    items.into_iter().map(text).collect()
}

/// A pickle whose program has ended.
struct Pickle<R> {
    machine: Machine<R>,
    entries: Vec<(Id, Id)>,
}

impl<R: Read + Seek> Pickle<R> {
    fn read(reader: R, len: u64) -> Result<Self, Fault> {
        let mut machine = Machine::new(reader, len);
        let root = machine.run()?;
        match machine.node(root) {
            Node::Dict(entries) if entries.len() > MAX_KEYS => {
                Err(Fault::wrong("the pickle", format!("a dict of at most {MAX_KEYS} keys"), entries.len()))
            }
            Node::Dict(entries) => {
                let entries = entries.clone();
                Ok(Self { machine, entries })
            }
            other => Err(Fault::wrong("the pickle", "a dict", other.kind())),
        }
    }

    /// The value under the first of these names that is there.
    fn value(&mut self, names: &[&str]) -> Result<Id, Fault> {
        let mut keys = Vec::new();
        for (key, value) in self.entries.clone() {
            if let Node::Text(text) = self.machine.node(key) {
                let text = **text;
                keys.push((self.machine.name(text)?, value));
            }
        }
        let find = |name: &&str| keys.iter().find(|(key, _)| key == name.as_bytes()).map(|&(_, value)| value);
        names.iter().find_map(find).ok_or_else(|| {
            let got: Vec<String> = keys.iter().map(|(key, _)| String::from_utf8_lossy(key).into_owned()).collect();
            Fault::wrong("the pickle", format!("a dict with `{}`", names.join("` or `")), format!("{got:?}"))
        })
    }

    fn integers(&mut self, name: &str, id: Id) -> Result<Vec<i64>, Fault> {
        match self.machine.node(id) {
            Node::List(items) => {
                let integer = |&item: &Id| match self.machine.node(item) {
                    Node::Int(value) => Ok(*value),
                    other => Err(Fault::wrong(name, "whole numbers", other.kind())),
                };
                items.iter().map(integer).collect()
            }
            Node::Array(Some(array)) => {
                let array = (**array).clone();
                self.integers_of(name, &array)
            }
            other => Err(Fault::wrong(name, "a list or an array of whole numbers", other.kind())),
        }
    }

    fn integers_of(&mut self, name: &str, array: &Array) -> Result<Vec<i64>, Fault> {
        if array.shape.len() != 1 || array.shape[0] > MAX_LABELS {
            let expected = format!("an array [n] of at most {MAX_LABELS}");
            return Err(Fault::wrong(name, expected, format!("{:?}", array.shape)));
        }
        let written = self.machine.read_all(array.numbers)?;
        let numbers = match array.numbers.encoding {
            Encoding::Latin1 => {
                let mut numbers = Vec::new();
                let n_bytes = array.shape[0] * array.number_type.bytes as u64;
                Latin1::new(io::Cursor::new(written)).take(n_bytes).read_to_end(&mut numbers)?;
                numbers
            }
            _ => written,
        };
        array.number_type.integers(name, &numbers)
    }
}
