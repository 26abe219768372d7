//! The balancer as a process.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use serde_json::Value;

/// The program.
pub(crate) const BALANCER: &str = env!("CARGO_BIN_EXE_evenkeel");
/// What it logs with the address of its listener.
pub(crate) const LISTENING: &str = "Listening";

/// A running balancer, which is killed when this is dropped.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    /// Starts it with this config. `command` is the balancer, or a tool that starts it. Waits until it has logged these messages, and
    /// returns the address that each of them has.
    pub(crate) fn start<const N: usize>(
        mut command: Command,
        config: &Path,
        messages: [&str; N],
    ) -> (Self, [SocketAddr; N]) {
        let child = command
            .args(["run".as_ref(), "-c".as_ref(), config.as_os_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it was built");
        let mut process = Self(child);
        let stdout = process.0.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let mut addresses = [None; N];
        while addresses.contains(&None) {
            let line = lines.next().expect("it runs until it is ended");
            let Ok(line) = serde_json::from_str::<Value>(&line) else {
                continue;
            };
            let text = |key: &str| line.get(key).and_then(Value::as_str);
            for (message, address) in messages.iter().zip(&mut addresses) {
                if text("msg") == Some(message) {
                    *address = text("address").and_then(|text| text.parse().ok());
                }
            }
        }
        // What it writes later must not block it.
        thread::spawn(move || lines.for_each(drop));
        (process, addresses.map(|address| address.expect("it was found")))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.0.kill().and_then(|()| self.0.wait().map(drop));
    }
}
