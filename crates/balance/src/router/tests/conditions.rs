//! Routes with conditions: what each of them means, which route wins, and where the search goes on.

use super::*;

/// Whether a route with these conditions and no other gets a request.
fn hold(conditions: &Conditions, asked: &Asked) -> bool {
    let routes = [prefix(None, "/").with(conditions.clone())];
    asked.found_by(&router(&routes)).is_some()
}

fn asked() -> Asked {
    Asked::get("a.test", "/x")
}

#[test]
fn a_method_is_compared_with_case() {
    let conditions = methods(&["GET", "PURGE"]);
    assert!(hold(&conditions, &asked()));
    assert!(hold(&conditions, &asked().method("PURGE")));
    for method in ["HEAD", "get", "", "GETX"] {
        assert!(!hold(&conditions, &asked().method(method)), "{method}");
    }
}

#[test]
fn a_header_is_one_line_with_exactly_this_value() {
    let conditions = headers([is("X-Canary", "1")]);
    assert!(hold(&conditions, &asked().field("x-canary", "1")));
    let twice = asked().field("X-CANARY", "0").field("X-Canary", "1");
    assert!(hold(&conditions, &twice));
    for other in ["", "0", "11", "1,1", "1 "] {
        assert!(!hold(&conditions, &asked().field("X-Canary", other)), "{other}");
    }
    assert!(!hold(&conditions, &asked()));
    assert!(!hold(&conditions, &asked().field("X-Canary2", "1")));
}

#[test]
fn a_value_may_be_present_absent_or_match_a_pattern() {
    let condition = |matcher| headers([value("X-A", matcher)]);
    let (present, absent) = (condition(ValueMatcher::Present), condition(ValueMatcher::Absent));
    let pattern = condition(ValueMatcher::Regex(ValuePattern::new("(?i)bot|^x$").unwrap()));
    let lines = |values: &[&str]| {
        let add = |asked: Asked, value: &&str| asked.field("x-a", value);
        values.iter().fold(asked(), add)
    };
    for (values, expected) in [
        (&[][..], [false, true, false]),
        (&[""], [true, false, false]),
        (&["curl"], [true, false, false]),
        (&["GoogleBot/1"], [true, false, true]),
        (&["curl", "x"], [true, false, true]),
        (&["xx"], [true, false, false]),
    ] {
        let found = [&present, &absent, &pattern].map(|conditions| hold(conditions, &lines(values)));
        assert_eq!(found, expected, "{values:?}");
    }
}

#[test]
fn query_parameters_are_compared_decoded() {
    let conditions = query([is("version", "2 +")]);
    for text in [
        "version=2+%2B",
        "a=1&version=2%20%2b",
        "version=1&version=2+%2B",
        "%76ersion=%32+%2B&",
    ] {
        assert!(hold(&conditions, &asked().query(text)), "{text}");
    }
    for text in [
        "",
        "version",
        "version=2++",
        "Version=2+%2B",
        "version=2+%2B;a",
        "version%3D2+%2B",
    ] {
        assert!(!hold(&conditions, &asked().query(text)), "{text}");
    }
    assert!(!hold(&conditions, &asked()));
}

#[test]
fn a_query_parameter_may_be_present_absent_or_match_a_pattern() {
    let condition = |matcher| query([value("q", matcher)]);
    let pattern = ValuePattern::new("^a b").unwrap();
    for (text, expected) in [
        (None, [false, true, false]),
        (Some("q"), [true, false, false]),
        (Some("%71=a+b"), [true, false, true]),
        (Some("q=a%20bc"), [true, false, true]),
        (Some("q=x&q=a b"), [true, false, true]),
        (Some("qq=a+b"), [false, true, false]),
    ] {
        let asked = text.map_or_else(asked, |text| asked().query(text));
        let matchers = [
            ValueMatcher::Present,
            ValueMatcher::Absent,
            ValueMatcher::Regex(pattern.clone()),
        ];
        let found = matchers.map(|matcher| hold(&condition(matcher), &asked));
        assert_eq!(found, expected, "{text:?}");
    }
    let long = format!("q=a+b{}", "%20".repeat(1_000));
    let conditions = condition(ValueMatcher::Regex(ValuePattern::new("^a b {1000}$").unwrap()));
    assert!(hold(&conditions, &asked().query(&long)));
}

