//! A Parquet file as named columns of whole numbers, floating-point numbers and text; it knows nothing of friday's
//! shapes.

use parquet::{
    basic::{Compression, ConvertedType, LogicalType, Repetition, Type as Physical, ZstdLevel},
    column::reader::ColumnReader,
    data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type},
    errors::ParquetError,
    file::{
        properties::WriterProperties,
        reader::{FileReader, SerializedFileReader},
        writer::SerializedFileWriter,
    },
    schema::types::Type,
};
use std::{collections::BTreeMap, fs::File, path::Path, sync::Arc};

/// The values of one column. `Opt` columns may have no value in a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// Signed.
    Int(Vec<i64>),
    /// Signed, or null.
    OptInt(Vec<Option<i64>>),
    /// Unsigned: marked as such, so that readers do not show large values as negative.
    Unsigned(Vec<u64>),
    /// Unsigned, or null.
    OptUnsigned(Vec<Option<u64>>),
    /// Floating point, or null.
    OptFloat(Vec<Option<f64>>),
    /// UTF-8.
    Text(Vec<String>),
}

impl Column {
    fn field(&self, name: &str) -> Result<Type, ParquetError> {
        let repetition = match self {
            Column::Int(_) | Column::Unsigned(_) | Column::Text(_) => Repetition::REQUIRED,
            Column::OptInt(_) | Column::OptUnsigned(_) | Column::OptFloat(_) => Repetition::OPTIONAL,
        };
        let unsigned = Some(LogicalType::integer(64, false));
        let (physical, logical) = match self {
            Column::Int(_) | Column::OptInt(_) => (Physical::INT64, None),
            Column::Unsigned(_) | Column::OptUnsigned(_) => (Physical::INT64, unsigned),
            Column::OptFloat(_) => (Physical::DOUBLE, None),
            Column::Text(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        };
        let converted = match self {
            Column::Text(_) => ConvertedType::UTF8,
            Column::Unsigned(_) | Column::OptUnsigned(_) => ConvertedType::UINT_64,
            _ => ConvertedType::NONE,
        };
        Type::primitive_type_builder(name, physical)
            .with_repetition(repetition)
            .with_logical_type(logical)
            .with_converted_type(converted)
            .build()
    }
}

/// Writes columns of equal length under their names, in order, compressed with zstd.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, columns: &[(&str, Column)]) -> Result<(), ParquetError> {
    let mut fields = Vec::with_capacity(columns.len());
    for (name, column) in columns {
        fields.push(Arc::new(column.field(name)?));
    }
    let schema = Type::group_type_builder("friday").with_fields(fields).build()?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_created_by(concat!("friday ", env!("CARGO_PKG_VERSION")).to_owned())
        .build();
    let mut writer = SerializedFileWriter::new(File::create(path)?, Arc::new(schema), Arc::new(properties))?;
    let mut group = writer.next_row_group()?;
    for (_, column) in columns {
        let Some(mut out) = group.next_column()? else { break };
        match column {
            Column::Int(values) => {
                out.typed::<Int64Type>().write_batch(values, None, None)?;
            }
            Column::Unsigned(values) => {
                let values: Vec<i64> = values.iter().map(|v| v.cast_signed()).collect();
                out.typed::<Int64Type>().write_batch(&values, None, None)?;
            }
            Column::OptInt(rows) => {
                let (values, levels) = present(rows.iter().copied());
                out.typed::<Int64Type>().write_batch(&values, Some(&levels), None)?;
            }
            Column::OptUnsigned(rows) => {
                let (values, levels) = present(rows.iter().map(|row| row.map(u64::cast_signed)));
                out.typed::<Int64Type>().write_batch(&values, Some(&levels), None)?;
            }
            Column::OptFloat(rows) => {
                let (values, levels) = present(rows.iter().copied());
                out.typed::<DoubleType>().write_batch(&values, Some(&levels), None)?;
            }
            Column::Text(values) => {
                let values: Vec<ByteArray> = values.iter().map(|v| ByteArray::from(v.as_str())).collect();
                out.typed::<ByteArrayType>().write_batch(&values, None, None)?;
            }
        }
        out.close()?;
    }
    group.close()?;
    writer.close()?;
    Ok(())
}

/// The non-null values and, for every row, whether it has one.
fn present<T>(rows: impl Iterator<Item = Option<T>>) -> (Vec<T>, Vec<i16>) {
    let mut values = Vec::new();
    let levels = rows
        .map(|row| match row {
            Some(value) => {
                values.push(value);
                1
            }
            None => 0,
        })
        .collect();
    (values, levels)
}

