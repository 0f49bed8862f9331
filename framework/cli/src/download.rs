//! One file over HTTP, gone on with where an earlier try stopped. Not which file, nor on what terms.

use crate::fetch::check;
use framework::context::is_interrupted;
use framework::error::{Error, Explain, Result};
use framework::progress::{Bar, Progress};
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;
use ureq::config::RedirectAuthHeaders;

/// A file and who has it.
pub(crate) struct Download<'a> {
    /// Who is asked, for messages.
    pub host: &'a str,
    /// Where the file is.
    pub url: &'a str,
    /// Its size, where it is known.
    pub bytes: Option<u64>,
    /// The SHA-256 of its bytes in lower-case hexadecimal, where it is known.
    pub sha256: Option<&'a str>,
    /// What lets us in, where the host asks for it; it goes to no other host.
    pub token: Option<&'a str>,
}

/// What asks hosts for files, with limits of time.
pub(crate) fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        // Packed on the way, a file could not be gone on with: ranges would be of what is packed.
        .accept_encoding("identity")
        .redirect_auth_headers(RedirectAuthHeaders::SameHost)
        .timeout_connect(Some(Duration::from_secs(10)))
        .timeout_recv_response(Some(Duration::from_secs(30)))
        .timeout_per_read(Some(Duration::from_secs(30)));
    config.build().new_agent()
}

/// Whether a file begins as gzip's do, which a web page in its place does not.
fn is_packed(path: &Path) -> Result<bool> {
    let mut first = Vec::new();
    let file = fs::File::open(path).explain("reading a download", path.display())?;
    file.take(2).read_to_end(&mut first).explain("reading a download", path.display())?;
    Ok(first == [0x1f, 0x8b])
}

impl Download<'_> {
    /// Downloads to `path`, where the file appears when it is whole and, as far as that is known, right; `remedy` is
    /// for one that is not.
    pub(crate) fn keep(&self, path: &Path, remedy: &str, progress: &Progress) -> Result<()> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let part = path.with_file_name(format!("{name}.part"));
        let bar = progress.bytes(&name, self.bytes.unwrap_or(0) as usize);
        self.run(&part, &bar)?;
        let size = part.metadata().explain("reading a download", part.display())?.len();
        let right = match (self.sha256, self.bytes) {
            (_, Some(bytes)) if bytes != size => {
                Err(Error::new(format!("{name} has {size} bytes instead of {bytes}")).at(self.url))
            }
            (Some(sum), _) => check(&part, &name, sum),
            (None, _) if name.ends_with(".gz") && !is_packed(&part)? => {
                Err(Error::new(format!("{name} is not what gzip packs: the host sent something else")).at(self.url))
            }
            _ => Ok(()),
        };
        if let Err(error) = right {
            fs::remove_file(&part).explain("removing a wrong download", part.display())?;
            return Err(error.fix(remedy));
        }
        fs::rename(&part, path).explain("keeping a download", path.display())
    }

    /// Downloads into `part`, from where an earlier try stopped; tries again as long as each try brings something new.
    pub(crate) fn run(&self, part: &Path, bar: &Bar) -> Result<()> {
        let size = || part.metadata().map_or(0, |metadata| metadata.len());
        loop {
            let have = size();
            // Not the size alone but the checksum says whether it is the right file.
            if self.bytes.is_some_and(|bytes| have >= bytes) && part.exists() {
                return Ok(());
            }
            bar.restart();
            match self.request(part, have, bar) {
                Err(error) if error.is_interrupt() || size() <= have => return Err(error),
                Err(_) => {}
                Ok(()) => return Ok(()),
            }
        }
    }

    /// The answer, whatever its status, to a request for what follows the first `have` bytes.
    pub(crate) fn ask(&self, have: u64) -> Result<ureq::http::Response<ureq::Body>> {
        let mut get = agent().get(self.url);
        if have > 0 {
            get = get.header("Range", format!("bytes={have}-"));
        }
        if let Some(token) = self.token {
            get = get.header("Authorization", format!("Bearer {token}"));
        }
        get.call().explain(&format!("{} could not be reached", self.host), self.url)
    }

    /// What a status other than success means.
    pub(crate) fn refused(&self, status: u16) -> Error {
        Error::new(format!("{} answered with HTTP status {status}", self.host)).at(self.url)
    }

    /// One request for what is missing from `part`, which has `have` bytes.
    fn request(&self, part: &Path, have: u64, bar: &Bar) -> Result<()> {
        let response = self.ask(have)?;
        // A server that knows no ranges sends everything again, with 200.
        let start = match response.status().as_u16() {
            200 => 0,
            206 => have,
            // What is there is longer than the server's file.
            416 if have > 0 => {
                fs::remove_file(part).explain("removing an earlier download", part.display())?;
                return self.request(part, 0, bar);
            }
            status => return Err(self.refused(status)),
        };
        if let (None, Some(rest)) = (self.bytes, response.body().content_length()) {
            bar.expect((start + rest) as usize);
        }
        bar.advance(start as usize);
        let file = OpenOptions::new().create(true).append(start > 0).truncate(start == 0).write(true).open(part);
        let mut file = file.explain("writing the download", part.display())?;
        // One byte more than it may be is enough to be found wrong.
        let most = self.bytes.map_or(u64::MAX, |bytes| bytes + 1 - start.min(bytes));
        let mut body = response.into_body().into_reader().take(most);
        let mut buffer = vec![0; 1 << 16];
        loop {
            if is_interrupted() {
                return Err(Error::interrupted());
            }
            match body.read(&mut buffer).explain("the download broke off", self.url)? {
                0 => return Ok(()),
                read => {
                    file.write_all(&buffer[..read]).explain("writing the download", part.display())?;
                    bar.advance(read);
                }
            }
        }
    }
}