#[test]
fn a_cookie_is_one_of_any_line() {
    let conditions = cookies([is("beta", "1")]);
    for line in ["beta=1", "a=2; beta=1", "beta=0;beta=\"1\""] {
        assert!(hold(&conditions, &asked().field("Cookie", line)), "{line}");
    }
    for line in ["", "beta", "beta=11", "Beta=1", "beta=%31", "xbeta=1"] {
        assert!(!hold(&conditions, &asked().field("cookie", line)), "{line}");
    }
    let absent = cookies([value("beta", ValueMatcher::Absent)]);
    assert!(hold(&absent, &asked()) && !hold(&absent, &asked().field("cookie", "beta=")));
}

#[test]
fn a_client_is_in_one_of_the_blocks() {
    let conditions = client_ip(&["10.1.2.3/8", "2001:db8::/32", "::ffff:192.0.2.0/120"]);
    for ip in ["10.255.0.1", "::ffff:10.0.0.1", "2001:db8::7", "192.0.2.255"] {
        assert!(hold(&conditions, &asked().from(ip)), "{ip}");
    }
    for ip in ["11.0.0.0", "2001:db9::", "::1", "192.0.3.0", "::10.0.0.1"] {
        assert!(!hold(&conditions, &asked().from(ip)), "{ip}");
    }
    assert!(!hold(&conditions, &asked()), "a client of a Unix socket");
    let every = client_ip(&["0.0.0.0/0"]);
    assert!(hold(&every, &asked().from("1.2.3.4")) && !hold(&every, &asked().from("::1")));
}

#[test]
fn a_listener_is_one_of_the_list() {
    let conditions = listeners(&[1, 3]);
    let found = [0, 1, 2, 3].map(|listener| hold(&conditions, &asked().listener(listener)));
    assert_eq!(found, [false, true, false, true]);
}

#[test]
fn everything_that_is_written_must_hold() {
    let conditions = Conditions {
        methods: vec!["POST".to_owned()],
        headers: vec![is("X-A", "1"), is("X-A", "2")],
        query: vec![is("v", "2")],
        cookies: vec![is("beta", "1")],
        client_ip: vec!["10.0.0.0/8".parse().unwrap()],
        listeners: vec![1],
    };
    let fields = |asked: Asked, values: &[&str]| {
        let add = |asked: Asked, value: &&str| asked.field("X-A", value);
        values.iter().fold(asked.field("Cookie", "beta=1"), add)
    };
    let base = asked().method("POST").query("v=2").from("10.0.0.1").listener(1);
    let all = fields(base.clone(), &["1", "2"]);
    assert!(hold(&conditions, &all));
    assert!(!hold(&conditions, &all.clone().method("GET")));
    assert!(!hold(&conditions, &fields(base.clone(), &["1"])));
    assert!(!hold(&conditions, &all.clone().query("v=1")));
    assert!(!hold(&conditions, &base.field("X-A", "1").field("X-A", "2")));
    assert!(!hold(&conditions, &all.clone().from("11.0.0.1")));
    assert!(!hold(&conditions, &all.listener(0)));
}

/// Each is preferred to all that follow, whatever their order in the file.
#[test]
fn more_specific_conditions_win() {
    let a = |name: &str| is(name, "1");
    let ordered = [
        methods(&["GET"]),
        headers([a("X-A"), a("X-B")]),
        Conditions {
            query: vec![a("q")],
            ..headers([a("X-A")])
        },
        headers([a("X-B")]),
        Conditions {
            cookies: vec![a("c")],
            ..query([a("q")])
        },
        cookies([a("c")]),
        client_ip(&["10.1.2.0/24", "::/0"]),
        client_ip(&["10.1.0.0/16", "2001:db8::/32"]),
        listeners(&[0]),
        Conditions::default(),
    ];
    let asked = asked()
        .field("x-a", "1")
        .field("x-b", "1")
        .field("cookie", "c=1")
        .query("q=1")
        .from("10.1.2.3");
    for from in 0..ordered.len() {
        let routes: Vec<_> = ordered[from..]
            .iter()
            .map(|conditions| prefix(None, "/").with(conditions.clone()))
            .collect();
        assert_eq!(asked.found_by(&router(&routes)), Some(0), "{from}");
        let reversed: Vec<_> = routes.iter().rev().cloned().collect();
        assert_eq!(
            asked.found_by(&router(&reversed)),
            Some(routes.len() - 1),
            "{from}"
        );
    }
}

