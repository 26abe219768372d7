//! The context of reading one config: its text, the environment and the list of diagnostics.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use super::error::{Problem, Severity};
use super::source::{Diagnostic, Source, Span};
use crate::schema::Section;
use crate::tls::{CertificateError, Client, ClientSettings, SystemAuthorities};

/// Most diagnostics that are kept. A file with more is broken as a whole.
const MOST_DIAGNOSTICS: usize = 1000;

/// The environment of a process, or of a test.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The context of reading one config.
pub(super) struct Context<'a> {
    pub(super) source: Source<'a>,
    /// The folder where relative paths start.
    pub(super) dir: &'a Path,
    /// Values of `${VAR}`.
    pub(super) lookup: Lookup<'a>,
    /// The CAs that pools trust when they name no others.
    pub(super) authorities: SystemAuthorities,
    /// Whether the config is for this machine. If so, paths of log files are checked.
    pub(super) is_on_this_machine: bool,
    /// Every section, for hints that name the section of a key.
    pub(super) sections: &'static [&'static Section],
    /// Every key that was read, by the name of its section.
    #[cfg(test)]
    pub(super) keys_read: RefCell<std::collections::BTreeSet<(String, String)>>,
    /// A cell, because readers of several maps are open at one time and all report.
    diagnostics: RefCell<Vec<Diagnostic>>,
}

impl<'a> Context<'a> {
    /// A context without diagnostics.
    pub(super) fn new(source: Source<'a>, dir: &'a Path, lookup: Lookup<'a>) -> Self {
        Self {
            source,
            dir,
            lookup,
            authorities: SystemAuthorities::default(),
            is_on_this_machine: false,
            sections: &[],
            #[cfg(test)]
            keys_read: RefCell::default(),
            diagnostics: RefCell::new(Vec::new()),
        }
    }

    /// The same with these sections.
    pub(super) fn with_sections(self, sections: &'static [&'static Section]) -> Self {
        Self { sections, ..self }
    }

    /// The same for a config that is read on the machine where it runs.
    pub(super) fn on_this_machine(self) -> Self {
        Self {
            is_on_this_machine: true,
            ..self
        }
    }

    /// Adds a diagnostic unless it is already there: top-level values are read once per pool.
    pub(super) fn report(&self, diagnostic: Diagnostic) {
        let mut diagnostics = self.diagnostics.borrow_mut();
        if diagnostics.len() < MOST_DIAGNOSTICS && !diagnostics.contains(&diagnostic) {
            diagnostics.push(diagnostic);
        }
    }

    /// Notes that a key of a section was read.
    #[cfg(test)]
    pub(super) fn note_read(&self, section: &str, name: &str) {
        let key = (section.to_owned(), name.to_owned());
        self.keys_read.borrow_mut().insert(key);
    }

    /// Whether an error was reported. Problems that could follow from it are then not reported.
    pub(super) fn has_error(&self) -> bool {
        has_error(&self.diagnostics.borrow())
    }

    /// The number of diagnostics so far, to find out whether something reported one.
    pub(super) fn reported(&self) -> usize {
        self.diagnostics.borrow().len()
    }

    /// The text of a span, for a message.
    pub(super) fn quote(&self, span: Span) -> String {
        self.source.quote(span)
    }

    /// A path as written, relative to the folder of the config.
    pub(super) fn path(&self, written: &str) -> PathBuf {
        self.dir.join(written)
    }

    /// Checks that a file has CAs that a server may be verified with.
    pub(super) fn check_ca(&self, path: &Path) -> Result<(), CertificateError> {
        let settings = ClientSettings {
            ca: Some(path.to_owned()),
            ..ClientSettings::default()
        };
        Client::load(settings, &self.authorities).map(drop)
    }

    /// Renders the diagnostics in the order of the text, and returns whether one of them is an error.
    pub(super) fn finish(self, secret: &[Span]) -> (Vec<Problem>, bool) {
        let mut diagnostics = self.diagnostics.into_inner();
        diagnostics.sort_by_key(|diagnostic| diagnostic.span);
        let has_error = has_error(&diagnostics);
        let render = |diagnostic| self.source.render(diagnostic, secret);
        (diagnostics.into_iter().map(render).collect(), has_error)
    }
}

fn has_error(diagnostics: &[Diagnostic]) -> bool {
    diagnostics
        .iter()
        .any(|diagnostic| diagnostic.severity == Severity::Error)
}
