//! Commands on the store as a whole: verify, gc, du.

use crate::{Cli, Outcome};
use framework::error::Result;
use framework::store::{Garbage, Usage};
use indicatif::HumanBytes;
use serde_json::json;
use std::process::ExitCode;
use std::time::{Duration, Instant};

impl Cli {
    pub(crate) fn verify(&self) -> Outcome {
        let started = Instant::now();
        let found = self.store()?.verify()?;
        found.problems.iter().for_each(|problem| println!("problem: {problem}\n"));
        let lean = match found.lean {
            0 => String::new(),
            lean => format!(" ({lean} without data and checkpoint)"),
        };
        let state = match found.problems.len() {
            0 => "sound".to_owned(),
            1 => "1 problem".to_owned(),
            several => format!("{several} problems"),
        };
        println!(
            "{state}: {} objects ({}), {} stages, {} runs{lean}, {} tags in {:.1} s",
            found.objects,
            HumanBytes(found.bytes),
            found.stages,
            found.runs,
            found.tags,
            started.elapsed().as_secs_f64()
        );
        Ok(if found.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    pub(crate) fn gc(&self, grace: Duration, stages: bool, delete: bool) -> Result<()> {
        let store = self.store()?;
        if store.is_busy()? {
            println!("somebody works in this store: stages and tmp stay");
        }
        let garbage = if delete { store.collect_garbage(grace, stages)? } else { store.garbage(grace, stages)? };
        for Garbage { kind, path, bytes } in &garbage {
            println!("{kind:<7} {:>12}  {}", HumanBytes(*bytes).to_string(), path.display());
        }
        let bytes = HumanBytes(garbage.iter().map(|garbage| garbage.bytes).sum());
        let done = if delete { "removed" } else { "would be removed; `--delete` does it" };
        println!("{} files and folders, {bytes}: {done}", garbage.len());
        Ok(())
    }

    pub(crate) fn du(&self, json: bool) -> Result<()> {
        let usage = self.store()?.usage()?;
        let total = usage.iter().fold(Usage::default(), |total, (_, part)| Usage {
            files: total.files + part.files,
            bytes: total.bytes + part.bytes,
        });
        if json {
            let part =
                |(kind, usage): &(String, Usage)| json!({ "kind": kind, "files": usage.files, "bytes": usage.bytes });
            println!("{:#}", json!({ "parts": usage.iter().map(part).collect::<Vec<_>>(), "total": total }));
            return Ok(());
        }
        for (kind, Usage { files, bytes }) in usage.iter().chain([&("total".to_owned(), total)]) {
            println!("{kind:<13} {files:>7} files {:>12}", HumanBytes(*bytes).to_string());
        }
        Ok(())
    }
}

/// Reads a time such as `90s`, `30m`, `12h`, `1d`.
pub(crate) fn duration(text: &str) -> std::result::Result<Duration, String> {
    let wrong = || "a whole number with s, m, h or d behind it, as in 12h".to_owned();
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "" if digits == "0" => 1,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(unit).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(duration("0").map(|time| time.as_secs()), Ok(0));
        assert_eq!(duration("90s").map(|time| time.as_secs()), Ok(90));
        assert_eq!(duration("2d").map(|time| time.as_secs()), Ok(172_800));
        for wrong in ["", "1", "d", "1w", "-1d", "1.5h", "99999999999999999999d", "9999999999999999999d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
