//! A config from the command line: turns the arguments into the tree that a file would give.

use std::path::Path;

use super::context::Context;
use super::source::{Origin, Source, Span};
use super::tree::{Entry, Node, Text, Value};
use super::{Loaded, Report, finish};

/// Arguments of `evenkeel run` in place of a file. `None` and empty lists are arguments that were not given.
#[derive(Debug, Clone, Default)]
pub struct Arguments {
    /// Values of `--listen`.
    pub listen: Vec<String>,
    /// URLs of backends.
    pub backends: Vec<String>,
    /// Value of `--admin`.
    pub admin: Option<String>,
    /// Value of `--strategy`.
    pub strategy: Option<String>,
    /// Value of `--health-path`.
    pub health_path: Option<String>,
    /// Value of `--workers`.
    pub workers: Option<String>,
}

/// Makes a config from arguments. Variables are not expanded: the shell did that.
///
/// # Errors
/// All errors of the arguments at once.
pub fn from_arguments(arguments: &Arguments) -> Result<Loaded, Report> {
    let mut line = Line {
        text: "evenkeel run".to_owned(),
    };
    let listen = line.list(Some("--listen"), &arguments.listen);
    let mut entries: Vec<Entry> = [
        ("admin", "--admin", &arguments.admin),
        ("strategy", "--strategy", &arguments.strategy),
        ("workers", "--workers", &arguments.workers),
    ]
    .into_iter()
    .filter_map(|(key, option, value)| Some(entry(key, line.argument(Some(option), value.as_ref()?))))
    .collect();
    if let Some(path) = &arguments.health_path {
        let path = line.argument(Some("--health-path"), path);
        let span = path.span;
        let check = Value::Map(vec![entry("path", path)]);
        entries.push(entry("health_check", Node { span, value: check }));
    }
    let backends = line.list(None, &arguments.backends);
    entries.extend(listen.map(|node| entry("listen", node)));
    entries.extend(backends.map(|node| entry("backends", node)));
    let root = Node {
        span: Span {
            start: 0,
            end: line.text.len(),
        },
        value: Value::Map(entries),
    };
    let source = Source::new("command line", &line.text, Origin::Arguments);
    finish(Context::new(source, Path::new("."), &|_| None), Some(&root))
}

/// The command line as messages show it.
struct Line {
    text: String,
}

impl Line {
    fn argument(&mut self, option: Option<&str>, value: &str) -> Node {
        if let Some(option) = option {
            self.text.push(' ');
            self.text.push_str(option);
        }
        self.text.push(' ');
        let start = self.text.len();
        self.text.push_str(value);
        let span = Span {
            start,
            end: self.text.len(),
        };
        let value = Value::Text(Text {
            content: value.to_owned(),
            is_expanded: false,
        });
        Node { span, value }
    }

    fn list(&mut self, option: Option<&str>, values: &[String]) -> Option<Node> {
        let nodes: Vec<Node> = values.iter().map(|value| self.argument(option, value)).collect();
        let span = Span {
            start: nodes.first()?.span.start,
            end: nodes.last()?.span.end,
        };
        let value = Value::List(nodes);
        Some(Node { span, value })
    }
}

/// An entry whose key is not in the text: diagnostics about the key show its value.
fn entry(key: &str, value: Node) -> Entry {
    Entry {
        key: key.to_owned(),
        key_span: value.span,
        value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(listen: &[&str], backends: &[&str]) -> Arguments {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Arguments {
            listen: owned(listen),
            backends: owned(backends),
            ..Arguments::default()
        }
    }

    #[test]
    fn arguments_make_a_config() {
        let given = Arguments {
            admin: Some("off".to_owned()),
            strategy: Some("least_requests".to_owned()),
            health_path: Some("/healthz".to_owned()),
            workers: Some("2".to_owned()),
            ..arguments(&["127.0.0.1:0", ":8081"], &["http://a:1", "http://b:2"])
        };
        let config = from_arguments(&given)
            .unwrap_or_else(|report| panic!("{report}"))
            .config;
        assert_eq!(config.listeners.len(), 2);
        assert!(config.admin.is_none());
        let pool = &config.pools[0];
        assert_eq!((&*pool.name, pool.backends.len()), ("default", 2));
        assert_eq!(pool.strategy.name(), "least_requests");
        assert_eq!(pool.health_check.path.as_deref(), Some("/healthz"));
        assert_eq!(config.routes.len(), 1);
    }

    #[test]
    fn shows_the_invalid_argument() {
        let report = from_arguments(&arguments(&[":80800"], &["a:1"])).err().unwrap();
        assert_eq!(
            report.to_string(),
            "\
command line: error: invalid value `:80800` for `listen`
     | evenkeel run --listen :80800 a:1
     |                       ^^^^^^
     = accepted: an IP address and a port, such as 0.0.0.0:8080, [::1]:8080 or :8080, or a Unix socket such as unix:/run/evenkeel.sock, or a list of these

command line: error: `a:1` is not a valid backend URL: it has no scheme
     | evenkeel run --listen :80800 a:1
     |                              ^^^
     = did you mean `http://a:1`?
     = accepted: http://10.0.0.1:8001, https://… (TLS), h2c://… (HTTP/2 without TLS, such as gRPC), or unix:/path (a Unix socket)

2 errors"
        );
    }

    #[test]
    fn reports_missing_listener_and_backend() {
        let report = from_arguments(&Arguments::default()).err().unwrap().to_string();
        assert!(
            report.contains("the config has no listener\n     = add `--listen"),
            "{report}"
        );
        assert!(report.contains("the config has no backend"), "{report}");
    }
}
