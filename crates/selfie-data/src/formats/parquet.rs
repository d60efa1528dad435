//! Parquet files with a row an image: the image's file as bytes, and its label. The parquet crate reads them, row by row;
//! it believes what a file says of its own sizes, so these are looked at first ([`guard`]).

use ::parquet::basic::Type;
use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use ::parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::FileMetaData;
use ::parquet::file::reader::{ChunkReader, FileReader, RowGroupReader, SerializedFileReader};
use ::parquet::schema::types::ColumnDescPtr;

use super::Fault;

mod guard;
#[cfg(test)]
pub(crate) mod tests;

/// The columns that images are in, in the hub's sets: a struct of bytes and a path, or the bytes alone.
const IMAGES: [&str; 4] = ["image.bytes", "img.bytes", "image", "img"];
const LABELS: [&str; 2] = ["label", "fine_label"];
/// Where the hub's library describes the columns.
const FEATURES: &str = "huggingface";
/// Rows, and bytes of images, that are read at a time.
const MAX_ROWS: usize = 256;
const MAX_BYTES: usize = 16 << 20;
/// Rows that are read between two looks at their size.
const STEP: usize = 8;

/// An image file and its label.
pub(crate) struct Row {
    /// None where the file has none.
    pub(crate) image: Option<ByteArray>,
    /// None where the file has none.
    pub(crate) label: Option<i64>,
}

/// A file whose columns are the expected ones.
pub(crate) struct Table<R: ChunkReader> {
    file: R,
    reader: SerializedFileReader<R>,
    /// Numbers of the columns.
    image: usize,
    label: Option<usize>,
    /// The classes in the order of their labels, where the file names them.
    pub(crate) class_names: Option<Vec<String>>,
    /// As the file says.
    pub(crate) n_rows: u64,
    /// Of the image column, unpacked, as the file says.
    pub(crate) n_bytes: u64,
}

/// Clones of it read the same file.
pub(crate) trait Source: ChunkReader {
    /// The same file again.
    fn again(&self) -> std::io::Result<Self>
    where
        Self: Sized;
}

impl Source for std::fs::File {
    fn again(&self) -> std::io::Result<Self> {
        self.try_clone()
    }
}

impl Source for bytes::Bytes {
    fn again(&self) -> std::io::Result<Self> {
        Ok(self.clone())
    }
}

impl<R: Source + 'static> Table<R> {
    /// Reads the description of a file.
    pub(crate) fn open(file: R) -> Result<Self, Fault> {
        guard::footer(&file)?;
        let again = file.again()?;
        caught(|| {
            let reader = SerializedFileReader::new(again).map_err(fault)?;
            let metadata = reader.metadata();
            let schema = metadata.file_metadata().schema_descr();
            let names: Vec<String> = schema.columns().iter().map(|column| column.path().string()).collect();
            let find = |wanted: &[&str]| wanted.iter().find_map(|name| names.iter().position(|other| other == name));
            let columns = || format!("columns {}", names.join(", "));
            let image = find(&IMAGES)
                .ok_or_else(|| Fault::wrong("the columns", "a column `image` or `img` of image files", columns()))?;
            let label = find(&LABELS);
            require_plain(&schema.column(image), &[Type::BYTE_ARRAY], "binary")?;
            if let Some(label) = label {
                require_plain(&schema.column(label), &[Type::INT32, Type::INT64], "an integer")?;
            }
            let (mut n_rows, mut n_bytes) = (0_u64, 0_u64);
            for group in metadata.row_groups() {
                n_rows = n_rows.saturating_add(u64::try_from(group.num_rows()).unwrap_or(u64::MAX));
                let unpacked = u64::try_from(group.column(image).uncompressed_size()).unwrap_or(u64::MAX);
                n_bytes = n_bytes.saturating_add(unpacked);
            }
            guard::rows(n_rows, file.len())?;
            let class_names = class_names(metadata.file_metadata(), label.map(|label| names[label].as_str()))?;
            Ok(Self { file, reader, image, label, class_names, n_rows, n_bytes })
        })
    }

    /// Whether rows have labels.
    pub(crate) fn is_labelled(&self) -> bool {
        self.label.is_some()
    }

    /// Every row in order.
    pub(crate) fn rows(&self) -> Rows<'_, R> {
        Rows { table: self, next_group: 0, group: None, with_images: true }
    }

    /// The labels of every row alone, which takes no look at the images.
    pub(crate) fn labels(&self) -> Rows<'_, R> {
        Rows { with_images: false, ..self.rows() }
    }
}

