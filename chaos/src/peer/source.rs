//! Where the program of a balancer is: on this machine, or in a root file system, such as that of another release of
//! Debian, where it is started with chroot(2).

use std::env;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Program;
use crate::error::{Error, Explain, Result};

/// The program that upgrades replace, in the folder of the run.
pub(super) const PROGRAM: &str = "program";
/// Where Debian has the programs of its packages.
const FOLDERS: [&str; 2] = ["/usr/sbin", "/usr/bin"];

/// Why the clock of a static program is the real one.
pub(super) const STATIC: &str =
    "its program is linked statically, so that libfaketime cannot be loaded before it";
/// The beginning of an ELF file, and the type of the header that names an interpreter.
const ELF: &[u8] = b"\x7fELF";
const INTERPRETER: usize = 3;
/// Bytes at its beginning that have its headers.
const HEADERS: u64 = 4_096;

/// What the command line says about a program.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// Its path.
    pub program: Option<PathBuf>,
    /// A root file system that is searched for it when no path is given.
    pub root: Option<PathBuf>,
}

/// A program that was found.
#[derive(Debug)]
pub(super) struct Source {
    /// Its path, in the root if there is one.
    program: PathBuf,
    root: Option<PathBuf>,
}

impl Source {
    /// The program with this name: that of the command line, that of the root, or that of `PATH`.
    pub(super) fn find(name: &str, place: Place) -> Self {
        let Place { program, root } = place;
        if let Some(program) = program {
            return Self { program, root: None };
        }
        let candidates = FOLDERS.map(|folder| Path::new(folder).join(name));
        let is_in = |root: &PathBuf| candidates.iter().find(|path| outside(Some(root), path).exists());
        match root.as_ref().and_then(is_in) {
            Some(program) => Self {
                program: program.clone(),
                root,
            },
            None => Self {
                program: PathBuf::from(name),
                root: None,
            },
        }
    }

    /// The root.
    pub(super) fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }

    /// A path of this machine, as the program sees it.
    pub(super) fn inside(&self, path: &Path) -> PathBuf {
        let rest = self.root.as_ref().and_then(|root| path.strip_prefix(root).ok());
        rest.map_or_else(|| path.to_owned(), |rest| Path::new("/").join(rest))
    }

    /// Starts the program itself.
    pub(super) fn command(&self) -> Command {
        self.start(&self.program)
    }

    /// Starts the program that was installed in the folder of a run, else the program itself.
    pub(super) fn command_in(&self, folder: &Path) -> Command {
        let installed = folder.join(PROGRAM);
        if installed.exists() {
            self.start(&self.inside(&installed))
        } else {
            self.command()
        }
    }

    /// Whether the program is linked statically. A script is not.
    pub(super) fn is_static(&self) -> bool {
        let mut bytes = Vec::new();
        let file = self.path().and_then(|path| Ok(File::open(path)?));
        let read = file.and_then(|file| Ok(file.take(HEADERS).read_to_end(&mut bytes)?));
        read.is_ok() && bytes.starts_with(ELF) && !has_interpreter(&bytes)
    }

    /// Puts a program where [`Source::command_in`] finds it.
    pub(super) fn install(&self, folder: &Path, program: Program) -> Result<()> {
        install(&self.path()?, folder, program)
    }

    fn start(&self, program: &Path) -> Command {
        let Some(root) = &self.root else {
            return Command::new(program);
        };
        let mut command = Command::new("chroot");
        command.arg(root).arg(program);
        command
    }

    /// The path of the program on this machine.
    fn path(&self) -> Result<PathBuf> {
        let path = outside(self.root.as_ref(), &self.program);
        if path.components().count() > 1 {
            return Ok(path);
        }
        let folders = env::var_os("PATH").unwrap_or_default();
        let mut candidates = env::split_paths(&folders).map(|folder| folder.join(&path));
        let found = candidates.find(|path| path.exists());
        found.ok_or_else(|| Error::new(format!("there is no program {} in PATH", path.display())))
    }
}

