//! Parameters of rows of a made-up table, from the text to the values, the schema and the page.

use std::path::Path;
use std::time::Duration;

use crate::config::context::Context;
use crate::config::reader::Reader;
use crate::config::source::{Origin, Source};
use crate::config::{params, print, reference, secret_values, tree};
use crate::schema::{Form, Key, Kind, Params, Row, RowForm, Section, Table, Value};

const HEADER: Kind = Kind::Text(
    Form::new("client_ip or header.NAME").checked(|text| text == "client_ip" || text.starts_with("header.")),
);

const SEED: Kind = Kind::Text(Form::new("two words").checked(|text| text.split(' ').count() == 2));

const BOUND: Section = Section {
    name: "bound",
    about: "A bound.",
    keys: &[
        Key::new(
            "size",
            Kind::Size {
                least: 1,
                most: 1 << 20,
            },
            "Its size.",
        )
        .required(),
        Key::new("seed", SEED, "What hashes begin with.").secret(),
    ],
};

const HASH: &[Key] = &[
    Key::new("key", HEADER, "What is hashed.").required(),
    Key::new(
        "points",
        Kind::Count { least: 1, most: 1000 },
        "Points of a backend.",
    )
    .words(&["auto"])
    .default("100"),
    Key::new("names", Kind::Either(&HEADER, &Kind::List(&HEADER)), "Names.").default("[client_ip, header.A]"),
    Key::new(
        "window",
        Kind::Duration {
            least: Duration::from_millis(1),
            most: Duration::from_secs(60),
        },
        "How long.",
    )
    .words(&["off"])
    .default("10s"),
    Key::new(
        "factor",
        Kind::Decimal {
            least: 1000,
            most: 10_000,
        },
        "How much more.",
    )
    .default("1.25"),
    Key::new("mode", Kind::Choice(&["fast", "exact"]), "Which.").default("fast"),
    Key::new("strict", Kind::Flag, "Whether."),
    Key::new("bound", Kind::Section(&BOUND), "A bound."),
    Key::new("bounds", Kind::Named(&BOUND), "Bounds by name."),
];

const TABLE: Table = Table {
    what: "strategy",
    form: RowForm::Name,
    rows: || {
        vec![
            Row {
                name: "plain",
                summary: "without parameters",
                keys: &[],
            },
            Row {
                name: "hash",
                summary: "with parameters",
                keys: HASH,
            },
        ]
    },
};

const ROOT: Section = Section {
    name: "root",
    about: "",
    keys: &[Key::new("strategy", Kind::Row(&TABLE), "The strategy.").default("plain")],
};

/// The row and its parameters, or the messages.
fn read(text: &str) -> Result<(&'static str, Params), String> {
    let source = Source::new("c.yaml", text, Origin::File);
    let cx = Context::new(source, Path::new("/"), &|_| Some("hush".to_owned()));
    let tree = tree::parse(&cx).unwrap().unwrap();
    let row = Reader::open(&cx, &ROOT, &tree).and_then(|reader| {
        params::row(&reader, "strategy", &|word| {
            (word == "ring").then_some("it is called `hash` here")
        })
    });
    let (problems, has_error) = cx.finish(&secret_values::in_tree(&tree, &ROOT.secret_keys()));
    match row {
        Some((row, params)) if !has_error => Ok((row.name, params)),
        _ => Err(problems.iter().map(|problem| format!("{problem}\n")).collect()),
    }
}

#[test]
fn a_name_alone_has_the_defaults() {
    assert_eq!(read("strategy: plain"), Ok(("plain", Params::default())));
    assert_eq!(read("strategy: { plain: {} }"), Ok(("plain", Params::default())));
    let (name, params) = read("strategy: { hash: { key: client_ip } }").unwrap();
    assert_eq!((name, params.text("key")), ("hash", Some("client_ip")));
    assert_eq!(params.count("points"), Some(100));
    assert_eq!(params.duration("window"), Some(Duration::from_secs(10)));
    assert_eq!(params.decimal("factor"), Some(1.25));
    assert_eq!(params.word("mode"), Some("fast"));
    let names: Vec<_> = ["client_ip", "header.A"]
        .map(|name| Value::Text(name.to_owned()))
        .to_vec();
    assert_eq!(params.list("names"), names);
    assert!(params.get("strict").is_none() && params.get("bound").is_none());
}

#[test]
fn every_type_of_value_is_read() {
    let text = "strategy:\n  hash:\n    key: header.X\n    points: auto\n    names: [header.B]\n    window: false\n    \
                mode: exact\n    strict: true\n    bound: { size: 1KiB }\n    bounds: { a: { size: 2 }, b: { size: 3 } }\n";
    let (_, params) = read(text).unwrap();
    assert_eq!(params.word("points"), Some("auto"));
    assert_eq!(params.list("names"), [Value::Text("header.B".to_owned())]);
    assert_eq!(params.word("window"), Some("off"));
    assert_eq!(params.word("mode"), Some("exact"));
    assert!(params.flag("strict"));
    assert_eq!(params.section("bound").unwrap().size("size"), Some(1024));
    let bounds: Vec<_> = params
        .named("bounds")
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(bounds, ["a", "b"]);
}