/// Why a table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// Not readable as Parquet.
    #[error("it is not a complete Parquet file")]
    Parquet(#[from] ParquetError),
    /// The decoder gave up in a way it does not report.
    #[error("it is damaged so badly that it cannot be decoded")]
    Damaged,
    /// A column that is needed is not there.
    #[error("column `{0}` is missing")]
    Missing(String),
    /// A column is there in another type, or holds nulls where it must not.
    #[error("column `{0}` holds something other than {1}")]
    Type(String, &'static str),
    /// A value that cannot be.
    #[error("column `{column}`, row {row}: {why}")]
    Value {
        /// The column.
        column: String,
        /// The row, from 0.
        row: usize,
        /// What is wrong with it.
        why: String,
    },
}

/// What a file held, by column name.
#[derive(Debug, Default)]
pub struct Table {
    rows: usize,
    columns: BTreeMap<String, Raw>,
}

#[derive(Debug)]
enum Raw {
    Int(Vec<Option<i64>>),
    Float(Vec<Option<f64>>),
    Text(Vec<Option<String>>),
}

impl Table {
    /// Reads every flat column of a known type; others are ignored.
    ///
    /// # Errors
    /// The file is missing, truncated or damaged.
    pub fn read(path: &Path) -> Result<Table, TableError> {
        let file = File::open(path).map_err(ParquetError::from)?;
        // The decoder indexes by what the file says; a damaged file must end in an error, not in a panic.
        std::panic::catch_unwind(|| Self::decode(file)).unwrap_or(Err(TableError::Damaged))
    }

    fn decode(file: File) -> Result<Table, TableError> {
        let reader = SerializedFileReader::new(file)?;
        let mut table = Table::default();
        for at in 0..reader.num_row_groups() {
            let group = reader.get_row_group(at)?;
            let rows = usize::try_from(group.metadata().num_rows()).map_err(|_| TableError::Damaged)?;
            for index in 0..group.num_columns() {
                let descriptor = group.metadata().column(index).column_descr_ptr();
                let [name] = descriptor.path().parts() else { continue };
                if descriptor.max_rep_level() > 0 || descriptor.max_def_level() > 1 {
                    continue;
                }
                let optional = descriptor.max_def_level() > 0;
                let entry = table.columns.entry(name.clone());
                match group.get_column_reader(index)? {
                    ColumnReader::Int64ColumnReader(mut column) => {
                        let (mut values, mut levels) = (Vec::new(), Vec::new());
                        column.read_records(rows, Some(&mut levels), None, &mut values)?;
                        let Raw::Int(into) = entry.or_insert_with(|| Raw::Int(Vec::new())) else {
                            return Err(TableError::Damaged);
                        };
                        spread(values, &levels, optional, into);
                    }
                    ColumnReader::DoubleColumnReader(mut column) => {
                        let (mut values, mut levels) = (Vec::new(), Vec::new());
                        column.read_records(rows, Some(&mut levels), None, &mut values)?;
                        let Raw::Float(into) = entry.or_insert_with(|| Raw::Float(Vec::new())) else {
                            return Err(TableError::Damaged);
                        };
                        spread(values, &levels, optional, into);
                    }
                    ColumnReader::ByteArrayColumnReader(mut column) => {
                        let (mut values, mut levels) = (Vec::new(), Vec::new());
                        column.read_records(rows, Some(&mut levels), None, &mut values)?;
                        let Raw::Text(into) = entry.or_insert_with(|| Raw::Text(Vec::new())) else {
                            return Err(TableError::Damaged);
                        };
                        let values = values
                            .iter()
                            .map(|v: &ByteArray| v.as_utf8().map(str::to_owned))
                            .collect::<Result<Vec<_>, _>>();
                        // A foreign binary column is not text; only a column that is asked for has to be.
                        spread(values.unwrap_or_default(), &levels, optional, into);
                    }
                    _ => {}
                }
            }
            table.rows += rows;
        }
        Ok(table)
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    fn column(&self, name: &str) -> Result<&Raw, TableError> {
        self.columns.get(name).ok_or_else(|| TableError::Missing(name.to_owned()))
    }

    fn wrong(name: &str, wanted: &'static str) -> TableError {
        TableError::Type(name.to_owned(), wanted)
    }

    /// A column of whole numbers that may be null.
    ///
    /// # Errors
    /// It is missing, of another type or incomplete.
    pub fn opt_int(&self, name: &str) -> Result<&[Option<i64>], TableError> {
        match self.column(name)? {
            Raw::Int(values) if values.len() == self.rows => Ok(values),
            _ => Err(Self::wrong(name, "one whole number a row")),
        }
    }

    /// A column of whole numbers.
    ///
    /// # Errors
    /// It is missing, of another type, incomplete or has nulls.
    pub fn int(&self, name: &str) -> Result<Vec<i64>, TableError> {
        let values: Option<Vec<i64>> = self.opt_int(name)?.iter().copied().collect();
        values.ok_or_else(|| Self::wrong(name, "one whole number a row"))
    }

    /// A column of unsigned whole numbers.
    ///
    /// # Errors
    /// It is missing, of another type, incomplete or has nulls.
    pub fn unsigned(&self, name: &str) -> Result<Vec<u64>, TableError> {
        Ok(self.int(name)?.into_iter().map(i64::cast_unsigned).collect())
    }

    /// A column of floating-point numbers that may be null.
    ///
    /// # Errors
    /// It is missing, of another type or incomplete.
    pub fn opt_float(&self, name: &str) -> Result<&[Option<f64>], TableError> {
        match self.column(name)? {
            Raw::Float(values) if values.len() == self.rows => Ok(values),
            _ => Err(Self::wrong(name, "one floating-point number a row")),
        }
    }

    /// A column of text.
    ///
    /// # Errors
    /// It is missing, of another type, incomplete or has nulls.
    pub fn text(&self, name: &str) -> Result<Vec<&str>, TableError> {
        let values: Option<Vec<&str>> = match self.column(name)? {
            Raw::Text(values) if values.len() == self.rows => values.iter().map(Option::as_deref).collect(),
            _ => None,
        };
        values.ok_or_else(|| Self::wrong(name, "one text a row"))
    }
}

/// Puts the values back on the rows that have one.
fn spread<T>(values: Vec<T>, levels: &[i16], optional: bool, into: &mut Vec<Option<T>>) {
    let mut values = values.into_iter();
    if optional {
        into.extend(levels.iter().map(|level| if *level > 0 { values.next() } else { None }));
    } else {
        into.extend(values.map(Some));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<(&'static str, Column)> {
        vec![
            ("n", Column::Int(vec![1, -2, i64::MAX])),
            ("maybe", Column::OptInt(vec![None, Some(7), None])),
            ("big", Column::Unsigned(vec![0, u64::MAX, 5])),
            ("f", Column::OptFloat(vec![Some(0.1), None, Some(-1e300)])),
            ("t", Column::Text(vec!["".into(), "a\n\u{0}\u{1b}[31mb".into(), "\u{fffd}é\u{202e}".into()])),
        ]
    }

    #[test]
    fn columns_come_back_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.parquet");
        write(&path, &sample()).unwrap();
        let table = Table::read(&path).unwrap();
        assert_eq!(table.rows(), 3);
        assert_eq!(table.int("n").unwrap(), [1, -2, i64::MAX]);
        assert_eq!(table.opt_int("maybe").unwrap(), [None, Some(7), None]);
        assert_eq!(table.unsigned("big").unwrap(), [0, u64::MAX, 5]);
        assert_eq!(table.opt_float("f").unwrap(), [Some(0.1), None, Some(-1e300)]);
        assert_eq!(table.text("t").unwrap()[1], "a\n\u{0}\u{1b}[31mb");
        assert!(matches!(table.int("t"), Err(TableError::Type(..))));
        assert!(matches!(table.int("maybe"), Err(TableError::Type(..))));
        assert!(matches!(table.text("absent"), Err(TableError::Missing(_))));
    }

    #[test]
    fn no_rows_are_a_table_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.parquet");
        write(&path, &[("n", Column::Int(vec![])), ("t", Column::Text(vec![]))]).unwrap();
        let table = Table::read(&path).unwrap();
        assert_eq!((table.rows(), table.int("n").unwrap().len(), table.text("t").unwrap().len()), (0, 0, 0));
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.parquet");
        write(&path, &sample()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let read_all = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            if let Ok(table) = Table::read(&path) {
                for (name, _) in sample() {
                    let _ = (table.int(name), table.text(name), table.opt_float(name));
                }
            }
        };
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(Table::read(&path).is_err(), "{length} bytes");
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            read_all(&bytes);
        }
    }
}
