//! `policies`, at top level and of a route.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use evenkeel_balance::policy::{self, Context, TABLE};
use evenkeel_balance::suggest::listed;

use super::built::Built;
use super::known::Known;
use super::policy_files::{Files, PolicyFiles};
use super::pool_name::is_pool_name;
use super::stores::Stores;
use crate::config::print::{Item, quoted, row, text};
use crate::config::reader::{Reader, written};
use crate::config::source::{Diagnostic, Span};
use crate::config::tree::{Entry, Node, Value};
use crate::config::{params, suggest, vocabulary};
use crate::kept::Kept;
use crate::proxy::{PolicySettings, RouteSettings};
use crate::schema::{self, Form, Key, Kind};

/// `policies` at top level.
pub(super) const KEY: Key = Key::new(
    "policies",
    Kind::Map(&Kind::Row(&TABLE)),
    "Policies by name, each a map from its kind to its parameters; `evenkeel policies` lists the kinds. Routes name those that apply to them. The order in which policies act is fixed: `ip`; `cors`; `rate_limit` and `concurrency` by address, path, host, header, cookie or query; `body_limit`; `basic_auth`, `jwt` and `forward_auth`; `rate_limit` and `concurrency` by `user` or `jwt.NAME`; then, for responses, `error_pages` and `compress`.",
);

/// `policies` of a route.
pub(super) const LIST: Kind = Kind::List(&Kind::Either(
    &Kind::Text(Form::new("the name of a policy").matching("^[A-Za-z0-9._-]{1,64}$")),
    &Kind::Row(&TABLE),
));

/// Most policies by name.
const MOST_POLICIES: usize = 10_000;
/// Most policies of one route.
const MOST_OF_ROUTE: usize = 64;

/// A valid policy at top level.
struct Found<'a> {
    settings: Arc<PolicySettings>,
    /// The span of its name.
    span: Span,
    /// What it reads, until a route has it.
    files: Cell<Option<Files<'a>>>,
}

/// The policies of the config.
pub(super) struct Policies<'a> {
    root: &'a Reader<'a>,
    stores: &'a Stores<'a>,
    /// The names of all, including those with errors; `None` when `policies` is not a map.
    names: Option<Vec<&'a str>>,
    /// The valid ones.
    found: BTreeMap<&'a str, Found<'a>>,
    /// Checks the files of those that routes have.
    files: PolicyFiles,
    /// The names of inline policies. Each has a name of its own, because its state is kept by that.
    inline: RefCell<BTreeSet<Arc<str>>>,
}

impl<'a> Policies<'a> {
    /// Reads `policies` at top level.
    pub(super) fn read(known: &Known<'a>, stores: &'a Stores<'a>) -> Self {
        let root = known.root;
        let node = root.node("policies");
        let entries = match node.map(|node| (node, &node.value)) {
            None => Some(&[][..]),
            Some((_, Value::Map(entries))) => Some(entries.as_slice()),
            Some((node, _)) => {
                root.refuse_node("policies", node);
                None
            }
        };
        let mut policies = Self {
            root,
            stores,
            names: entries.map(|entries| entries.iter().map(|entry| entry.key.as_str()).collect()),
            found: BTreeMap::new(),
            files: PolicyFiles::default(),
            inline: RefCell::default(),
        };
        let entries = entries.unwrap_or_default();
        if let (Some(span), true) = (root.key_span("policies"), entries.len() > MOST_POLICIES) {
            let message = format!("`policies` has more than {MOST_POLICIES} items");
            root.cx.report(Diagnostic::error(span, message));
        }
        for entry in entries.iter().take(MOST_POLICIES) {
            if let Some((settings, files)) = policies.named(known, entry) {
                let found = Found {
                    settings,
                    span: entry.key_span,
                    files: Cell::new(Some(files)),
                };
                policies.found.insert(&entry.key, found);
            }
        }
        policies
    }

    /// All policies at top level, by name.
    pub(super) fn settings(&self) -> Vec<Arc<PolicySettings>> {
        self.found
            .values()
            .map(|found| Arc::clone(&found.settings))
            .collect()
    }

