//! The zones of clocks that do not say theirs.

use chrono::{FixedOffset, NaiveDateTime, Offset, TimeDelta, TimeZone};
use framework::plugin::Setting;
use framework::problem::Reader;
use framework::toml::Value;
use std::str::FromStr;

/// What times without an offset are to be understood in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Zone {
    /// A place's, with its summer times: `Europe/Berlin`.
    Place(chrono_tz::Tz),
    /// Always the same: `+05:30`.
    Offset(FixedOffset),
}

impl Zone {
    /// The default.
    pub(crate) const UTC: Self = Self::Place(chrono_tz::UTC);

    /// Microseconds since 1970 of a clock's time. What a clock shows twice is the earlier; what it never shows is taken
    /// as if it had not been moved.
    pub(super) fn microseconds(self, time: NaiveDateTime) -> i64 {
        let hour = TimeDelta::hours(1);
        let offset = match self {
            Self::Offset(offset) => offset,
            Self::Place(zone) => match zone.offset_from_local_datetime(&time).earliest() {
                Some(offset) => offset.fix(),
                None => zone
                    .offset_from_local_datetime(&(time - hour))
                    .earliest()
                    .map_or(FixedOffset::east_opt(0), |o| Some(o.fix()))
                    .unwrap_or_else(|| chrono::Utc.fix()),
            },
        };
        time.and_utc().timestamp_micros() - i64::from(offset.local_minus_utc()) * 1_000_000
    }
}

impl Setting for Zone {
    fn kind() -> String {
        "name of a time zone, or an offset".into()
    }
    fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
        let text = value.as_str().or_else(|| reader.wrong_type(value, "string"))?;
        let zone = chrono_tz::Tz::from_str(text).ok().map(Self::Place);
        let found = zone.or_else(|| FixedOffset::from_str(text).ok().map(Self::Offset));
        found.or_else(|| {
            reader.report(format!("no time zone is called `{text}`"), "UTC, a name such as Europe/Berlin, or +05:30")
        })
    }
    fn write(&self) -> Value {
        match self {
            Self::Place(zone) => zone.name().into(),
            Self::Offset(offset) => offset.to_string().into(),
        }
    }
}
