//! Commands as a shell would run them.

use std::io::{self, Write};

use super::*;

/// Outcome, stdout and stderr of a command.
fn run(arguments: &[&str]) -> (Outcome, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut streams = Streams {
        out: &mut out,
        err: &mut err,
    };
    let words = ["evenkeel"].iter().chain(arguments).map(OsString::from);
    let outcome = execute(words, &mut streams);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (outcome, text(out), text(err))
}

/// A config file that is removed on drop.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("evenkeel-cli-{}-{name}.yaml", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn run(&self, command: &str) -> (Outcome, String, String) {
        run(&[command, "-c", self.0.to_str().unwrap()])
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn check_prints_a_summary_of_a_valid_config() {
    let file = File::new("valid", "listen: :8080\nbackends: [http://a:1, http://b:1]\n");
    let (outcome, out, err) = file.run("check");
    assert_eq!(outcome, Outcome::Fine);
    assert!(
        out.ends_with(" is valid: 1 listener, 1 route, 1 pool, 2 backends\n"),
        "{out}"
    );
    assert_eq!(err, "");
}

#[test]
fn a_file_is_given_with_or_without_an_option() {
    let file = File::new("named", "listen: :8080\nbackends: [http://a:1]\n");
    for command in ["check", "print-config"] {
        let (outcome, out, _) = run(&[command, file.path()]);
        assert_eq!((outcome, out), (Outcome::Fine, file.run(command).1));
        assert_eq!(
            run(&[command, "-c", file.path(), file.path()]).0,
            Outcome::Misused
        );
    }
}

#[test]
fn explain_prints_the_route_or_what_is_wrong() {
    let file = File::new("explained", "listen: :8080\nbackends: [http://a:1]\n");
    let request = ["explain", "GET", "http://a.test/x"];
    let (outcome, out, err) = run(&[&request[..], &["-c", file.path()]].concat());
    assert_eq!((outcome, err.as_str()), (Outcome::Fine, ""));
    assert!(
        out.starts_with("GET http://a.test/x\n") && out.contains("  http://a:1  weight 1\n"),
        "{out}"
    );
    let (outcome, out, _) = run(&[&request[..], &["--json", "-H", "A: b", "-c", file.path()]].concat());
    assert_eq!(outcome, Outcome::Fine);
    let value: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(value["request"]["path"], "/x");
    for (wrong, words) in [
        (&["GET", "a.test"][..], "is not a URL"),
        (&["GET", "/x"], "`missing_host`"),
        (&["GET", "http://a/", "--listener", ":9"], "its listeners are "),
        (&["GET", "http://a/", "--client-ip", "a"], "--client-ip"),
        (&["GET"], "<URL>"),
    ] {
        let (outcome, out, err) = run(&[&["explain"], wrong, &["-c", file.path()]].concat());
        assert_eq!((outcome, out.as_str()), (Outcome::Misused, ""), "{wrong:?}");
        assert!(err.contains(words), "{err}");
    }
    let bad = File::new("explained-bad", "listen: :8080\n");
    let (outcome, out, err) = run(&[&request[..], &["-c", bad.path()]].concat());
    assert_eq!((outcome, out.as_str()), (Outcome::Failed, ""));
    assert!(err.contains(": error: "), "{err}");
}

#[test]
fn a_file_in_place_of_a_backend_gets_a_tip() {
    for line in [&["run", "my.yaml"][..], &["my.yaml"]] {
        let (outcome, _, err) = run(line);
        assert_eq!(outcome, Outcome::Misused);
        assert!(
            err.ends_with("\n  tip: use `-c my.yaml` for a config file\n"),
            "{err}"
        );
    }
    assert!(!run(&["run", "http://a:1"]).2.contains("tip:"));
}

#[test]
fn help_of_run_groups_the_options_that_replace_a_file() {
    for line in [&["run", "--help"][..], &["--help"]] {
        let out = run(line).1;
        let (of_file, without) = out
            .split_once("\nOptions when no config file is used:\n")
            .unwrap();
        assert!(
            of_file.contains("--config") && !of_file.contains("--listen"),
            "{out}"
        );
        for option in [
            "--listen",
            "--admin",
            "--strategy",
            "--health-path",
            "--workers",
            "[URL]",
        ] {
            assert!(without.contains(option), "{option}\n{out}");
        }
    }
}

#[test]
fn strategies_are_completed_and_unknown_ones_get_the_error_of_the_config() {
    let script = run(&["completions", "bash"]).1;
    for entry in crate::strategy::STRATEGIES {
        assert!(script.contains(entry.name), "{}", entry.name);
    }
    let (outcome, _, err) = run(&["run", "--listen", ":0", "--strategy", "leastconn", "http://a:1"]);
    assert_eq!(outcome, Outcome::Misused);
    assert!(err.contains("it is called `least_requests` here"), "{err}");
}