#[test]
fn a_header_that_is_written_in_two_cases_counts_once() {
    let present = |name: &str| value(name, ValueMatcher::Present);
    let routes = [
        prefix(None, "/").with(headers([present("X-A")])),
        prefix(None, "/").with(headers([present("x-b"), present("X-B")])),
    ];
    let asked = asked().field("x-a", "1").field("x-b", "1");
    assert_eq!(asked.found_by(&router(&routes)), Some(0));
}

#[test]
fn the_client_decides_which_of_two_lists_of_blocks_is_more_specific() {
    let routes = [
        prefix(None, "/").with(client_ip(&["10.0.0.0/8", "192.0.2.1/32"])),
        prefix(None, "/").with(client_ip(&["10.1.0.0/16", "192.0.2.0/24"])),
    ];
    let router = router(&routes);
    for (ip, expected) in [
        ("10.1.1.1", Some(1)),
        ("10.2.1.1", Some(0)),
        ("192.0.2.1", Some(0)),
        ("192.0.2.2", Some(1)),
        ("192.0.3.2", None),
    ] {
        assert_eq!(asked().from(ip).found_by(&router), expected, "{ip}");
    }
}

#[test]
fn equally_specific_routes_are_tried_in_the_order_of_the_file() {
    let routes = ["X-A", "X-B", "X-C"].map(|name| prefix(None, "/").with(headers([is(name, "1")])));
    let router = router(&routes);
    let asked = asked().field("x-c", "1");
    assert_eq!(asked.found_by(&router), Some(2));
    assert_eq!(asked.field("x-b", "1").found_by(&router), Some(1));
}

#[test]
fn a_path_whose_conditions_do_not_hold_leads_to_the_next_best() {
    let post = || methods(&["POST"]);
    let chain = [
        exact(Some("a.b.test"), "/v1/x").with(post()),
        regex(Some("a.b.test"), "/v1/.").with(post()),
        prefix(Some("a.b.test"), "/v1/x").with(post()),
        prefix(Some("a.b.test"), "/v1").with(post()),
        prefix(Some("a.b.test"), "/").with(post()),
        exact(Some("*.b.test"), "/v1/x").with(post()),
        prefix(Some("*.test"), "/v1").with(post()),
        regex(None, "/.*").with(post()),
        prefix(None, "/v1").with(post()),
    ];
    let post = Asked::get("a.b.test", "/v1/x").method("POST");
    let get = Asked::get("a.b.test", "/v1/x");
    for from in 0..chain.len() {
        let rest = &chain[from..];
        assert_eq!(post.found_by(&router(rest)), Some(0), "{from}");
        assert_eq!(get.found_by(&router(rest)), None, "{from}");
        // Only the last path that is tried accepts every request.
        let mut last = chain.to_vec();
        last[from].conditions = Conditions::default();
        assert_eq!(get.found_by(&router(&last)), Some(from), "{from}");
    }
}

#[test]
fn routes_with_the_same_pattern_are_tried_together() {
    let routes = [
        regex(None, "/[a-z]+"),
        regex(None, "/[a-c]+"),
        regex(None, "/[a-z]+").with(methods(&["POST"])),
    ];
    let router = router(&routes);
    assert_eq!(Asked::get("a", "/abc").method("POST").found_by(&router), Some(2));
    assert_eq!(Asked::get("a", "/abc").found_by(&router), Some(0));
}
