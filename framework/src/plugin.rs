//! What a plugin is: a plain struct of settings that plays one role, known by one name.
//!
//! `settings!` makes a struct that reads itself from a TOML table and reports every mistake in it; `plugin!` is
//! `settings!` plus a line in the role's registry; `Pick` is a field that holds any plugin of a role.

mod values;

use crate::problem::Reader;
use std::{collections::BTreeMap, fmt, ops::Deref, ops::RangeBounds, path::PathBuf, sync::Arc};
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
    /// The versions, where above 1, of the plugins in it.
    fn versions(&self) -> Versions {
        Versions::new()
    }
}

/// Versions of plugins by their role and name, as in `loss.bpr`.
pub type Versions = BTreeMap<String, u32>;

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
            fn versions(&self) -> $crate::plugin::Versions {
                let found: Vec<$crate::plugin::Versions> = Vec::from([$( $crate::plugin::Setting::versions(&self.$field) ),*]);
                found.into_iter().flatten().collect()
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

/// From a table to the plugin, the table with every default written out, and the versions of the plugins in it.
pub type Read<R> = fn(&Table, &mut Reader) -> Option<(Arc<R>, Table, Versions)>;

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
    parts: Versions,
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

    /// All that decides what the plugin does: settings with defaults, its version, and those of its parts that have
    /// been raised.
    pub fn identity(&self) -> serde_json::Value {
        let mut identity = serde_json::json!({ "settings": self.table, "version": self.version });
        if !self.parts.is_empty() {
            identity["parts"] = serde_json::json!(self.parts);
        }
        identity
    }

    /// That without the paths among its settings: two labs that keep the same bytes in other places do the same.
    pub fn identity_without_paths(&self) -> serde_json::Value {
        let mut identity = self.identity();
        let fields = R::plugins().into_iter().find(|plugin| plugin.name == self.name).map_or(&[][..], |p| p.fields);
        let kinds = [PathBuf::kind(), Option::<PathBuf>::kind()];
        let paths = fields.iter().filter(|field| kinds.contains(&(field.kind)())).map(|field| field.name);
        if let Some(settings) = identity["settings"].as_object_mut() {
            paths.for_each(|path| drop(settings.remove(path)));
        }
        identity
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
        let Self { name, version, parts, table, plugin } = self;
        Self { name, version: *version, parts: parts.clone(), table: table.clone(), plugin: plugin.clone() }
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
        let (built, rest, parts) = (plugin.read)(&settings, reader)?;
        let mut table = Table::from_iter([("use".to_string(), Value::from(plugin.name))]);
        table.extend(rest);
        Some(Self { name: plugin.name, version: plugin.version, parts, table, plugin: built })
    }

    fn write(&self) -> Value {
        Value::Table(self.table.clone())
    }

    fn versions(&self) -> Versions {
        let own = (self.version > 1).then(|| (format!("{}.{}", R::ROLE, self.name), self.version));
        self.parts.clone().into_iter().chain(own).collect()
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
                    let parts = settings.versions();
                    Some((std::sync::Arc::new(settings), full, parts))
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
