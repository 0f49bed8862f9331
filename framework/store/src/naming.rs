//! What the store names things by: hashes of content, and times. Pure functions, but for the clock and a file's bytes.

use super::files::failing;
use crate::error::Result;
use serde_json::Value;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The blake3 hash of some bytes, in hexadecimal.
pub fn hash_bytes(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// The blake3 hash of a file, read piece by piece.
pub fn hash_file(path: &Path) -> Result<String> {
    let file = File::open(path).map_err(failing("cannot open the file to hash", path))?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file).map_err(failing("cannot read the file to hash", path))?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// The blake3 hash of a JSON value, the same for every order of its keys. `1` and `1.0` differ.
pub fn hash_json(value: &Value) -> String {
    let mut sorted = value.clone();
    sorted.sort_all_objects();
    hash_bytes(sorted.to_string().as_bytes())
}

/// The time in UTC as RFC 3339 with milliseconds, so that text order is time order.
pub fn now() -> String {
    // Only a clock before 1970 fails, and its time would be wrong anyway.
    rfc3339(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// Howard Hinnant's `civil_from_days`: years begin in March, so that the leap day is a year's last.
fn rfc3339(since_1970: Duration) -> String {
    let (days, second) = (since_1970.as_secs() / 86_400, since_1970.as_secs() % 86_400);
    let shifted = days + 719_468; // days since 0000-03-01
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since_1970.subsec_millis())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{hash_bytes, hash_file, hash_json, now, rfc3339};
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn times_follow_the_calendar() {
        let at = |millis| rfc3339(Duration::from_millis(millis));
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_399_999), "2000-02-28T23:59:59.999Z");
        assert_eq!(at(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(1_709_251_199_007), "2024-02-29T23:59:59.007Z");
        assert_eq!(at(1_735_689_600_000), "2025-01-01T00:00:00.000Z");
        assert_eq!(at(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
        assert_eq!(now().len(), "1970-01-01T00:00:00.000Z".len());
    }

    #[test]
    fn a_hash_depends_on_content_alone() {
        let one = json!({"a": 1, "b": [{"x": 1.5, "y": null}]});
        let other = json!({"b": [{"y": null, "x": 1.5}], "a": 1});
        assert_eq!(hash_json(&one), hash_json(&other));
        assert_ne!(hash_json(&one), hash_json(&json!({"a": 1, "b": []})));
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes = vec![7; 300_000];
        std::fs::write(file.path(), &bytes).unwrap();
        assert_eq!(hash_file(file.path()).unwrap(), hash_bytes(&bytes));
        let missing = hash_file(&file.path().join("none")).unwrap_err().to_string();
        assert!(missing.contains("cannot open") && missing.contains("none"), "{missing}");
    }
}