/// Rows in the order of the file.
pub(crate) struct Rows<'a, R: ChunkReader> {
    table: &'a Table<R>,
    next_group: usize,
    group: Option<Group>,
    with_images: bool,
}

/// What is left of one row group.
struct Group {
    image: Option<Column<ByteArrayType>>,
    label: Option<Labels>,
    n_left: usize,
}

struct Column<T: DataType> {
    reader: ColumnReaderImpl<T>,
    /// The level at which a value is there.
    max_level: i16,
}

enum Labels {
    Int32(Column<Int32Type>),
    Int64(Column<Int64Type>),
}

impl<R: Source + 'static> Rows<'_, R> {
    /// The next rows, none at the end. The bytes of all of them are bounded.
    pub(crate) fn next_rows(&mut self) -> Result<Vec<Row>, Fault> {
        let mut rows = Vec::new();
        let mut n_bytes = 0;
        while rows.len() + STEP <= MAX_ROWS && n_bytes < MAX_BYTES {
            let Some(group) = self.group()? else { break };
            let n = group.n_left.min(STEP);
            for row in caught(|| group.read(n))? {
                n_bytes += row.image.as_ref().map_or(0, ByteArray::len);
                rows.push(row);
            }
        }
        Ok(rows)
    }

    /// The group with the next row.
    fn group(&mut self) -> Result<Option<&mut Group>, Fault> {
        while self.group.as_ref().is_none_or(|group| group.n_left == 0) {
            if self.next_group == self.table.reader.num_row_groups() {
                return Ok(None);
            }
            self.group = Some(self.open_group(self.next_group)?);
            self.next_group += 1;
        }
        Ok(self.group.as_mut())
    }

    fn open_group(&self, idx: usize) -> Result<Group, Fault> {
        let Table { file, reader, image, label, .. } = self.table;
        let image = Some(*image).filter(|_| self.with_images);
        caught(|| {
            let metadata = reader.metadata().row_group(idx);
            for column in image.iter().chain(label) {
                let (start, len) = metadata.column(*column).byte_range();
                guard::pages(file, start, len, metadata.column(*column).column_type())?;
            }
            let group = reader.get_row_group(idx).map_err(fault)?;
            let column = |idx: usize| column_reader(&*group, metadata.column(idx).column_descr_ptr(), idx);
            let mut opened = Group { image: None, label: None, n_left: metadata.num_rows().max(0) as usize };
            if let Some((ColumnReader::ByteArrayColumnReader(reader), max_level)) = image.map(column).transpose()? {
                opened.image = Some(Column { reader, max_level });
            }
            opened.label = match label.map(column).transpose()? {
                Some((ColumnReader::Int64ColumnReader(reader), max_level)) => {
                    Some(Labels::Int64(Column { reader, max_level }))
                }
                Some((ColumnReader::Int32ColumnReader(reader), max_level)) => {
                    Some(Labels::Int32(Column { reader, max_level }))
                }
                _ => None,
            };
            Ok(opened)
        })
    }
}

impl Group {
    fn read(&mut self, n: usize) -> Result<Vec<Row>, Fault> {
        self.n_left -= n;
        let images = self.image.as_mut().map(|column| column.read(n)).transpose()?;
        let labels: Option<Vec<Option<i64>>> = match &mut self.label {
            None => None,
            Some(Labels::Int64(column)) => Some(column.read(n)?),
            Some(Labels::Int32(column)) => {
                Some(column.read(n)?.into_iter().map(|label| label.map(i64::from)).collect())
            }
        };
        let (images, labels) = (images.unwrap_or_else(|| vec![None; n]), labels.unwrap_or_else(|| vec![None; n]));
        Ok(images.into_iter().zip(labels).map(|(image, label)| Row { image, label }).collect())
    }
}

