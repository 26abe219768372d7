//! What every step of reading a config is handed: the text, the environment and the list of findings.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use super::error::{Problem, Severity};
use super::source::{Diagnostic, Source, Span};
use crate::tls::SystemAuthorities;

/// Most findings that are kept; a file with more is broken as a whole.
const MOST_DIAGNOSTICS: usize = 1000;

/// The environment of a process, or of a test.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// One reading of one config.
pub(super) struct Context<'a> {
    pub(super) source: Source<'a>,
    /// Relative paths start here.
    pub(super) dir: &'a Path,
    /// Values of `${VAR}`.
    pub(super) lookup: Lookup<'a>,
    /// Those that pools believe when they name no others.
    pub(super) authorities: SystemAuthorities,
    /// Whether this is the machine that the config is for: then it is looked at whether files can be made where it says.
    pub(super) is_at_home: bool,
    /// A cell, because readers of several maps are open at one time and all report.
    diagnostics: RefCell<Vec<Diagnostic>>,
}

impl<'a> Context<'a> {
    /// Begins a reading.
    pub(super) fn new(source: Source<'a>, dir: &'a Path, lookup: Lookup<'a>) -> Self {
        Self {
            source,
            dir,
            lookup,
            authorities: SystemAuthorities::default(),
            is_at_home: false,
            diagnostics: RefCell::new(Vec::new()),
        }
    }

    /// The same for a config that is read where it is to run.
    pub(super) fn at_home(self) -> Self {
        Self {
            is_at_home: true,
            ..self
        }
    }

    /// Adds a finding; one that is there already is not added again, because top-level values are read once a pool.
    pub(super) fn report(&self, diagnostic: Diagnostic) {
        let mut diagnostics = self.diagnostics.borrow_mut();
        if diagnostics.len() < MOST_DIAGNOSTICS && !diagnostics.contains(&diagnostic) {
            diagnostics.push(diagnostic);
        }
    }

    /// Whether an error was reported; then what could follow from it is not reported as well.
    pub(super) fn has_error(&self) -> bool {
        has_error(&self.diagnostics.borrow())
    }

    /// The text at a place, for a message.
    pub(super) fn quote(&self, span: Span) -> String {
        self.source.quote(span)
    }

    /// A path as written, from the config's folder.
    pub(super) fn path(&self, written: &str) -> PathBuf {
        self.dir.join(written)
    }

    /// Renders the findings in the order of the text, and says whether there is an error among them.
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
