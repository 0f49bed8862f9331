//! A bucket of an S3-compatible object store, for stores that several machines share: what this program asks of it, in
//! calls that wait for the answer. It knows no layout of a store.
//!
//! Two promises of such servers carry everything: a whole object appears or none (S3 keeps no half upload), and of two
//! that create one name, or that replace one version of it, exactly one is told that it did (`If-None-Match`,
//! `If-Match`).

use super::files::failing;
use crate::error::{Error, Explain, Result};
use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload, RetryConfig, UpdateVersion, WriteMultipart};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::runtime::{Builder, Runtime};

/// Beyond this many bytes an upload goes in parts, and is never in memory as a whole.
const PART: usize = 16 << 20;

/// The part of a bucket below a prefix.
#[derive(Debug)]
pub(super) struct Remote {
    url: String,
    prefix: Key,
    bucket: AmazonS3,
    runtime: Runtime,
}

/// An object as a listing shows it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Its name below the prefix.
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) modified: SystemTime,
    /// Which version of its content this is.
    pub(super) version: Version,
}

/// A version of an object: equal for as long as nobody writes it again.
pub(super) type Version = Option<String>;

impl Remote {
    /// The place `s3://BUCKET/PREFIX`, with the credentials and endpoint of the `AWS_…` variables. Asks nobody yet.
    pub(super) fn new(url: &str) -> Result<Self> {
        let url = url.trim_end_matches('/');
        let (bucket, prefix) = url.strip_prefix("s3://").unwrap_or_default().split_once('/').unwrap_or((&url[5..], ""));
        if bucket.is_empty() {
            return Err(Error::new("the address of a store in a bucket lacks the bucket")
                .at(url)
                .fix("s3://BUCKET/NAME"));
        }
        let plain = std::env::var("AWS_ENDPOINT_URL").is_ok_and(|endpoint| endpoint.starts_with("http://"));
        let retry = RetryConfig { max_retries: 10, retry_timeout: Duration::from_secs(60), ..RetryConfig::default() };
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retry);
        if plain {
            builder = builder.with_allow_http(true);
        }
        let bucket = builder.build().explain("reading the AWS_ variables", url)?;
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.explain("starting threads for the object store", url)?;
        Ok(Self { url: url.to_owned(), prefix: Key::from(prefix), bucket, runtime })
    }

    /// The address it was opened with.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    fn key(&self, name: &str) -> Key {
        name.split('/').fold(self.prefix.clone(), |key, part| key.join(part))
    }

    /// Writes an object that must not be there yet, and gives its version; none if there is one.
    pub(super) fn create(&self, name: &str, bytes: &[u8]) -> Result<Option<Version>> {
        let key = self.key(name);
        match self.runtime.block_on(self.bucket.put_opts(&key, payload(bytes), PutMode::Create.into())) {
            Ok(put) => Ok(Some(put.e_tag)),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(None),
            Err(error) => Err(self.failed("cannot write to", name, &error)),
        }
    }

    /// Writes an object in the place of one version of it, and gives the new one; none if it is no longer that one.
    pub(super) fn replace(&self, name: &str, bytes: &[u8], version: Version) -> Result<Option<Version>> {
        let mode = PutMode::Update(UpdateVersion { e_tag: version, version: None });
        match self.runtime.block_on(self.bucket.put_opts(&self.key(name), payload(bytes), mode.into())) {
            Ok(put) => Ok(Some(put.e_tag)),
            Err(object_store::Error::Precondition { .. } | object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("cannot write to", name, &error)),
        }
    }

    /// Writes an object, whatever was there.
    pub(super) fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let put = self.runtime.block_on(self.bucket.put(&self.key(name), payload(bytes)));
        put.map(|_| ()).map_err(|error| self.failed("cannot write to", name, &error))
    }

    /// Writes a file as an object, whatever was there.
    pub(super) fn upload(&self, name: &str, path: &Path) -> Result<()> {
        let unreadable = || failing("cannot read the file to upload", path);
        let file = File::open(path).map_err(unreadable())?;
        let length = file.metadata().map_err(unreadable())?.len();
        let mut buffer = Vec::with_capacity(PART.min(length as usize));
        (&file).take(PART as u64).read_to_end(&mut buffer).map_err(unreadable())?;
        if buffer.len() as u64 == length {
            return self.put(name, &buffer);
        }
        let failed = |error| self.failed("cannot write to", name, &error);
        let upload = self.runtime.block_on(self.bucket.put_multipart(&self.key(name))).map_err(failed)?;
        let _inside = self.runtime.enter();
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART);
        while !buffer.is_empty() {
            self.runtime.block_on(upload.wait_for_capacity(4)).map_err(failed)?;
            upload.write(&buffer);
            buffer.clear();
            (&file).take(PART as u64).read_to_end(&mut buffer).map_err(unreadable())?;
        }
        self.runtime.block_on(upload.finish()).map(|_| ()).map_err(failed)
    }

    /// Gives an object's bytes to `write`, piece by piece, and then its entry; none if it is not there.
    pub(super) fn read(&self, name: &str, write: &mut dyn Write) -> Result<Option<Entry>> {
        let failed = |error| self.failed("cannot read from", name, &error);
        let found = match self.runtime.block_on(self.bucket.get(&self.key(name))) {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let entry = self.entry(&found.meta);
        let mut pieces = found.into_stream();
        while let Some(piece) = self.runtime.block_on(pieces.next()) {
            write
                .write_all(&piece.map_err(failed)?)
                .map_err(failing("cannot keep what was downloaded", Path::new(name)))?;
        }
        Ok(Some(entry))
    }

    /// An object's bytes and version, if it is there.
    pub(super) fn bytes(&self, name: &str) -> Result<Option<(Vec<u8>, Entry)>> {
        let mut bytes = Vec::new();
        Ok(self.read(name, &mut bytes)?.map(|entry| (bytes, entry)))
    }

    /// What there is to know of an object without its bytes.
    pub(super) fn head(&self, name: &str) -> Result<Option<Entry>> {
        match self.runtime.block_on(self.bucket.head(&self.key(name))) {
            Ok(meta) => Ok(Some(self.entry(&meta))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("cannot look at", name, &error)),
        }
    }

    /// Every object below a folder.
    pub(super) fn list(&self, folder: &str) -> Result<Vec<Entry>> {
        let found = self.bucket.list(Some(&self.key(folder))).try_collect();
        let found: Vec<_> = self.runtime.block_on(found).map_err(|error| self.failed("cannot list", folder, &error))?;
        Ok(found.iter().map(|meta| self.entry(meta)).collect())
    }

    /// Removes an object; one that is not there is no error.
    pub(super) fn delete(&self, name: &str) -> Result<()> {
        match self.runtime.block_on(self.bucket.delete(&self.key(name))) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("cannot remove from", name, &error)),
        }
    }

    fn entry(&self, meta: &object_store::ObjectMeta) -> Entry {
        let name = meta.location.as_ref().strip_prefix(self.prefix.as_ref()).unwrap_or(meta.location.as_ref());
        // A listing tells milliseconds, an answer only seconds.
        let seconds = u64::try_from(meta.last_modified.timestamp()).unwrap_or_default();
        let (name, modified) = (name.trim_start_matches('/').to_owned(), UNIX_EPOCH + Duration::from_secs(seconds));
        Entry { name, bytes: meta.size, modified, version: meta.e_tag.clone() }
    }

    fn failed(&self, what: &str, name: &str, error: &object_store::Error) -> Error {
        let explained = Error::new(format!("{what} the object store: {error}")).at(format!("{}/{name}", self.url));
        match error {
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                explained.fix("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of somebody who may read and write there")
            }
            object_store::Error::NotFound { .. } => explained.fix("make the bucket first, or correct its name"),
            _ => explained.fix(
                "see that AWS_ENDPOINT_URL, AWS_REGION and the credentials are right and the server is up; \
                 the same command goes on where this one stopped",
            ),
        }
    }
}

fn payload(bytes: &[u8]) -> PutPayload {
    PutPayload::from(bytes.to_vec())
}
