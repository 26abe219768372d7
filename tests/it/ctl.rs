//! `evenkeel ctl` against a running process: what it changes, what it prints and its exit codes.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::{Backend, Client, Proxy, refusing_address};

const OPEN: &str = "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\n";

/// A pool of two backends, the first of which is called `one`.
fn config(backends: &[Backend; 2]) -> String {
    let [one, two] = backends.each_ref().map(Backend::url);
    format!(
        "pools:\n  web:\n    backends: [{{ url: '{one}', name: one }}, '{two}']\n  idle: {{ backends: ['{one}'] }}\n\
         routes: [{{ pool: web }}, {{ path_prefix: /idle, pool: idle }}]\nhealth_check: off\n"
    )
}

fn start() -> ([Backend; 2], Proxy) {
    let backends = ["one", "two"].map(Backend::saying);
    let proxy = Proxy::before(&[]).config(&config(&backends)).start();
    (backends, proxy)
}

/// Runs a command without a token of the environment.
fn run(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .arg("ctl")
        .args(words)
        .env_remove("EVENKEEL_TOKEN")
        .output()
        .unwrap()
}

/// Exit code, stdout and stderr of a command for this process.
fn ctl(proxy: &Proxy, words: &[&str]) -> (Option<i32>, String, String) {
    let address = proxy.admin().to_string();
    let output = run(&[&["--admin", &address], words].concat());
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// What a command that succeeds prints.
fn done(proxy: &Proxy, words: &[&str]) -> String {
    let (code, out, err) = ctl(proxy, words);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{words:?}");
    out
}

/// Who responds to four requests, sorted.
fn ask(proxy: &Proxy) -> String {
    let mut client = proxy.client();
    let mut texts: Vec<String> = (0..4).map(|_| client.get("/").text()).collect();
    texts.sort_unstable();
    texts.join(" ")
}

#[test]
fn a_backend_is_drained_made_ready_and_weighted() {
    let ([one, two], proxy) = start();
    let out = done(&proxy, &["drain", "web", "one"]);
    let url = one.url();
    assert_eq!(
        out,
        format!("backend {url} of pool web is drained; requests in flight: 0\n")
    );
    assert_eq!(ask(&proxy), "two two two two");
    let out = done(&proxy, &["ready", "web", &url]);
    assert_eq!(out, format!("backend {url} of pool web gets requests again\n"));
    assert_eq!(ask(&proxy), "one one two two");
    let out = done(&proxy, &["weight", "web", &two.url(), "3", "--json"]);
    let status: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&status["url"], &status["weight"]),
        (&json!(two.url()), &json!(3))
    );
    assert_eq!(ask(&proxy), "one two two two");
    done(&proxy, &["weight", "web", &two.url(), "0"]);
    let out = done(&proxy, &["ready", "web", &two.url()]);
    assert!(
        out.ends_with(" is not drained, but gets no requests yet: weight 0\n"),
        "{out}"
    );
}

#[test]
fn the_status_shows_all_pools_or_one() {
    let ([one, two], proxy) = start();
    done(&proxy, &["drain", "web", "one"]);
    let out = done(&proxy, &["status"]);
    assert!(
        out.contains("\n\nPool idle, strategy round_robin: 1 of 1 eligible\n"),
        "{out}"
    );
    let out = done(&proxy, &["status", "web"]);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "Pool web, strategy round_robin: 1 of 2 eligible");
    let begins = format!("  {} (one)  draining  weight 1, in flight 0", one.url());
    assert!(
        lines[1].starts_with(&begins) && lines[1].ends_with("; drained"),
        "{out}"
    );
    assert!(lines[2].starts_with(&format!("  {}", two.url())), "{out}");
    assert_eq!(lines.len(), 3, "{out}");
    let pool: Value = serde_json::from_str(&done(&proxy, &["status", "web", "--json"])).unwrap();
    assert_eq!((&pool["name"], &pool["eligible"]), (&json!("web"), &json!(1)));
    let all: Value = serde_json::from_str(&done(&proxy, &["--json", "status"])).unwrap();
    assert_eq!(all["pools"].as_array().unwrap().len(), 2);
}

#[test]
fn a_reload_says_what_it_did_or_why_not() {
    let (backends, proxy) = start();
    let text = config(&backends);
    assert_eq!(done(&proxy, &["reload"]), "reloaded\n");
    proxy.write_config(&format!("{OPEN}{text}workers: 3\n"));
    assert_eq!(done(&proxy, &["reload"]), "reloaded\n");
    proxy.write_config(&format!("{OPEN}{text}wrong: 1\n"));
    let (code, out, err) = ctl(&proxy, &["reload"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(
        err.starts_with("error: the previous configuration stays active\n")
            && err.contains("unknown key `wrong`"),
        "{err}"
    );
    let (code, out, _) = ctl(&proxy, &["reload", "--json"]);
    let body: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &body["code"]), (Some(1), &json!("invalid_config")));
    assert!(done(&proxy, &["status"]).contains("\nthe last reload failed: "));
}