    /// Reads `policies` of a route or of `route_defaults`. `route` is the name of the route.
    pub(super) fn of_route(
        &self,
        known: &Known<'_>,
        reader: &Reader<'_>,
        route: &str,
    ) -> Vec<Arc<PolicySettings>> {
        let items = reader.one_or_more("policies").unwrap_or_default();
        if let (Some(span), true) = (reader.key_span("policies"), items.len() > MOST_OF_ROUTE) {
            let message = format!("`policies` has more than {MOST_OF_ROUTE} items");
            reader.cx.report(Diagnostic::error(span, message));
        }
        let mut found: Vec<Arc<PolicySettings>> = Vec::new();
        for item in items.iter().take(MOST_OF_ROUTE) {
            let settings = match &item.value {
                Value::Map(_) => self.inline(known, reader, item, route),
                _ => self.by_name(reader, item),
            };
            let Some(settings) = settings else { continue };
            if found.iter().any(|other| other.name == settings.name) {
                let message = format!("duplicate policy `{}`: the route has it already", settings.name);
                reader
                    .cx
                    .report(Diagnostic::error(item.span, message).note("remove one of them"));
                continue;
            }
            found.push(settings);
        }
        found
    }

    /// The names of the pools that serve error pages of these routes.
    pub(super) fn pools_of<'r>(&self, routes: &'r [RouteSettings]) -> BTreeSet<&'r str> {
        let policies = routes.iter().flat_map(|route| &route.policies);
        policies.flat_map(|policy| pools(policy)).collect()
    }

    /// Warns of policies that no route has, and of stores that no policy names.
    pub(super) fn warn_of_unused(&self, routes: &[RouteSettings]) {
        let policies = || routes.iter().flat_map(|route| &route.policies);
        let used: BTreeSet<&str> = policies().map(|policy| &*policy.name).collect();
        for (name, Found { span, .. }) in &self.found {
            if !used.contains(name) {
                let message = format!("no route uses policy `{name}`: it has no effect");
                self.root.cx.report(Diagnostic::warning(*span, message));
            }
        }
        let all = policies().chain(self.found.values().map(|found| &found.settings));
        let stores = all.filter_map(|policy| policy.params.text("shared"));
        self.stores.warn_of_unused(&stores.collect());
    }

    fn named(&self, known: &Known<'_>, entry: &'a Entry) -> Option<(Arc<PolicySettings>, Files<'a>)> {
        let cx = self.root.cx;
        if !is_pool_name(&entry.key) {
            let message = format!("{} is not a valid name of a policy", cx.quote(entry.key_span));
            let note = "accepted: letters, digits, `-`, `_` and `.`, at most 64 characters";
            cx.report(Diagnostic::error(entry.key_span, message).note(note));
        }
        match &entry.value.value {
            Value::Broken => None,
            Value::Empty => {
                let message = format!("policy `{}` has no value", entry.key);
                let note = "write its kind and parameters, such as `{ ip: { allow: [10.0.0.0/8] } }`";
                cx.report(Diagnostic::error(entry.key_span, message).note(note));
                None
            }
            _ => self.build(
                known,
                self.root,
                (entry.key.as_str(), entry.key_span),
                &entry.value,
            ),
        }
    }

    fn by_name(&self, reader: &Reader<'_>, item: &Node) -> Option<Arc<PolicySettings>> {
        let Some(written) = written(item) else {
            reader.refuse_node("policies", item);
            return None;
        };
        let found = self.found.get(written.text);
        let is_known = self
            .names
            .as_ref()
            .is_none_or(|names| names.contains(&written.text));
        if !is_known {
            let message = format!("unknown policy {}", reader.cx.quote(item.span));
            let names = self.names.as_deref().unwrap_or_default();
            let hint = match policy::by_name(written.text) {
                Some(kind) => Some(format!(
                    "`{0}` is a kind of policy: write it in `policies` under a name, or here as `{{ {0}: … }}`",
                    kind.name
                )),
                None => suggest::did_you_mean(written.text, names.iter().copied()),
            };
            let known = match names {
                [] => "the config has no `policies`".to_owned(),
                names => format!("policies: {}", listed(names.iter().copied())),
            };
            let hint = hint.filter(|_| !written.is_expanded);
            reader
                .cx
                .report(Diagnostic::error(item.span, message).note_if(hint).note(known));
        }
        let found = found?;
        if let Some(files) = found.files.take() {
            self.check_files(reader, &found.settings, files);
        }
        Some(Arc::clone(&found.settings))
    }

    /// Reports the files of a policy that cannot be used. Only a policy that a route has needs them.
    fn check_files(&self, reader: &Reader<'_>, settings: &PolicySettings, files: Files<'_>) {
        self.files.check(reader, files);
        if let Some(store) = settings.params.text("shared") {
            self.stores.check_ca(store);
        }
    }

    /// A policy that is written in a route: its name is that of the route and its kind.
    fn inline(
        &self,
        known: &Known<'_>,
        reader: &Reader<'_>,
        item: &Node,
        route: &str,
    ) -> Option<Arc<PolicySettings>> {
        let (settings, files) = self.build(known, reader, ("policies", item.span), item)?;
        self.check_files(reader, &settings, files);
        let kind = settings.entry.name;
        let mut names = self.inline.borrow_mut();
        let mut name: Arc<str> = format!("{route}/{kind}").into();
        let mut number = 2;
        while names.contains(&name) {
            name = format!("{route}/{kind}/{number}").into();
            number += 1;
        }
        names.insert(Arc::clone(&name));
        let settings = Arc::unwrap_or_clone(settings);
        Some(Arc::new(PolicySettings { name, ..settings }))
    }

    /// Reads a policy and builds it once, for its errors.
    fn build<'n>(
        &self,
        known: &Known<'_>,
        reader: &Reader<'_>,
        (name, span): (&'n str, Span),
        node: &'n Node,
    ) -> Option<(Arc<PolicySettings>, Files<'n>)> {
        let before = reader.cx.reported();
        let (row, params) = params::row_of(reader, (name, &TABLE), node, &vocabulary::policy)?;
        let entry = policy::by_name(row.name)?;
        let span = match &node.value {
            Value::Map(entries) => entries.first().map_or(span, |entry| entry.key_span),
            _ => span,
        };
        let built = Built {
            name: row.name,
            span,
            node,
            is_reported: reader.cx.reported() > before,
        };
        let result = (entry.build)(Context {
            name,
            params: &params,
            kept: &mut Kept::default().next(),
        });
        let policy = result.map_err(|error| built.report(reader.cx, &[error])).ok();
        if let Some(pages) = policy.as_ref().and_then(|policy| policy.error_pages()) {
            for pool in pages.pools() {
                known.check_pool(text_span(node, "pool", pool).unwrap_or(span), pool, false);
            }
        }
        if let Some(store) = params.text("shared") {
            self.stores
                .check(text_span(node, "shared", store).unwrap_or(span), store);
        }
        let files = Files {
            policy: (name, span),
            node,
            feeds: policy?.feeds(),
            ca: match params.get("ca") {
                Some(schema::Value::Text(path)) => Some(path.clone()),
                _ => None,
            },
        };
        let settings = PolicySettings {
            name: name.into(),
            entry,
            params,
        };
        Some((Arc::new(settings), files))
    }
}

