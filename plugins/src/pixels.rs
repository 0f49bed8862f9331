//! Encoded pictures as pixels.

use framework::picture::whole;
use image::{DynamicImage, ImageReader, Limits};
use std::io::Cursor;

/// The most memory for the pixels of one picture: 179 million of them in colour, where Pillow too refuses to go on.
const MOST_BYTES: u64 = 512 << 20;

/// The pixels of a picture; or what the file is instead. Its size is believed only up to a bound: a few bytes can declare
/// any.
pub(crate) fn pixels(bytes: &[u8]) -> Result<DynamicImage, String> {
    whole(bytes)?;
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let mut reader = reader.map_err(|error| format!("unreadable: {error}"))?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST_BYTES);
    reader.limits(limits);
    reader.decode().map_err(|error| format!("undecodable: {error}"))
}

#[cfg(test)]
mod tests {
    use super::pixels;
    use image::codecs::{jpeg::JpegEncoder, png::PngEncoder};
    use image::{ExtendedColorType, ImageEncoder};

    fn jpeg() -> Vec<u8> {
        let (mut file, grey) = (Vec::new(), [120; 3 * 64 * 64]);
        JpegEncoder::new(&mut file).write_image(&grey, 64, 64, ExtendedColorType::Rgb8).expect("a JPEG");
        file
    }

    #[test]
    fn a_truncated_jpeg_is_no_picture() {
        let file = jpeg();
        assert!(pixels(&file).is_ok());
        let cut = &file[..file.len() - 20];
        assert!(image::load_from_memory(cut).is_ok(), "the decoder alone would fill it up");
        assert_eq!(pixels(cut).expect_err("it is cut off"), "cut off before its end");
    }

    #[test]
    fn a_declared_size_is_not_allocated() {
        let mut file = jpeg();
        let frame = file.windows(2).position(|pair| pair == [0xff, 0xc0]).expect("a frame");
        file[frame + 5..frame + 9].copy_from_slice(&[0xea, 0x60, 0xea, 0x60]);
        let why = pixels(&file).expect_err("60,000 by 60,000 pixels");
        assert!(why.contains("imit"), "{why}");
        let mut file = Vec::new();
        PngEncoder::new(&mut file).write_image(&[0; 3], 1, 1, ExtendedColorType::Rgb8).expect("a PNG");
        file[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
        let checksum = flate2::Crc::new();
        let checksum = {
            let mut crc = checksum;
            crc.update(&file[12..29]);
            crc.sum()
        };
        file[29..33].copy_from_slice(&checksum.to_be_bytes());
        let why = pixels(&file).expect_err("60,000 by 60,000 pixels");
        assert!(why.contains("imit"), "{why}");
    }
}
