//! A control for aggregators: texts of the same form about somebody else, about nobody, or none.

use crate::placebo::{Kind, texts};
use framework::context::Context;
use framework::corpus::Items;
use framework::error::Result;
use framework::plugin::Pick;
use framework::roles::Aggregator;
use serde_json::Value;
use std::path::Path;

framework::plugin! {
    /// Another aggregator's texts without what they say about the user: whether a preference helps by its content, or
    /// by standing in the prompt.
    ///
    /// Shuffled, a user gets the text of another user of the same batch; the only user of a batch keeps their own.
    struct Placebo: Aggregator = "placebo" {
        /// The aggregator whose texts are replaced.
        of: Pick<dyn Aggregator>,
        /// By what.
        kind: Kind = Kind::Shuffle,
    }
}

impl Aggregator for Placebo {
    fn aggregate(&self, histories: &[&[u32]], items: &Items, cx: &Context) -> Result<Vec<String>> {
        Ok(match self.kind {
            // Nobody waits for texts that nobody reads.
            Kind::Blank => vec![String::new(); histories.len()],
            kind => texts(kind, &self.of.aggregate(histories, items, cx)?, &mut cx.rng("placebo")),
        })
    }

    fn inputs(&self, cache: &Path) -> Result<Value> {
        self.of.inputs(cache)
    }
}
