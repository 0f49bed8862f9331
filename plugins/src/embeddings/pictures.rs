//! Pictures as their colours by place, without a model.

use crate::pixels::pixels;
use burn::tensor::{Tensor, TensorData};
use framework::context::Context;
use framework::error::{Error, Result};
use framework::picture::Picture;
use framework::protocol::Train;
use framework::roles::Embeddings;
use image::DynamicImage;
use rayon::prelude::*;
use std::ops::Range;

framework::plugin! {
    /// The colours of the items' pictures: `grid` times `grid` cells, and of each the mean red, green and blue.
    ///
    /// This is no learned vision encoder. It sees which colours a picture has and roughly where they are: light or
    /// dark, the background, the layout. It sees neither objects nor shapes, text or texture. Vectors of a trained
    /// encoder, a CNN's or CLIP's, come from a file: `table`.
    ///
    /// Numbers are between 0 and 1, less their mean over all pictures of the catalogue; cells from the top left, row by
    /// row. Pictures of any size and shape are cut into the same number of cells; transparency is not seen. An item
    /// without a picture, or with a broken one, is zeros, so it looks like the mean. Pictures are PNG, JPEG or WebP.
    struct Pictures: Embeddings = "pictures" {
        /// Cells along each side; an item has three numbers for each cell.
        #[range(1..=64)]
        grid: u32 = 4,
    }
}

impl Embeddings for Pictures {
    fn embed(&self, train: &Train, cx: &Context) -> Result<Tensor<2>> {
        let items = &train.items;
        let bar = cx.bar("reading pictures", items.image.len());
        let look = |image: &Option<Picture>| {
            cx.proceed()?;
            bar.advance(1);
            let looked = |image: &Picture| Ok(pixels(&image.bytes()?).map(|pixels| self.colours(&pixels)));
            image.as_ref().map(looked).transpose()
        };
        let looked: Vec<Option<std::result::Result<Vec<f64>, String>>> =
            items.image.par_iter().map(look).collect::<Result<_>>()?;
        let (mut rows, mut broken) = (Vec::with_capacity(looked.len()), Vec::new());
        for (id, row) in items.id.iter().zip(looked) {
            rows.push(row.and_then(|row| row.map_err(|what| broken.push(format!("that of item {id} is {what}"))).ok()));
        }
        let seen: Vec<&Vec<f64>> = rows.iter().flatten().collect();
        if seen.is_empty() {
            let what = broken.first().map(|first| format!("none of {} pictures can be used: {first}", broken.len()));
            return Err(Error::new(what.unwrap_or("no item has a picture".into()))
                .at("dataset")
                .fix("a dataset with pictures, or other embeddings, such as `title_words`"));
        }
        if let Some(first) = broken.first() {
            tracing::warn!("{} pictures are broken and count as none: {first}", broken.len());
        }
        let mut mean = vec![0.0; self.width()];
        for row in &seen {
            mean.iter_mut().zip(*row).for_each(|(mean, value)| *mean += value / seen.len() as f64);
        }
        let centred = |row: &Option<Vec<f64>>| -> Vec<f32> {
            match row {
                Some(row) => row.iter().zip(&mean).map(|(value, mean)| (value - mean) as f32).collect(),
                None => vec![0.0; self.width()],
            }
        };
        let all: Vec<f32> = rows.iter().flat_map(centred).collect();
        Ok(Tensor::from_data(TensorData::new(all, [rows.len(), self.width()]), &cx.device))
    }
}

impl Pictures {
    /// Numbers per item.
    fn width(&self) -> usize {
        3 * (self.grid * self.grid) as usize
    }

    /// The mean red, green and blue of each cell, from 0 to 1.
    fn colours(&self, picture: &DynamicImage) -> Vec<f64> {
        let picture = picture.to_rgb8();
        let (width, height) = picture.dimensions();
        let mut colours = Vec::with_capacity(self.width());
        for (row, column) in (0..self.grid).flat_map(|row| (0..self.grid).map(move |column| (row, column))) {
            let (xs, ys) = (span(column, self.grid, width), span(row, self.grid, height));
            let pixels = (xs.len() * ys.len()) as f64;
            let mut sums = [0u64; 3];
            for (x, y) in ys.flat_map(|y| xs.clone().map(move |x| (x, y))) {
                sums.iter_mut().zip(picture.get_pixel(x, y).0).for_each(|(sum, value)| *sum += u64::from(value));
            }
            colours.extend(sums.map(|sum| sum as f64 / (255.0 * pixels)));
        }
        colours
    }
}

/// The pixels of cell `n` of `cells` along a side of `size` pixels; the nearest one where there are fewer than cells.
fn span(n: u32, cells: u32, size: u32) -> Range<u32> {
    let edge = |n: u32| (u64::from(n) * u64::from(size) / u64::from(cells)) as u32;
    edge(n)..edge(n + 1).max(edge(n) + 1)
}

