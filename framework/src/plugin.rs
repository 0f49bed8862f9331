//! What a plugin is: a plain struct of settings that plays one role, known by one name.
//!
//! `settings!` makes a struct that reads itself from a TOML table and reports every mistake in it; `plugin!` is
//! `settings!` plus a line in the role's registry; `Pick` is a field that holds any plugin of a role.

use crate::problem::Reader;
use std::{fmt, ops::Deref, ops::RangeBounds, path::PathBuf, sync::Arc};
use toml::{Table, Value};

/// One key of a table.
pub struct Field {
    /// The key.
    pub name: &'static str,
    /// What it holds, in words.
    pub kind: fn() -> String,
    /// The value when the key is absent; `None` means the key must be given.
    pub default: Option<fn() -> Value>,
    /// The values allowed, as written in Rust.
    pub range: &'static str,
    /// Its documentation.
    pub doc: &'static str,
}

/// A value that can be read from TOML, with every mistake in it reported, and written back.
pub trait Setting: Sized {
    /// What it is, in words, for messages and reference pages.
    fn kind() -> String;
    /// Reads `value`; reports to `reader` and gives `None` when it is wrong.
    fn read(value: &Value, reader: &mut Reader) -> Option<Self>;
    /// Writes it back, every default spelled out.
    fn write(&self) -> Value;
}

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
}

/// A named choice: an enum whose values are words in TOML.
#[macro_export]
macro_rules! choice {
    ($(#[doc = $doc:literal])* $vis:vis enum $ty:ident { $($(#[doc = $vdoc:literal])* $variant:ident = $name:literal),* $(,)? }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $ty { $($(#[doc = $vdoc])* $variant),* }
        impl $crate::plugin::Setting for $ty {
            fn kind() -> String { [$(concat!("\"", $name, "\"")),*].join(" or ") }
            fn read(value: &$crate::toml::Value, reader: &mut $crate::problem::Reader) -> Option<Self> {
                match value.as_str() {
                    $(Some($name) => Some(Self::$variant),)*
                    Some(other) => reader.unknown_name(other, &[$($name),*], "choice"),
                    None => reader.wrong_type(value, &Self::kind()),
                }
            }
            fn write(&self) -> $crate::toml::Value {
                match self { $(Self::$variant => $name.into()),* }
            }
        }
    };
}

/// A struct that is one TOML table: each field has a type, perhaps a range, and a default unless it must be given.
#[macro_export]
macro_rules! settings {
    (
        $(#[doc = $doc:literal])*
        $vis:vis struct $ty:ident {
            $( $(#[doc = $fdoc:literal])* $(#[range($range:expr)])? $fvis:vis $field:ident: $fty:ty $(= $default:expr)? ),* $(,)?
        }
        $( check |$me:ident, $report:ident| $check:block )?
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug)]
        $vis struct $ty { $( $(#[doc = $fdoc])* $fvis $field: $fty ),* }

        impl $ty {
            /// The keys of its table.
            pub const FIELDS: &'static [$crate::plugin::Field] = &[ $( $crate::plugin::Field {
                name: $crate::plugin::key(stringify!($field)),
                kind: <$fty as $crate::plugin::Setting>::kind,
                default: {
                    #[allow(unused_variables)]
                    let default: Option<fn() -> $crate::toml::Value> = None;
                    $( let default: Option<fn() -> $crate::toml::Value> = Some(|| {
                        let value: $fty = $default;
                        $crate::plugin::Setting::write(&value)
                    }); )?
                    default
                },
                range: concat!("", $( stringify!($range) )?),
                doc: concat!($($fdoc, "\n"),*),
            } ),* ];
        }

        impl $crate::plugin::Setting for $ty {
            fn kind() -> String {
                "table".into()
            }
            #[allow(unused_variables)]
            fn read(value: &$crate::toml::Value, reader: &mut $crate::problem::Reader) -> Option<Self> {
                let table = reader.table(value, Self::FIELDS)?;
                $(
                    let default: Option<fn() -> $fty> = None;
                    $( let default: Option<fn() -> $fty> = Some(|| $default); )?
                    let $field: Option<$fty> = reader.field(table, $crate::plugin::key(stringify!($field)), default);
                    $( let $field = reader.in_range(stringify!($field), $field, &$range, stringify!($range)); )?
                )*
                let settings = Self { $( $field: $field? ),* };
                $( {
                    let $me = &settings;
                    let $report = reader;
                    $check
                } )?
                Some(settings)
            }
            fn write(&self) -> $crate::toml::Value {
                let mut table = $crate::toml::Table::new();
                $( table.insert($crate::plugin::key(stringify!($field)).into(), $crate::plugin::Setting::write(&self.$field)); )*
                $crate::toml::Value::Table(table)
            }
        }
    };
}

/// The key of a field: its name, without the mark of a raw identifier such as `r#use`.
pub const fn key(name: &'static str) -> &'static str {
    match name.as_bytes() {
        [b'r', b'#', ..] => name.split_at(2).1,
        _ => name,
    }
}

/// What a range check needs of a number.
pub(crate) fn contains<T: PartialOrd>(range: &impl RangeBounds<T>, value: &T) -> bool {
    range.contains(value)
}

/// The name of a plugin and everything the framework knows about it.
pub struct Plugin<R: ?Sized + 'static> {
    /// The word after `use =`.
    pub name: &'static str,
    /// Raised when the same settings give another result; part of every cache key.
    pub version: u32,
    /// Its documentation.
    pub doc: &'static str,
    /// Its settings.
    pub fields: &'static [Field],
    /// Its source file.
    pub file: &'static str,
    /// Reads the settings.
    pub read: Read<R>,
}

/// From a table to the plugin and the table with every default written out.
pub type Read<R> = fn(&Table, &mut Reader) -> Option<(Arc<R>, Table)>;

/// A slot in an experiment that exactly one plugin fills.
pub trait Role: Send + Sync + fmt::Debug + 'static {
    /// The role's name, a key in the spec.
    const ROLE: &'static str;
    /// Every plugin linked into the program, by name.
    fn plugins() -> Vec<&'static Plugin<Self>>;
}

/// The plugin that a spec picked for a role: a table with `use = "<name>"`. Any field of any plugin can be one.
pub struct Pick<R: ?Sized + Role> {
    name: &'static str,
    version: u32,
    table: Table,
    plugin: Arc<R>,
}

impl<R: ?Sized + Role> Pick<R> {
    /// The plugin called `name` with all defaults, for a field's default.
    ///
    /// # Panics
    /// When no such plugin is linked: a mistake of the plugin's author that the contract tests catch.
    pub fn named(name: &str) -> Self {
        let table = Value::Table(Table::from_iter([("use".to_string(), Value::from(name))]));
        let mut reader = Reader::default();
        Self::read(&table, &mut reader).unwrap_or_else(|| panic!("no {} is called {name}", R::ROLE))
    }

    /// The word after `use =`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// All that decides what the plugin does: settings with defaults, and its version.
    pub fn identity(&self) -> serde_json::Value {
        serde_json::json!({ "settings": self.table, "version": self.version })
    }
}

impl<R: ?Sized + Role> Deref for Pick<R> {
    type Target = R;
    fn deref(&self) -> &R {
        &self.plugin
    }
}

impl<R: ?Sized + Role> Clone for Pick<R> {
    fn clone(&self) -> Self {
        Self { name: self.name, version: self.version, table: self.table.clone(), plugin: self.plugin.clone() }
    }
}

impl<R: ?Sized + Role> fmt::Debug for Pick<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.table.fmt(f)
    }
}

