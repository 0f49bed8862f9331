//! Times as files write them, in microseconds since 1970.

pub(crate) use super::zone::Zone;
use super::{Place, short};
use chrono::format::{Item, Parsed, StrftimeItems};
use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime};
use framework::corpus::{Interactions, Unit};
use framework::error::Error;
use framework::plugin::Setting;
use framework::problem::Reader;
use framework::toml::Value;
use std::str::FromStr;

/// How times are written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Written {
    /// Numbers of a unit since 1970.
    Since(Count),
    /// ISO 8601: a date, perhaps with a time, perhaps with an offset.
    Iso,
    /// By a pattern of `strftime`.
    Pattern(String),
}

/// What numbers count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Count {
    Seconds,
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

const COUNTS: [(&str, Count); 4] = [
    ("seconds", Count::Seconds),
    ("milliseconds", Count::Milliseconds),
    ("microseconds", Count::Microseconds),
    ("nanoseconds", Count::Nanoseconds),
];

impl Count {
    /// Times a second.
    fn per_second(self) -> f64 {
        match self {
            Self::Seconds => 1.0,
            Self::Milliseconds => 1e3,
            Self::Microseconds => 1e6,
            Self::Nanoseconds => 1e9,
        }
    }

    fn name(self) -> &'static str {
        COUNTS.into_iter().find(|(_, count)| *count == self).map_or("", |(name, _)| name)
    }

    /// Microseconds; digits beyond are cut off. None where it is no number.
    fn microseconds(self, text: &str) -> Option<i64> {
        if let Ok(whole) = text.parse::<i64>() {
            return match self {
                Self::Nanoseconds => Some(whole.div_euclid(1000)),
                _ => whole.checked_mul((1e6 / self.per_second()) as i64),
            };
        }
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite())?;
        let microseconds = number * (1e6 / self.per_second());
        (microseconds.abs() < 9e18).then(|| microseconds.round() as i64)
    }
}

impl Setting for Written {
    fn kind() -> String {
        "seconds, milliseconds, microseconds, nanoseconds, iso8601, or a pattern such as %m/%d/%Y %H:%M".into()
    }
    fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
        let text = value.as_str().or_else(|| reader.wrong_type(value, "string"))?;
        if let Some((_, count)) = COUNTS.into_iter().find(|(name, _)| *name == text) {
            return Some(Self::Since(count));
        }
        match text {
            "iso8601" | "rfc3339" => Some(Self::Iso),
            pattern if pattern.contains("%Z") => reader.report(
                "`%Z`, a zone's name, says no offset",
                "`%z` for offsets; or the name left out, and `time_zone`",
            ),
            pattern if pattern.replace(".%f", "").replace(",%f", "").contains("%f") => {
                reader.report("`%f` stands behind no point", "`%S.%f`, or `%S,%f`: a fraction of a second")
            }
            pattern if pattern.contains('%') => match StrftimeItems::new(pattern).any(|item| item == Item::Error) {
                true => reader.report(format!("`{pattern}` is no pattern of times"), PATTERNS),
                false => Some(Self::Pattern(pattern.to_string())),
            },
            other => {
                let names = ["seconds", "milliseconds", "microseconds", "nanoseconds", "iso8601"];
                reader.unknown_name(other, &names, "way of writing times (a pattern has `%` in it)")
            }
        }
    }
    fn write(&self) -> Value {
        match self {
            Self::Since(count) => count.name().into(),
            Self::Iso => "iso8601".into(),
            Self::Pattern(pattern) => pattern.as_str().into(),
        }
    }
}

const PATTERNS: &str = "a pattern of `strftime`: %Y-%m-%d %H:%M:%S, %m/%d/%Y %I:%M:%S %p, %d.%m.%Y, %Y%m%d";