impl<T: DataType> Column<T> {
    /// Exactly `n` values, of which some may be missing.
    fn read(&mut self, n: usize) -> Result<Vec<Option<T::T>>, Fault> {
        let (mut levels, mut values) = (Vec::with_capacity(n), Vec::with_capacity(n));
        let mut n_read = 0;
        while n_read < n {
            let levels = (self.max_level > 0).then_some(&mut levels);
            match self.reader.read_records(n - n_read, levels, None, &mut values).map_err(fault)?.0 {
                0 => return Err(Fault::wrong("a column", "as many values as rows", "fewer")),
                more => n_read += more,
            }
        }
        if self.max_level == 0 {
            return Ok(values.into_iter().map(Some).collect());
        }
        let mut values = values.into_iter();
        Ok(levels.into_iter().map(|level| values.next_if(level == self.max_level)).collect())
    }
}

/// The next value, if there is to be one.
trait NextIf: Iterator {
    fn next_if(&mut self, is_there: bool) -> Option<Self::Item> {
        if is_there { self.next() } else { None }
    }
}

impl<I: Iterator> NextIf for I {}

fn column_reader(
    group: &dyn RowGroupReader,
    descriptor: ColumnDescPtr,
    idx: usize,
) -> Result<(ColumnReader, i16), Fault> {
    let max_level = descriptor.max_def_level();
    Ok((get_column_reader(descriptor, group.get_column_page_reader(idx).map_err(fault)?), max_level))
}

/// Refuses a column of another type, and one that holds lists.
fn require_plain(column: &ColumnDescPtr, types: &[Type], expected: &str) -> Result<(), Fault> {
    let part = format!("column `{}`", column.path().string());
    if column.max_rep_level() > 0 {
        return Err(Fault::wrong(part, "one value a row", "lists"));
    }
    if !types.contains(&column.physical_type()) {
        return Err(Fault::wrong(part, expected, column.physical_type()));
    }
    Ok(())
}

/// The names that the hub's library writes beside the columns.
fn class_names(metadata: &FileMetaData, label: Option<&str>) -> Result<Option<Vec<String>>, Fault> {
    let described = metadata.key_value_metadata().into_iter().flatten().find(|pair| pair.key == FEATURES);
    let (Some(label), Some(text)) = (label, described.and_then(|pair| pair.value.as_ref())) else { return Ok(None) };
    let json: serde_json::Value = serde_json::from_str(text)
        .map_err(|error| Fault::wrong(format!("metadata `{FEATURES}`"), "JSON", error.to_string()))?;
    let names = json.pointer(&format!("/info/features/{label}/names")).and_then(|names| names.as_array());
    let names = names.map(|names| names.iter().map(|name| name.as_str().map(str::to_owned)).collect());
    match names {
        Some(None) => Err(Fault::wrong(format!("metadata `{FEATURES}`"), "class names", "something else")),
        names => Ok(names.flatten()),
    }
}

fn fault(error: ParquetError) -> Fault {
    match error {
        ParquetError::External(source) => match source.downcast::<std::io::Error>() {
            Ok(source) => Fault::Io(*source),
            Err(other) => Fault::wrong("the content", "a parquet file", other),
        },
        other => Fault::wrong("the content", "a parquet file", other),
    }
}

/// The reader is other people's: a defect of theirs costs one file, not the run.
fn caught<T>(read: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    crate::caught::caught(read)
        .unwrap_or_else(|| Err(Fault::wrong("the content", "a parquet file", "one that its reader fails on")))
}

/// What the fuzzer feeds.
pub(crate) fn fuzz(bytes: &[u8]) {
    /// Rows of a fuzzed file that are read.
    const MAX_FUZZED: usize = 10_000;
    let Ok(table) = Table::open(bytes::Bytes::copy_from_slice(bytes)) else { return };
    for mut rows in [table.labels(), table.rows()] {
        let mut n = 0;
        while let Ok(more) = rows.next_rows()
            && !more.is_empty()
            && n < MAX_FUZZED
        {
            n += more.len();
        }
    }
}
