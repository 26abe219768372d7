//! Reads the config file into a [`Config`], or reports all of its errors at once. The only module that knows YAML.
//!
//! In reading order: `tree` parses YAML into a tree that accepts any keys, `sections` walk it with a `reader` that knows
//! their tables of keys, and `error` renders the problems. `print` and `reference` write what the sections and their
//! tables hold.

mod context;
mod error;
mod from_arguments;
mod hints;
mod params;
mod print;
mod reader;
mod reference;
mod secret_values;
mod secrets;
mod sections;
mod source;
mod suggest;
mod syntax;
mod templates;
#[cfg(test)]
mod tests;
mod tree;
mod variables;
mod vocabulary;

use std::fmt;
use std::hash::{DefaultHasher, Hasher as _};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::discovery::SourceSettings;
use crate::pool::BackendSettings;
use crate::router::Matcher;
use crate::schema::units;
use crate::telemetry::{access_log, trace};
use crate::{admin, listener, pool, proxy};
use context::{Context, Lookup};
use source::{Origin, Source};

pub use error::{Problem, Report, Severity};
pub use from_arguments::{Arguments, from_arguments};
pub use reference::schema;

/// Where the config file is searched for when the command line names none, in this order.
pub const DEFAULT_PATHS: [&str; 2] = ["config/config.yaml", "/etc/evenkeel/config.yaml"];

/// Largest config file, in bytes. A hundred thousand routes take a quarter of it.
const LARGEST_FILE: u64 = 64 << 20;

/// The number of worker threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// One per core that this process may use.
    Auto,
    /// This number, 1 to 1024.
    Count(usize),
}

impl fmt::Display for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Count(count) => count.fmt(f),
        }
    }
}

/// The effective config, all defaults filled in.
#[derive(Clone)]
pub struct Config {
    /// At least one.
    pub listeners: Vec<listener::Settings>,
    /// Worker threads.
    pub workers: Workers,
    /// The admin API; `None` when it is off.
    pub admin: Option<admin::Settings>,
    /// The access log.
    pub access_log: access_log::Settings,
    /// Tracing; `None` when it is off.
    pub tracing: Option<trace::Settings>,
    /// How long each reload is guarded; `None`: not at all.
    pub guard: Option<Duration>,
    /// Whether a change of the file leads to a reload.
    pub watch_config: bool,
    /// Identifies the text that it was read from.
    pub text_hash: u64,
    /// The proxies whose forwarding and PROXY headers are trusted.
    pub trusted_proxies: proxy::TrustedProxies,
    /// Process-wide timeouts.
    pub timeouts: proxy::ClientTimeouts,
    /// Process-wide limits.
    pub limits: proxy::Limits,
    /// At least one, in the order of the file; the pool of the short form first.
    pub pools: Vec<pool::Settings>,
    /// Where more backends of the pools come from.
    pub sources: Vec<SourceSettings>,
    /// The policies by name, also those that no route has.
    pub policies: Vec<Arc<proxy::PolicySettings>>,
    /// The stores through which instances share limits.
    pub stores: Vec<proxy::StoreSettings>,
    /// At least one.
    pub routes: Vec<proxy::RouteSettings>,
}

impl Config {
    /// The matchers of the routes for a running router, where a listener has its id: its position changes when a reload adds or
    /// removes others.
    pub fn matchers(&self) -> Vec<Matcher> {
        let mut matchers: Vec<Matcher> = self.routes.iter().map(|route| route.matcher.clone()).collect();
        let conditions = matchers.iter_mut().map(|matcher| &mut matcher.conditions);
        for listener in conditions.flat_map(|conditions| &mut conditions.listeners) {
            let settings = self.listeners.get(*listener);
            *listener = settings.map_or(*listener, |settings| settings.id);
        }
        matchers
    }
}

/// A valid config.
#[derive(Clone)]
pub struct Loaded {
    /// The effective config.
    pub config: Config,
    /// Warnings, to be shown to the operator.
    pub warnings: Vec<Problem>,
}

impl Loaded {
    /// The same for `evenkeel check`, where [`Severity::Overdue`] is an error.
    ///
    /// # Errors
    /// All problems, if one of them is overdue.
    pub fn strictly(self) -> Result<Self, Report> {
        let is_overdue = |problem: &Problem| problem.severity == Severity::Overdue;
        if !self.warnings.iter().any(is_overdue) {
            return Ok(self);
        }
        let mut problems = self.warnings;
        for problem in problems.iter_mut().filter(|problem| is_overdue(problem)) {
            problem.severity = Severity::Error;
        }
        Err(Report { problems })
    }
}

/// The path that means standard input; a file of that name is `./-`.
const STDIN: &str = "-";

/// Whether a path means standard input, which cannot be read again.
pub fn is_stdin(path: &Path) -> bool {
    path == Path::new(STDIN)
}

/// The name of a config in messages.
pub fn name(path: &Path) -> String {
    match is_stdin(path) {
        true => "stdin".to_owned(),
        false => path.display().to_string(),
    }
}

/// The first of [`DEFAULT_PATHS`] that exists. If none exists, the report lists them and adds `hint`, which says what to do.
pub fn find(hint: &str) -> Result<PathBuf, Report> {
    find_in(&DEFAULT_PATHS, hint)
}

fn find_in(paths: &[&str], hint: &str) -> Result<PathBuf, Report> {
    let exists = |path: &&&str| !matches!(Path::new(path).try_exists(), Ok(false));
    paths.iter().find(exists).map(PathBuf::from).ok_or_else(|| {
        let searched = paths.iter().map(|path| format!("looked for {path}"));
        let notes = searched.chain([hint.to_owned()]).collect();
        Report::whole_file("evenkeel", "no config file found".to_owned(), notes)
    })
}

