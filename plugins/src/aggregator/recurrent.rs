//! A user's history, folded block by block into a text about their preferences.

use crate::template::Template;
use framework::context::Context;
use framework::corpus::Items;
use framework::error::Result;
use framework::generations;
use framework::language::{Decoding, Prompt};
use framework::plugin::{Pick, defaults};
use framework::roles::{Aggregator, LanguageModel};
use serde_json::{Value, json};
use std::path::Path;

framework::plugin! {
    /// A language model reads the history a block of items at a time and writes the preference anew after each, given
    /// what it wrote before.
    ///
    /// MLLM-MSR (Ye et al., AAAI 2025, arXiv 2408.09698), stage B: blocks of 3 items in time order; the last one may be
    /// shorter; the last text is the user's preference. Its authors' code draws with temperature 0.6 and top_p 0.9.
    struct Recurrent: Aggregator = "recurrent" {
        /// What writes.
        language_model: Pick<dyn LanguageModel>,
        /// Items per block.
        #[range(1..=1000)]
        block_size: usize = 3,
        /// The most recent items that are read; 0 reads all that the protocol allows.
        #[range(0..=100_000)]
        max_items: usize = 0,
        /// The prompt's template, built in or a file; it is given `items` (titles) and `preference` (empty at first).
        prompt: String = "recurrent".into(),
        /// How texts are drawn.
        decoding: Decoding = defaults(),
    }
}

impl Aggregator for Recurrent {
    fn aggregate(&self, histories: &[&[u32]], items: &Items, cx: &Context) -> Result<Vec<String>> {
        let template = Template::open(&self.prompt)?;
        let model = self.language_model.open(&items.title, cx)?;
        let recent = |history: &&[u32]| match self.max_items {
            0 => 0,
            most => history.len().saturating_sub(most),
        };
        let blocks: Vec<Vec<&[u32]>> =
            histories.iter().map(|history| history[recent(history)..].chunks(self.block_size).collect()).collect();
        let mut preferences = vec![String::new(); histories.len()];
        for round in 0..blocks.iter().map(Vec::len).max().unwrap_or_default() {
            let users: Vec<usize> = (0..histories.len()).filter(|user| blocks[*user].len() > round).collect();
            let prompt = |user: &usize| {
                let titles: Vec<&str> =
                    blocks[*user][round].iter().map(|item| items.title[*item as usize].as_str()).collect();
                template.fill(json!({ "items": titles, "preference": preferences[*user] }))
            };
            let prompts: Vec<Prompt> = users.iter().map(prompt).collect::<Result<_>>()?;
            let texts = generations::generate(model.as_ref(), &prompts, &self.decoding, cx)?;
            users.into_iter().zip(texts).for_each(|(user, generation)| preferences[user] = generation.text);
        }
        Ok(preferences)
    }

    fn inputs(&self, cache: &Path) -> Result<Value> {
        Ok(
            json!({ "language_model": self.language_model.inputs(cache)?, "prompt": Template::open(&self.prompt)?.text }),
        )
    }
}
