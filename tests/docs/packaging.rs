//! Checks what is packaged: the systemd unit, the Debian package and the Dockerfile.

use std::path::Path;
use std::process::Command;

use super::read;
use super::skip::skip;

const UNIT: &str = "packaging/systemd/evenkeel.service";

/// Highest exposure that `systemd-analyze security` may find, in tenths.
const EXPOSURE: &str = "20";

#[test]
fn the_service_is_hardened() {
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["security", "--no-pager", "--offline=true"]);
    analyze.arg(format!("--threshold={EXPOSURE}"));
    let Ok(output) = analyze.arg(UNIT).current_dir(root()).output() else {
        return skip("systemd-analyze is not installed");
    };
    let error = String::from_utf8_lossy(&output.stderr);
    if error.contains("unrecognized option") {
        return skip(&format!(
            "this version of systemd-analyze does not read unit files: {error}"
        ));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("Overall exposure level"), "{text}{error}");
    assert!(output.status.success(), "{text}{error}");
}

#[test]
fn the_service_can_be_upgraded_and_stops_after_the_drain() {
    // Only the main process may report otherwise, and the new process of an upgrade is not that yet.
    assert_eq!(value("NotifyAccess"), "all");
    assert_eq!(value("Type"), "notify");
    let stop = seconds(&value("TimeoutStopSec"));
    let defaults = "listen: 127.0.0.1:8080\nbackends: [http://127.0.0.1:8000]\n";
    let loaded = evenkeel::internals::config::from_text(defaults, "defaults", Path::new("/"), &|_| None);
    let drain = loaded.expect("a valid config").config.timeouts.drain;
    assert!(stop > drain.as_secs(), "{stop} s, and the drain is {drain:?}");
}

/// The drop-in that the comments of the unit show, with the variable that systemd sets.
#[test]
fn the_config_can_name_credentials_of_the_service() {
    let line = "certificates: [{ cert: \"${CREDENTIALS_DIRECTORY}/site.pem\", key: \"${CREDENTIALS_DIRECTORY}/site.key\" }]";
    assert!(read(UNIT).contains(line), "{line}");
    let text = format!(
        "listeners: [{{ address: \"127.0.0.1:8443\", tls: {{ {line} }} }}]\nbackends: [http://127.0.0.1:8000]\n"
    );
    let folder = "/run/credentials/evenkeel.service";
    let variables = |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| folder.to_owned());
    let report = evenkeel::internals::config::from_text(&text, "credentials", Path::new("/"), &variables);
    // The files are absent here: the error names the path that was read.
    let report = report.err().expect("the files are absent").to_string();
    assert!(report.contains(&format!("{folder}/site.pem")), "{report}");
}

#[test]
fn the_debian_package_names_files_that_exist() {
    let manifest = read("Cargo.toml");
    let (_, section) = manifest
        .split_once("[package.metadata.deb]")
        .expect("the package has a section");
    let (_, assets) = section.split_once("assets = [").expect("assets");
    let (assets, _) = assets.split_once("\n]").expect("the end of the assets");
    let sources = assets
        .lines()
        .filter_map(|line| line.trim().strip_prefix("[\"")?.split('"').next());
    let mut found = 0;
    for path in sources.filter(|path| !path.starts_with("target/release/")) {
        assert!(root().join(path).is_file(), "{path}");
        found += 1;
    }
    assert!(found >= 3, "only {found} files found in {assets}");
    let started = value("ExecStart");
    assert!(
        started.starts_with("/usr/bin/evenkeel run -c /etc/evenkeel/config.yaml"),
        "{started}"
    );
}

#[test]
fn the_image_is_built_with_every_member_of_the_workspace() {
    let manifest = read("Cargo.toml");
    let (_, members) = manifest
        .split_once("\nmembers = [")
        .expect("the workspace has members");
    let (members, _) = members.split_once(']').expect("the end of the members");
    let members: Vec<&str> = members.split('"').skip(1).step_by(2).collect();
    assert!(members.len() > 2, "{members:?}");
    let (dockerfile, ignored) = (read("Dockerfile"), read(".dockerignore"));
    let copied: Vec<&str> = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
        .flat_map(str::split_whitespace)
        .collect();
    let sent: Vec<&str> = ignored
        .lines()
        .filter_map(|line| line.strip_prefix('!'))
        .collect();
    for member in members {
        let folder = member.split('/').next().unwrap_or(member);
        assert!(
            copied.contains(&folder) || copied.contains(&member),
            "Dockerfile does not copy {member}"
        );
        assert!(
            sent.contains(&folder) || sent.contains(&member),
            ".dockerignore leaves out {member}"
        );
    }
}

/// The value of a setting of the unit.
fn value(key: &str) -> String {
    let unit = read(UNIT);
    let found = unit
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    found
        .unwrap_or_else(|| panic!("{UNIT} does not set {key}"))
        .to_owned()
}

fn seconds(text: &str) -> u64 {
    let number = text.strip_suffix('s').and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("{text} is not a number of seconds"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
