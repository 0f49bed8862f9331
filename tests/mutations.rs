//! Damaged files: whatever is wrong with data or a language model's checkpoint, the program says one thing and ends, in
//! time, in memory, without a panic. Brief here; `ABLATE_MUTATIONS=5000 cargo test --workspace --test ablate mutations`
//! is the whole campaign.

use crate::program::Program;
use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Numbers that break what trusts them.
const NUMBERS: [&str; 10] =
    ["-1", "0", "1e308", "4294967296", "9223372036854775807", "18446744073709551615", "0.1", "NaN", "\"\"", "[]"];

/// The longest that a command may take. Loaded machines are slow; a hang is not.
const TIME: Duration = Duration::from_secs(60);

/// What a command may use beyond the same command on the whole file, and the file's size.
const MEMORY_KB: u64 = 200 << 10;

/// Random numbers (xorshift): the same campaign everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }
}

/// A damaged copy of `bytes`, and how it was damaged.
fn damaged(bytes: &[u8], random: &mut Random) -> (Vec<u8>, String) {
    let mut copy = bytes.to_vec();
    // Headers decide more than what follows them.
    let reach = if random.below(2) == 0 { bytes.len() } else { bytes.len().min(2_000) };
    let at = random.below(reach);
    let kind = random.below(9);
    match kind {
        0 => copy.truncate(at),
        1 => (0..=random.below(4)).for_each(|_| {
            let at = random.below(reach);
            copy.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (at % 8));
        }),
        2 => copy.iter_mut().skip(at).take(1).for_each(|byte| *byte = [0, 0xff, b'"', b'\n', b'{', b','][at % 6]),
        3 => copy.iter_mut().skip(at).take([4, 8][at % 2]).for_each(|byte| *byte = 0xff),
        4 => copy.iter_mut().skip(at).take(8).for_each(|byte| *byte = 0),
        5 => drop(copy.drain(at..(at + 1 + random.below(40)).min(bytes.len()))),
        6 => {
            let piece = bytes[at..(at + 1 + random.below(200)).min(bytes.len())].to_vec();
            copy.splice(at..at, piece);
        }
        7 => (0..random.below(3_000)).for_each(|n| copy.push((n * 7) as u8)),
        _ => {
            let digits = |from: usize| bytes[from..].iter().position(u8::is_ascii_digit).map(|n| from + n);
            if let Some(start) = digits(at) {
                let end = start + bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                copy.splice(start..end, NUMBERS[random.below(NUMBERS.len())].bytes());
            }
        }
    }
    (copy, format!("kind {kind} at {at}"))
}

/// What a command left.
struct Left {
    code: Option<i32>,
    signal: Option<i32>,
    err: String,
    peak_kb: u64,
}

/// Runs a command and says what it left and used; kills it after [`TIME`].
fn run(program: &Program, arguments: &[&str]) -> Left {
    let mut command = program.command(arguments);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let (started, mut peak_kb) = (Instant::now(), 0);
    let mut stderr = child.stderr.take().expect("a pipe");
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = stderr.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    let status = loop {
        // The peak so far, of a process that is still there.
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
        peak_kb = peak_kb.max(line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).unwrap_or(0));
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        if started.elapsed() > TIME {
            child.kill().expect("killed");
            break child.wait().expect("a child");
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    Left { code: status.code(), signal: status.signal(), err: reader.join().expect("read"), peak_kb }
}

/// One file that is damaged, and the command that reads it.
struct Target {
    file: PathBuf,
    arguments: Vec<String>,
}

/// Copies a folder of small files.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        match path.is_dir() {
            true => copy(&path, &target),
            false => assert!(fs::copy(&path, &target).is_ok(), "{} is copied", path.display()),
        }
    }
}

/// The files of the cases of data, each with its spec, but those that are damaged already.
fn of_data(program: &Program) -> Vec<Target> {
    let cases = [
        "csv-iso-naive",
        "csv-tab-named-csv",
        "js-id-float",
        "js-time-mongo",
        "pq-ts-us",
        "pq-category",
        "pq-id-decimal",
        "rb-build_dataset",
        "rb-defaults",
        "sq-mixed-tab",
        "az18",
        "g-kcore-default",
        "pict-truncated-jpg",
        "items-quote-backslash",
    ];
    let mut targets = Vec::new();
    for case in cases {
        let folder = program.path("cache").join(case);
        copy(&Path::new("tests/fixtures/cases/data").join(case), &folder);
        let spec = folder.join("spec.toml").display().to_string();
        let mut files: Vec<PathBuf> =
            fs::read_dir(&folder).expect("a case").map(|file| file.expect("a file").path()).collect();
        if folder.join("images").is_dir() {
            files.extend(
                fs::read_dir(folder.join("images")).expect("pictures").take(2).map(|file| file.expect("a file").path()),
            );
        }
        files.retain(|file| file.is_file() && file.extension().is_some_and(|ending| ending != "toml"));
        files.sort();
        let arguments = ["data", &spec, "--rows", "2"].map(String::from).to_vec();
        targets.extend(files.into_iter().map(|file| Target { file, arguments: arguments.clone() }));
    }
    targets
}