/// Reads a config file, or standard input for `-`. Relative paths in it start at its folder, or at the current folder for
/// standard input; variables come from the environment of the process.
///
/// # Errors
/// All errors of the config at once.
pub fn load(path: &Path) -> Result<Loaded, Report> {
    ConfigText::read(path)?.parse()
}

/// The text of a config that has not been parsed yet.
pub struct ConfigText {
    name: String,
    text: String,
    /// Where relative paths start.
    folder: PathBuf,
}

impl ConfigText {
    /// Reads a config file, or standard input for `-`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(path: &Path) -> Result<Self, Report> {
        let text = read(path).map_err(|error| Report::whole_file(&name(path), error, Vec::new()))?;
        Self::at(path, name(path), text)
    }

    /// This text, whose relative paths start at the folder of the file at `path`. `name` is its name in messages.
    ///
    /// # Errors
    /// The folder cannot be determined.
    pub fn at(path: &Path, name: String, text: String) -> Result<Self, Report> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        match std::path::absolute(folder.unwrap_or(Path::new("."))) {
            Ok(folder) => Ok(Self { name, text, folder }),
            Err(error) => {
                let error = format!("cannot determine its folder: {error}");
                Err(Report::whole_file(&name, error, Vec::new()))
            }
        }
    }

    /// Identifies the text: see [`Config::text_hash`].
    pub fn hash(&self) -> u64 {
        hash(&self.text)
    }

    /// The config. Variables come from the environment of the process.
    ///
    /// # Errors
    /// All errors of the config at once.
    pub fn parse(&self) -> Result<Loaded, Report> {
        let source = Source::new(&self.name, &self.text, Origin::File);
        let lookup = |name: &str| std::env::var(name).ok();
        parse(Context::new(source, &self.folder, &lookup).on_this_machine())
    }
}

/// Identifies a text among those that a file has one after the other.
fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(text.as_bytes());
    hasher.finish()
}

fn read(path: &Path) -> Result<String, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    if is_stdin(path) {
        return read_text(std::io::stdin().lock(), cannot);
    }
    let file = std::fs::File::open(path).map_err(cannot)?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err("cannot be read: it is a folder".to_owned());
    }
    read_text(file, cannot)
}

fn read_text(from: impl Read, cannot: impl Fn(std::io::Error) -> String) -> Result<String, String> {
    let mut bytes = Vec::new();
    from.take(LARGEST_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > LARGEST_FILE {
        return Err(format!(
            "is larger than {}, the limit for a config",
            units::show_size(LARGEST_FILE)
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error
            .as_bytes()
            .get(..error.utf8_error().valid_up_to())
            .unwrap_or_default();
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("is not valid UTF-8: invalid bytes on line {line}")
    })
}

/// Reads a config from its text. `name` is its name in messages, relative paths start at `folder`, variables come from
/// `lookup`. Does not read the config file or the environment.
///
/// # Errors
/// All errors of the config at once.
pub fn from_text(text: &str, name: &str, folder: &Path, lookup: Lookup<'_>) -> Result<Loaded, Report> {
    parse(Context::new(
        Source::new(name, text, Origin::File),
        folder,
        lookup,
    ))
}

/// Reads a list of backends that is not part of a config, in the same form as `backends`. Relative paths in it start at `folder`,
/// variables come from the environment of the process.
///
/// # Errors
/// The first error in one line, and how many there are.
pub fn backends(text: &str, folder: &Path) -> Result<Vec<BackendSettings>, String> {
    let lookup = |name: &str| std::env::var(name).ok();
    let cx = Context::new(Source::new("list", text, Origin::File), folder, &lookup);
    let list = match tree::parse(&cx) {
        Ok(root) => sections::list(&cx, root.as_ref()),
        Err(tree::Unparsable) => Vec::new(),
    };
    let (problems, has_error) = cx.finish(&[]);
    let mut errors = problems
        .iter()
        .filter(|problem| problem.severity == Severity::Error);
    let Some(first) = errors.next().filter(|_| has_error) else {
        return Ok(list);
    };
    let line = first.position.map(|(line, _)| format!("line {line}: "));
    let others = match errors.count() {
        0 => String::new(),
        count => format!(" (and {count} more)"),
    };
    Err(format!("{}{}{others}", line.unwrap_or_default(), first.message))
}

/// Prints the effective config as YAML: the long form with every default, which reads back as the same config. Secrets
/// are masked. The same config gives the same text.
pub fn print(config: &Config) -> String {
    sections::show(config).to_yaml()
}

fn parse(cx: Context<'_>) -> Result<Loaded, Report> {
    let cx = cx.with_sections(&sections::SECTIONS);
    match tree::parse(&cx) {
        Ok(root) => finish(cx, root.as_ref()),
        Err(tree::Unparsable) => finish_without_tree(cx),
    }
}

fn finish(cx: Context<'_>, root: Option<&tree::Node>) -> Result<Loaded, Report> {
    let cx = cx.with_sections(&sections::SECTIONS);
    let config = sections::read(&cx, root);
    let names = sections::SECTIONS
        .iter()
        .flat_map(|section| section.secret_keys());
    let names: Vec<&str> = names.collect();
    let secret = root.map(|root| secret_values::in_tree(root, &names));
    let (problems, has_error) = cx.finish(&secret.unwrap_or_default());
    match config {
        Some(config) if !has_error => Ok(Loaded {
            config,
            warnings: problems,
        }),
        _ => Err(Report { problems }),
    }
}

fn finish_without_tree(cx: Context<'_>) -> Result<Loaded, Report> {
    let (problems, _) = cx.finish(&[]);
    Err(Report { problems })
}
