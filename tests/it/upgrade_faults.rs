//! Upgrades at bad moments: during a reload, while files are moved, and of processes that die.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::binary_upgrades::{BINARY, Folder, ask, upgrade, wait_until};
use crate::support::{Backend, Proxy};

fn make_pipe(path: &Path) {
    let status = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(status.success());
}

/// A program that says that it is ready, waits until it is told to serve, does this, and ends before it says that it serves: what the
/// killer of the kernel does when memory is short.
fn killed_after_ready(then: &str) -> String {
    format!(
        "printf r >&0; last=; count=0\n\
         while [ $count -lt 5000 ]; do\n\
         byte=$(dd bs=1 count=1 2>/dev/null); [ \"$last$byte\" = '+s' ] && break; last=$byte; count=$((count + 1))\n\
         done\n\
         {then}\nkill -KILL $$"
    )
}

#[test]
fn a_new_process_that_is_killed_after_it_was_ready_leaves_the_pid_file_to_the_running_one() {
    let (folder, backend) = (Folder::new(), Backend::saying("hello"));
    let proxy = folder.start(&backend, "", &[]);
    let before = folder.serving();
    let pid = folder.text("pid");
    folder.install_script(&killed_after_ready(&format!(
        "echo $$ > {pid}.new; mv {pid}.new {pid}"
    )));
    let mark = proxy.mark();
    let output = upgrade(&proxy);
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(shown.contains("signal: 9"), "{shown}");
    proxy.wait_for_message(mark, "Upgrade failed");
    wait_until("the file names the running process", || {
        folder.serving() == before
    });
    assert!(ask(proxy.address(), "/").unwrap().ends_with("hello"));
    folder.install_program();
    assert!(upgrade(&proxy).status.success());
    assert_ne!(folder.serving(), before);
    drop(folder);
}

#[test]
fn an_upgrade_that_a_signal_requests_during_a_reload_follows_it() {
    let (folder, backend) = (Folder::new(), Backend::saying("hello"));
    let proxy = folder.start(&backend, "", &[]);
    let (before, config) = (folder.serving(), folder.path("config.yaml"));
    let text = fs::read_to_string(&config).unwrap();
    let slow = folder.path("slow");
    make_pipe(&slow);
    fs::rename(&slow, &config).unwrap();
    let mark = proxy.mark();
    proxy.signal(Signal::HUP);
    // The end of this writer would be the end of the config.
    let mut writer = fs::File::options().write(true).open(&config).unwrap();
    proxy.signal(Signal::USR2);
    proxy.wait_for_message(mark, "Upgrade postponed: a reload is running");
    fs::remove_file(&config).unwrap();
    fs::write(&config, &text).unwrap();
    writer.write_all(text.as_bytes()).unwrap();
    drop(writer);
    proxy.wait_for_message(mark, "Reloaded");
    proxy.wait_for_message(mark, "Upgraded");
    assert_ne!(folder.serving(), before);
    assert!(ask(proxy.address(), "/").unwrap().ends_with("hello"));
    drop(folder);
}

#[test]
fn a_program_that_is_renamed_during_the_start_is_upgraded_to_the_file_at_its_path() {
    let (folder, backend) = (Folder::new(), Backend::saying("hello"));
    let config = folder.path("config.yaml");
    make_pipe(&config);
    let text = Proxy::before(&[&backend]).text();
    let proxy = std::thread::scope(|scope| {
        scope.spawn(|| {
            // Opens once the process reads its config, which ends with this writer.
            let mut writer = fs::File::options().write(true).open(&config).unwrap();
            fs::rename(folder.path("program"), folder.path("program.old")).unwrap();
            folder.install_script("echo the new file runs >&2; exit 3");
            writer.write_all(text.as_bytes()).unwrap();
        });
        let (program, config) = (folder.text("program"), folder.text("config.yaml"));
        Proxy::before(&[&backend])
            .program(&[&program, "run", "-c", &config])
            .start()
    });
    let output = upgrade(&proxy);
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(shown.contains("the new file runs"), "{shown}");
    assert!(ask(proxy.address(), "/").unwrap().ends_with("hello"));
    assert!(proxy.stop().success());
}

fn ask_unix(path: &Path) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

fn with_unix(folder: &Folder, backend: &Backend) -> Proxy {
    let listeners = format!("listeners: [{{ address: 'unix:{}' }}]", folder.text("socket"));
    folder.start(backend, &listeners, &[])
}

#[test]
fn an_upgrade_binds_a_unix_socket_anew_whose_file_is_gone() {
    let (folder, backend) = (Folder::new(), Backend::saying("hello"));
    let (proxy, path) = (with_unix(&folder, &backend), folder.path("socket"));
    assert!(ask_unix(&path).ends_with("hello"));
    fs::remove_file(&path).unwrap();
    let mark = proxy.mark();
    let output = upgrade(&proxy);
    assert!(output.status.success(), "{output:?}");
    proxy.wait_for_message(mark, "Stopped");
    assert!(ask_unix(&path).ends_with("hello"));
    assert!(ask(proxy.address(), "/").unwrap().ends_with("hello"));
    drop(folder);
}

#[test]
fn the_file_of_another_process_at_the_path_of_a_unix_socket_is_never_removed() {
    let (folder, backend) = (Folder::new(), Backend::saying("hello"));
    let (proxy, path) = (with_unix(&folder, &backend), folder.path("socket"));
    fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    let mark = proxy.mark();
    let output = upgrade(&proxy);
    assert!(output.status.success(), "{output:?}");
    proxy.wait_for_message(mark, "Stopped");
    rustix::process::kill_process(folder.serving().unwrap(), Signal::TERM).unwrap();
    assert!(proxy.wait().success());
    wait_until("the new process has ended", || folder.serving().is_none());
    assert!(path.exists(), "it belongs to another process");
    drop(folder);
}

#[test]
fn a_demo_refuses_an_upgrade_and_says_why() {
    let words = [BINARY, "demo", "--traffic", "0", "--listen", "127.0.0.1:0"];
    let more = ["--admin", "127.0.0.1:0", "--backend-port", "0"];
    let proxy = Proxy::before(&[]).program(&[&words[..], &more].concat()).start();
    let mark = proxy.mark();
    proxy.signal(Signal::USR2);
    let line = proxy.wait_for_message(mark, "Upgrade refused");
    assert!(
        line["why"]
            .as_str()
            .unwrap()
            .contains("a demo cannot be upgraded"),
        "{line}"
    );
    assert!(proxy.stop().success());
}
