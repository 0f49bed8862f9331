//! Commands on tags, the versions of a set of results: tag, list --tags, diff of two tags, export, import, reproduce.

use crate::bundle;
use crate::reproduce::{Cell, Reproduction, stored_plan};
use crate::trackers::Tracker;
use crate::{BuiltIn, Cli, Outcome, SpecArgument, adapter, recommendations, tagged};
use framework::error::{Error, Result};
use framework::load::Rejected;
use framework::metrics::deepest;
use framework::progress::Progress;
use framework::run::{keys, recommended, settled};
use framework::store::{Store, Tag};
use indicatif::HumanBytes;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

impl Cli {
    pub(crate) fn tag(
        &self,
        name: &str,
        references: &[String],
        set: &[String],
        built_in: BuiltIn,
    ) -> std::result::Result<(), Rejected> {
        if name == "latest" || name.ends_with(".toml") {
            let what = format!("`{name}` cannot name a tag: commands would take it for a run or a spec");
            return Err(Error::new(what).fix("another name, as in paper-v1").into());
        }
        let store = self.store()?;
        let runs = self.runs_of(&store, references, set, built_in)?;
        let set = set.iter().map(|set| format!(" --set '{set}'")).collect::<String>();
        let command = format!("ablate tag {name} {}{set}", references.join(" "));
        let (tag, new) = store.commit_tag(name, &command, &runs)?;
        println!("{} {}", if new { "made" } else { "found" }, line(&tag));
        Ok(())
    }

    pub(crate) fn list_tags(&self, json: bool) -> Result<()> {
        let store = self.store()?;
        let mut all = Vec::new();
        for name in store.tag_names()? {
            all.extend(store.tag(&name)?);
        }
        if json {
            println!("{:#}", serde_json::json!(all));
        } else {
            all.iter().for_each(|tag| println!("{}  {}", line(tag), tag.command));
        }
        Ok(())
    }

    /// The difference of two tags, if both names are such.
    pub(crate) fn diff_tags(&self, store: &Store, a: &str, b: &str) -> Result<bool> {
        match (find_tag(store, a)?, find_tag(store, b)?) {
            (Some(a), Some(b)) => tagged::diff(store, &a, &b).map(|text| print!("{text}")).map(|()| true),
            (None, None) => Ok(false),
            (Some(tag), None) | (None, Some(tag)) => {
                let other = if tag.tag == a { b } else { a };
                Err(Error::new(format!("`{}` is a tag and `{other}` is not", tag.tag)).fix("two tags, or two runs"))
            }
        }
    }

    pub(crate) fn export(&self, name: &str, file: &Path, lean: bool) -> Result<()> {
        let store = self.store()?;
        let tag = known_tag(&store, name)?;
        let (files, bytes) = bundle::export(&store, &tag, lean, file)?;
        println!("{}: {files} files, {}", file.display(), HumanBytes(bytes));
        println!("{}", line(&tag));
        Ok(())
    }

    pub(crate) fn export_as(&self, tracker: Tracker, name: &str, folder: &Path) -> Result<()> {
        let store = self.store()?;
        let runs = known_tag(&store, name)?.runs;
        let records = runs.iter().map(|run| tagged::record(&store, run)).collect::<Result<Vec<_>>>()?;
        tracker.write(&records, folder)?;
        println!("{}: {} runs", folder.display(), records.len());
        Ok(())
    }

    pub(crate) fn export_adapter(&self, run: &str, folder: &Path) -> Result<()> {
        let store = self.store()?;
        let record = super::read(&store, &store.find_run(run)?)?;
        let base = adapter::export(&store, &record, &stored_plan(&record)?, &self.cache()?, folder)?;
        println!("{}: an adapter of {base}, for PEFT", folder.display());
        Ok(())
    }

    pub(crate) fn export_recommendations(&self, run: &str, file: &Path, top: Option<u32>) -> Result<()> {
        let format = recommendations::Format::of(file)?;
        let store = self.store()?;
        let record = super::read(&store, &store.find_run(run)?)?;
        let names = record["metrics"].as_object().into_iter().flatten().map(|(name, _)| name.as_str());
        let top = top.or(deepest(names)).unwrap_or(10) as usize;
        let (plan, progress) = (stored_plan(&record)?, Progress::default());
        let lists = recommended(&store, &record, &plan, top, self.cache()?, progress)?;
        format.write(&lists, file)?;
        let (items, longer) =
            (lists.lists.iter().map(Vec::len).sum::<usize>(), lists.lists.iter().filter(|list| list.len() > top));
        println!("{}: {items} items for {} test users, the {top} best of each", file.display(), lists.users.len());
        match longer.count() {
            0 => {}
            longer => println!("of {longer} users more, since they are tied with the last"),
        }
        match lists.lists.iter().filter(|list| list.is_empty()).count() {
            0 => {}
            none => {
                println!("for {none} users nothing is recommended: `ablate score --missing-users miss` reads them so")
            }
        }
        if lists.changed > 0 {
            let changed = lists.changed;
            eprintln!(
                "warning: {changed} targets have another rank than when the run was made, on another device or by another program"
            );
        }
        Ok(())
    }

