//! Every section agrees with the table of its keys: what it reads, and what it prints.

use std::collections::BTreeSet;
use std::path::Path;

use super::{good, read};
use crate::config::context::Context;
use crate::config::print::Item;
use crate::config::sections::{self, SECTIONS};
use crate::config::source::{Origin, Source};
use crate::config::{Config, print, tree};
use crate::schema::{Key, Kind, Row, RowForm, Section};
use crate::tls::testing::{Authority, Folder};

/// Names of sections with names of their keys.
type Keys = BTreeSet<(String, String)>;

/// A config in which every section occurs, and every key is printed at least once.
fn everything(folder: &Folder) -> String {
    let authority = Authority::new();
    let certificate = folder.put("site", &authority.sign_for(&["a.test"]));
    let ca = folder.write("ca.pem", &authority.pem());
    let pair = certificate.trim_matches(['{', '}', ' ']);
    let routes = ROUTES.replace("FILE", &folder.write("body.html", "<p>hello</p>"));
    format!(
        "listeners:
  - address: ':8443'
    tls: {{ certificates: [{certificate}], client_ca: '{ca}', client_auth: required }}
admin: {{ address: 127.0.0.1:9900, token: correct-horse-battery }}
access_log:
  - stderr
  - {{ path: 'syslog:udp://logs.test:5140', format: json, fields: [time, header.User-Agent], sample: {{ 2xx: 0.5%, slower_than: 500ms }}, on_full: drop, query: true, facility: daemon, severity: notice }}
strategy: {{ kind: ring_hash, key: header.X-User, load_factor: 1.5 }}
pools:
  web:
    strategy: {{ kind: peak_ewma, decay: 5s }}
    backends: [https://a:1]
    tls: {{ ca: '{ca}', server_name: a.test, {pair} }}
    health_check: {{ kind: http, method: GET, path: /healthz, status: 200, host: a.test, headers: {{ X-A: b }}, body: {{ contains: ok }}, port: 81 }}
    ejection: {{ consecutive: 2, failure_ratio: 20%, window: 5s, min_requests: 3, base: 1s, max: 2s, max_ejected: 9%, failures: [5xx] }}
    slow_start: 10s
    retry: {{ hedge: {{ after: 20ms }} }}
    sticky: {{ cookie: lb, max_age: 1h, http_only: false, same_site: strict, secure: always, secret: correct-horse-battery }}
  calls:
    sticky: {{ header: X-Session }}
    strategy: {{ kind: maglev, key: uri, load_factor: 1.25 }}
    backends: [{{ url: 'h2c://b:1', weight: 2, backup: true, name: b, drain: true }}, {{ file: more.yaml }}]
    health_check: {{ kind: grpc, service: all }}
  text:
    backends: http://d:1
    health_check: {{ body: {{ regex: ok }} }}
routes:
  - {{ host: a.test, path_prefix: /a, pool: web }}
  - {{ host: b.test, pool: calls }}
  - {{ host: text.test, pool: text }}
{routes}backends: http://c:1
"
    )
}

/// Routes with every key, and what they name.
const ROUTES: &str = "  - name: all
    host: [c.test, '*.c.test']
    path_regex: '/v[0-9]+/(?<id>[0-9]+)'
    method: [GET, HEAD]
    headers: { X-Canary: '1', X-Debug: present, X-Old: absent, User-Agent: { regex: '(?i)bot' } }
    query: { version: 2 }
    cookies: { beta: '1' }
    client_ip: [10.0.0.0/8, '::1']
    listener: [':8443']
    split: { web: 95, calls: 5 }
    rewrite: { path_regex: { match: '^/a/(?<rest>.*)$', replace: '/b/$1${rest}' }, host: backend }
    request_headers: { set: { X-Id: '${path.id} $$ ${client_ip}' }, add: { X-Tag: 1 }, remove: [X-Debug] }
    response_headers: { remove: Server }
    timeouts: { connect: 2s, first_byte: 3s, request: 4s, progress: 5s, stream_idle: 6s, tunnel_idle: 7s }
    retry: { attempts: 2, causes: [reset], non_idempotent_503: false, replay_limit: 0B, per_try_timeout: 1s, backoff: none, respect_retry_after: false, hedge: { after: p99, max: 1 } }
    limits: { body: 1MiB }
    mirror: { pool: web, percent: 0.5 }
    policies: [office, tokens, { basic_auth: { users_file: htpasswd, forward_user: X-User, forward_authorization: true } }, { compress: {} }]
  - { path: /old, redirect: { scheme: https, host: www.test, port: 8443, path: /new, query: drop, status: 308 } }
  - { path_prefix: /older, redirect: { path_prefix: /new }, policies: [] }
  - { path: /text, respond: { status: 403, headers: { X-A: '${route}' }, body: no } }
  - { path: /file, respond: { body_file: FILE } }
  - { path: /whole, pool: web, rewrite: { path: /x }, retry: off }
  - { path_prefix: /part, pool: web, rewrite: { path_prefix: / } }
route_defaults:
  rewrite: { host: keep }
  request_headers: { remove: [X-Old] }
  response_headers: { set: { Strict-Transport-Security: max-age=1 } }
  timeouts: { first_byte: 9s }
  retry: { attempts: 3 }
  limits: { body: 2MiB }
  mirror: { pool: calls }
  policies: [few, small, users, limit, pem, secret, sso, web, zip, pages]
policies:
  office: { ip: { allow: [10.0.0.0/8], deny: [10.6.6.0/24] } }
  few: { concurrency: { limit: 50, key: client_ip, ipv6_prefix: 64, status: 429, keys: 10 } }
  small: { body_limit: 1MiB }
  users: { basic_auth: { users: { alice: '$2b$04$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui' }, realm: staff } }
  limit: { rate_limit: { rate: 100/s, burst: 200, key: header.X-Key, keys: 10, ipv6_prefix: 56, status: 429, headers: true, shared: limits, on_failure: deny } }
  tokens: { jwt: { jwks: 'https://issuer.test/keys', issuer: 'https://issuer.test', audience: api, algorithms: [RS256], from: bearer, claims: { scope: read }, forward: { X-Sub: sub }, leeway: 10s, required: true, require_exp: true } }
  pem: { jwt: { public_key: key.pem } }
  secret: { jwt: { secret_file: key, algorithms: HS256 } }
  sso: { forward_auth: { url: 'http://auth:9000/check', request_headers: [Cookie], response_headers: [X-Groups], timeout: 2s } }
  web: { cors: { origins: ['https://app.test'], methods: [GET], headers: [Content-Type], expose: [ETag], credentials: true, max_age: 10m } }
  zip: { compress: { encodings: [zstd, gzip], min_size: 1KiB, types: [text/*], level: fast } }
  pages: { error_pages: { 502-504: sorry.html, 404: { pool: web, path: /404.html }, intercept: true } }
stores:
  limits: { redis: 'redis://127.0.0.1:6379/0' }
tracing: { otlp: 'grpcs://otel.test', sample: 2.5%, parent: trusted_proxies, service_name: edge, headers: { Authorization: Bearer abc } }
trusted_proxies: [10.0.0.0/8]
";

/// Every section: those of the table, those within them, and those of the rows that keys select.
fn all_sections() -> Vec<Section> {
    let mut all: Vec<Section> = Vec::new();
    let mut waiting: Vec<Section> = SECTIONS.iter().map(|section| **section).collect();
    while let Some(section) = waiting.pop() {
        if all.iter().any(|known| known.name == section.name) {
            continue;
        }
        let mut inner = Vec::new();
        section.collect_sections(&mut inner);
        waiting.extend(inner.into_iter().copied());
        let tables = section.keys.iter().filter_map(|key| key.kind.table());
        let rows = tables.flat_map(|table| (table.rows)());
        waiting.extend(rows.filter(|row| !row.keys.is_empty()).map(|row| row.section()));
        all.push(section);
    }
    all
}

/// The keys of the table, without those of rows of which the text of the test has none: all rows are read and printed by the same
/// code (`params`), so that a new one need not be written here.
fn used(known: Keys, found: &Keys) -> Keys {
    let tables = all_sections();
    let tables = tables.iter().flat_map(|section| section.keys);
    let rows = tables
        .filter_map(|key| key.kind.table())
        .flat_map(|table| (table.rows)());
    let rows: BTreeSet<&str> = rows.map(|row| row.name).collect();
    let is_found = |name: &str| found.iter().any(|(section, _)| section == name);
    known
        .into_iter()
        .filter(|(section, _)| !rows.contains(section.as_str()) || is_found(section))
        .collect()
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
    let known: Keys = all_sections()
        .iter()
        .flat_map(|section| names(section, section.keys.iter()))
        .collect();
    let known = used(known, &asked);
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
    let expected: Keys = all_sections()
        .iter()
        .filter(|section| section.name != "route_defaults")
        .flat_map(|section| {
            names(
                section,
                section.keys.iter().filter(|key| !key.is_printed_elsewhere),
            )
        })
        .collect();
    let expected = used(expected, &printed);
    let missing: Vec<_> = expected.difference(&printed).collect();
    assert!(missing.is_empty(), "in a table, but not printed: {missing:?}");
    let unknown: Vec<_> = printed.difference(&expected).collect();
    assert!(unknown.is_empty(), "printed, but not in a table: {unknown:?}");
    let text = print(&config);
    // The hash of the password is masked.
    let hash = "'$2b$04$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui'";
    let readable = text.replace("alice: \"****************\"", &format!("alice: {hash}"));
    assert_ne!(readable, text);
    let again = read(&readable).unwrap_or_else(|report| panic!("{text}\n{report}"));
    assert_eq!(printed_keys(&again.config), printed);
    assert_eq!(print(&again.config), text);
}

#[test]
fn names_of_sections_and_of_rows_with_parameters_are_unique() {
    let rows: Vec<Row> = SECTIONS
        .iter()
        .flat_map(|section| section.keys)
        .filter_map(|key| key.kind.table())
        .map(|table| (table.what, (table.rows)()))
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
        let key = section.key_or_any(name);
        let name = key.map_or(name.as_str(), |key| key.name);
        found.insert((section.name.to_owned(), name.to_owned()));
        if let Some(key) = key {
            collect(value, &key.kind, found);
        }
    }
}

fn collect(item: &Item, kind: &Kind, found: &mut Keys) {
    match (kind, item) {
        (Kind::Section(section), _) => collect_map(item, section, found),
        (Kind::Either(Kind::Section(section), rows @ Kind::Row(table)), Item::Map(entries)) => {
            match entries.iter().any(|(name, _)| table.row(name).is_some()) {
                true => collect(item, rows, found),
                false => collect_map(item, section, found),
            }
        }
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
        (Kind::Map(of), Item::Map(entries)) => {
            entries.iter().for_each(|(_, item)| collect(item, of, found));
        }
        (Kind::Row(table), Item::Map(entries)) if table.form == RowForm::Kind => {
            let row = entries
                .iter()
                .find_map(|(name, item)| match (name.as_str(), item) {
                    ("kind", Item::Word(word)) => table.row(word),
                    _ => None,
                });
            let parameters = entries.iter().filter(|(name, _)| name != "kind");
            let row = row.expect("a map has the name of its row");
            found.extend(parameters.map(|(name, _)| (row.name.to_owned(), name.clone())));
        }
        (Kind::Row(table), Item::Map(entries)) => {
            for (name, item) in entries {
                let Some(row) = table.row(name) else { continue };
                match row.value() {
                    Some(key) => {
                        found.insert((row.name.to_owned(), key.name.to_owned()));
                    }
                    None => collect_map(item, &row.section(), found),
                }
            }
        }
        _ => {}
    }
}
