use super::{Count, Times, Written, Zone, in_coarsest_unit};
use crate::reading::Place;
use framework::corpus::{Interactions, Unit};
use framework::plugin::Setting;
use framework::problem::Reader;
use framework::toml::Value;
use std::path::Path;

fn place() -> Place<'static> {
    Place { path: Path::new("folder/x.csv"), unit: "line", number: 7 }
}

fn setting<T: Setting>(text: &str) -> Option<T> {
    T::read(&Value::from(text), &mut Reader::default())
}

/// Seconds since 1970 of `text`, or the message.
fn read(written: &str, zone: &str, text: &str) -> Result<f64, String> {
    let mut times = Times::new(setting(written).expect("a way"), setting(zone).expect("a zone"));
    times.read(place(), text).map(|time| time as f64 / 1e6).map_err(|error| error.to_string())
}

#[test]
fn iso_times_are_read_naive_and_zoned() {
    let second = 1_583_020_799.0; // 2020-02-29T23:59:59Z
    for (text, expected) in [
        ("2020-02-29T23:59:59Z", second),
        ("2020-02-29 23:59:59", second),
        ("2020-02-29T23:59:59.250Z", second + 0.25),
        ("2020-02-29 23:59:59,25", second + 0.25),
        ("2020-02-29T23:59:59.000001", second + 1e-6),
        ("2020-03-01T00:59:59+01:00", second),
        ("2020-03-01 00:59:59+0100", second),
        ("2020-03-01 00:59:59 +01:00", second),
        ("2020-02-29 18:59:59-05", second),
        ("2020-02-29 23:59:59 UTC", second),
        ("2020-02-29T23:59", second - 59.0),
        ("20200229T235959Z", second),
        ("2020-02-29", 1_582_934_400.0),
        ("2020/02/29", 1_582_934_400.0),
        ("20200229", 1_582_934_400.0),
        ("2020-02", 1_580_515_200.0),
        ("2020-060", 1_582_934_400.0),
        ("2020-02-29T23", second - 3599.0),
    ] {
        assert_eq!(read("iso8601", "UTC", text), Ok(expected), "{text}");
        assert_eq!(read("rfc3339", "UTC", text), Ok(expected), "{text}");
    }
    for text in ["2020-02-30", "2020-02-29T25:00:00Z", "soon", "", "1583020799", "2020-02-29T23:59:59+99:00"] {
        assert!(read("iso8601", "UTC", text).is_err(), "{text}");
    }
}

#[test]
fn clocks_stand_in_their_zone() {
    let berlin = |text| read("iso8601", "Europe/Berlin", text).expect("a time");
    assert_eq!(berlin("2020-07-01 02:00:00"), 1_593_561_600.0);
    assert_eq!(berlin("2020-01-01 01:00:00"), 1_577_836_800.0);
    // 02:30 was twice on 25 October and never on 29 March.
    assert_eq!(berlin("2020-10-25 02:30:00"), 1_603_585_800.0);
    assert_eq!(berlin("2020-03-29 02:30:00"), 1_585_445_400.0);
    assert_eq!(berlin("2020-07-01 02:00:00Z"), 1_593_568_800.0, "an offset of its own counts");
    assert_eq!(read("iso8601", "+05:30", "2020-01-01 05:30"), Ok(1_577_836_800.0));
    assert!(setting::<Zone>("Europe/Berlinn").is_none());
}

#[test]
fn patterns_read_what_they_say() {
    assert_eq!(read("%m/%d/%Y %I:%M:%S %p", "UTC", "11/15/2019 8:55:10 AM"), Ok(1_573_808_110.0));
    assert_eq!(read("%d.%m.%Y", "UTC", "15.11.2019"), Ok(1_573_776_000.0));
    assert_eq!(read("%Y-%m-%d %H:%M:%S.%f", "UTC", "2019-11-15 00:00:00.5"), Ok(1_573_776_000.5));
    assert_eq!(read("%a %b %d %H:%M:%S %z %Y", "UTC", "Fri Nov 15 01:00:00 +0100 2019"), Ok(1_573_776_000.0));
    assert_eq!(read("%H:%M:%S,%f %d.%m.%Y", "UTC", "00:00:00,25 15.11.2019"), Ok(1_573_776_000.25));
    assert_eq!(read("%Y-%m-%d %H", "UTC", "2019-11-15 01"), Ok(1_573_779_600.0));
    assert_eq!(read("%Y-%m", "UTC", "2019-11"), Ok(1_572_566_400.0));
    assert!(setting::<Written>("%H:%M %Z").is_none() && setting::<Written>("%S%f").is_none());
    assert_eq!(read("%s", "Europe/Berlin", "1573776000"), Ok(1_573_776_000.0));
    assert!(setting::<Written>("%Q").is_none() && setting::<Written>("minutes").is_none());
}

