//! Configs as users of other load balancers write them, and the exact messages about them: `messages.txt`.

use evenkeel_balance::policy;

use super::{read, with};
use crate::config::Loaded;
use crate::discovery;
use crate::strategy::STRATEGIES;

/// What follows from tables stands in the expected messages as a name in braces, so that a new row changes none of them.
fn with_tables(text: &str) -> String {
    let names: Vec<&str> = STRATEGIES.iter().map(|entry| entry.name).collect();
    let mut with_parameters = STRATEGIES.iter().filter(|entry| !entry.keys.is_empty());
    let strategies = format!(
        "one of {}, or a map with its name as `kind` and its parameters, such as {{ kind: {}, … }}",
        names.join(", "),
        with_parameters.next().unwrap().name
    );
    let sources = discovery::TABLE.names().into_iter();
    let sources: Vec<String> = sources.map(|name| format!("{{ {name}: … }}")).collect();
    text.replace("{strategies}", &strategies)
        .replace("{policies}", &policy::TABLE.names().join(", "))
        .replace("{sources}", &sources.join(", "))
}

/// Texts and the expected messages.
fn cases() -> Vec<(String, String)> {
    let file = with_tables(include_str!("messages.txt"));
    let cases = file.split("\n==\n").skip(1);
    cases
        .map(|case| {
            let (text, expected) = case.split_once("\n--\n").unwrap();
            let text = match text.strip_prefix('+') {
                Some(lines) => with(&format!("{lines}\n")),
                None => format!("{text}\n"),
            };
            (text, expected.trim_end().to_owned())
        })
        .collect()
}

#[test]
fn prints_the_error_and_a_suggestion() {
    let cases = cases();
    assert!(cases.len() > 60, "{}", cases.len());
    for (text, expected) in cases {
        let shown = match read(&text) {
            Ok(Loaded { warnings, .. }) if warnings.is_empty() => "valid".to_owned(),
            Ok(Loaded { warnings, .. }) => warnings.iter().map(|warning| format!("{warning}\n\n")).collect(),
            Err(report) => report.to_string(),
        };
        assert_eq!(shown.trim_end(), expected, "{text}");
    }
}

#[test]
fn a_single_backend_needs_no_list() {
    let config = super::good("listen: :1\nbackends: http://a:1\n");
    assert_eq!(config.pools[0].backends.len(), 1);
    let config =
        super::good("listen: :1\npools: { p: { backends: unix:/run/a.sock } }\nroutes: [{ pool: p }]\n");
    assert_eq!(config.pools[0].backends.len(), 1);
}

#[test]
fn a_status_class_is_a_range_of_a_hundred() {
    let config = super::good(&with("health_check: { status: [2xx, 301, 304-308] }\n"));
    let ranges = config.pools[0].health_check.status.as_ref().unwrap();
    let ranges: Vec<_> = ranges.iter().map(|range| (range.from, range.to)).collect();
    assert_eq!(ranges, [(200, 299), (301, 301), (304, 308)]);
    for wrong in ["0xx", "6xx", "22xx", "xx", "2x", "+xx"] {
        super::bad(&with(&format!("health_check: {{ status: {wrong} }}\n")));
    }
}

#[test]
fn the_admin_api_can_be_on_a_unix_socket_without_a_token() {
    for text in [
        "admin: unix:/run/e.sock\n",
        "admin: { address: 'unix:/run/e.sock' }\n",
    ] {
        let admin = super::good(&with(text)).admin.unwrap();
        assert_eq!(admin.address.to_string(), "unix:/run/e.sock");
        assert!(admin.token.is_none());
    }
}

#[test]
fn an_ipv4_address_in_ipv6_notation_is_an_ipv4_address() {
    let config = super::good(&with("admin: '[::ffff:127.0.0.1]:9901'\n"));
    assert_eq!(config.admin.unwrap().address.to_string(), "127.0.0.1:9901");
    let shown =
        super::bad("listen: ['0.0.0.0:80', '[::ffff:127.0.0.1]:80']\nbackends: [http://a:1]").to_string();
    assert!(shown.contains("overlaps with `'0.0.0.0:80'`"), "{shown}");
}

#[test]
fn hints_show_no_secrets_and_no_variable_values() {
    for text in [
        "pools: { a: 'http://me:hush@a:1' }",
        "pools: { a: ['http://me:hush@a:1'] }",
        "pools: { a: { backends: 'http://me:hush@a:1, http://b:1' } }",
        "listeners: '${WRONG}'",
        "health_check: '${WRONG}'",
        "routes: [{ path_prefix: '/${WRONG}/*', pool: '${WRONG}' }]",
        "routes: [{ path_prefix: '${WRONG}/*', pool: default }]",
        "trusted_proxies: '${WRONG}'",
        "strategy: '${WRONG}'",
    ] {
        let shown = super::bad(&with(text)).to_string();
        assert!(!shown.contains("hush"), "{text}\n{shown}");
    }
}