/// The times of a file: how they are written, in which zone, and what was seen of them.
#[derive(Clone, Debug)]
pub(crate) struct Times {
    written: Written,
    zone: Zone,
    /// The smallest and the largest.
    seen: Option<[i64; 2]>,
    /// Whether all numbers so far could be dates: 20200705. None before the first.
    look_like_dates: Option<bool>,
    without_zone: bool,
}

/// Years that data is from.
const LIKELY: std::ops::Range<i64> = 788_918_400_000_000..4_102_444_800_000_000;

/// Beyond the year 5138 another unit was meant.
const LATEST: i64 = 100_000_000_000_000_000;

impl Times {
    pub(crate) fn new(written: Written, zone: Zone) -> Self {
        Self { written, zone, seen: None, look_like_dates: None, without_zone: false }
    }

    /// Microseconds since 1970, from text.
    pub(crate) fn read(&mut self, place: Place<'_>, text: &str) -> Result<i64, Error> {
        let time = match &self.written {
            Written::Since(count) => {
                let is_like = || text.len() == 8 && NaiveDate::parse_from_str(text, "%Y%m%d").is_ok();
                self.look_like_dates = Some(self.look_like_dates.unwrap_or(true) && is_like());
                count.microseconds(text)
            }
            Written::Iso => iso(text).map(|time| self.moment(time)),
            Written::Pattern(pattern) => by_pattern(text, pattern).map(|time| self.moment(time)),
        };
        match time.filter(|time| time.abs() < LATEST) {
            Some(time) => Ok(self.saw(time)),
            None => Err(self.wrong(place, text)),
        }
    }

    /// What a column of times itself says; its unit and zone are known.
    pub(crate) fn saw(&mut self, time: i64) -> i64 {
        let [first, last] = self.seen.unwrap_or([time; 2]);
        self.seen = Some([first.min(time), last.max(time)]);
        time
    }

    /// What a column of clocks without a zone itself says, as if in UTC.
    pub(crate) fn clock(&mut self, time: i64) -> i64 {
        let clock = DateTime::from_timestamp_micros(time).map(|time| (time.naive_utc(), None));
        let time = clock.map_or(time, |clock| self.moment(clock));
        self.saw(time)
    }

    fn moment(&mut self, (time, offset): (NaiveDateTime, Option<FixedOffset>)) -> i64 {
        self.without_zone |= offset.is_none();
        offset.map_or(self.zone, Zone::Offset).microseconds(time)
    }

    fn wrong(&self, place: Place<'_>, text: &str) -> Error {
        let shown = short(text);
        let number = text.parse::<f64>().ok();
        let fits = |count: &Count| count.microseconds(text).is_some_and(|time| LIKELY.contains(&time));
        let fitting = COUNTS.into_iter().map(|(_, count)| count).find(fits);
        let (what, fix) = match (&self.written, number, fitting) {
            (Written::Since(count), Some(_), Some(other)) => (
                format!("the time is {shown}, which in {} is no year before 5138", count.name()),
                format!("`time = \"{}\"`", other.name()),
            ),
            (Written::Since(count), Some(_), None) => {
                let what = format!("the time is {shown}, not a number of {} since 1970", count.name());
                (what, self.pattern_for(text))
            }
            (_, Some(_), Some(other)) => {
                (format!("the time is {shown}, not {}", self.in_words()), format!("`time = \"{}\"`", other.name()))
            }
            _ => (format!("the time is {shown}, not {}", self.in_words()), self.pattern_for(text)),
        };
        place.broken(what).fix(fix)
    }

    fn in_words(&self) -> String {
        match &self.written {
            Written::Since(count) => format!("{} since 1970", count.name()),
            Written::Iso => "a time such as 2020-02-29T23:59:59Z or 2020-02-29".into(),
            Written::Pattern(pattern) => format!("of the pattern {pattern}"),
        }
    }