#[test]
fn check_reports_all_errors_and_fails() {
    let file = File::new("bad", "lisen: :8080\nbackends: [a:1]\n");
    let (outcome, out, err) = file.run("check");
    assert_eq!((outcome, out.as_str()), (Outcome::Failed, ""));
    assert!(
        err.contains(".yaml:1:1: error: unknown key `lisen`") && err.contains(".yaml:2:12: error: "),
        "{err}"
    );
    assert!(err.ends_with("2 errors\n"), "{err}");
}

#[test]
fn check_reads_the_files_of_policies() {
    let file = File::new(
        "users",
        "listen: :8080\nbackends: [http://a:1]\nroute_defaults: { policies: [{ basic_auth: { users_file: /nonexistent/users } }] }\n",
    );
    let (outcome, out, err) = file.run("check");
    assert_eq!((outcome, out.as_str()), (Outcome::Failed, ""), "{err}");
    assert!(err.contains("/nonexistent/users cannot be used"), "{err}");
}

#[test]
fn check_reports_every_file_of_a_policy_at_its_line() {
    let broken = File::new("broken-users", "no hash\n");
    let path = broken.0.display();
    let file = File::new(
        "several",
        &format!(
            "listen: :8080\nbackends: [http://a:1]\npolicies:\n  a: {{ basic_auth: {{ users_file: /nonexistent/a }} }}\n  \
             b: {{ basic_auth: {{ users_file: '{path}' }} }}\n  \
             c: {{ error_pages: {{ 404: /nonexistent/c.html }} }}\n  \
             d: {{ jwt: {{ issuer: i, audience: a, algorithms: [RS256], jwks: 'file:nonexistent.json' }} }}\n  \
             e: {{ basic_auth: {{ users_file: '${{CARGO_MANIFEST_DIR}}/none' }} }}\n\
             route_defaults: {{ policies: [a, b, c, d, e] }}\n"
        ),
    );
    let (outcome, out, err) = file.run("check");
    assert_eq!((outcome, out.as_str()), (Outcome::Failed, ""), "{err}");
    for place in [
        ":4:34: error: policy `a`: /nonexistent/a cannot be used: ".to_owned(),
        format!(":5:34: error: policy `b`: {path} cannot be used: line 1: not of the form name:hash"),
        ":6:28: error: policy `c`: /nonexistent/c.html cannot be used: ".to_owned(),
        ":7:".to_owned(),
        "nonexistent.json cannot be used: ".to_owned(),
        ":8:34: error: policy `e`: `'${CARGO_MANIFEST_DIR}/none'` cannot be used: ".to_owned(),
    ] {
        assert!(err.contains(&place), "{place}\n{err}");
    }
    assert!(err.ends_with("5 errors\n"), "{err}");
}

#[test]
fn files_of_a_policy_that_no_route_has_are_not_read() {
    let unused = "listen: :8080\nbackends: [http://a:1]\nstores: { s: { redis: 'rediss://a:1', ca: /nonexistent/ca } }\npolicies:\n  \
                  a: { basic_auth: { users_file: /nonexistent/a } }\n  \
                  b: { error_pages: { 404: /nonexistent/b.html } }\n  \
                  c: { jwt: { issuer: i, audience: a, algorithms: [RS256], jwks: 'file:nonexistent.json' } }\n  \
                  d: { forward_auth: { url: 'https://a:1/', ca: /nonexistent/ca } }\n  \
                  e: { rate_limit: { rate: 1/s, shared: s } }\n";
    let file = File::new("unused-files", unused);
    for arguments in [
        &["check", "-c", file.path()][..],
        &["print-config", "-c", file.path()],
        &["explain", "-c", file.path(), "GET", "http://a/"],
    ] {
        let (outcome, _, err) = run(arguments);
        assert_eq!(outcome, Outcome::Fine, "{arguments:?} {err}");
        assert!(!err.contains("error:"), "{arguments:?} {err}");
    }
    let used = format!(
        "{unused}routes: [{{ pool: default, path: /a, policies: [a, b, e] }}, {{ pool: default, policies: [a, c, d] }}]\n"
    );
    let file = File::new("used-files", &used);
    let (_, _, err) = file.run("check");
    for place in [
        ":3:43: error: cannot read /nonexistent/ca: ",
        ":5:34: error: policy `a`: /nonexistent/a cannot be used: ",
        ":6:28: error: policy `b`: /nonexistent/b.html cannot be used: ",
        ":7:66: error: policy `c`: ",
        ":8:",
    ] {
        assert!(err.contains(place), "{place}\n{err}");
    }
    assert!(err.ends_with("5 errors\n"), "{err}");
}

