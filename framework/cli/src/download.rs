//! One file over HTTP, gone on with where an earlier try stopped. Not what must be in it.

use framework::context::is_interrupted;
use framework::error::{Error, Explain, Result};
use framework::progress::Bar;
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
    /// What lets us in, where the host asks for it; it goes to no other host.
    pub token: Option<&'a str>,
}

impl Download<'_> {
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
            match self.request(part, have, &|bytes| bar.advance(bytes)) {
                Err(error) if error.is_interrupt() || size() <= have => return Err(error),
                Err(_) => {}
                Ok(()) => return Ok(()),
            }
        }
    }

    /// The answer, whatever its status, to a request for what follows the first `have` bytes.
    pub(crate) fn ask(&self, have: u64) -> Result<ureq::http::Response<ureq::Body>> {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(Duration::from_secs(30)))
            .timeout_per_read(Some(Duration::from_secs(30)));
        let mut get = config.build().new_agent().get(self.url);
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
    fn request(&self, part: &Path, have: u64, advance: &dyn Fn(usize)) -> Result<()> {
        let response = self.ask(have)?;
        // A server that knows no ranges sends everything again, with 200.
        let start = match response.status().as_u16() {
            200 => 0,
            206 => have,
            // What is there is longer than the server's file.
            416 if have > 0 => {
                fs::remove_file(part).explain("removing an earlier download", part.display())?;
                return self.request(part, 0, advance);
            }
            status => return Err(self.refused(status)),
        };
        advance(start as usize);
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
                    advance(read);
                }
            }
        }
    }
}