    /// The setting that would read it.
    fn pattern_for(&self, text: &str) -> String {
        if !matches!(self.written, Written::Iso) && iso(text).is_some() {
            return "`time = \"iso8601\"`".into();
        }
        const KNOWN: [&str; 20] = [
            "%d.%m.%Y %H:%M",
            "%d-%m-%Y %H:%M:%S",
            "%d-%m-%Y",
            "%Y%m%d%H%M%S",
            "%Y-%m-%d %I:%M:%S %p",
            "%a, %d %b %Y %H:%M:%S %z",
            "%m/%d/%Y %I:%M:%S %p",
            "%m/%d/%Y %I:%M %p",
            "%m/%d/%Y %H:%M:%S",
            "%m/%d/%Y %H:%M",
            "%m/%d/%Y",
            "%d/%m/%Y %H:%M:%S",
            "%d/%m/%Y %H:%M",
            "%d/%m/%Y",
            "%d.%m.%Y %H:%M:%S",
            "%d.%m.%Y",
            "%b %d, %Y",
            "%d %b %Y",
            "%a %b %d %H:%M:%S %z %Y",
            "%m %d, %Y",
        ];
        match KNOWN.into_iter().find(|pattern| by_pattern(text, pattern).is_some()) {
            Some(pattern) => {
                let twin = pattern.replace("%m/%d", "%d/%m");
                let or = match twin != pattern && by_pattern(text, &twin).is_some() {
                    true => format!("; or `time = \"{twin}\"` where the day comes first"),
                    false => String::new(),
                };
                format!("`time = \"{pattern}\"`{or}")
            }
            None => format!("`time`, how they are written: {}", <Written as Setting>::kind()),
        }
    }

    /// What a reader should know of the times that were read.
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let Some([first, last]) = self.seen else { return notes };
        if let Written::Since(count) = self.written {
            let shift = |other: Count| (last as f64 * count.per_second() / other.per_second()) as i64;
            let coarser = COUNTS
                .into_iter()
                .map(|(_, other)| other)
                .find(|other| other.per_second() < count.per_second() && LIKELY.contains(&shift(*other)));
            if let Some(other) = coarser.as_ref().filter(|_| last < LIKELY.start) {
                notes.push(format!(
                    "WARNING: taken as {}, all times are before {}; as {} the last would be in {}: perhaps `time = \"{}\"`",
                    count.name(), day(last + 86_400_000_000), other.name(), &day(shift(*other))[..4], other.name()
                ));
            }
            if last > LIKELY.end {
                notes.push(format!(
                    "WARNING: times go up to {}: is `time = \"{}\"` their unit?",
                    day(last),
                    count.name()
                ));
            } else if last < LIKELY.start && coarser.is_none() {
                notes.push(format!(
                    "all times are before 1995, from {} to {}: numbers of days or years, or Excel's, would be taken so",
                    day(first),
                    day(last)
                ));
            }
            if self.look_like_dates == Some(true) {
                notes.push(format!(
                    "WARNING: all times look like dates, as in 20200705, and were taken as {}: perhaps `time = \"%Y%m%d\"`",
                    count.name()
                ));
            }
        }
        if self.without_zone {
            let zone = match self.zone {
                Zone::Place(zone) => zone.name().to_string(),
                Zone::Offset(offset) => offset.to_string(),
            };
            notes.push(format!("times without an offset are taken as {zone}, from {} to {}", day(first), day(last)));
        }
        notes
    }
}

/// A moment's day.
fn day(microseconds: i64) -> String {
    DateTime::from_timestamp_micros(microseconds).map_or("?".into(), |time| time.format("%Y-%m-%d").to_string())
}