#[test]
fn check_of_a_missing_file_fails() {
    let (outcome, _, err) = run(&["check", "-c", "/nonexistent/c.yaml"]);
    assert_eq!(outcome, Outcome::Failed);
    assert!(
        err.contains("/nonexistent/c.yaml: error: cannot be read"),
        "{err}"
    );
}

#[test]
fn printed_config_is_valid() {
    let file = File::new("printed", "listen: :8080\nbackends: [http://a:1]\n");
    let (outcome, out, _) = file.run("print-config");
    assert_eq!(outcome, Outcome::Fine);
    let printed = File::new("again", &out);
    assert_eq!(printed.run("check").0, Outcome::Fine);
    assert_eq!(printed.run("print-config").1, out);
}

#[test]
fn schema_is_json() {
    let (outcome, out, _) = run(&["schema"]);
    assert_eq!(outcome, Outcome::Fine);
    let schema: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(schema["title"], "Evenkeel config");
}

#[test]
fn strategies_are_listed_with_their_parameters() {
    let (outcome, out, _) = run(&["strategies"]);
    assert_eq!(outcome, Outcome::Fine);
    let mut lines = out.lines();
    for entry in crate::strategy::STRATEGIES {
        let line = lines.next().unwrap();
        assert!(
            line.starts_with(entry.name) && line.ends_with(entry.summary),
            "{line}"
        );
        for key in entry.keys {
            let line = lines.next().unwrap();
            assert!(
                line.starts_with(&format!("  {} ", key.name)) && line.ends_with(key.about),
                "{line}"
            );
        }
    }
    assert_eq!(lines.next(), None);
}

#[test]
fn policies_are_listed_one_per_line() {
    let (outcome, out, _) = run(&["policies"]);
    assert_eq!(outcome, Outcome::Fine);
    let policies = evenkeel_balance::policy::POLICIES;
    assert_eq!(out.lines().count(), policies.len());
    for (line, policy) in out.lines().zip(policies) {
        assert!(
            line.starts_with(policy.name) && line.ends_with(policy.summary),
            "{line}"
        );
    }
}

#[test]
fn completions_exist_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (outcome, out, _) = run(&["completions", shell]);
        assert_eq!(outcome, Outcome::Fine);
        assert!(out.contains("print-config"), "{shell}");
    }
}

