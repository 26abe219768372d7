//! What a reload would change, and what that touches in the running process. Builds the config as a reload does, from nothing: state
//! that is in use is neither asked for nor changed.

use std::path::PathBuf;

use super::changes::{Changes, Difference, Items};
use crate::admin::{ChangeKind, NotPlanned, Planned, PlannedChange};
use crate::config::{ConfigText, Loaded};
use crate::kept::Kept;

/// The name of a config that did not come from a file, in messages.
const UNNAMED: &str = "config";
/// Changes of a reload that are listed where there is little room.
const LINES_SHOWN: usize = 10;

/// The state of the running process, and what is left of it.
pub(super) struct State<'a> {
    kept: &'a Kept,
    /// The names of what the new config does not ask for.
    lost: Vec<&'a str>,
}

impl<'a> State<'a> {
    /// The state `kept`, which the state `next` replaces.
    pub(super) fn new(kept: &'a Kept, next: &Kept) -> Self {
        Self {
            kept,
            lost: kept.missing_in(next),
        }
    }

    /// What becomes of the state of a policy, if it has any.
    fn effect_on_policy(&self, policy: &str) -> Option<&'static str> {
        let prefix = format!("policy/{policy}/");
        if self.lost.iter().any(|name| name.starts_with(&prefix)) {
            return Some("its counts and what it has stored begin anew");
        }
        let mut names = self.kept.names();
        names
            .any(|name| name.starts_with(&prefix))
            .then_some("its counts and what it has stored are kept")
    }
}

/// The result of a plan.
pub(super) type PlanResult = Result<Planned, NotPlanned>;

/// Loads a config: this text, or else the file of the running process.
pub(super) fn load(source: Option<PathBuf>, text: Option<String>) -> Result<Loaded, NotPlanned> {
    let text = match (text, source) {
        // Relative paths are those of the file that this text is to replace.
        (Some(text), source) => ConfigText::at(&source.unwrap_or_default(), UNNAMED.to_owned(), text),
        (None, Some(path)) => ConfigText::read(&path),
        (None, None) => {
            let why = "this process runs without a config file: send a config";
            return Err(NotPlanned::Invalid(vec![why.to_owned()]));
        }
    };
    let loaded = text.and_then(|text| text.parse());
    loaded.map_err(|report| NotPlanned::Invalid(report.messages()))
}

/// Describes changes, and what they touch.
pub(super) fn planned(changes: &Changes, state: &State<'_>) -> Planned {
    let mut listed = Vec::new();
    for (kind, difference) in changes.kinds() {
        list(kind, difference, state, &mut listed);
    }
    let settings = entries(ChangeKind::Changed, "setting", &changes.settings, |key, _| {
        effect_on_setting(key).map(str::to_owned)
    });
    listed.extend(settings);
    Planned {
        count: changes.count(),
        changes: listed,
        ..Planned::default()
    }
}

/// The first changes, a line each, and how many more there are.
pub(super) fn lines(changes: &Changes) -> Vec<String> {
    let kinds = changes.kinds();
    let of_kinds = kinds.iter().flat_map(|(kind, difference)| {
        let parts = [
            ("added", &difference.added),
            ("removed", &difference.removed),
            ("changed", &difference.changed),
        ];
        let lines = parts.into_iter().flat_map(move |(change, items)| {
            items
                .iter()
                .map(move |item| format!("{kind} {} {change}", item.name))
        });
        lines.collect::<Vec<_>>()
    });
    let settings = changes.settings.iter();
    let settings = settings.map(|item| format!("setting {} changed", item.name));
    let mut lines: Vec<String> = of_kinds.chain(settings).take(LINES_SHOWN).collect();
    let more = changes.count() - lines.len();
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines
}

fn list(kind: &str, difference: &Difference, state: &State<'_>, listed: &mut Vec<PlannedChange>) {
    let parts = [
        (ChangeKind::Added, &difference.added),
        (ChangeKind::Removed, &difference.removed),
        (ChangeKind::Changed, &difference.changed),
    ];
    for (change, items) in parts {
        let effect = |name: &str, differs: &str| effect((kind, change), (name, differs), state);
        listed.extend(entries(change, kind, items, effect));
    }
}

fn entries(
    change: ChangeKind,
    kind: &str,
    items: &Items,
    effect: impl Fn(&str, &str) -> Option<String>,
) -> Vec<PlannedChange> {
    let entry = |item: &super::changes::Item| PlannedChange {
        change,
        kind: kind.to_owned(),
        name: item.name.clone(),
        differs: Some(item.differs.clone()).filter(|differs| !differs.is_empty()),
        effect: effect(&item.name, &item.differs),
    };
    items.iter().map(entry).collect()
}

