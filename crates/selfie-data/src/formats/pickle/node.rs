//! What a pickle holds: values in an arena that refer to each other by index, so that neither building nor dropping a
//! deeply nested one recurses.

use super::super::array::NumberType;

/// A value's place in the arena.
pub(super) type Id = u32;

/// Bytes that stay in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Text {
    /// Offset of the first byte.
    pub(super) start: u64,
    /// Bytes in the file.
    pub(super) len: u64,
    /// What they stand for.
    pub(super) encoding: Encoding,
}

/// What the bytes of a text stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Themselves.
    Bytes,
    /// UTF-8.
    Text,
    /// Bytes again, each written as the character of that number in UTF-8: how Python 3 writes them for protocol 2.
    Latin1,
}

/// The names that may be called or built; everything else is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// An empty array, which a state fills.
    Reconstruct,
    /// An array from its bytes, type and shape.
    FromBuffer,
    /// One number.
    Scalar,
    /// The class of arrays.
    NdArray,
    /// A number type.
    Dtype,
    /// From a text to bytes.
    Encode,
}

impl Known {
    /// Of a module and a name in it.
    pub(super) fn find(module: &str, name: &str) -> Option<Self> {
        let known = match (module, name) {
            ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => Self::Reconstruct,
            ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => Self::Scalar,
            ("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer") => Self::FromBuffer,
            ("numpy", "ndarray") => Self::NdArray,
            ("numpy", "dtype") => Self::Dtype,
            ("_codecs", "encode") => Self::Encode,
            _ => return None,
        };
        Some(known)
    }
}

/// An array whose numbers stay in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Array {
    pub(super) number_type: NumberType,
    pub(super) shape: Vec<u64>,
    pub(super) numbers: Text,
}

/// One value.
#[derive(Clone, Debug)]
pub(super) enum Node {
    None,
    Bool(bool),
    Int(i64),
    /// Its value is never needed.
    Float,
    Text(Box<Text>),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Known(Known),
    /// A number type; none until its state is known to be one that is read.
    Dtype(NumberType),
    /// An array; none until it is filled.
    Array(Option<Box<Array>>),
}

impl Node {
    /// What errors call it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "a bool",
            Self::Int(_) => "an integer",
            Self::Float => "a float",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Tuple(_) => "a tuple",
            Self::Dict(_) => "a dict",
            Self::Known(_) => "a name of numpy",
            Self::Dtype(_) => "a number type",
            Self::Array(_) => "an array",
        }
    }
}
