//! Routes that cannot be used together.

use super::*;

fn errors(matchers: &[Matcher]) -> Vec<RouteError> {
    Router::new(matchers).map(|_| ()).unwrap_err().0
}

fn equal(first: (usize, &str), second: (usize, &str)) -> RouteError {
    RouteError::Equal {
        first: first.0,
        first_label: first.1.to_owned(),
        second: second.0,
        second_label: second.1.to_owned(),
    }
}

#[test]
fn equal_routes_are_an_error_that_names_both() {
    let routes = [
        prefix(None, "/a").named("one"),
        prefix(None, "/b"),
        prefix(None, "/a/"),
    ];
    let errors = errors(&routes);
    assert_eq!(errors, [equal((0, "one"), (2, "*/a/"))]);
    assert_eq!(
        errors[0].to_string(),
        "routes[2] (`*/a/`) never matches: routes[0] (`one`) has the same host, path and conditions; \
         remove one of them, or give one a condition that the other does not have"
    );
}

#[test]
fn conditions_are_equal_in_any_order_and_spelling() {
    let one = Conditions {
        methods: vec!["GET".to_owned(), "HEAD".to_owned()],
        headers: vec![is("X-A", "1"), value("x-b", ValueMatcher::Present)],
        client_ip: vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
        listeners: vec![0, 1],
        ..Conditions::default()
    };
    let other = Conditions {
        methods: ["HEAD", "GET", "HEAD"].map(str::to_owned).to_vec(),
        headers: vec![value("X-B", ValueMatcher::Present), is("x-a", "1")],
        client_ip: vec!["::1/128".parse().unwrap(), "10.9.9.9/8".parse().unwrap()],
        listeners: vec![1, 0],
        ..Conditions::default()
    };
    let routes = [
        exact(None, "/").with(one.clone()),
        exact(None, "/").with(other.clone()),
    ];
    assert_eq!(errors(&routes), [equal((0, "*/"), (1, "*/"))]);
    for other in [
        Conditions {
            query: vec![is("a", "1")],
            ..other.clone()
        },
        Conditions {
            headers: vec![is("x-a", "1")],
            ..other.clone()
        },
        Conditions {
            headers: vec![is("x-a", "1"), value("x-b", ValueMatcher::Absent)],
            ..other
        },
        Conditions::default(),
    ] {
        let routes = [exact(None, "/").with(one.clone()), exact(None, "/").with(other)];
        assert!(Router::new(&routes).is_ok());
    }
}

#[test]
fn routes_that_share_one_of_several_hosts_are_equal_once() {
    let hosts = |hosts: &[&str]| Matcher {
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        ..prefix(None, "/")
    };
    let routes = [
        hosts(&["a.test", "b.test", "c.test"]),
        hosts(&["C.test", "b.test."]),
        hosts(&["d.test"]),
    ];
    let expected = equal((0, "a.test,b.test,c.test/"), (1, "C.test,b.test./"));
    assert_eq!(errors(&routes), [expected]);
}

#[test]
fn exact_paths_prefixes_and_patterns_differ() {
    let routes = [exact(None, "/a"), prefix(None, "/a"), regex(None, "/a")];
    assert!(Router::new(&routes).is_ok());
    let twice = [regex(None, "/a"), regex(Some("a.test"), "/a"), regex(None, "/a")];
    assert_eq!(errors(&twice), [equal((0, "*~/a"), (2, "*~/a"))]);
}

#[test]
fn all_errors_are_reported() {
    let routes = [
        prefix(None, "/").named("web"),
        prefix(None, "/"),
        prefix(None, "/"),
        exact(Some("a.test"), "x"),
        prefix(None, ""),
        prefix(None, "/b").named("web"),
    ];
    let duplicate = RouteError::DuplicateName {
        name: "web".to_owned(),
        first: 0,
        second: 5,
    };
    let not_a_path = |route, label: &str| RouteError::NotAPath {
        route,
        label: label.to_owned(),
    };
    assert_eq!(
        errors(&routes),
        [
            duplicate,
            not_a_path(3, "a.testx"),
            not_a_path(4, "*"),
            equal((0, "web"), (1, "*/")),
            equal((0, "web"), (2, "*/")),
        ]
    );
    let text = RouteErrors(errors(&routes)).to_string();
    assert_eq!(text.lines().count(), 5, "{text}");
}