/// What a change touches.
fn effect(
    (kind, change): (&str, ChangeKind),
    (name, differs): (&str, &str),
    state: &State<'_>,
) -> Option<String> {
    let effect = match (kind, change) {
        ("listener", ChangeKind::Added) => "bound before anything else changes",
        ("listener", ChangeKind::Removed) => "stops accepting; its connections drain",
        ("listener", ChangeKind::Changed) => "new connections use it; open ones stay as they are",
        ("pool", ChangeKind::Removed) => "running requests finish; its state is dropped",
        ("pool", ChangeKind::Changed) => return Some(effect_on_pool(differs)),
        ("backend", ChangeKind::Added) => "checked at once",
        ("backend", ChangeKind::Removed) => "running requests finish; it gets no new ones",
        ("backend", ChangeKind::Changed) => "connections, health and counts are kept",
        ("policy", ChangeKind::Removed) => "its state is dropped",
        ("policy", ChangeKind::Changed) => state.effect_on_policy(name)?,
        _ => return None,
    };
    Some(effect.to_owned())
}

fn effect_on_setting(key: &str) -> Option<&'static str> {
    (key == "workers").then_some("open connections stay; those of workers that end drain")
}

fn effect_on_pool(differs: &str) -> String {
    let changes = |wanted: &str| differs.split(", ").any(|key| key == wanted);
    let mut effect = "health, latency and connections of its backends are kept".to_owned();
    if changes("tls") || changes("send_proxy") {
        effect = "health and latency of its backends are kept; new requests use new connections".to_owned();
    }
    if changes("health_check") {
        effect += "; they are checked anew";
    }
    effect
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{self, Config};
    use crate::server::assemble;

    fn config(text: &str) -> Config {
        let text = format!("listen: 127.0.0.1:0\n{text}");
        let loaded = config::from_text(&text, "test", Path::new("."), &|_| None);
        loaded.unwrap_or_else(|report| panic!("{report}")).config
    }

    fn kept(config: &Config) -> Kept {
        assemble::assemble(config, &Kept::default())
            .unwrap()
            .keep
            .finish()
    }

    /// The changes from one config to another, as `kind name: effect`.
    fn effects(before: &str, after: &str) -> Vec<String> {
        let (before, after) = (config(before), config(after));
        let (old, new) = (kept(&before), kept(&after));
        let state = State::new(&old, &new);
        let planned = planned(&Changes::between(&before, &after), &state);
        let effect = |change: PlannedChange| {
            let effect = change.effect.unwrap_or_default();
            format!("{} {}: {effect}", change.kind, change.name)
        };
        planned.changes.into_iter().map(effect).collect()
    }

    fn limited(policy: &str) -> String {
        format!(
            "backends: [\"http://127.0.0.1:1\"]\npolicies: {{ calls: {{ rate_limit: {{ {policy} }} }} }}\n\
             route_defaults: {{ policies: [calls] }}\n"
        )
    }

    #[test]
    fn a_policy_keeps_its_counts_unless_its_key_changes() {
        let of_policy = |after: &str| {
            let effects = effects(&limited("rate: 10/s"), &limited(after));
            effects.into_iter().find(|effect| effect.starts_with("policy"))
        };
        assert_eq!(
            of_policy("rate: 20/s").as_deref(),
            Some("policy calls: its counts and what it has stored are kept")
        );
        assert_eq!(
            of_policy("rate: 20/s, key: header.X-User").as_deref(),
            Some("policy calls: its counts and what it has stored begin anew")
        );
    }

    #[test]
    fn a_pool_whose_tls_or_health_check_changes_says_so() {
        let with = |pool: &str, rest: &str| {
            format!(
                "pools: {{ web: {{ backends: [\"http://127.0.0.1:1\"]{pool} }} }}\nroutes: [{{ pool: web }}]\n{rest}\n"
            )
        };
        assert_eq!(
            effects(
                &with("", ""),
                &with(", health_check: off, send_proxy: v1, retry: { attempts: 1 }", "")
            ),
            [
                "pool web: health and latency of its backends are kept; new requests use new connections; they are checked anew"
            ]
        );
        assert_eq!(
            effects(
                &with("", ""),
                &with(", retry: { attempts: 1 }", "timeouts: { drain: 7s }")
            ),
            [
                "pool web: health, latency and connections of its backends are kept",
                "setting timeouts: "
            ]
        );
    }

    #[test]
    fn the_first_changes_are_lines() {
        let pools = |count: usize| {
            let pool = |number| format!("  p{number}: {{ backends: [\"http://127.0.0.1:1\"] }}\n");
            let pools: String = (0..count).map(pool).collect();
            config(&format!("pools:\n{pools}routes: [{{ pool: p0 }}]\n"))
        };
        let changes = Changes::between(&pools(1), &pools(3));
        assert_eq!(
            lines(&changes),
            [
                "pool p1 added",
                "pool p2 added",
                "backend p1 http://127.0.0.1:1 added",
                "backend p2 http://127.0.0.1:1 added"
            ]
        );
        let lines = lines(&Changes::between(&pools(1), &pools(20)));
        assert_eq!(lines.len(), 11);
        assert_eq!(lines[10], "and 28 more");
    }
}
