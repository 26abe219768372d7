//! Runs the counting tools, `valgrind --tool=callgrind` and `strace -c`, and parses their output.

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The command for `program` under callgrind, which writes to `out`.
pub(crate) fn callgrind(out: &Path, options: &[&str], program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .args(options)
        .arg(program.as_ref());
    command
}

/// The instruction count in one callgrind dump.
pub(crate) fn instructions(dump: &Path) -> Result<u64, Box<dyn Error>> {
    let text = fs::read_to_string(dump).map_err(|error| format!("{}: {error}", dump.display()))?;
    let total = text
        .lines()
        .find_map(|line| line.strip_prefix("summary: ").or(line.strip_prefix("totals: ")));
    Ok(total
        .ok_or_else(|| format!("{}: no total in the callgrind dump", dump.display()))?
        .trim()
        .parse()?)
}

/// The command for `program` under strace, which writes its table to `out`.
pub(crate) fn strace(out: &Path, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-c", "-o"]).arg(out).arg(program.as_ref());
    command
}

/// The count of each system call in a table of strace with the columns `% time, seconds, usecs/call, calls, errors,
/// syscall`. `errors` is empty when there were none.
pub(crate) fn system_calls(table: &Path) -> Result<BTreeMap<String, u64>, Box<dyn Error>> {
    let text = fs::read_to_string(table).map_err(|error| format!("{}: {error}", table.display()))?;
    let rows = text.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let count = words.get(3)?.parse().ok()?;
        Some((words.last().copied()?.to_owned(), count))
    });
    let calls: BTreeMap<String, u64> = rows.filter(|(name, _)| name != "total").collect();
    if calls.is_empty() {
        return Err(format!("{}: no strace table: {text}", table.display()).into());
    }
    Ok(calls)
}