impl<R: ?Sized + Role> Setting for Pick<R> {
    fn kind() -> String {
        format!("{} plugin", R::ROLE)
    }

    fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
        let Some(table) = value.as_table() else {
            return reader.wrong_type(value, &format!("table with `use = \"<{}>\"`", R::ROLE));
        };
        let names: Vec<_> = R::plugins().iter().map(|p| p.name).collect();
        let Some(name) = table.get("use") else {
            return reader.missing("use", &format!("the name of a {}: {}", R::ROLE, names.join(", ")));
        };
        let name = reader.inside("use", |reader| String::read(name, reader))?;
        let Some(plugin) = R::plugins().into_iter().find(|p| p.name == name) else {
            return reader.inside("use", |reader| reader.unknown_name(&name, &names, R::ROLE));
        };
        let mut settings = table.clone();
        settings.remove("use");
        let (built, rest) = (plugin.read)(&settings, reader)?;
        let mut table = Table::from_iter([("use".to_string(), Value::from(plugin.name))]);
        table.extend(rest);
        Some(Self { name: plugin.name, version: plugin.version, table, plugin: built })
    }

    fn write(&self) -> Value {
        Value::Table(self.table.clone())
    }
}

/// Declares a role: `role!(dyn Loss, "loss")`.
#[macro_export]
macro_rules! role {
    (dyn $role:ident, $name:literal) => {
        $crate::inventory::collect!($crate::plugin::Plugin<dyn $role>);
        impl $crate::plugin::Role for dyn $role {
            const ROLE: &'static str = $name;
            fn plugins() -> Vec<&'static $crate::plugin::Plugin<Self>> {
                let mut all: Vec<_> =
                    $crate::inventory::iter::<$crate::plugin::Plugin<dyn $role>>.into_iter().collect();
                all.sort_by_key(|plugin| plugin.name);
                all
            }
        }
    };
}

/// Declares a plugin: its settings, its role and its name.
#[macro_export]
macro_rules! plugin {
    (
        $(#[doc = $doc:literal])*
        $vis:vis struct $ty:ident: $role:path = $name:literal $(version $version:literal)? { $($fields:tt)* }
        $($check:tt)*
    ) => {
        $crate::settings! {
            $(#[doc = $doc])*
            $vis struct $ty { $($fields)* }
            $($check)*
        }

        $crate::inventory::submit! {
            $crate::plugin::Plugin::<dyn $role> {
                name: $name,
                version: 1 $( + $version - 1 )?,
                doc: concat!($($doc, "\n"),*),
                fields: $ty::FIELDS,
                file: file!(),
                read: |table, reader| {
                    use $crate::plugin::Setting;
                    let settings = $ty::read(&$crate::toml::Value::Table(table.clone()), reader)?;
                    let $crate::toml::Value::Table(full) = settings.write() else { return None };
                    Some((std::sync::Arc::new(settings), full))
                },
            }
        }
    };
}

/// A table of settings with every default, for a field's default.
///
/// # Panics
/// When a key has no default: a mistake of the author that the contract tests catch.
pub fn defaults<T: Setting>() -> T {
    T::read(&Value::Table(Table::new()), &mut Reader::default()).unwrap_or_else(|| panic!("a key has no default"))
}
