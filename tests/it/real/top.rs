//! `evenkeel top` in a real terminal, which `script` of util-linux provides.

use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::{fs, thread};

use super::program::{command, find};
use crate::support::{Backend, Log, Proxy, refusing_address, wait_until};

const TOP: &str = "stty rows 24 cols 100; echo \"pid=$$.\"; exec \"$EVENKEEL\" top --admin \"$ADMIN\"";
/// What makes a terminal leave the screen of a program.
const LEFT: &str = "\u{1b}[?1049l";

/// A terminal in which `top` runs.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    /// What it has written, in parts.
    output: Log<String>,
}

impl Terminal {
    /// `None` without `script`.
    fn start(admin: &str) -> Option<Self> {
        let script = find("script")?;
        let mut child = command(&script)
            .args(["-qfec", TOP, "/dev/null"])
            .env("EVENKEEL", env!("CARGO_BIN_EXE_evenkeel"))
            .env("ADMIN", admin)
            .env("TERM", "xterm-256color")
            .env_remove("EVENKEEL_TOKEN")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (keys, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let output = Log::default();
        let its = output.clone();
        thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut part) {
                its.push(String::from_utf8_lossy(&part[..count]).into_owned());
            }
        });
        Some(Self { child, keys, output })
    }

    fn wait_for(&self, text: &str) {
        self.output
            .wait_for(text, |all| all.concat().contains(text).then_some(()));
    }

    /// The process of `top`.
    fn pid(&self) -> u32 {
        self.output.wait_for("the process", |all| {
            let text = all.concat();
            let (_, after) = text.split_once("pid=")?;
            after.split_once('.')?.0.parse().ok()
        })
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn top_shows_backends_drains_one_and_leaves_the_terminal_as_it_was() {
    let backends = ["one", "two"].map(Backend::saying);
    let proxy = Proxy::before(&[&backends[0], &backends[1]]).start();
    let Some(mut terminal) = Terminal::start(&proxy.admin().to_string()) else {
        return;
    };
    terminal.wait_for(&backends[1].url());
    terminal.wait_for("q quit");
    terminal.press("jdy");
    let line = proxy.wait_for_message(0, "Backend drained by an operator");
    assert_eq!(line["backend"], backends[1].url(), "{line}");
    terminal.wait_for("is drained");
    terminal.press("q");
    terminal.wait_for(LEFT);
    assert_eq!(terminal.wait(), Some(0));
}

#[test]
fn top_ends_when_its_terminal_is_gone() {
    let backend = Backend::saying("one");
    let proxy = Proxy::before(&[&backend]).start();
    let Some(mut terminal) = Terminal::start(&proxy.admin().to_string()) else {
        return;
    };
    terminal.wait_for("q quit");
    let stat = format!("/proc/{}/stat", terminal.pid());
    // As when somebody closes the window.
    terminal.child.kill().unwrap();
    wait_until("it has ended", || {
        // Whoever inherits the process may not have waited for it.
        fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") Z ")) || fs::metadata(&stat).is_err()
    });
}

#[test]
fn top_says_that_no_process_was_reached() {
    let (address, _held) = refusing_address();
    let Some(mut terminal) = Terminal::start(&address.to_string()) else {
        return;
    };
    terminal.wait_for("could not reach the admin API at 127.0.0.1:");
    assert_eq!(terminal.wait(), Some(3));
}

#[test]
fn top_needs_a_terminal() {
    let output = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .arg("top")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("`evenkeel top` needs a terminal"), "{text}");
}
