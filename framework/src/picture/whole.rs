//! Whether a file of a picture is whole, by its structure and without decoding it: what was cut off in a download, or
//! damaged on a disk. Decoders fill what is missing with grey and do not say so.

use super::ending;

const NO_PICTURE: &str = "no picture in PNG, JPEG or WebP";
const CUT_OFF: &str = "cut off before its end";
const DAMAGED: &str = "damaged: a checksum is wrong";
const EMPTY: &str = "without an image";

/// Checks that a picture goes on to its end, as Pillow does; what comes after that is nobody's business. Else what it is
/// instead.
pub fn whole(bytes: &[u8]) -> Result<(), &'static str> {
    match ending(bytes) {
        Some("png") => png(bytes),
        Some("jpg") => jpeg(bytes),
        Some(_) => webp(bytes),
        None => Err(NO_PICTURE),
    }
}

/// Segments up to the marker of the end; those in a segment, as of a thumbnail, do not count.
fn jpeg(bytes: &[u8]) -> Result<(), &'static str> {
    // A zero behind 0xff is data, another 0xff filling, and restarts stand within data.
    let is_marker = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xff | 0xd0..=0xd7);
    let (mut rest, mut scanned) = (&bytes[2..], false);
    loop {
        let place = rest.windows(2).position(is_marker).ok_or(CUT_OFF)?;
        let marker = rest[place + 1];
        rest = &rest[place + 2..];
        match (marker, rest) {
            (0xd9, _) => return if scanned { Ok(()) } else { Err(EMPTY) },
            (0x01 | 0xd8, _) => {}
            (_, [high, low, ..]) => {
                scanned |= marker == 0xda;
                rest = rest.get(usize::from(u16::from_be_bytes([*high, *low]))..).ok_or(CUT_OFF)?;
            }
            _ => return Err(CUT_OFF),
        }
    }
}

/// Chunks up to that of the end. Checksums of chunks that a decoder may leave out do not count.
fn png(bytes: &[u8]) -> Result<(), &'static str> {
    let (mut rest, mut has_data) = (bytes.get(8..).ok_or(CUT_OFF)?, false);
    loop {
        let (length, after) = rest.split_first_chunk::<4>().ok_or(CUT_OFF)?;
        let length = u32::from_be_bytes(*length) as usize;
        let (chunk, after) = after.split_at_checked(4 + length).ok_or(CUT_OFF)?;
        let (checksum, after) = after.split_first_chunk::<4>().ok_or(CUT_OFF)?;
        if chunk[0].is_ascii_uppercase() && crc32fast::hash(chunk) != u32::from_be_bytes(*checksum) {
            return Err(DAMAGED);
        }
        match &chunk[..4] {
            b"IEND" => return if has_data { Ok(()) } else { Err(EMPTY) },
            kind => has_data |= kind == b"IDAT",
        }
        rest = after;
    }
}

/// As many bytes as the head says.
fn webp(bytes: &[u8]) -> Result<(), &'static str> {
    let (length, body) = bytes[4..].split_first_chunk::<4>().ok_or(CUT_OFF)?;
    match u32::from_le_bytes(*length) as usize {
        length if length > body.len() => Err(CUT_OFF),
        length if length < 12 => Err(EMPTY),
        _ => Ok(()),
    }
}