#[test]
fn numbers_are_read_in_their_unit() {
    let all = [("seconds", "1593878903.438"), ("milliseconds", "1593878903438"), ("microseconds", "1593878903438000")];
    for (unit, text) in all.into_iter().chain([("nanoseconds", "1593878903438000000")]) {
        assert_eq!(read(unit, "UTC", text), Ok(1_593_878_903.438), "{unit}");
    }
    for (text, time) in [("1.5e3", 1500.0), ("-2", -2.0), ("0", 0.0)] {
        assert_eq!(read("seconds", "UTC", text), Ok(time));
    }
}

#[test]
fn a_wrong_time_says_what_would_read_it() {
    for (written, text, words) in [
        ("seconds", "1600000010000", vec!["in seconds is no year before 5138", "`time = \"milliseconds\"`"]),
        ("seconds", "1600000010000000", vec!["`time = \"microseconds\"`"]),
        ("milliseconds", "1600000010000000000", vec!["`time = \"nanoseconds\"`"]),
        ("seconds", "2020-02-29", vec!["not seconds since 1970", "`time = \"iso8601\"`"]),
        ("iso8601", "11/15/2019 8:55:10 AM", vec!["not a time such as", "`time = \"%m/%d/%Y %I:%M:%S %p\"`"]),
        ("iso8601", "05/06/2019", vec!["`time = \"%m/%d/%Y\"`", "`time = \"%d/%m/%Y\"` where the day comes first"]),
        ("iso8601", "1600000010", vec!["`time = \"seconds\"`"]),
        ("seconds", "inf", vec!["not a number of seconds since 1970"]),
        ("%d.%m.%Y", "soon", vec!["not of the pattern %d.%m.%Y", "folder/x.csv, line 7"]),
    ] {
        let message = read(written, "UTC", text).expect_err("it is wrong");
        words.iter().for_each(|word| assert!(message.contains(word), "{text}: {word:?} in {message}"));
    }
    let long = read("seconds", "UTC", &"x".repeat(100_000)).expect_err("it is wrong");
    assert!(long.len() < 500, "a message prints no file");
}

#[test]
fn doubtful_units_are_noted() {
    let notes = |written: &str, texts: &[&str]| {
        let mut times = Times::new(setting(written).expect("a way"), Zone::UTC);
        for text in texts {
            times.read(place(), text).expect("a time");
        }
        times.notes().join("\n")
    };
    let wrong = notes("milliseconds", &["1600000010", "1600000040"]);
    assert!(wrong.contains("before 1970-01-20") && wrong.contains("perhaps `time = \"seconds\"`"), "{wrong}");
    assert_eq!(notes("milliseconds", &["1600000010000"]), "");
    assert_eq!(notes("seconds", &["1600000010", "10"]), "");
    assert!(notes("seconds", &["18000", "18001"]).contains("all times are before 1995, from 1970-01-01"), "days");
    assert!(notes("milliseconds", &["20200705123000"]).contains("times go up to 2610"));
    assert!(notes("seconds", &["20200705", "20200706"]).contains("perhaps `time = \"%Y%m%d\"`"));
    assert!(notes("iso8601", &["2020-07-05"]).contains("taken as UTC, from 2020-07-05"));
    assert_eq!(notes("iso8601", &["2020-07-05T00:00:00Z"]), "");
}

#[test]
fn times_are_kept_as_fine_as_they_are() {
    let unit = |timestamp: &[i64]| {
        let kept = in_coarsest_unit(Interactions { timestamp: timestamp.to_vec(), ..Interactions::default() });
        (kept.unit, kept.timestamp)
    };
    assert_eq!(unit(&[3_000_000, 1_000_000]), (Unit::Seconds, vec![3, 1]));
    assert_eq!(unit(&[3_000_000, 1_500_000]), (Unit::Milliseconds, vec![3000, 1500]));
    assert_eq!(unit(&[3_000_000, 1_500_001]), (Unit::Microseconds, vec![3_000_000, 1_500_001]));
    assert_eq!(Count::Nanoseconds.microseconds("1500"), Some(1));
}