/// A date, perhaps with a time and an offset, as ISO 8601 and what is commonly taken for it have them.
fn iso(text: &str) -> Option<(NaiveDateTime, Option<FixedOffset>)> {
    let date_end = text.find(['T', 't', ' ']).unwrap_or(text.len());
    let (date, time) = (&text[..date_end], text.get(date_end + 1..).map(str::trim));
    let month = (date.len() == 7).then(|| format!("{date}-01"));
    let date = month.as_deref().unwrap_or(date);
    let date = ["%Y-%m-%d", "%Y%m%d", "%Y/%m/%d", "%Y-%j"].into_iter().find_map(|pattern| {
        // `%Y` alone would take 5 digits and more.
        let digits = date.bytes().take_while(u8::is_ascii_digit).count();
        let fits = match pattern {
            "%Y%m%d" => digits == 8 && date.len() == 8,
            "%Y-%j" => digits == 4 && date.len() == 8,
            _ => digits == 4,
        };
        if fits { NaiveDate::parse_from_str(date, pattern).ok() } else { None }
    })?;
    let Some(time) = time else { return Some((date.and_time(NaiveTime::MIN), None)) };
    let zone_at = time.find(['Z', 'z', '+', '-']).or_else(|| time.find(" UTC")).unwrap_or(time.len());
    let (clock, zone) = (time[..zone_at].trim_end(), time[zone_at..].trim());
    let offset = match zone {
        "" => None,
        "Z" | "z" | "UTC" => Some(FixedOffset::east_opt(0)?),
        hours if hours.len() == 3 => Some(FixedOffset::from_str(&format!("{hours}:00")).ok()?),
        other => Some(FixedOffset::from_str(other).ok()?),
    };
    let clock = if clock.len() < 3 { format!("{clock}:00") } else { clock.replace(',', ".") };
    let time = ["%H:%M:%S%.f", "%H:%M", "%H%M%S%.f", "%H%M"].into_iter();
    let time = time.clone().find_map(|pattern| NaiveTime::parse_from_str(&clock, pattern).ok())?;
    Some((date.and_time(time), offset))
}

/// Microseconds since 1970 of a time in ISO 8601, in UTC unless it says otherwise.
pub(super) fn iso_moment(text: &str) -> Option<i64> {
    iso(text).map(|(time, offset)| offset.map_or(Zone::UTC, Zone::Offset).microseconds(time))
}

/// A time by a pattern of `strftime`; what a pattern leaves out is midnight.
fn by_pattern(text: &str, pattern: &str) -> Option<(NaiveDateTime, Option<FixedOffset>)> {
    let mut parsed = Parsed::new();
    // Python's `%f` is a fraction, which is written `%.f` here.
    let (pattern, text) = match pattern.contains(",%f") {
        true => (pattern.replace(",%f", "%.f"), text.replace(',', ".")),
        false => (pattern.replace(".%f", "%.f"), text.to_string()),
    };
    chrono::format::parse(&mut parsed, &text, StrftimeItems::new(&pattern)).ok()?;
    if let Some(seconds) = parsed.timestamp() {
        return Some((DateTime::from_timestamp(seconds, 0)?.naive_utc(), FixedOffset::east_opt(0)));
    }
    if parsed.day().is_none() && parsed.month().is_some() {
        parsed.set_day(1).ok()?;
    }
    let date = parsed.to_naive_date().ok()?;
    let has_time = parsed.hour_div_12().is_some() || parsed.hour_mod_12().is_some();
    if has_time && parsed.minute().is_none() {
        parsed.set_minute(0).ok()?;
    }
    let time = if has_time { parsed.to_naive_time().ok()? } else { NaiveTime::MIN };
    Some((date.and_time(time), parsed.offset().and_then(FixedOffset::east_opt)))
}

/// `interactions`, whose times are microseconds, in the coarsest unit that holds all of them.
pub(crate) fn in_coarsest_unit(mut interactions: Interactions) -> Interactions {
    let all = |step: i64| interactions.timestamp.iter().all(|time| time % step == 0);
    let (unit, step) = match () {
        () if all(1_000_000) => (Unit::Seconds, 1_000_000),
        () if all(1_000) => (Unit::Milliseconds, 1_000),
        () => (Unit::Microseconds, 1),
    };
    interactions.unit = unit;
    interactions.timestamp.iter_mut().for_each(|time| *time /= step);
    interactions
}

#[cfg(test)]
mod tests;