/// Whether an ELF file of 64 bits names the program that loads its libraries (elf(5): `e_phoff`, `e_phentsize`, `e_phnum`).
fn has_interpreter(bytes: &[u8]) -> bool {
    let number = |from: usize, length: usize| {
        let bytes = bytes.get(from..from + length).unwrap_or_default();
        bytes
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let (first, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).any(|header| number(first + header * size, 4) == INTERPRETER)
}

/// Puts a program into the folder of a run, in place of the one before.
pub(super) fn install(source: &Path, folder: &Path, program: Program) -> Result<()> {
    let script = match program {
        Program::Whole => "",
        Program::Exits => "#!/bin/sh\necho broken >&2\nexit 3\n",
        Program::Aborts => "#!/bin/sh\nkill -ABRT $$\n",
        Program::Hangs => "#!/bin/sh\nexec sleep 1000\n",
    };
    let (next, installed) = (folder.join("next-program"), folder.join(PROGRAM));
    // Written by another process: a child that is started meanwhile would inherit a descriptor that is open for writing,
    // and a file that is written to cannot be executed.
    let mut command = Command::new("sh");
    if program == Program::Whole {
        command.args(["-c", "cp \"$1\" \"$2\"", "sh"]).arg(source);
    } else {
        let write = "printf %s \"$1\" > \"$2\" && chmod 755 \"$2\"";
        command.args(["-c", write, "sh", script]);
    }
    if !command.arg(&next).status()?.success() {
        return Err(Error::new("cannot write the program"));
    }
    std::fs::rename(next, installed).explain("cannot replace the program")
}

/// A path in a root, as this machine sees it.
fn outside(root: Option<&PathBuf>, path: &Path) -> PathBuf {
    match (root, path.strip_prefix("/")) {
        (Some(root), Ok(rest)) => root.join(rest),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::tests::words;
    use super::*;
    use crate::folder::Folder;

    #[test]
    fn a_program_of_the_root_is_started_there() {
        let folder = Folder::new().unwrap();
        let root = folder.path().to_owned();
        fs::create_dir_all(root.join("usr/sbin")).unwrap();
        fs::write(root.join("usr/sbin/nginx"), "").unwrap();
        let place = Place {
            program: None,
            root: Some(root.clone()),
        };
        let nginx = Source::find("nginx", place.clone());
        assert_eq!(
            words(&nginx.command()),
            ["chroot", root.to_str().unwrap(), "/usr/sbin/nginx"]
        );
        assert_eq!(nginx.inside(&root.join("tmp/x")), Path::new("/tmp/x"));
        assert_eq!(nginx.path().unwrap(), root.join("usr/sbin/nginx"));
        let other = Source::find("haproxy", place);
        assert_eq!(words(&other.command()), ["haproxy"]);
        assert_eq!(other.root(), None);
    }

    #[test]
    fn a_program_that_loads_libraries_is_not_static() {
        let is_static = |program: &Path| {
            let program = Some(program.to_owned());
            Source::find("program", Place { program, root: None }).is_static()
        };
        assert!(!is_static(Path::new("/bin/sh")));
        let folder = Folder::new().unwrap();
        let path = folder.path().join("program");
        fs::write(&path, [ELF, &[0; 60]].concat()).unwrap();
        assert!(is_static(&path));
        fs::write(&path, "#!/bin/sh\n").unwrap();
        assert!(!is_static(&path));
    }

    #[test]
    fn the_program_of_the_command_line_wins_and_needs_no_root() {
        let place = Place {
            program: Some(PathBuf::from("/opt/nginx")),
            root: Some(PathBuf::from("/")),
        };
        let source = Source::find("nginx", place);
        assert_eq!(words(&source.command()), ["/opt/nginx"]);
        assert_eq!(source.inside(Path::new("/tmp/x")), Path::new("/tmp/x"));
    }

    #[test]
    fn an_installed_program_is_started_in_place_of_the_source() {
        let folder = Folder::new().unwrap();
        let place = Place {
            program: Some(PathBuf::from("/bin/true")),
            root: None,
        };
        let source = Source::find("true", place);
        assert_eq!(words(&source.command_in(folder.path())), ["/bin/true"]);
        source.install(folder.path(), Program::Exits).unwrap();
        let status = source
            .command_in(folder.path())
            .stderr(std::process::Stdio::null())
            .status();
        assert_eq!(status.unwrap().code(), Some(3));
        source.install(folder.path(), Program::Whole).unwrap();
        assert!(source.command_in(folder.path()).status().unwrap().success());
    }
}
