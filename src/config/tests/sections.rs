//! Every section agrees with the table of its keys: what it reads, and what it prints.

use std::collections::BTreeSet;
use std::path::Path;

use super::{good, read};
use crate::config::context::Context;
use crate::config::print::Item;
use crate::config::sections::{self, SECTIONS};
use crate::config::source::{Origin, Source};
use crate::config::{Config, print, tree};
use crate::schema::{Key, Kind, Row, Section};
use crate::tls::testing::{Authority, Folder};

/// Names of sections with names of their keys.
type Keys = BTreeSet<(String, String)>;

/// A config in which every section occurs, and every key is printed at least once.
fn everything(folder: &Folder) -> String {
    let authority = Authority::new();
    let certificate = folder.put("site", &authority.sign_for(&["a.test"]));
    let ca = folder.write("ca.pem", &authority.pem());
    let pair = certificate.trim_matches(['{', '}', ' ']);
    format!(
        "listeners:
  - address: ':8443'
    tls: {{ certificates: [{certificate}], client_ca: '{ca}', client_auth: required }}
admin: {{ address: 127.0.0.1:9900, token: correct-horse-battery }}
access_log: {{ path: stderr }}
pools:
  web:
    backends: [https://a:1]
    tls: {{ ca: '{ca}', server_name: a.test, {pair} }}
    health_check: {{ kind: http, path: /healthz, status: 200 }}
  calls:
    backends: [{{ url: 'h2c://b:1', weight: 2 }}, {{ file: more.yaml }}]
    health_check: {{ kind: grpc, service: all }}
routes:
  - {{ host: a.test, path_prefix: /a, pool: web }}
  - {{ host: b.test, pool: calls }}
backends: http://c:1
"
    )
}

fn names<'a>(section: &'a Section, keys: impl Iterator<Item = &'a Key>) -> Vec<(String, String)> {
    keys.map(|key| (section.name.to_owned(), key.name.to_owned()))
        .collect()
}

#[test]
fn every_key_of_a_table_is_read_and_no_other() {
    let folder = Folder::new();
    let text = everything(&folder);
    let source = Source::new("c.yaml", &text, Origin::File);
    let cx = Context::new(source, Path::new("/etc/evenkeel"), &|_| None);
    let root = tree::parse(&cx).unwrap();
    assert!(sections::read(&cx, root.as_ref()).is_some());
    let asked: Keys = cx.keys_read.take();
    let known: Keys = SECTIONS
        .iter()
        .flat_map(|section| names(section, section.keys.iter()))
        .collect();
    let never_read: Vec<_> = known.difference(&asked).collect();
    assert!(never_read.is_empty(), "in a table, but not read: {never_read:?}");
    let unknown: Vec<_> = asked.difference(&known).collect();
    assert!(unknown.is_empty(), "read, but not in a table: {unknown:?}");
}

#[test]
fn every_key_of_a_table_is_printed_and_no_other() {
    let folder = Folder::new();
    let config = good(&everything(&folder));
    let printed = printed_keys(&config);
    let expected: Keys = SECTIONS
        .iter()
        .flat_map(|section| {
            names(
                section,
                section.keys.iter().filter(|key| !key.is_printed_elsewhere),
            )
        })
        .collect();
    let missing: Vec<_> = expected.difference(&printed).collect();
    assert!(missing.is_empty(), "in a table, but not printed: {missing:?}");
    let unknown: Vec<_> = printed.difference(&expected).collect();
    assert!(unknown.is_empty(), "printed, but not in a table: {unknown:?}");
    let text = print(&config);
    let again = read(&text).unwrap_or_else(|report| panic!("{text}\n{report}"));
    assert_eq!(printed_keys(&again.config), printed);
}

#[test]
fn names_of_sections_and_of_rows_with_parameters_are_unique() {
    let rows: Vec<Row> = SECTIONS
        .iter()
        .flat_map(|section| section.keys)
        .filter_map(|key| match key.kind {
            Kind::Row(table) => Some((table.what, (table.rows)())),
            _ => None,
        })
        .collect::<std::collections::BTreeMap<_, _>>()
        .into_values()
        .flatten()
        .collect();
    let mut all = BTreeSet::new();
    for name in SECTIONS
        .iter()
        .map(|section| section.name)
        .chain(rows.iter().map(|row| row.name))
    {
        assert!(all.insert(name), "{name} names two sections");
    }
}

fn printed_keys(config: &Config) -> Keys {
    let mut found = Keys::new();
    collect_map(&sections::show(config), SECTIONS[0], &mut found);
    found
}

/// The keys of a printed map, and of the maps in it.
fn collect_map(item: &Item, section: &Section, found: &mut Keys) {
    let Item::Map(entries) = item else { return };
    for (name, value) in entries {
        found.insert((section.name.to_owned(), name.clone()));
        if let Some(key) = section.key(name) {
            collect(value, &key.kind, found);
        }
    }
}

fn collect(item: &Item, kind: &Kind, found: &mut Keys) {
    match (kind, item) {
        (Kind::Section(section), _) => collect_map(item, section, found),
        (Kind::Either(one, other), _) => {
            collect(item, one, found);
            collect(item, other, found);
        }
        (Kind::List(of), Item::List(items) | Item::Line(items)) => {
            items.iter().for_each(|item| collect(item, of, found));
        }
        (Kind::Named(section), Item::Map(entries)) => {
            entries
                .iter()
                .for_each(|(_, item)| collect_map(item, section, found));
        }
        _ => {}
    }
}
