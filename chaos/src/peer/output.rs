//! What the balancers of a run write: lines of access logs, and versions.

use std::collections::HashSet;
use std::process::Command;

use serde_json::Value;

use crate::nonce;

/// Bytes of the date at the beginning of a time.
const DATE: usize = 10;
/// The beginning of a line of an access log whose format is set here: `chaos PATH STATUS DURATION TIME`.
pub(super) const MARK: &str = "chaos";

/// Nonce and status of each line that begins with [`MARK`].
pub(super) fn logged(output: &str) -> Vec<(u64, u16)> {
    let lines = output.lines().filter_map(|line| {
        let mut words = line.split(' ').skip_while(|word| *word != MARK).skip(1);
        let (path, status) = (words.next()?, words.next()?);
        Some((nonce_of(path)?, status.parse().ok()?))
    });
    lines.collect()
}

/// Nonce and status of each line of JSON with such members.
pub(super) fn logged_as_json(output: &str, path: &str, status: &str) -> Vec<(u64, u16)> {
    let lines = output.lines().filter_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        let nonce = nonce_of(line.pointer(path)?.as_str()?)?;
        Some((nonce, u16::try_from(line.pointer(status)?.as_u64()?).ok()?))
    });
    lines.collect()
}

/// Words of the lines that begin with [`MARK`], after path and status: the duration of the request, and the time.
fn rest(output: &str) -> impl Iterator<Item = (&str, &str)> {
    output.lines().filter_map(|line| {
        let mut words = line.split(' ').skip_while(|word| *word != MARK).skip(3);
        Some((words.next()?, words.next()?))
    })
}

/// How many days the lines are from that begin with [`MARK`].
pub(super) fn days(output: &str) -> usize {
    let days = rest(output).filter_map(|(_, time)| time.get(..DATE));
    days.collect::<HashSet<_>>().len()
}

/// Lines that begin with [`MARK`] whose duration is negative.
pub(super) fn negative_durations(output: &str) -> usize {
    let durations = rest(output).filter(|(duration, _)| duration.starts_with('-') && *duration != "-");
    durations.count()
}

/// Lines of a log in JSON that cannot be read.
pub(super) fn unreadable(log: &str) -> usize {
    // What a program says that fails before it logs is no line of a log.
    let logged = log.lines().filter(|line| line.starts_with('{'));
    let unreadable = logged.filter(|line| serde_json::from_str::<Value>(line).is_err());
    unreadable.count()
}

/// Lines with one of these texts.
pub(super) fn lines_with(output: &str, texts: &[&str]) -> usize {
    let lines = output.lines();
    lines
        .filter(|line| texts.iter().any(|text| line.contains(text)))
        .count()
}

/// The nonce in a path, which may have a query; `None` for probes.
fn nonce_of(path: &str) -> Option<u64> {
    let name = path.strip_prefix(nonce::PREFIX)?;
    nonce::number(name.split('?').next()?)
}

/// The name and version of a balancer, of all that its program says about its version.
pub(super) fn version(name: &str, command: &mut Command) -> String {
    let output = command.output();
    let text = output.map(|output| [output.stdout, output.stderr].concat());
    let text = text.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let number = text.ok().and_then(|text| version_in(&text));
    format!(
        "{name} {}",
        number.unwrap_or_else(|| "of unknown version".to_owned())
    )
}

/// The first word like `1.2.3`, with what follows it.
fn version_in(text: &str) -> Option<String> {
    let mut words = text.split(|sign: char| sign.is_whitespace() || sign == '/');
    let word = words.find_map(|word| {
        let word = word.strip_prefix('v').unwrap_or(word);
        let (major, _) = word.split_once('.')?;
        major.parse::<u32>().ok().map(|_| word)
    });
    word.map(str::to_owned)
}

/// The numbers of a version such as `nginx 1.22.1`, to be compared.
pub(super) fn numbers(version: &str) -> Vec<u32> {
    let word = version_in(version).unwrap_or_default();
    let numbers = word.split(|sign: char| !sign.is_ascii_digit());
    numbers.map_while(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_found_in_what_each_program_says() {
        for (text, version) in [
            ("nginx version: nginx/1.22.1\n", "1.22.1"),
            (
                "HAProxy version 3.2.26-1 2026/10/17 - https://haproxy.org/\n",
                "3.2.26-1",
            ),
            (
                "\n/opt/envoy  version: 8ccd/1.40.0/Clean/RELEASE/BoringSSL\n",
                "1.40.0",
            ),
            (
                "Version:      3.7.1\nCodename:     x\nGo version:   go1.26.1\n",
                "3.7.1",
            ),
            ("v2.11.4 h1:XKxy=\n", "2.11.4"),
        ] {
            assert_eq!(version_in(text).as_deref(), Some(version), "{text}");
        }
        assert_eq!(version_in("none at all"), None);
        assert_eq!(numbers("HAProxy 3.2.26-1"), [3, 2, 26, 1]);
        assert!(numbers("nginx 1.30.6") >= vec![1, 27, 4]);
        assert!(numbers("nginx 1.22.1") < vec![1, 27, 4]);
    }

    #[test]
    fn lines_of_access_logs_give_durations_and_days() {
        let output = "chaos /chaos/a 200 0.001 2026-01-01T00:00:00\nchaos /chaos/b 200 -1 2026-01-02\nchaos /chaos/c 200\n\
                      chaos /chaos/d 200 - 2026-01-02T01\n";
        assert_eq!((days(output), negative_durations(output)), (2, 1));
        assert_eq!(unreadable("{}\nstarted\n{\"a\": \n"), 1);
        assert_eq!(lines_with("a b\nb c\nd", &["a", "c"]), 2);
    }

    #[test]
    fn lines_of_access_logs_give_nonce_and_status() {
        let output =
            "other\nchaos /chaos/000000000000000a 200\nchaos / 200\nchaos /chaos/b?size=1 503\nchaos x\n";
        assert_eq!(logged(output), [(10, 200), (11, 503)]);
        let output = "{\"a\":{\"path\":\"/chaos/0c?x\"},\"status\":502}\nnot JSON\n{\"status\":200}\n";
        assert_eq!(logged_as_json(output, "/a/path", "/status"), [(12, 502)]);
    }
}
