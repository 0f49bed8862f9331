//! The values of TOML as settings: numbers, words, paths, lists, tables, and parts that may be left out.

use super::{Setting, Versions};
use crate::problem::Reader;
use std::path::PathBuf;
use toml::{Table, Value};

macro_rules! integers {
    ($($ty:ty),*) => { $(impl Setting for $ty {
        fn kind() -> String {
            "integer".into()
        }
        fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
            match value.as_integer().map(<$ty>::try_from) {
                Some(Ok(number)) => Some(number),
                Some(Err(_)) => reader.out_of_range(value, &format!("an integer from {} to {}", <$ty>::MIN, <$ty>::MAX)),
                None => reader.wrong_type(value, &Self::kind()),
            }
        }
        fn write(&self) -> Value {
            Value::Integer(i64::try_from(*self).unwrap_or(i64::MAX))
        }
    })* };
}
integers!(usize, u64, u32, i64);

impl Setting for f64 {
    fn kind() -> String {
        "number".into()
    }
    fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
        match value {
            Value::Float(number) if number.is_finite() => Some(*number),
            Value::Integer(number) => Some(*number as f64),
            _ => reader.wrong_type(value, "finite number"),
        }
    }
    fn write(&self) -> Value {
        Value::Float(*self)
    }
}

impl Setting for bool {
    fn kind() -> String {
        "true or false".into()
    }
    fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
        value.as_bool().or_else(|| reader.wrong_type(value, &Self::kind()))
    }
    fn write(&self) -> Value {
        Value::Boolean(*self)
    }
}

impl Setting for String {
    fn kind() -> String {
        "string".into()
    }
    fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
        value.as_str().map(String::from).or_else(|| reader.wrong_type(value, &Self::kind()))
    }
    fn write(&self) -> Value {
        Value::String(self.clone())
    }
}

impl Setting for PathBuf {
    fn kind() -> String {
        "path".into()
    }
    fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
        value.as_str().map(PathBuf::from).or_else(|| reader.wrong_type(value, &Self::kind()))
    }
    fn write(&self) -> Value {
        Value::String(self.display().to_string())
    }
}

impl Setting for Table {
    fn kind() -> String {
        "table".into()
    }
    fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
        value.as_table().cloned().or_else(|| reader.wrong_type(value, &Self::kind()))
    }
    fn write(&self) -> Value {
        Value::Table(self.clone())
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn kind() -> String {
        format!("list of {}", T::kind())
    }
    fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
        let Some(values) = value.as_array() else {
            return reader.wrong_type(value, &Self::kind());
        };
        let read: Vec<Option<T>> =
            values.iter().enumerate().map(|(n, v)| reader.inside(&n.to_string(), |r| T::read(v, r))).collect();
        read.into_iter().collect()
    }
    fn write(&self) -> Value {
        Value::Array(self.iter().map(T::write).collect())
    }
    fn versions(&self) -> Versions {
        self.iter().flat_map(T::versions).collect()
    }
}

/// A part that may be left out: `false` in TOML.
impl<T: Setting> Setting for Option<T> {
    fn kind() -> String {
        format!("{}, or false for none", T::kind())
    }
    fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
        match value {
            Value::Boolean(false) => Some(None),
            value => T::read(value, reader).map(Some),
        }
    }
    fn write(&self) -> Value {
        self.as_ref().map_or(Value::Boolean(false), T::write)
    }
    fn versions(&self) -> Versions {
        self.iter().flat_map(T::versions).collect()
    }
}
