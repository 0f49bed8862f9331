//! The work that `ablate bench --work` times; the peers do the same (tests/peers/language_model.py).

use super::layout::Row;
use super::model::Local;
use super::{cache::Cache, lora, sampling, tune};
use burn::tensor::{Int, Tensor, TensorData};
use framework::adam::Adam;
use framework::context::Context;
use framework::error::{Explain, Result};
use framework::host::Shards;
use framework::language::{Learned, Lora, Repeat, Tuning, Work};
use framework::plugin::defaults;
use framework::rng::Rng;

/// Random tokens.
fn tokens(model: &Local, count: usize, seed: u64) -> Vec<u32> {
    let mut rng = Rng::new(seed, "bench");
    (0..count).map(|_| rng.below(model.decoder.architecture.vocab_size) as u32).collect()
}

/// `work` with `model`.
pub(crate) fn work(model: &Local, work: Work, cx: &Context) -> Result<Repeat> {
    let (decoder, shards, device) = (
        model.decoder.clone(),
        Shards::new(&cx.device).explain("starting threads", "this machine")?,
        cx.device.clone(),
    );
    let sequences: Vec<Vec<u32>> = (0..4).map(|n| tokens(model, 256, n)).collect();
    let prompts: Vec<Vec<u32>> = (0..21).map(|n| [tokens(model, 400, 9), tokens(model, 12, 10 + n)].concat()).collect();
    Ok(match work {
        Work::Forward => Box::new(move || {
            let rows: Vec<Row> = sequences.iter().cloned().map(Row::plain).collect();
            shards.run(shards.cut(&rows), |rows| {
                let tokens: Vec<u32> = rows.iter().flat_map(|row| row.tokens.clone()).collect();
                decoder.logits(decoder.states(decoder.embed(&tokens), &decoder.layout(rows), None))
            });
            Ok(())
        }),
        Work::Lora => {
            let lora = Lora { target_modules: "(q|v)_proj".into(), dropout: 0.0, ..defaults() };
            let tuning: Tuning = defaults();
            let mut decoder = lora::attach(decoder, &lora, &Rng::new(1, "bench"))?;
            let lessons: Vec<_> = sequences.iter().map(|row| tune::packed(&[(row.clone(), 0)], Learned::All)).collect();
            let mut adam = Adam::default();
            Box::new(move || {
                let lessons: Vec<&tune::Lesson> = lessons.iter().collect();
                let (_, gradients) = tune::gradients(&decoder, &lessons, &tuning, &shards, &Rng::new(1, "bench"));
                decoder = adam.step(decoder.clone(), gradients, 1e-4, 0.0);
                Ok(())
            })
        }
        Work::Generate => {
            let rows: Vec<Row> = (0..8).map(|n| Row::plain(tokens(model, 64, n))).collect();
            let vocabulary = decoder.architecture.vocab_size;
            Box::new(move || {
                let mut cache = Cache::new(decoder.layers.len(), &device);
                let mut states = decoder.read(&rows, &mut cache);
                for _ in 1..128 {
                    let logits = super::generate::values(decoder.next_logits(states))?;
                    let best: Vec<u32> = logits.chunks(vocabulary).map(sampling::best).collect();
                    states = decoder.read_on(&best, &mut cache);
                }
                super::generate::values(decoder.next_logits(states)).map(|_| ())
            })
        }
        Work::ScoreOneByOne => Box::new(move || {
            for prompt in &prompts {
                last_logits(&decoder, &[Row::plain(prompt.clone())])?;
            }
            Ok(())
        }),
        Work::ScoreShared => Box::new(move || last_logits(&decoder, &[Row::tree(&prompts)]).map(|_| ())),
    })
}

/// The logits after each branch.
fn last_logits(decoder: &super::decoder::Decoder, rows: &[Row]) -> Result<Vec<f32>> {
    let layout = decoder.layout(rows);
    let tokens: Vec<u32> = rows.iter().flat_map(|row| row.tokens.clone()).collect();
    let states = decoder.states(decoder.embed(&tokens), &layout, None);
    let lasts = rows
        .iter()
        .zip(&layout.spans)
        .flat_map(|(row, span)| (0..row.starts.len()).map(move |n| (span.offset + row.branch(n).end - 1) as i64));
    let lasts: Vec<i64> = lasts.collect();
    let lasts = Tensor::<1, Int>::from_data(TensorData::new(lasts.clone(), [lasts.len()]), &states.device());
    super::generate::values(decoder.logits(states.select(0, lasts)))
}
