//! What only some scenarios set, and is no [`Setting`](super::Setting): files, listeners, and how the process is started.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Peer;
use crate::error::{Error, Result};

/// What differs from the defaults, beyond [`Setting`](super::Setting).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extras {
    /// The file of the access log, which is otherwise a part of the output.
    pub access_log: Option<PathBuf>,
    /// Listeners beside the first one. Only a balancer of which [`Peer::has_listeners`] says so has them.
    pub listeners: Vec<ExtraListener>,
    /// A program and its first arguments, which runs the balancer, whose command follows.
    pub wrapper: Vec<String>,
    /// Variables of the balancer, with their values.
    pub environment: Vec<(&'static str, String)>,
}

/// A listener beside the first one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraListener {
    /// Its address.
    pub address: SocketAddr,
    /// Its certificate, if it speaks TLS.
    pub tls: Option<PemFiles>,
}

/// A certificate and its key as files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PemFiles {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Runs a command, whose output it appends to a file.
const REDIRECT: &str = "exec \"$@\" >> \"$0\"";

impl Extras {
    /// An error if they set something, and the balancer has no such thing.
    pub(super) fn require(&self, peer: &dyn Peer) -> Result<()> {
        if self.listeners.is_empty() || peer.has_listeners() {
            return Ok(());
        }
        Err(Error::not_offered(
            "listeners that come and go with a config are configured here for Evenkeel alone",
        ))
    }

    /// The command with its variables, run by [`Extras::wrapper`], with the access log as its output if it logs nowhere else.
    pub(super) fn wrap(&self, peer: &dyn Peer, command: &Command) -> Command {
        let mut words = self.wrapper.clone();
        let mut push = |word: &std::ffi::OsStr| words.push(word.to_string_lossy().into_owned());
        if let Some(path) = self.access_log.as_ref().filter(|_| peer.logs_to_stdout()) {
            for word in ["sh", "-c", REDIRECT] {
                push(word.as_ref());
            }
            push(path.as_os_str());
        }
        let own: Vec<_> = std::iter::once(command.get_program())
            .chain(command.get_args())
            .collect();
        // chroot(1) and the root: the paths of variables are those that the balancer sees.
        let (root, own) = own.split_at(if is_in_root(peer.root(), &own) { 2 } else { 0 });
        root.iter().for_each(|word| push(word));
        if !self.environment.is_empty() {
            push("env".as_ref());
            for (name, value) in &self.environment {
                push(format!("{name}={value}").as_ref());
            }
        }
        own.iter().for_each(|word| push(word));
        let mut words = words.into_iter();
        let mut wrapped = Command::new(words.next().unwrap_or_default());
        wrapped.args(words);
        wrapped
    }
}

/// Whether a command is run by chroot(1).
fn is_in_root(root: Option<&Path>, words: &[&std::ffi::OsStr]) -> bool {
    let root = root.map(Path::as_os_str);
    matches!(words, [program, first, ..] if *program == "chroot" && root == Some(*first))
}

#[cfg(test)]
mod tests {
    use super::super::tests::words;
    use super::super::{Place, peer, row};
    use super::*;
    use crate::folder::Folder;

    #[test]
    fn variables_are_those_of_the_program_in_a_root() {
        let folder = Folder::new().unwrap();
        let root = folder.path().to_owned();
        std::fs::create_dir_all(root.join("usr/sbin")).unwrap();
        std::fs::write(root.join("usr/sbin/haproxy"), "").unwrap();
        let place = Place {
            program: None,
            root: Some(root.clone()),
        };
        let haproxy = (row("haproxy").unwrap().make)(place);
        let extras = Extras {
            access_log: Some(PathBuf::from("/log")),
            wrapper: vec!["nice".to_owned()],
            environment: vec![("A", "1".to_owned())],
            ..Extras::default()
        };
        let command = haproxy.command(&root.join("config"), &root);
        let root = root.to_str().unwrap();
        assert_eq!(
            words(&extras.wrap(haproxy.as_ref(), &command)),
            [
                "nice",
                "sh",
                "-c",
                REDIRECT,
                "/log",
                "chroot",
                root,
                "env",
                "A=1",
                "/usr/sbin/haproxy",
                "-W",
                "-f",
                "/config"
            ]
        );
    }

    #[test]
    fn a_command_without_extras_is_the_same() {
        let peer = peer("evenkeel", Some(PathBuf::from("/evenkeel"))).unwrap();
        let mut command = Command::new("/evenkeel");
        command.arg("run");
        assert_eq!(
            words(&Extras::default().wrap(peer.as_ref(), &command)),
            ["/evenkeel", "run"]
        );
    }
}