/// The files of small checkpoints, each asked for two tokens.
fn of_models(program: &Program) -> Vec<Target> {
    let mut targets = Vec::new();
    for name in ["no_max_positions", "sharded_stale_duplicate", "coloc", "pre_missing.gguf"] {
        let from = Path::new("tests/fixtures/cases/models").join(name);
        let to = program.path(name);
        let files = if from.is_dir() {
            copy(&from, &to);
            let mut files: Vec<PathBuf> =
                fs::read_dir(&to).expect("a model").map(|file| file.expect("a file").path()).collect();
            files.sort();
            files
        } else {
            fs::copy(&from, &to).expect("copied");
            vec![to.clone()]
        };
        let model = to.display().to_string();
        let arguments = ["generate", &model, "--prompt", "w1 w2", "--set", "max_tokens=2"].map(String::from).to_vec();
        let inspect = ["inspect", &model].map(String::from).to_vec();
        for file in files {
            targets.push(Target { file: file.clone(), arguments: arguments.clone() });
            targets.push(Target { file, arguments: inspect.clone() });
        }
    }
    targets
}

/// How many damaged files are tried.
fn count(brief: usize) -> usize {
    std::env::var("ABLATE_MUTATIONS").ok().and_then(|count| count.parse().ok()).map_or(brief, |all: usize| all / 2)
}

/// Damages each of the files in turn and runs its command.
fn campaign(program: &Program, targets: &[Target], count: usize, seed: u64) {
    assert!(!targets.is_empty(), "there is something to damage");
    let (mut random, mut faults, mut refused) = (Random(seed), Vec::new(), 0);
    let mut usual: Vec<Option<u64>> = targets.iter().map(|_| None).collect();
    for n in 0..count {
        let target = &targets[n % targets.len()];
        let arguments: Vec<&str> = target.arguments.iter().map(String::as_str).collect();
        let whole = fs::read(&target.file).expect("a file");
        let usual = *usual[n % targets.len()].get_or_insert_with(|| run(program, &arguments).peak_kb);
        let (bytes, how) = damaged(&whole, &mut random);
        fs::write(&target.file, &bytes).expect("written");
        let Left { code, signal, err, peak_kb } = run(program, &arguments);
        let name = target.file.display();
        let most = usual + MEMORY_KB + (bytes.len() as u64 >> 10);
        let fault = match (code, signal) {
            (_, Some(signal)) => Some(format!("ended by signal {signal} (9: it took longer than {TIME:?})")),
            _ if err.contains("panic") => Some("panicked".into()),
            (Some(0), _) => None,
            (Some(1 | 2), _) if err.contains("error: ") => None,
            _ => Some(format!("exit code {code:?}")),
        };
        let fault = fault.or_else(|| (peak_kb > most).then(|| format!("{peak_kb} kB, at most {most}")));
        refused += usize::from(code != Some(0));
        if let Some(fault) = fault {
            let kept = std::env::temp_dir().join(format!("ablate-mutation-{seed}-{n}"));
            fs::write(&kept, &bytes).expect("kept");
            faults.push(format!("{fault}: {name}, {how}, kept as {}\n{}", kept.display(), &err[..err.len().min(600)]));
        }
        fs::write(&target.file, &whole).expect("written");
    }
    println!("{count} damaged files: {refused} refused, {} faults", faults.len());
    assert!(faults.is_empty(), "{} faults of {count}:\n{}", faults.len(), faults.join("\n"));
    assert!(refused * 10 > count, "some are refused");
}

#[test]
fn mutations_of_data() {
    let program = Program::new();
    let targets = of_data(&program);
    campaign(&program, &targets, count(120), 0x9e37_79b9_7f4a_7c15);
}

#[test]
fn mutations_of_models() {
    let program = Program::new();
    let targets = of_models(&program);
    campaign(&program, &targets, count(120), 0xd1b5_4a32_d192_ed03);
}
