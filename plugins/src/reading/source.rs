//! A file's bytes as UTF-8: unpacked where they are packed, decoded where they are in another encoding.

use encoding_rs::{Decoder, DecoderResult};
use flate2::bufread::GzDecoder;
use framework::error::{Error, Explain, Result};
use framework::plugin::Setting;
use framework::problem::Reader;
use framework::toml::Value;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek};
use std::path::Path;

/// How the characters of a text file are written, by a name of the web's Encoding Standard.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Encoding(&'static encoding_rs::Encoding);

impl Encoding {
    /// The default of everything that is written today.
    pub(crate) const UTF_8: Self = Self(encoding_rs::UTF_8);
}

impl Setting for Encoding {
    fn kind() -> String {
        "name of an encoding".into()
    }
    fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
        let name = value.as_str().or_else(|| reader.wrong_type(value, &Self::kind()))?;
        let found = encoding_rs::Encoding::for_label(name.as_bytes());
        let known = "a name such as utf-8, windows-1252, iso-8859-1, utf-16le, gbk, shift_jis or euc-kr";
        found.map(Self).or_else(|| reader.report(format!("no encoding is called `{name}`"), known))
    }
    fn write(&self) -> Value {
        self.0.name().to_ascii_lowercase().into()
    }
}

/// The first bytes of packed files.
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// The text of the file at `path`, whatever its name says: packed is what begins like it.
pub(super) fn open(path: &Path, encoding: Encoding) -> Result<Box<dyn Read>> {
    const WHAT: &str = "opening a file of the dataset";
    let mut file = File::open(path).explain(WHAT, path.display())?;
    let mut first = [0; 4];
    let mut read = 0;
    while read < first.len() {
        match file.read(&mut first[read..]).explain(WHAT, path.display())? {
            0 => break,
            more => read += more,
        }
    }
    file.rewind().explain(WHAT, path.display())?;
    let ending = path.extension().and_then(OsStr::to_str).map(str::to_ascii_lowercase);
    let bytes: Box<dyn Read> = match &first[..read] {
        start if start.starts_with(GZIP) => Box::new(Gzip::new(file)),
        // A frame that is to be skipped may come first.
        start if start.starts_with(ZSTD) || matches!(start, [0x50..=0x5f, 0x2a, 0x4d, 0x18]) => {
            Box::new(zstd::stream::read::Decoder::new(file).explain("unpacking", path.display())?)
        }
        _ => match ending.as_deref() {
            Some(packed @ ("gz" | "zst")) if read > 0 => {
                let fix = format!("the name without `.{packed}` if it is unpacked already; or the whole file");
                let what = format!("the file cannot be read: it does not begin as a packed file (`.{packed}`) does");
                return Err(Error::new(what).at(path.display()).fix(fix));
            }
            _ => Box::new(file),
        },
    };
    match encoding == Encoding::UTF_8 {
        true => Ok(bytes),
        false => Ok(Box::new(Decoded::new(bytes, encoding.0))),
    }
}

/// One gzip member behind another; zeros behind the last are padding.
struct Gzip {
    member: Option<GzDecoder<BufReader<File>>>,
    is_first: bool,
}

impl Gzip {
    fn new(file: File) -> Self {
        Self { member: Some(GzDecoder::new(BufReader::with_capacity(1 << 18, file))), is_first: true }
    }
}

impl Read for Gzip {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(member) = &mut self.member else { return Ok(0) };
            let read = member.read(buffer).map_err(|error| match error.kind() {
                ErrorKind::InvalidInput if !self.is_first && member.header().is_none() => behind(),
                _ => error,
            })?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let Some(mut rest) = self.member.take().map(GzDecoder::into_inner) else { return Ok(0) };
            while let ahead = rest.fill_buf()?
                && !ahead.is_empty()
                && ahead.iter().all(|byte| *byte == 0)
            {
                let zeros = ahead.len();
                rest.consume(zeros);
            }
            match rest.fill_buf()?.first() {
                None => return Ok(0),
                Some(0x1f) => (self.member, self.is_first) = (Some(GzDecoder::new(rest)), false),
                Some(_) => return Err(behind()),
            }
        }
    }
}

fn behind() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "behind the end of the packed data there are other bytes, which are no gzip")
}

/// Text of another encoding as UTF-8.
struct Decoded {
    source: Box<dyn Read>,
    decoder: Decoder,
    name: &'static str,
    raw: Vec<u8>,
    start: usize,
    ended: bool,
    /// Whether the decoder said that there is no more; it may not be asked again.
    finished: bool,
}

impl Decoded {
    fn new(source: Box<dyn Read>, encoding: &'static encoding_rs::Encoding) -> Self {
        let decoder = encoding.new_decoder();
        Self { source, decoder, name: encoding.name(), raw: Vec::new(), start: 0, ended: false, finished: false }
    }
}

impl Read for Decoded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // A character needs room; whoever reads here does so through a large buffer.
        if buffer.len() < 16 {
            return Err(io::Error::other("a buffer too small for a character"));
        }
        while !self.finished {
            if self.start == self.raw.len() && !self.ended {
                self.raw.resize(1 << 16, 0);
                let read = self.source.read(&mut self.raw)?;
                self.raw.truncate(read);
                (self.start, self.ended) = (0, read == 0);
            }
            let rest = &self.raw[self.start..];
            let (found, read, written) = self.decoder.decode_to_utf8_without_replacement(rest, buffer, self.ended);
            self.start += read;
            self.finished = self.ended && found == DecoderResult::InputEmpty;
            match found {
                DecoderResult::Malformed(..) => {
                    let what = format!("there are bytes that are not {}", self.name);
                    return Err(io::Error::new(ErrorKind::InvalidData, what));
                }
                _ if written > 0 => return Ok(written),
                _ => {}
            }
        }
        Ok(0)
    }
}
