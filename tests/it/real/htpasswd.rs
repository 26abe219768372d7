//! Password files of `htpasswd`, and a flood of guesses against them.

use std::fs;

use super::program::{find, run};
use crate::support::authority::Folder;
use crate::support::{Backend, Client, Proxy};

/// Clients that guess at the same time: not more than passwords may wait to be checked.
const GUESSING: usize = 62;
/// Requests of others meanwhile.
const OTHERS: usize = 50;

/// A file with the user `alice` and the password `secret`, written with these options.
fn users(folder: &Folder, name: &str, options: &[&str]) -> Option<String> {
    let htpasswd = find("htpasswd")?;
    let path = folder.file(name);
    let arguments = [&["-b", "-c"], options, &[&path, "alice", "secret"]].concat();
    run(&htpasswd, &arguments);
    Some(path)
}

/// A balancer whose route `/staff` needs a password of this file.
fn before(backend: &Backend, file: &str) -> Proxy {
    let url = backend.url();
    Proxy::before(&[])
        .config(&format!(
            "workers: 1\nhealth_check: off\npools: {{ app: {{ backends: ['{url}'] }} }}\nroutes:\n\
             - {{ path_prefix: /staff, pool: app, policies: [{{ basic_auth: {{ users_file: '{file}' }} }}] }}\n\
             - {{ pool: app }}\n"
        ))
        .start()
}

/// Sends credentials in base64.
fn send<'c>(client: &'c mut Client, credentials: &str) -> &'c mut Client {
    client.send(format!(
        "GET /staff HTTP/1.1\r\nHost: test\r\nAuthorization: Basic {credentials}\r\n\r\n"
    ))
}

/// `alice:guess-aa?` in base64, whose last letter is that of the number.
fn guess(number: usize) -> String {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    format!("YWxpY2U6Z3Vlc3MtYWF{}", char::from(letters[number]))
}

#[test]
fn passwords_of_htpasswd_are_accepted_and_others_are_not() {
    let folder = Folder::new();
    let backend = Backend::saying("app");
    for (name, options) in [("bcrypt", &["-B"][..]), ("sha256", &["-2"]), ("sha512", &["-5"])] {
        let Some(file) = users(&folder, name, options) else {
            return;
        };
        let proxy = before(&backend, &file);
        let mut client = proxy.client();
        // alice:secret
        assert_eq!(
            send(&mut client, "YWxpY2U6c2VjcmV0").read().status(),
            200,
            "{name}"
        );
        assert_eq!(send(&mut client, &guess(0)).read().status(), 401, "{name}");
    }
    // What is not safe is refused with the file and the line.
    let Some(file) = users(&folder, "md5", &["-m"]) else {
        return;
    };
    assert!(fs::read_to_string(&file).unwrap().contains("$apr1$"));
    let config = format!(
        "listen: 127.0.0.1:0\nroutes: [{{ respond: {{}}, policies: [{{ basic_auth: {{ users_file: '{file}' }} }}] }}]\n"
    );
    let config = folder.write("md5.yaml", &config);
    let mut check = std::process::Command::new(env!("CARGO_BIN_EXE_evenkeel"));
    let output = check.args(["check", &config]).output().unwrap();
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{shown}");
    assert!(
        shown.contains("unsupported hash") && !shown.contains("$apr1$"),
        "{shown}"
    );
}

#[test]
fn a_flood_of_guesses_does_not_stall_a_worker() {
    let folder = Folder::new();
    let backend = Backend::saying("app");
    // One check takes tens of milliseconds, or more in a build for tests.
    let Some(file) = users(&folder, "slow", &["-B", "-C", "10"]) else {
        return;
    };
    let proxy = before(&backend, &file);
    let mut guessing: Vec<Client> = (0..GUESSING).map(|_| proxy.client()).collect();
    for (number, client) in guessing.iter_mut().enumerate() {
        send(client, &guess(number));
    }
    let is_guess = |line: &serde_json::Value| line["path"] == "/staff";
    // The checks are under way.
    proxy.wait_for_count(1, is_guess);
    let mut other = proxy.client();
    for _ in 0..OTHERS {
        assert_eq!(other.get("/").text(), "app");
    }
    // With the checks on the worker, each turn of it would do some, and all of them before the last turn.
    let checked = proxy.count_so_far(is_guess);
    assert!(
        checked < GUESSING,
        "{checked} checks before {OTHERS} other requests"
    );
}
