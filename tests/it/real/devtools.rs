//! Chromium driven by its DevTools protocol, over a pipe: for pages whose responses do not end.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use evenkeel::internals::clock;
use serde_json::{Value, json};

use super::program::{command, find};
use crate::support::authority::Folder;

/// Longest wait for one step of the browser.
const STEP: Duration = Duration::from_secs(30);
/// Longest wait for the end of the browser, before it is killed.
const CLOSE: Duration = Duration::from_secs(5);
/// Messages that wait to be read. A page of a test sends a few hundred.
const MESSAGES_BOUND: usize = 10_000;
/// Descriptors 3 and 4 are where Chromium reads commands and writes messages.
const SCRIPT: &str = r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>/dev/null"#;

/// A browser with one page, which ends when this is dropped.
pub(super) struct Browser {
    child: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    /// What the page has reported so far.
    events: Vec<Value>,
    session: Value,
    last: u64,
    _folder: Folder,
}

impl Browser {
    /// Starts it; `None` without Chromium.
    pub(super) fn start() -> Option<Self> {
        let chromium = find("chromium")?;
        let folder = Folder::new();
        let profile = format!("--user-data-dir={}", folder.file("profile"));
        let mut child = command(Path::new("sh"))
            .args(["-c", SCRIPT])
            .arg(chromium)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
            ])
            .args([
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
            ])
            .args([
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                &profile,
            ])
            .args(["--remote-debugging-pipe", "about:blank"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let commands = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let (sender, messages) = sync_channel(MESSAGES_BOUND);
        thread::spawn(move || {
            let mut bytes = Vec::new();
            while matches!(output.read_until(0, &mut bytes), Ok(1..)) {
                let message = serde_json::from_slice(bytes.strip_suffix(&[0]).unwrap_or(&bytes));
                if message.is_ok_and(|message: Value| sender.send(message).is_err()) {
                    return;
                }
                bytes.clear();
            }
        });
        let mut browser = Self {
            child,
            commands,
            messages,
            events: Vec::new(),
            session: Value::Null,
            last: 0,
            _folder: folder,
        };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        browser.session = browser.call("Target.attachToTarget", attach)["sessionId"].clone();
        for domain in ["Network", "Runtime", "Log", "Page"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Opens a URL.
    pub(super) fn open(&mut self, url: &str) {
        let opened = self.call("Page.navigate", json!({ "url": url }));
        assert!(opened["errorText"].is_null(), "{opened}");
    }

    /// Makes the page as wide as on a phone or another device.
    pub(super) fn set_width(&mut self, width: u32) {
        let metrics = json!({ "width": width, "height": 844, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
    }

    /// The value of an expression in the page.
    pub(super) fn evaluate(&mut self, expression: &str) -> Value {
        let result = self.call(
            "Runtime.evaluate",
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true }),
        );
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// Waits until an expression is true in the page.
    pub(super) fn wait_until(&mut self, expression: &str) {
        let start = clock::now();
        while self.evaluate(expression) != true {
            if start.elapsed() > STEP {
                let text = self.evaluate("document.documentElement.outerHTML");
                panic!(
                    "not true within {STEP:?}: {expression}\n{text}\n{:#?}",
                    self.events
                );
            }
            // Between two frames of the page there is nothing new.
            thread::sleep(Duration::from_millis(30));
        }
    }

    /// What the page has reported by this method so far.
    pub(super) fn events(&self, method: &str) -> Vec<Value> {
        let events = self.events.iter().filter(|event| event["method"] == method);
        events.map(|event| event["params"].clone()).collect()
    }

    /// Sends a command and waits for its result.
    fn call(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": params });
        if !self.session.is_null() {
            message["sessionId"] = self.session.clone();
        }
        self.commands
            .write_all(format!("{message}\0").as_bytes())
            .unwrap();
        let deadline: Instant = clock::now() + STEP;
        loop {
            let left = deadline.saturating_duration_since(clock::now());
            match self.messages.recv_timeout(left) {
                Ok(message) if message["id"] == self.last => {
                    assert!(message["error"].is_null(), "{method}: {message}");
                    return message["result"].clone();
                }
                Ok(event) => self.events.push(event),
                Err(RecvTimeoutError::Timeout) => panic!("{method}: nothing within {STEP:?}"),
                Err(RecvTimeoutError::Disconnected) => panic!("{method}: the browser has ended"),
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Asked to, it ends its other processes itself.
        let close = json!({ "id": self.last + 1, "method": "Browser.close" });
        let _ = self.commands.write_all(format!("{close}\0").as_bytes());
        let start = clock::now();
        while matches!(self.child.try_wait(), Ok(None)) && start.elapsed() < CLOSE {
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
