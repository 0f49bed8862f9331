//! Pictures that reveal an item's style and nothing else.
//!
//! The style decides the pattern and the hue. Where the pattern lies, how wide it is, how bright, and a grain over it
//! are the item's own, drawn from random numbers that know neither its other properties nor its popularity.

use framework::error::{Explain, Result};
use framework::rng::Rng;
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use std::f64::consts::TAU;

/// How strongly a point is inked, from -1 to 1, `x` and `y` in periods of the pattern from the picture's middle.
type Pattern = fn(x: f64, y: f64) -> f64;

const PATTERNS: [Pattern; 12] = [
    |_, y| (TAU * y).sin(),                                              // lying stripes
    |x, _| (TAU * x).sin(),                                              // standing stripes
    |x, y| (TAU * x).sin().signum() * (TAU * y).sin().signum(),          // checkers
    |x, y| (TAU * x.hypot(y)).sin(),                                     // rings
    |x, y| (TAU * (x + y)).sin(),                                        // rising stripes
    |x, y| 1.0 - 6.0 * (x - x.round()).hypot(y - y.round()),             // dots
    |x, y| (x + y).tanh(),                                               // a gradient
    |x, y| (5.0 * y.atan2(x)).sin(),                                     // rays
    |x, y| (TAU * (x - y)).sin(),                                        // falling stripes
    |x, y| (TAU * (y + 0.3 * (TAU * x).sin())).sin(),                    // waves
    |x, y| 1.0 - 8.0 * (x - x.round()).abs().min((y - y.round()).abs()), // a grid
    |x, y| (TAU * (x.abs() + y.abs())).sin(),                            // diamonds
];

/// Renders an item of `style`, one of `styles`, as a square PNG of `size` pixels.
pub(super) fn png(style: usize, styles: usize, size: u32, rng: &mut Rng) -> Result<Vec<u8>> {
    let pattern = PATTERNS[style % PATTERNS.len()];
    let period = f64::from(size) * (0.24 + 0.08 * rng.uniform());
    let middle = [0.5 + 0.2 * (rng.uniform() - 0.5), 0.5 + 0.2 * (rng.uniform() - 0.5)].map(|m| m * f64::from(size));
    let brightness = 0.85 + 0.15 * rng.uniform();
    let ink = hue(style as f64 / styles as f64);
    let mut pixels = Vec::with_capacity(3 * (size * size) as usize);
    for (y, x) in (0..size).flat_map(|y| (0..size).map(move |x| (f64::from(y), f64::from(x)))) {
        let inked = pattern((x - middle[0]) / period, (y - middle[1]) / period).clamp(-1.0, 1.0);
        let grain = 0.08 * rng.normal();
        // Full ink is the hue itself, none is a pale grey.
        let share = 0.5 + 0.5 * inked;
        let channel = |ink: f64| brightness * (share * ink + (1.0 - share) * 0.9) + grain;
        pixels.extend(ink.map(|ink| (255.0 * channel(ink).clamp(0.0, 1.0)).round() as u8));
    }
    let mut file = Vec::new();
    PngEncoder::new(&mut file)
        .write_image(&pixels, size, size, ExtendedColorType::Rgb8)
        .explain("drawing a picture", format!("style {style}"))?;
    Ok(file)
}

/// The colour at `turn` of the colour circle, from 0 (red) over 1/3 (green) and 2/3 (blue) back to 1.
fn hue(turn: f64) -> [f64; 3] {
    [0.0, 1.0, 2.0].map(|third| 0.5 + 0.45 * (TAU * (turn - third / 3.0)).cos())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::png;
    use framework::rng::Rng;

    fn pixels(style: usize, item: u64) -> Vec<f64> {
        let bytes = png(style, 12, 32, &mut Rng::new(1, "test").fork(item)).unwrap();
        let picture = image::load_from_memory(&bytes).unwrap().to_rgb8();
        assert_eq!(picture.dimensions(), (32, 32));
        picture.into_raw().into_iter().map(f64::from).collect()
    }

    /// The mean colour and how much brightness changes from pixel to pixel, across and down: what any encoder sees.
    fn features(pixels: &[f64]) -> [f64; 5] {
        let at = |x: usize, y: usize, c: usize| pixels[3 * (32 * y + x) + c];
        let mut features = [0.0; 5];
        for (x, y) in (0..31).flat_map(|x| (0..31).map(move |y| (x, y))) {
            (0..3).for_each(|c| features[c] += at(x, y, c));
            features[3] += (0..3).map(|c| (at(x + 1, y, c) - at(x, y, c)).abs()).sum::<f64>();
            features[4] += (0..3).map(|c| (at(x, y + 1, c) - at(x, y, c)).abs()).sum::<f64>();
        }
        features.map(|sum| sum / (31.0 * 31.0))
    }

    #[test]
    fn items_of_a_style_differ_but_less_than_styles_do() {
        assert_ne!(pixels(3, 0), pixels(3, 1));
        let means: Vec<[f64; 5]> = (0..12)
            .map(|style| {
                let all: Vec<_> = (0..20).map(|item| features(&pixels(style, item))).collect();
                std::array::from_fn(|n| all.iter().map(|one| one[n]).sum::<f64>() / 20.0)
            })
            .collect();
        let distance = |a: &[f64; 5], b: &[f64; 5]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        let right = (0..240).filter(|n| {
            let seen = features(&pixels(n % 12, 1000 + *n as u64));
            (0..12).min_by(|a, b| distance(&seen, &means[*a]).total_cmp(&distance(&seen, &means[*b]))) == Some(n % 12)
        });
        let right = right.count();
        assert!(right >= 200, "the nearest style's mean is the right one for {right} of 240 pictures only");
    }
}
