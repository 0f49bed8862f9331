//! `ablate pictures`: gets the pictures that a data set links and does not contain, of the items that its protocol keeps.

use crate::{BuiltIn, Cli, download};
use framework::ablation::Plan;
use framework::context::is_interrupted;
use framework::error::{Error, Explain, Result};
use framework::picture::{self, ending, whole};
use framework::progress::Progress;
use framework::protocol;
use framework::run::Runner;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use ureq::Agent;

/// How many pictures are asked for at the same time.
const AT_ONCE: usize = 8;

/// So many failures one after the other, and the network is to blame.
const MOST_FAILURES: usize = 20;

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
        let there = ids(&folder)?;
        let links: HashMap<String, String> = linked.links.into_iter().collect();
        let missing = kept.iter().filter(|id| !there.contains(*id));
        let wanted: Vec<(&str, &str)> = missing.filter_map(|id| Some((id.as_str(), links.get(id)?.as_str()))).collect();
        let Tally { dead, failures, error, .. } = get_all(&wanted, &folder);
        let had = kept.iter().filter(|id| there.contains(*id)).count();
        let now = ids(&folder)?;
        let have = kept.iter().filter(|id| now.contains(*id)).count();
        println!("{} of {} pictures fetched, {had} were there", have - had, kept.len());
        let unlinked = kept.len() - had - wanted.len();
        if unlinked > 0 {
            println!("{unlinked} items have no link");
        }
        if let Some(first) = dead.values().next() {
            println!("{} links lead to no picture, such as {first}", dead.len());
        }
        println!("{}", folder.display());
        match error {
            _ if is_interrupted() => Err(Error::interrupted()),
            Some(error) => {
                let what = format!("{failures} pictures could not be fetched; the last: {error}");
                Err(Error::new(what).fix("the same command later: what was fetched stays"))
            }
            None => Ok(()),
        }
    }
}

/// The items whose pictures are in a folder.
fn ids(folder: &Path) -> Result<HashSet<String>> {
    let paths = picture::files(folder)?;
    Ok(paths.iter().filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned())).collect())
}

/// What came of all links.
#[derive(Default)]
struct Tally {
    /// Those that lead to no picture, by their places among all, and why.
    dead: BTreeMap<usize, String>,
    /// How many could not be fetched, though they may be there.
    failures: usize,
    /// How many of them one after the other.
    in_a_row: usize,
    /// The last of them.
    error: Option<Error>,
}

/// Downloads what `wanted` names, an item's id and an address each, into `folder`. One that fails stops no
/// other; many one after the other stop all.
fn get_all(wanted: &[(&str, &str)], folder: &Path) -> Tally {
    let (agent, bar) = (download::agent(), Progress::default().bar("pictures", wanted.len()));
    let (queue, tally) = (Mutex::new(wanted.iter().enumerate()), Mutex::new(Tally::default()));
    let next = || {
        let stop = is_interrupted() || locked(&tally).in_a_row >= MOST_FAILURES;
        if stop { None } else { locked(&queue).next() }
    };
    let worker = || {
        while let Some((place, (id, url))) = next() {
            let got = get(&agent, id, url, folder);
            let mut tally = locked(&tally);
            match got {
                Ok(None) => tally.in_a_row = 0,
                Ok(Some(why)) => {
                    tally.in_a_row = 0;
                    tally.dead.insert(place, format!("{url} ({id}): {why}"));
                }
                Err(error) => {
                    tally.in_a_row += 1;
                    tally.failures += 1;
                    tally.error = Some(error);
                }
            }
            bar.advance(1);
        }
    };
    std::thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(worker))));
    tally.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The value even after another thread's panic, which ends the command anyway.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Downloads one picture; or says why the link is dead.
fn get(agent: &Agent, id: &str, url: &str, folder: &Path) -> Result<Option<String>> {
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
    let ending = match (whole(&bytes), ending(&bytes)) {
        (Ok(()), Some(ending)) => ending,
        (found, _) => return Ok(found.err().map(str::to_owned)),
    };
    let (part, path) = (folder.join(format!("{id}.part")), folder.join(format!("{id}.{ending}")));
    fs::write(&part, bytes).explain("writing a picture", part.display())?;
    fs::rename(&part, &path).explain("keeping a picture", path.display()).map(|()| None)
}
