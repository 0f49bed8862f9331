//! A control for datasets: items keep their ids and interactions, and lose what their titles or pictures say.

use crate::pixels::pixels;
use crate::placebo::{Kind, shuffle, texts};
use framework::context::Context;
use framework::corpus::{Corpus, Items, LinkedPictures};
use framework::error::{Explain, Result};
use framework::picture::{Album, Picture};
use framework::plugin::Pick;
use framework::rng::Rng;
use framework::roles::Dataset;
use image::{DynamicImage, ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use serde_json::Value;
use std::path::{Path, PathBuf};

framework::plugin! {
    /// Another dataset whose titles or pictures are replaced: whether a model uses what they say, or merely that they
    /// are there.
    ///
    /// Shuffled, an item gets another item's; a random title has as many words, drawn from all titles; a random picture
    /// is noise, a blank one white, of the same size. Items without a picture stay without.
    struct Placebo: Dataset = "placebo" {
        /// The dataset.
        of: Pick<dyn Dataset>,
        /// What the titles become, if not what they are.
        titles: Option<Kind> = None,
        /// What the pictures become, if not what they are.
        images: Option<Kind> = None,
        /// What the random numbers come from, the same for all seeds of an experiment.
        seed: u64 = 1,
    }
}

impl Dataset for Placebo {
    fn load(&self, cx: &Context) -> Result<Corpus> {
        let mut corpus = self.of.load(cx)?;
        if let Some(kind) = self.titles {
            corpus.items.title = texts(kind, &corpus.items.title, &mut Rng::new(self.seed, "titles"));
        }
        if let Some(kind) = self.images {
            let mut rng = Rng::new(self.seed, "images");
            let Items { id, image: images, broken, .. } = &mut corpus.items;
            let with: Vec<usize> = (0..images.len()).filter(|item| images[*item].is_some()).collect();
            let old: Vec<Picture> = with.iter().filter_map(|item| images[*item].clone()).collect();
            if kind == Kind::Shuffle {
                with.into_iter().zip(shuffle(&old, &mut rng)).for_each(|(item, new)| images[item] = Some(new));
                return Ok(corpus);
            }
            let mut album = Album::temporary(&cx.work)?;
            for (item, old) in with.into_iter().zip(old) {
                cx.proceed()?;
                images[item] = match pixels(&old.bytes()?) {
                    Ok(old) => Some(album.add(&picture(kind, &old, &mut rng)?)?),
                    Err(why) => {
                        broken.push(format!("that of item {} is {why}", id[item]));
                        None
                    }
                };
            }
        }
        Ok(corpus)
    }

    fn files(&self, cache: &Path) -> Result<Vec<PathBuf>> {
        self.of.files(cache)
    }

    fn task(&self) -> Option<Value> {
        self.of.task().or_else(|| Some(self.of.identity_without_paths()))
    }

    fn linked_pictures(&self, cache: &Path) -> Result<Option<LinkedPictures>> {
        self.of.linked_pictures(cache)
    }

    fn knows_truth(&self) -> bool {
        self.of.knows_truth()
    }
}

/// A PNG of the same size as the `old` picture, white or noise.
fn picture(kind: Kind, old: &DynamicImage, rng: &mut Rng) -> Result<Vec<u8>> {
    let (width, height) = (old.width(), old.height());
    let mut value = || if kind == Kind::Blank { 255 } else { rng.below(256) as u8 };
    let pixels: Vec<u8> = (0..3 * width as usize * height as usize).map(|_| value()).collect();
    let mut file = Vec::new();
    let encoder = PngEncoder::new(&mut file);
    encoder.write_image(&pixels, width, height, ExtendedColorType::Rgb8).explain("drawing a picture", "dataset")?;
    Ok(file)
}