#[test]
fn every_command_has_a_man_page() {
    let folder = std::env::temp_dir().join(format!("evenkeel-man-{}", std::process::id()));
    let path = folder.join("man1");
    let (outcome, out, err) = run(&["man", path.to_str().unwrap()]);
    assert_eq!((outcome, out.as_str(), err.as_str()), (Outcome::Fine, "", ""));
    let page = |name: &str| std::fs::read_to_string(path.join(format!("{name}.1")));
    let command = <CommandLine as clap::CommandFactory>::command();
    let names = command.get_subcommands().map(clap::Command::get_name);
    let mut expected: Vec<String> = names.map(|name| format!("evenkeel-{name}")).collect();
    expected.extend(["evenkeel", "evenkeel-ctl-reload", "evenkeel-ctl-upgrade"].map(str::to_owned));
    for name in &expected {
        let text = page(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(text.contains(".TH") && text.contains(name.as_str()), "{text}");
    }
    assert!(page("evenkeel-run").unwrap().contains("pid\\-file"));
    assert!(page("evenkeel-help").is_err());
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn man_pages_that_cannot_be_written_are_a_failure() {
    let file = File::new("in-the-way", "");
    let (outcome, out, err) = run(&["man", file.path()]);
    assert_eq!((outcome, out.as_str()), (Outcome::Failed, ""));
    assert!(
        err.starts_with(&format!(
            "error: could not write the man pages to {}: ",
            file.path()
        )),
        "{err}"
    );
}

#[test]
fn wrong_command_lines_are_misuse() {
    for wrong in [
        &["chek"][..],
        &["check", "--colour"],
        &["completions", "ash"],
        &["schema", "x"],
    ] {
        let (outcome, out, err) = run(wrong);
        assert_eq!((outcome, out.as_str()), (Outcome::Misused, ""), "{wrong:?}");
        assert!(err.contains("--help"), "{err}");
    }
}

#[test]
fn numbers_out_of_range_are_told_the_range_in_words() {
    let weight: &[&str] = &["ctl", "weight", "api", "one", "300"];
    let cases = [
        (weight, "expected a whole number from 0 to 256"),
        (
            &["demo", "--outages", "9999"],
            "expected a whole number from 0 to 3600",
        ),
        (
            &["demo", "--outages", "soon"],
            "expected a whole number from 0 to 3600",
        ),
        (
            &["demo", "--backend-port", "70000"],
            "expected a whole number from 0 to 65535",
        ),
    ];
    for (arguments, expected) in cases {
        let (outcome, _, err) = run(arguments);
        assert_eq!(outcome, Outcome::Misused, "{arguments:?}");
        assert!(err.contains(expected), "{arguments:?}: {err}");
    }
}

#[test]
fn misspelt_command_gets_a_suggestion() {
    let (outcome, _, err) = run(&["chek"]);
    assert_eq!(outcome, Outcome::Misused);
    assert!(
        err.contains("'chek'") && err.contains("'check'") && !err.contains("--listen"),
        "{err}"
    );
    let (_, _, err) = run(&["http://localhost:8001"]);
    assert!(err.contains("--listen"), "{err}");
}

#[test]
fn help_and_version_go_to_stdout() {
    let (outcome, out, err) = run(&["--version"]);
    assert_eq!(outcome, Outcome::Fine);
    assert_eq!(
        (out.as_str(), err.as_str()),
        (concat!("evenkeel ", env!("CARGO_PKG_VERSION"), "\n"), "")
    );
    let (outcome, out, _) = run(&["--help"]);
    assert_eq!(outcome, Outcome::Fine);
    assert!(out.contains("print-config"), "{out}");
}

#[test]
fn the_help_of_ctl_names_all_of_its_commands() {
    let command = <CommandLine as clap::CommandFactory>::command();
    let ctl = command.find_subcommand("ctl").unwrap();
    let about = ctl.get_about().unwrap().to_string();
    let (_, named) = about.split_once(": ").unwrap();
    let named: Vec<&str> = named.split(", ").collect();
    let commands: Vec<&str> = ctl.get_subcommands().map(clap::Command::get_name).collect();
    assert_eq!(named, commands);
}

/// A pipe whose reader has closed it.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn closed_pipe_is_not_a_failure() {
    for command in ["schema", "strategies", "policies", "--help"] {
        let mut err = Vec::new();
        let mut streams = Streams {
            out: &mut Closed,
            err: &mut err,
        };
        let words = ["evenkeel", command].map(OsString::from);
        assert_eq!(execute(words, &mut streams), Outcome::Fine);
        assert!(err.is_empty());
    }
}

#[test]
fn check_fails_for_an_expired_certificate() {
    use crate::tls::testing::{Authority, Folder, wanted};
    let folder = Folder::new();
    let item = folder.put("old", &Authority::new().sign(&wanted(&["a.test"]).days(-9, -1)));
    let text = format!(
        "listeners: [{{ address: ':1', tls: {{ certificates: [{item}] }} }}]\nbackends: [http://a:1]\n"
    );
    let file = File::new("expired", &text);
    let (outcome, out, err) = file.run("check");
    assert_eq!((outcome, out.as_str()), (Outcome::Failed, ""));
    assert!(err.contains(".yaml:1:60: error: the certificate in "), "{err}");
    let (outcome, out, err) = file.run("print-config");
    assert_eq!(outcome, Outcome::Fine);
    assert!(
        out.contains("old.pem") && err.contains(": warning: the certificate in "),
        "{err}"
    );
}

#[test]
fn check_reports_a_log_file_that_cannot_be_opened_and_creates_none() {
    let folder = std::env::temp_dir().join(format!("evenkeel-cli-log-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let text = |path: &str| {
        let path = folder.join(path);
        format!(
            "listen: :1\nbackends: [http://a:1]\naccess_log: {{ path: {} }}\n",
            path.display()
        )
    };
    for (path, words) in [
        ("no/access.log", "(create the directory "),
        ("", "(write the path of a file in this directory)"),
    ] {
        let file = File::new("log", &text(path));
        let (outcome, out, err) = file.run("check");
        assert_eq!((outcome, out.as_str()), (Outcome::Failed, ""), "{err}");
        assert!(
            err.contains(".yaml:3:21: error: cannot open the log file /") && err.contains(words),
            "{err}"
        );
        // `print-config` does not start anything, so it only warns.
        assert_eq!(file.run("print-config").0, Outcome::Fine);
    }
    let file = File::new("log-fine", &text("access.log"));
    assert_eq!(file.run("check").0, Outcome::Fine);
    assert!(!folder.join("access.log").exists());
    std::fs::remove_dir_all(&folder).unwrap();
}
