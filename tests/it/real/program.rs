//! Where the programs are, and how one is run.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Longest time that a program may take.
const LONGEST: Duration = Duration::from_secs(60);

/// The program of this name; `None`, and a word why, when it is not here.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH").unwrap_or_default();
    // Debian has some of them where only root looks.
    let folders = env::split_paths(&folders).chain([PathBuf::from("/usr/sbin")]);
    let found = folders
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    found.or_else(|| absent(name))
}

/// A program of the Python environment that `.ci/run` makes beside what cargo builds.
pub(super) fn find_python(name: &str) -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent()?;
    let path = target.join("python/bin").join(name);
    if path.is_file() { Some(path) } else { absent(name) }
}

/// Says that a program is not here. Where everything has to be checked that is a failure.
fn absent(name: &str) -> Option<PathBuf> {
    let must_be_here = env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!must_be_here, "there is no {name} here");
    eprintln!("skipped: there is no {name} here; .ci/run installs it");
    None
}

/// A file beside this one.
pub(super) fn file(path: &str) -> String {
    format!("{}/tests/it/real/{path}", env!("CARGO_MANIFEST_DIR"))
}

/// Starts `program` with nothing to read and nowhere to leave files.
pub(super) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .stdin(Stdio::null())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        // Nothing between the programs and the balancer but the balancer.
        .env_remove("http_proxy")
        .env_remove("HTTP_PROXY")
        .env_remove("ALL_PROXY");
    command
}

/// Runs `program` to its end; an exit code but 0 fails the test, and so does taking very long.
pub(super) fn run(program: &Path, arguments: &[&str]) -> String {
    run_within(LONGEST, program, arguments)
}

/// The same with a bound of its own.
pub(super) fn run_within(bound: Duration, program: &Path, arguments: &[&str]) -> String {
    let output = command(Path::new("timeout"))
        .arg(bound.as_secs().to_string())
        .arg(program)
        .args(arguments)
        .output()
        .expect("the program starts");
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(
        output.status.success(),
        "{} {arguments:?}: {}\n{stdout}\n{stderr}",
        program.display(),
        output.status
    );
    stdout
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
