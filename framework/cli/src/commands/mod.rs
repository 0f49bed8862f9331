//! What each command does: it reads, calls and prints, and computes nothing itself.

mod data;
mod estimate;
mod housekeeping;
mod models;
mod rows;
mod run;
mod runs;
mod score;
mod specs;
mod versions;

pub(crate) use housekeeping::duration;
pub(crate) use run::Workers;
pub(crate) use score::Lists;
pub(crate) use specs::check;

use framework::error::{Error, Result};
use framework::store::Store;
use serde_json::Value;

fn read(store: &Store, id: &str) -> Result<Value> {
    store.run(id)?.ok_or_else(|| Error::new(format!("run {id} is not in the store")).fix("`ablate list`"))
}
