//! Routes of hosts, exact paths, prefixes and patterns, without other conditions.

use super::*;

#[test]
fn longest_path_wins_at_segment_boundaries() {
    let routes = [prefix(None, "/v1"), prefix(None, "/"), prefix(None, "/v1/users")];
    for (path, expected) in [
        ("/", 1),
        ("/v1", 0),
        ("/v1/", 0),
        ("/v1/x", 0),
        ("/v10", 1),
        ("/v1/users", 2),
        ("/v1/users/7", 2),
        ("/v1/usersx", 0),
        ("/V1", 1),
        ("*", 1),
        ("", 1),
        ("x/v1", 1),
    ] {
        assert_eq!(found(&routes, "a.test", path), Some(expected), "{path}");
    }
    assert_eq!(found(&routes[..1], "a.test", "/v10"), None);
}

#[test]
fn most_specific_host_wins_before_longest_path() {
    let routes = [
        prefix(None, "/deep/path"),
        prefix(Some("*.test"), "/deep"),
        prefix(Some("*.b.test"), "/"),
        prefix(Some("a.b.test"), "/"),
    ];
    for (host, expected) in [
        ("a.b.test", 3),
        ("c.b.test", 2),
        ("d.c.b.test", 2),
        ("b.test", 1),
        ("x.test", 1),
        ("test", 0),
        ("other", 0),
        ("", 0),
    ] {
        assert_eq!(found(&routes, host, "/deep/path"), Some(expected), "{host}");
    }
}

#[test]
fn path_without_route_falls_back_to_less_specific_host() {
    let routes = [
        prefix(Some("api.test"), "/v1"),
        prefix(Some("*.test"), "/v2"),
        prefix(None, "/"),
    ];
    assert_eq!(found(&routes, "api.test", "/v1/x"), Some(0));
    assert_eq!(found(&routes, "api.test", "/v2"), Some(1));
    assert_eq!(found(&routes, "api.test", "/v3"), Some(2));
    assert_eq!(found(&routes[..2], "api.test", "/v3"), None);
}

#[test]
fn host_match_ignores_case_port_and_trailing_dot() {
    let routes = [
        prefix(Some("api.example.com"), "/"),
        prefix(Some("::1"), "/"),
        prefix(Some("*.example.com"), "/"),
    ];
    for (host, expected) in [
        ("API.Example.com", Some(0)),
        ("api.example.com:8080", Some(0)),
        ("api.example.com.", Some(0)),
        ("api.example.com.:80", Some(0)),
        ("[::1]", Some(1)),
        ("[::1]:8080", Some(1)),
        ("X.EXAMPLE.COM:1", Some(2)),
        ("example.com", None),
        ("api.example.com..", None),
        (".example.com", None),
    ] {
        assert_eq!(found(&routes, host, "/"), expected, "{host}");
    }
}

#[test]
fn overlong_host_matches_only_routes_for_every_host() {
    let long = format!("{}.example.com", "a.".repeat(4_000));
    let routes = [prefix(Some("*.example.com"), "/"), prefix(None, "/x")];
    assert_eq!(found(&routes, &long, "/"), None);
    assert_eq!(found(&routes, &long, "/x"), Some(1));
}

#[test]
fn a_route_with_several_hosts_matches_each_of_them() {
    let both = Matcher {
        hosts: vec!["a.test".to_owned(), "*.b.test".to_owned(), "A.test.".to_owned()],
        ..prefix(None, "/")
    };
    let routes = [both, prefix(Some("x.b.test"), "/"), prefix(Some("*.test"), "/")];
    for (host, expected) in [
        ("a.test", 0),
        ("y.b.test", 0),
        ("x.b.test", 1),
        ("c.test", 2),
        ("b.test", 2),
    ] {
        assert_eq!(found(&routes, host, "/"), Some(expected), "{host}");
    }
}

#[test]
fn exact_path_wins_over_patterns_and_patterns_over_prefixes() {
    let routes = [
        prefix(None, "/v1/users"),
        regex(None, "/v[0-9]+/.*"),
        exact(None, "/v1/users"),
        regex(None, "/v1/users/.*"),
        exact(None, "/"),
        exact(None, "/v1/users/"),
    ];
    for (path, expected) in [
        ("/v1/users", Some(2)),
        ("/v1/users/", Some(5)),
        ("/v1/users/7", Some(1)),
        ("/v1", None),
        ("/", Some(4)),
        ("//", None),
        ("*", None),
        ("", None),
    ] {
        assert_eq!(found(&routes, "a", path), expected, "{path}");
    }
    assert_eq!(found(&routes[..1], "a", "/v1/users/7"), Some(0));
}

#[test]
fn patterns_of_one_host_are_tried_in_the_order_of_the_file_and_before_other_hosts() {
    let routes = [
        regex(None, "/[a-z]+"),
        regex(Some("a.test"), "/[a-c]+"),
        regex(Some("a.test"), "/[a-z]+"),
        exact(None, "/abc"),
    ];
    for (host, path, expected) in [
        ("a.test", "/abc", Some(1)),
        ("a.test", "/abz", Some(2)),
        ("b.test", "/abz", Some(0)),
        ("b.test", "/abc", Some(3)),
        ("b.test", "/7", None),
    ] {
        assert_eq!(found(&routes, host, path), expected, "{host}{path}");
    }
}

#[test]
fn groups_of_the_path_are_there_for_routes_with_a_pattern() {
    let routes = [
        prefix(None, "/"),
        regex(None, "/users/(?<id>[0-9]+)(?:/(?<rest>.*))?"),
    ];
    let router = router(&routes);
    Asked::get("a", "/users/42").with(|request| {
        assert_eq!(router.find(request), Some(1));
        let captures = router.captures(1, request).unwrap();
        assert_eq!(captures.get("id"), Some(&b"42"[..]));
        assert_eq!(captures.get("rest"), None);
        assert!(router.captures(0, request).is_none() && router.captures(9, request).is_none());
    });
    Asked::get("a", "/users/x").with(|request| assert!(router.captures(1, request).is_none()));
}
