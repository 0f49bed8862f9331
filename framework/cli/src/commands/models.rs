//! Commands on data and language models: fetch, inspect, generate.

use crate::hub::Hub;
use crate::{BuiltIn, Cli, Question, SpecArgument, ask, fetch};
use framework::archive::{Archive, archives};
use framework::context::Context;
use framework::device::{self, DeviceName};
use framework::error::{Error, Explain, Result};
use framework::language::Prompt;
use framework::load::Rejected;
use framework::plugin::Pick;
use framework::problem::nearest;
use framework::progress::Progress;
use framework::roles::LanguageModel;
use framework::stage::leaves;
use indicatif::HumanBytes;
use serde_json::Value;
use std::time::Instant;

impl Cli {
    pub(crate) fn fetch(&self, name: Option<&str>, from: Option<&std::path::Path>) -> Result<()> {
        let archives = archives();
        let shown: Vec<Archive> = archives.iter().map(|archive| archive.filled("CATEGORY")).collect();
        let Some(name) = name else {
            shown.iter().for_each(|archive| println!("{:<20} {}", archive.name, archive.title));
            println!("{:<20} a language model of the Hugging Face hub, at a commit if you name one", "OWNER/NAME");
            return Ok(());
        };
        let (plain, category) = name.split_once(':').map_or((name, None), |(plain, category)| (plain, Some(category)));
        let folder = match (archives.iter().find(|archive| archive.folder() == plain), from) {
            (Some(archive), from) => fetch::fetch(&archive.of(category)?, &self.cache()?, from, &Progress::default())?,
            (None, None) if name.contains('/') => {
                Hub::from_environment().fetch(name, &self.cache()?, &Progress::default())?
            }
            (None, Some(_)) if name.contains('/') => {
                let what = format!("`{name}` is not a name that `--from` knows the files of");
                return Err(Error::new(what).fix("the path of your copy as the language model's `model`"));
            }
            (None, _) => {
                let names: Vec<&str> = shown.iter().map(|archive| archive.name).collect();
                let known = format!("one of {}; or OWNER/NAME of the Hugging Face hub", names.join(", "));
                let near = nearest(plain, shown.iter().map(Archive::folder));
                let near = near.map_or(String::new(), |near| format!("did you mean `{near}`? "));
                return Err(Error::new(format!("no dataset or model is called `{name}`")).fix(near + &known));
            }
        };
        println!("{}", folder.display());
        Ok(())
    }

    pub(crate) fn inspect(&self, model: &Pick<dyn LanguageModel>, json: bool) -> Result<()> {
        let description = model.describe(&self.cache()?)?;
        if json {
            println!("{description:#}");
            return Ok(());
        }
        for (key, value) in leaves(&description) {
            match (&value, value.as_u64()) {
                (Value::Array(all), _) if all.len() > 12 => {
                    let first = Value::Array(all[..12].to_vec());
                    println!("{key} = the first 12 of {}: {first}", all.len());
                }
                (_, Some(bytes)) if key.starts_with("bytes.") => println!("{key} = {value} ({})", HumanBytes(bytes)),
                _ => println!("{key} = {value}"),
            }
        }
        Ok(())
    }

    pub(crate) fn generate(&self, question: &Question, built_in: BuiltIn) -> std::result::Result<(), Rejected> {
        let Question { model, prompt, system, set, seed, device } = question;
        let decoding = ask::decoding(set)?;
        let spec = SpecArgument { spec: model.into(), set: Vec::new() };
        let plan = match model.ends_with(".toml") {
            true => spec.load(built_in)?.plans.into_iter().next(),
            false => None,
        };
        let pick = match &plan {
            Some(plan) => ask::first_in(&plan.table())?,
            None => ask::checkpoint(built_in.checkpoint, model)?,
        };
        let device = match (device, &plan) {
            (Some(name), _) => ask::setting(&toml::Value::from(name.as_str())).map_err(|error| error.at("--device"))?,
            (None, Some(plan)) => plan.spec.device.clone(),
            (None, None) => DeviceName("flex".into()),
        };
        let work = tempfile::tempdir().explain("creating a temporary folder", "the system's temporary folder")?;
        let (device, work) = (device::open(&device)?, work.path().to_path_buf());
        let cx = Context::new(device, *seed, work, self.cache()?, Progress::default());
        // A model that is made from the experiment's texts is given the titles, as recommenders do.
        let corpus = plan.map(|plan| plan.spec.dataset.load(&cx)).transpose()?;
        let model = pick.open(&corpus.map_or(Vec::new(), |corpus| corpus.items.title), &cx)?;
        let started = Instant::now();
        let answer = ask::answer(model.as_ref(), Prompt::new(system, prompt), &decoding, *seed, &cx)?;
        let seconds = started.elapsed().as_secs_f64();
        println!("{}", answer.text);
        let (read, written, rate) = (answer.prompt_tokens, answer.tokens, answer.tokens as f64 / seconds);
        eprintln!("{read} tokens read, {written} written in {seconds:.1} s, {rate:.1} tokens per second");
        Ok(())
    }
}