    pub(crate) fn import(&self, file: &Path) -> Result<()> {
        let (tag, merged) = bundle::import(&self.store()?, file)?;
        println!("{} files added, {} there already", merged.added, merged.found);
        println!("{}", line(&tag));
        Ok(())
    }

    pub(crate) fn reproduce(&self, reference: &str, set: &[String], built_in: BuiltIn) -> Outcome {
        let store = self.store()?;
        let runs = self.runs_of(&store, &[reference.to_owned()], set, built_in)?;
        let started = Instant::now();
        let progress = Progress::default();
        let mut again = Reproduction::new(&store, self.cache()?, progress.clone(), built_in.code)?;
        let mut reproduced = 0;
        for (n, run) in runs.iter().enumerate() {
            let record = super::read(&store, run)?;
            let seed = &record["seed"];
            let variant = record["variant"].as_str().unwrap_or_default();
            println!("[{}/{}] {variant} seed {seed}, run {}", n + 1, runs.len(), &run[..run.len().min(10)]);
            match again.cell(&record) {
                Ok(cell) => {
                    reproduced += usize::from(cell.reproduced);
                    print(&cell);
                }
                Err(error) if error.is_interrupt() => return Err(error.into()),
                Err(error) => println!("  not reproduced: {}", error.to_string().replace('\n', "\n  ")),
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        println!("{reproduced} of {} runs reproduced in {seconds:.1} s", runs.len());
        Ok(if reproduced == runs.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// The runs that are meant by a spec alone, or by runs and tags.
    fn runs_of(
        &self,
        store: &Store,
        references: &[String],
        set: &[String],
        built_in: BuiltIn,
    ) -> std::result::Result<Vec<String>, Rejected> {
        if let [spec] = references
            && spec.ends_with(".toml")
        {
            return self.runs_of_spec(store, &SpecArgument { spec: spec.into(), set: set.to_vec() }, built_in);
        }
        if !set.is_empty() || references.iter().any(|reference| reference.ends_with(".toml")) {
            let what = "a spec stands alone, and `--set` changes a spec";
            return Err(Error::new(what).fix("one spec's file; or runs and tags without `--set`").into());
        }
        let mut runs = Vec::new();
        for reference in references {
            let Some(tag) = find_tag(store, reference)? else {
                runs.push(store.find_run(reference)?);
                continue;
            };
            for run in tag.runs {
                if store.manifest_hash(&run.run)?.as_ref() != Some(&run.manifest) {
                    let what = format!("the run {} of the tag `{reference}` is not the one that was tagged", run.run);
                    return Err(Error::new(what).at(store.place()).fix("`ablate verify` says more").into());
                }
                runs.push(run.run);
            }
        }
        Ok(runs)
    }

    fn runs_of_spec(
        &self,
        store: &Store,
        spec: &SpecArgument,
        built_in: BuiltIn,
    ) -> std::result::Result<Vec<String>, Rejected> {
        let plans = settled(&spec.load(built_in)?.plans, store, &self.cache()?)?;
        let (mut runs, mut missing) = (Vec::new(), Vec::new());
        for plan in &plans {
            let id = keys(plan, &self.cache()?)?.run;
            if store.run(&id)?.is_none() {
                missing.push(format!("{} seed {} (run {})", plan.variant, plan.seed, &id[..10]));
            }
            runs.push(id);
        }
        if missing.is_empty() {
            return Ok(runs);
        }
        let what = format!("{} of the spec's {} runs are not in the store:", missing.len(), plans.len());
        let error = Error::new(format!("{what}\n    {}", missing.join("\n    "))).at(store.place());
        Err(error.fix(format!("`ablate run {}`", spec.spec.display())).into())
    }
}

/// The tag of that name; a name that no tag can have is none.
fn find_tag(store: &Store, name: &str) -> Result<Option<Tag>> {
    if store.tag_names()?.iter().any(|known| known == name) { store.tag(name) } else { Ok(None) }
}

/// The tag of that name, or an error that says where to look.
pub(crate) fn known_tag(store: &Store, name: &str) -> Result<Tag> {
    find_tag(store, name)?
        .ok_or_else(|| Error::new(format!("no tag is called `{name}`")).fix("`ablate list --tags` shows them"))
}

fn line(tag: &Tag) -> String {
    format!("{}  {}  {} runs", tag.tag, tag.hash, tag.runs.len())
}

fn print(cell: &Cell) {
    println!("  {}", cell.verdict);
    cell.notes.iter().for_each(|note| println!("  {note}"));
    for (name, stored, new) in &cell.metrics {
        println!("    {name}  {stored} -> {new}");
    }
}
