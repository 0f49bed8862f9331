//! `ablate pictures`: gets the pictures that a data set links and does not contain, of the items that its protocol keeps.

use crate::{BuiltIn, Cli, download};
use framework::ablation::Plan;
use framework::context::is_interrupted;
use framework::corpus::picture_ending;
use framework::error::{Error, Explain, Result};
use framework::progress::Progress;
use framework::protocol;
use framework::run::Runner;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use ureq::Agent;

/// How many pictures are asked for at the same time.
const AT_ONCE: usize = 8;

/// A larger file is taken for no picture.
const MOST_BYTES: u64 = 32 << 20;

impl Cli {
    /// Gets the pictures that are not there yet, and prints how many came.
    pub(crate) fn pictures(&self, plan: &Plan, built_in: BuiltIn) -> Result<()> {
        let (cache, dataset) = (self.cache()?, &plan.spec.dataset);
        let Some(linked) = dataset.linked_pictures(&cache).map_err(|error| error.at("dataset"))? else {
            let what = format!("the dataset `{}` links no pictures", dataset.name());
            return Err(Error::new(what).at("dataset.use").fix("pictures by hand, where the plugin's page says"));
        };
        let progress = Progress::default();
        let corpus = Runner::new(self.store()?, cache, progress, built_in.code, Vec::new()).corpus(plan)?;
        let split = protocol::split(&corpus, &plan.spec.protocol, plan.spec.evaluator.selects_by())?;
        let (folder, kept) = (linked.folder, &split.train.items.id);
        fs::create_dir_all(&folder).explain("creating the folder of pictures", folder.display())?;
        let there = stems(&folder)?;
        let links: HashMap<String, String> = linked.links.into_iter().collect();
        let missing = kept.iter().filter(|id| !there.contains(*id));
        let wanted: Vec<(&str, &str)> = missing.filter_map(|id| Some((id.as_str(), links.get(id)?.as_str()))).collect();
        let dead = get_all(&wanted, &folder)?;
        let had = kept.iter().filter(|id| there.contains(*id)).count();
        println!("{} of {} pictures fetched, {had} were there", wanted.len() - dead.len(), kept.len());
        let unlinked = kept.len() - had - wanted.len();
        if unlinked > 0 {
            println!("{unlinked} items have no link");
        }
        if let [first, ..] = &dead[..] {
            println!("{} links lead to no picture, such as {first}", dead.len());
        }
        println!("{}", folder.display());
        Ok(())
    }
}

/// The names in a folder without what follows the last dot.
fn stems(folder: &Path) -> Result<HashSet<String>> {
    let stem = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.explain("listing pictures", folder.display())?.path();
        let is_part = path.extension().is_some_and(|ending| ending == "part");
        Ok(path.file_stem().filter(|_| !is_part).map(|stem| stem.to_string_lossy().into_owned()))
    };
    let entries = fs::read_dir(folder).explain("listing pictures", folder.display())?;
    entries.filter_map(|entry| stem(entry).transpose()).collect()
}

/// Downloads what `wanted` names, an item's id and an address each, into `folder`. Gives the links that are dead; a host
/// that cannot be reached ends it.
fn get_all(wanted: &[(&str, &str)], folder: &Path) -> Result<Vec<String>> {
    let (agent, bar) = (download::agent(), Progress::default().bar("pictures", wanted.len()));
    let (queue, dead, failed) = (Mutex::new(wanted.iter()), Mutex::new(Vec::new()), Mutex::new(None));
    let next = || {
        let stop = locked(&failed).is_some();
        if stop { None } else { locked(&queue).next() }
    };
    let worker = || {
        while let Some((id, url)) = next() {
            match get(&agent, id, url, folder) {
                Ok(None) => {}
                Ok(Some(why)) => locked(&dead).push(format!("{url} ({id}): {why}")),
                Err(error) => *locked(&failed) = Some(error),
            }
            bar.advance(1);
        }
    };
    std::thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(worker))));
    let failed = locked(&failed).take();
    match failed {
        Some(error) if error.is_interrupt() => Err(error),
        Some(error) => Err(error.fix("the same command later: what was fetched stays")),
        None => Ok(std::mem::take(&mut *locked(&dead))),
    }
}

/// The value even after another thread's panic, which ends the command anyway.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Downloads one picture; or says why the link is dead.
fn get(agent: &Agent, id: &str, url: &str, folder: &Path) -> Result<Option<String>> {
    if is_interrupted() {
        return Err(Error::interrupted());
    }
    // The id becomes a file's name.
    if id.starts_with('.') || !id.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        return Ok(Some("the id can be no file's name".to_owned()));
    }
    let mut response = match agent.get(url).call() {
        Err(ureq::Error::BadUri(_) | ureq::Error::Http(_)) => return Ok(Some("no web address".to_owned())),
        answer => answer.explain("a host of pictures could not be reached", url)?,
    };
    match response.status().as_u16() {
        200 => {}
        // It is the host that cannot answer, not the picture that is gone.
        status @ (429 | 500..) => {
            return Err(Error::new(format!("the host answered with HTTP status {status}")).at(url));
        }
        status => return Ok(Some(format!("HTTP status {status}"))),
    }
    let bytes = match response.body_mut().with_config().limit(MOST_BYTES).read_to_vec() {
        Err(ureq::Error::BodyExceedsLimit(_)) => return Ok(Some("more bytes than a picture has".to_owned())),
        bytes => bytes.explain("the download broke off", url)?,
    };
    let Some(ending) = picture_ending(&bytes) else { return Ok(Some("no PNG, JPEG or WebP".to_owned())) };
    let (part, path) = (folder.join(format!("{id}.part")), folder.join(format!("{id}.{ending}")));
    fs::write(&part, bytes).explain("writing a picture", part.display())?;
    fs::rename(&part, &path).explain("keeping a picture", path.display()).map(|()| None)
}