#[test]
fn errors_have_a_place_and_a_suggestion() {
    for (text, shown) in [
        (
            "strategy: hahs",
            "1:11: error: invalid value `hahs` for `strategy`",
        ),
        ("strategy: hahs", "did you mean `hash`?"),
        (
            "strategy: { hahs: {} }",
            "1:13: error: invalid value `hahs` for `strategy`",
        ),
        ("strategy: { hahs: {} }", "did you mean `hash`?"),
        ("strategy: { ring: {} }", "it is called `hash` here"),
        ("strategy: hash", "1:11: error: `key` is missing in hash"),
        ("strategy: { hash: {} }", "`key` is missing in hash"),
        ("strategy: { hash: }", "write `{ hash: {} }`"),
        ("strategy: { hash: 5 }", "expected a map, found text"),
        ("strategy: { plain: { points: 5 } }", "unknown key `points`"),
        ("strategy: { plain: { points: 5 } }", "plain has no parameters"),
        (
            "strategy: { hash: { key: client_ip, pionts: 5 } }",
            "did you mean `points`?",
        ),
        ("strategy: { hash: { key: client_ip, pionts: 5 } }", "1:37: error"),
        (
            "strategy: {}",
            "`strategy` must have one key, the name of a strategy",
        ),
        (
            "strategy: { kind: hash, key: client_ip }",
            "write the name as the key: `{ hash: { … } }`",
        ),
        (
            "strategy: { kind: plain }",
            "`plain` has no parameters: write only the name",
        ),
        (
            "strategy: { kind: ring, key: client_ip }",
            "it is called `hash` here",
        ),
        ("strategy: [hash]", "remove the brackets"),
    ] {
        let message = read(text).unwrap_err();
        assert!(message.contains(shown), "{text}\n{message}");
    }
}

#[test]
fn invalid_values_have_the_accepted_ones_and_a_suggestion() {
    for (text, shown) in [
        (
            "strategy: { hash: { key: user } }",
            "accepted: client_ip or header.NAME",
        ),
        (
            "strategy: { hash: { key: client_ip, points: 0 } }",
            "from 1 to 1000, or auto",
        ),
        (
            "strategy: { hash: { key: client_ip, window: 5 } }",
            "did you mean `5s`?",
        ),
        (
            "strategy: { hash: { key: client_ip, names: [1] } }",
            "invalid value `1` for `names`",
        ),
        (
            "strategy: { hash: { key: client_ip, mode: { a: 1 } } }",
            "invalid value for `mode`: found a map",
        ),
        (
            "strategy: { hash: { key: client_ip, bound: {} } }",
            "`size` is missing in bound",
        ),
        (
            "strategy: { hash: { key: client_ip, bounds: { a: 1 } } }",
            "expected a map, found text",
        ),
    ] {
        let message = read(text).unwrap_err();
        assert!(message.contains(shown), "{text}\n{message}");
    }
}

#[test]
fn errors_do_not_show_the_value_of_a_variable() {
    for text in [
        "strategy: ${A}",
        "strategy: { kind: \"${A}\" }",
        "strategy: { hash: { key: \"${A}\" } }",
        "strategy: { hash: { key: client_ip, points: \"${A}\" } }",
    ] {
        let message = read(text).unwrap_err();
        assert!(!message.contains("hush"), "{text}\n{message}");
    }
}

#[test]
fn printed_parameters_read_back() {
    let text = "strategy: { hash: { key: \"header.X y\", names: [], window: off, bounds: { \"a b\": { size: 1KiB } } } }";
    let (name, params) = read(text).unwrap();
    let printed = print::map([("strategy", print::row(&TABLE, name, &params))]).to_yaml();
    assert_eq!(read(&printed), Ok((name, params)), "{printed}");
    assert!(printed.contains("points: 100"), "{printed}");
    assert!(printed.contains("factor: 1.25"), "{printed}");
    assert_eq!(
        print::map([("strategy", print::row(&TABLE, "plain", &Params::default()))]).to_yaml(),
        "strategy: plain\n"
    );
}

#[test]
fn the_schema_and_the_page_list_the_parameters() {
    let schema = reference::schema_of(&[&ROOT]);
    assert_eq!(schema["$defs"]["bound"]["required"][0], "size");
    let any = &schema["properties"]["strategy"]["anyOf"];
    assert_eq!(any[0]["enum"][1], "hash");
    let hash = &any[1]["properties"]["hash"];
    assert_eq!(hash["required"][0], "key");
    assert_eq!(hash["properties"]["points"]["default"], 100);
    assert_eq!(hash["properties"]["factor"]["default"], 1.25);
    assert_eq!(any[1]["properties"]["plain"]["additionalProperties"], false);
    assert_eq!(
        (&any[1]["minProperties"], &any[1]["maxProperties"]),
        (&1.into(), &1.into())
    );
    let page = reference::page_of(&[&ROOT]);
    assert!(page.contains("## strategy: hash\n\nwith parameters\n"), "{page}");
    assert!(
        page.contains("| `points` | a whole number from 1 to 1000, or auto | `100` |"),
        "{page}"
    );
    assert!(!page.contains("## strategy: plain"), "{page}");
    assert_eq!(page.matches("## bound\n").count(), 1, "{page}");
}

#[test]
fn secrets_are_not_shown() {
    let secret = "hunter two";
    let text =
        format!("strategy: {{ hash: {{ key: client_ip, bounds: {{ a: {{ size: 1, seed: {secret} }} }} }} }}");
    let (name, params) = read(&text).unwrap();
    let printed = print::map([("strategy", print::row(&TABLE, name, &params))]).to_yaml();
    assert!(
        printed.contains("seed: \"****************\"") && !printed.contains("hunter"),
        "{printed}"
    );
    for wrong in [
        "seed: [hunter]",
        "seed: hunter",
        "size: 0, seed: hunter two",
        "sized: 0, seed: hunter two",
    ] {
        let text = format!("strategy: {{ hash: {{ key: client_ip, bound: {{ size: 1, {wrong} }} }} }}")
            .replace("size: 1, size", "size");
        let message = read(&text).unwrap_err();
        assert!(!message.contains("hunter"), "{message}");
    }
}
