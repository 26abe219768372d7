//! Finds and runs the real programs.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::ability::skip;

/// Longest run time of a program.
const LONGEST: Duration = Duration::from_secs(60);

/// The path of a program; prints a message and returns `None` if it is not installed.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH").unwrap_or_default();
    // Debian has some of them in folders that only root's PATH contains.
    let folders = env::split_paths(&folders).chain([PathBuf::from("/usr/sbin")]);
    let found = folders
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    found.or_else(|| absent(name))
}

/// A program of the Python environment that `.ci/run` creates in the target folder.
pub(super) fn find_python(name: &str) -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent()?;
    let path = target.join("python/bin").join(name);
    if path.is_file() { Some(path) } else { absent(name) }
}

/// The folder of the npm packages that `.ci/run` installs in the target folder.
pub(super) fn find_node_packages() -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent()?;
    let path = target.join("node/node_modules");
    if path.is_dir() {
        Some(path)
    } else {
        absent("folder with npm packages")
    }
}

/// Reports a missing program. With `CI=true` that is a failure.
fn absent(name: &str) -> Option<PathBuf> {
    skip(&format!("there is no {name} here; .ci/run installs it"));
    None
}

/// The path of a file beside this one.
pub(super) fn file(path: &str) -> String {
    format!("{}/tests/it/real/{path}", env!("CARGO_MANIFEST_DIR"))
}

/// Prepares `program` without input, in a temporary folder.
pub(super) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .stdin(Stdio::null())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        // No proxy between the programs and the balancer.
        .env_remove("http_proxy")
        .env_remove("HTTP_PROXY")
        .env_remove("ALL_PROXY");
    command
}

/// Runs `program` to its end; any exit code but 0, or a timeout, fails the test.
pub(super) fn run(program: &Path, arguments: &[&str]) -> String {
    run_within(LONGEST, program, arguments)
}

/// The same with a time limit.
pub(super) fn run_within(bound: Duration, program: &Path, arguments: &[&str]) -> String {
    let mut command = command(Path::new("timeout"));
    command.arg(bound.as_secs().to_string());
    finish(&mut command, program, arguments)
}

/// The same with variables of its environment.
pub(super) fn run_with(variables: &[(&str, &Path)], program: &Path, arguments: &[&str]) -> String {
    let mut command = command(Path::new("timeout"));
    command
        .envs(variables.iter().copied())
        .arg(LONGEST.as_secs().to_string());
    finish(&mut command, program, arguments)
}

fn finish(timeout: &mut Command, program: &Path, arguments: &[&str]) -> String {
    let output = timeout
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
