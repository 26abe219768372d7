//! Backends that come from sources beside the config: the items that name them, and the text of a list.

use std::path::Path;

use super::{bad, good};
use crate::config::{self, print};
use crate::pool::BackendSettings;

fn list(text: &str) -> Result<Vec<BackendSettings>, String> {
    config::backends(text, Path::new("/etc/evenkeel"))
}

fn urls(list: &[BackendSettings]) -> Vec<&str> {
    list.iter().map(|backend| backend.address.url.as_str()).collect()
}

#[test]
fn a_file_is_a_source_of_its_pool_beside_the_listed_backends() {
    let config = good(
        "listen: :8080\ntimeouts: { connect: 3s }\npools:\n  api:\n    backends: [http://a:1, { file: lists/api.yaml }]\nroutes: [{ pool: api }]\n",
    );
    assert_eq!(urls(&config.pools[0].backends), ["http://a:1"]);
    let [source] = &config.sources[..] else {
        panic!("{:?}", config.sources)
    };
    assert_eq!((&*source.pool, source.source.name), ("api", "file"));
    assert_eq!(source.location(), "/etc/evenkeel/lists/api.yaml");
    assert_eq!(source.answer_within, config.pools[0].timeouts.connect);
    assert!(!source.has_tls);
    let printed = print(&config);
    assert!(
        printed.contains("- file: /etc/evenkeel/lists/api.yaml"),
        "{printed}"
    );
    assert_eq!(print(&good(&printed)), printed);
}

#[test]
fn a_pool_may_have_only_files_and_tls_for_their_backends() {
    let config = good("listen: :8080\nbackends: [{ file: a.yaml }, { file: b.yaml }]\n");
    assert!(config.pools[0].backends.is_empty());
    assert_eq!(config.sources.len(), 2);
}

#[test]
fn a_file_item_has_no_other_key_and_a_path() {
    for (item, words) in [
        ("{ file: a, weight: 2 }", "`weight` cannot be used with `file`"),
        ("{ file: a, url: http://b }", "`url` cannot be used with `file`"),
        ("{ file: '' }", "invalid value `''` for `file`"),
        ("{ file: [a] }", "invalid value for `file`"),
        ("{ weight: 2 }", "`url` is missing in backends[]"),
    ] {
        let report = bad(&format!("listen: :8080\nbackends: [{item}]\n"));
        assert_eq!(report.errors(), 1, "{report}");
        assert!(report.to_string().contains(words), "{report}");
    }
}

#[test]
fn the_same_file_twice_in_a_pool_is_an_error() {
    let report = bad("listen: :8080\nbackends: [{ file: a }, { file: ./a }]\n");
    assert!(report.to_string().contains("duplicate source"), "{report}");
}

#[test]
fn a_list_has_the_form_of_backends_as_yaml_or_json() {
    let found =
        list("- http://a:1\n- { url: http://b:1, weight: 3, backup: true }\n- unix:s.sock\n").unwrap();
    assert_eq!(urls(&found), ["http://a:1", "http://b:1", "unix:s.sock"]);
    assert_eq!((found[1].weight, found[1].is_backup), (3, true));
    let socket = found[2].address.file.as_deref();
    assert_eq!(socket, Some(Path::new("/etc/evenkeel/s.sock")));
    assert_eq!(
        urls(&list(r#"[{ "url": "http://a:1" }]"#).unwrap()),
        ["http://a:1"]
    );
    assert_eq!(list("[]"), Ok(Vec::new()));
}

#[test]
fn an_invalid_list_is_an_error_of_one_line() {
    for (text, error) in [
        ("", "not a list of backends"),
        ("a: b\n", "not a list of backends"),
        ("- http://a:1\n- nope\n", "line 2: "),
        ("- http://a:1\n- http://a:1\n", "line 2: duplicate backend"),
        ("- nope\n- nope\n", "(and 1 more)"),
        ("- [\n", "invalid YAML"),
        (
            "- { file: other.yaml }\n",
            "`file` cannot be used in the list of a source",
        ),
    ] {
        let found = list(text).unwrap_err();
        assert!(
            found.contains(error) && !found.contains('\n'),
            "{text:?}: {found}"
        );
    }
}