#[test]
fn the_level_of_the_log_is_shown_and_set_and_the_change_is_an_event() {
    let (_backends, proxy) = start();
    assert_eq!(done(&proxy, &["log-level"]), "info\n");
    let out = done(&proxy, &["log-level", "debug"]);
    assert_eq!(
        out,
        "the level of the operations log is debug until the process ends\n"
    );
    assert_eq!(done(&proxy, &["log-level", "--json"]), "{\"level\":\"debug\"}\n");
    let line = proxy.wait_for_message(0, "Log level set by an operator");
    assert_eq!(
        (&line["before"], &line["after"]),
        (&json!("INFO"), &json!("DEBUG"))
    );
    assert!(line["by"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
    // A line that is written at this level only.
    let mut client = Client::connect(proxy.address());
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").send([0xff; 64]);
    let detail = proxy.wait_for_line(|line| line["level"] == "DEBUG");
    assert_eq!(detail["msg"], "HTTP/2 connection error; closing the connection");
}

#[test]
fn events_are_followed_until_the_process_stops() {
    let (_backends, proxy) = start();
    done(&proxy, &["drain", "web", "one"]);
    let address = proxy.admin().to_string();
    let mut child = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .args(["ctl", "--admin", &address, "events", "--after", "0"])
        .env_remove("EVENKEEL_TOKEN")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut line_with = |text: &str| {
        let mut lines = lines.by_ref().map(Result::unwrap);
        lines.find(|line| line.contains(text)).expect("the line")
    };
    let drained = line_with("INFO  Backend drained by an operator");
    assert!(
        drained.contains(" by=127.0.0.1:") && drained.contains(" pool=web"),
        "{drained}"
    );
    // What happens from now on follows.
    done(&proxy, &["weight", "web", "one", "7"]);
    let weighted = line_with("Weight of backend set by an operator");
    assert!(
        weighted.contains(" before=1") && weighted.ends_with(" weight=7"),
        "{weighted}"
    );
    done(&proxy, &["reload"]);
    line_with("Reload requested by an operator");
    proxy.stop();
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{err}");
}

#[test]
fn what_does_not_exist_is_refused() {
    let ([_, two], proxy) = start();
    let known = format!("its backends are one, {}", two.url());
    for (words, reason) in [
        (&["drain", "web", "three"][..], known.as_str()),
        (
            &["ready", "none", "one"],
            "there is no pool \"none\"; the pools are web, idle",
        ),
        (
            &["status", "none"],
            "there is no pool \"none\"; the pools are web, idle",
        ),
    ] {
        let (code, out, err) = ctl(&proxy, words);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{words:?}");
        assert!(err.starts_with("error: ") && err.contains(reason), "{err}");
    }
}

#[test]
fn the_token_comes_from_an_option_or_from_the_environment() {
    let backend = Backend::saying("one");
    let proxy = Proxy::before(&[&backend])
        .admin_token("correct-horse-battery")
        .start();
    let (code, _, err) = ctl(&proxy, &["status"]);
    assert_eq!(code, Some(1));
    assert!(
        err.contains("missing or wrong bearer token; name it with `--token TOKEN`"),
        "{err}"
    );
    done(&proxy, &["status", "--token", "correct-horse-battery"]);
    let output = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .args(["ctl", "status", "--admin", &proxy.admin().to_string()])
        .env("EVENKEEL_TOKEN", "correct-horse-battery")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let (code, _, err) = ctl(&proxy, &["status", "--token", "a\nb"]);
    assert_eq!(code, Some(2), "{err}");
}

#[test]
fn a_process_that_is_not_there_and_wrong_usage_have_their_codes() {
    let (nowhere, _reserved) = refusing_address();
    let nowhere = nowhere.to_string();
    let output = run(&["--admin", &nowhere, "status"]);
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{err}");
    assert!(err.contains(&format!("nothing listens at {nowhere}")), "{err}");
    for wrong in [
        &[][..],
        &["weight", "web", "one", "257"],
        &["weight", "web", "one", "-1"],
        &["drain", "web"],
        &["reload", "now"],
        &["--admin", "nowhere", "status"],
        &["--admin", "unix:", "status"],
        &["log-level", "loud"],
        &["events", "--after", "x"],
    ] {
        assert_eq!(run(wrong).status.code(), Some(2), "{wrong:?}");
    }
}