/// Prints `policies` at top level.
pub(super) fn show(policies: &[Arc<PolicySettings>]) -> Item {
    let shown = policies
        .iter()
        .map(|policy| (quoted(&policy.name), show_row(policy)));
    Item::Map(shown.collect())
}

/// Prints a policy of a route: its name, or the policy itself if it has none.
pub(super) fn show_use(policy: &Arc<PolicySettings>) -> Item {
    match policy.is_inline() {
        true => show_row(policy),
        false => text(&policy.name),
    }
}

/// A row without parameters is a name in other tables. Here it would be the name of a policy.
fn show_row(policy: &PolicySettings) -> Item {
    match row(&TABLE, policy.entry.name, &policy.params) {
        Item::Map(keys) => Item::Map(keys),
        _ => Item::Map(vec![(policy.entry.name.to_owned(), Item::Map(Vec::new()))]),
    }
}

/// The names of the pools in the parameters of `error_pages`.
fn pools(policy: &PolicySettings) -> impl Iterator<Item = &str> {
    let pages = policy.params.any().iter();
    pages.filter_map(|(_, page)| match page {
        crate::schema::Value::Section(page) => page.text("pool"),
        _ => None,
    })
}

/// The span of this text as the value of this key, at any depth.
fn text_span(node: &Node, key: &str, text: &str) -> Option<Span> {
    match &node.value {
        Value::Map(entries) => entries.iter().find_map(|entry| {
            let is_it = entry.key == key && written(&entry.value).is_some_and(|written| written.text == text);
            match is_it {
                true => Some(entry.value.span),
                false => text_span(&entry.value, key, text),
            }
        }),
        Value::List(items) => items.iter().find_map(|item| text_span(item, key, text)),
        _ => None,
    }
}