#[cfg(test)]
mod tests {
    use super::{Pictures, span};
    use crate::fixture::{context, rows, train};
    use crate::reading::fixture::says;
    use framework::picture::Picture;
    use framework::protocol::Train;
    use framework::roles::Embeddings;
    use image::codecs::{jpeg::JpegEncoder, png::PngEncoder, webp::WebPEncoder};
    use image::{ExtendedColorType, ImageEncoder};
    use std::sync::Arc;

    const RED: [u8; 3] = [255, 0, 0];
    const GREEN: [u8; 3] = [0, 255, 0];
    const BLUE: [u8; 3] = [0, 0, 255];

    /// A PNG of 8 by 6 pixels with a left and a right half.
    fn halves(left: [u8; 3], right: [u8; 3]) -> Option<Vec<u8>> {
        let pixels: Vec<u8> = (0..48).flat_map(|n| if n % 8 < 4 { left } else { right }).collect();
        let mut file = Vec::new();
        PngEncoder::new(&mut file).write_image(&pixels, 8, 6, ExtendedColorType::Rgb8).expect("a picture");
        Some(file)
    }

    fn with(images: Vec<Option<Vec<u8>>>) -> Train {
        let mut train = train(images.len(), &[&[0, 1]]);
        Arc::make_mut(&mut train.items).image = images.into_iter().map(|bytes| bytes.map(Picture::drawn)).collect();
        train
    }

    #[test]
    fn colours_are_seen_where_they_are_less_their_mean() {
        let (cx, _folder) = context();
        let train = with(vec![halves(RED, BLUE), halves(GREEN, GREEN), None]);
        let vectors = rows(Pictures { grid: 2 }.embed(&train, &cx).expect("vectors"));
        let top: [f32; 6] = [0.5, -0.5, 0.0, 0.0, -0.5, 0.5];
        assert_eq!(vectors[0], [top, top].concat());
        assert_eq!(vectors[1], [top, top].concat().iter().map(|value| -value).collect::<Vec<f32>>());
        assert_eq!(vectors[2], [0.0; 12]);
    }

    #[test]
    fn jpeg_and_webp_are_read_too() {
        let (cx, _folder) = context();
        let pixels = |colour: [u8; 3]| colour.repeat(64);
        let (mut jpeg, mut webp) = (Vec::new(), Vec::new());
        JpegEncoder::new(&mut jpeg).write_image(&pixels(RED), 8, 8, ExtendedColorType::Rgb8).expect("a JPEG");
        let encoder = WebPEncoder::new_lossless(&mut webp);
        encoder.write_image(&pixels(BLUE), 8, 8, ExtendedColorType::Rgb8).expect("a WebP");
        let vectors = rows(Pictures { grid: 1 }.embed(&with(vec![Some(jpeg), Some(webp)]), &cx).expect("vectors"));
        let expected = [[0.5, 0.0, -0.5], [-0.5, 0.0, 0.5]];
        let far = vectors.concat().iter().zip(expected.concat()).any(|(found, value)| (found - value).abs() > 0.02);
        assert!(!far, "{vectors:?}");
    }

    #[test]
    fn cells_divide_a_side_and_small_pictures_repeat_their_pixels() {
        assert_eq!([0, 1, 2].map(|n| span(n, 3, 8)), [0..2, 2..5, 5..8]);
        assert_eq!([0, 1, 2, 3].map(|n| span(n, 4, 2)), [0..1, 0..1, 1..2, 1..2]);
        let (cx, _folder) = context();
        let finer = Pictures { grid: 16 }.embed(&with(vec![halves(RED, BLUE), None]), &cx).expect("vectors");
        assert_eq!(finer.dims(), [2, 768]);
    }

    #[test]
    fn a_broken_picture_counts_as_none_unless_all_are() {
        let (cx, _folder) = context();
        let broken = || Some(b"\xff\xd8\xff, a JPEG".to_vec());
        let some = with(vec![halves(RED, BLUE), broken(), halves(GREEN, GREEN)]);
        let none = with(vec![halves(RED, BLUE), None, halves(GREEN, GREEN)]);
        let vectors = |train: &Train| rows(Pictures { grid: 2 }.embed(train, &cx).expect("vectors"));
        assert_eq!(vectors(&some), vectors(&none));
        says(
            Pictures { grid: 4 }.embed(&with(vec![None, broken(), broken()]), &cx),
            &["none of 2 pictures can be used: that of item 1 is cut off before its end", "at: dataset"],
        );
        says(Pictures { grid: 4 }.embed(&with(vec![None, None]), &cx), &["no item has a picture", "at: dataset"]);
    }
}
