//! The router against the model, with generated routes and requests.

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};

use super::*;

fn some_host() -> impl Strategy<Value = String> {
    "(\\*\\.)?[ab](\\.[ab]){0,2}"
}

fn some_path() -> impl Strategy<Value = PathMatcher> {
    let pattern = |text: &str| PathMatcher::Regex(PathPattern::new(text).unwrap());
    let patterns = ["/a.*", "/[ab](/b)?", "(?i)/A/?", "/.*/b|/b"].map(pattern);
    prop_oneof![
        3 => "(/[ab]{0,1}){1,3}".prop_map(PathMatcher::Prefix),
        2 => "(/[ab]{0,1}){1,3}".prop_map(PathMatcher::Exact),
        2 => prop::sample::select(patterns.to_vec()),
    ]
}

fn some_values(names: &'static str) -> impl Strategy<Value = Vec<ValueCondition>> {
    let pattern = |text: &str| ValueMatcher::Regex(ValuePattern::new(text).unwrap());
    let matcher = prop_oneof![
        3 => "[12+]".prop_map(ValueMatcher::Exact),
        1 => Just(ValueMatcher::Present),
        1 => Just(ValueMatcher::Absent),
        1 => Just(pattern("1")),
        1 => Just(pattern("^2$")),
    ];
    let condition = (names, matcher).prop_map(|(name, value)| ValueCondition { name, value });
    prop_oneof![
        3 => Just(Vec::new()),
        2 => prop::collection::vec(condition, 1..3),
    ]
}

fn some_conditions() -> impl Strategy<Value = Conditions> {
    let blocks = ["10.0.0.0/8", "10.1.0.0/16", "::/0", "2001:db8::/32"].map(|block| block.parse().unwrap());
    let few = |most: usize| prop_oneof![3 => Just(0), 1 => 1..=most];
    let methods = few(2).prop_flat_map(|count| prop::collection::vec("GET|PUT", count));
    let client_ip = few(3)
        .prop_flat_map(move |count| prop::collection::vec(prop::sample::select(blocks.to_vec()), count));
    let listeners = few(2).prop_flat_map(|count| prop::collection::vec(0_usize..2, count));
    (
        methods,
        some_values("[xXy]"),
        some_values("[xX]"),
        some_values("[xX]"),
        client_ip,
        listeners,
    )
        .prop_map(
            |(methods, headers, query, cookies, client_ip, listeners)| Conditions {
                methods,
                headers,
                query,
                cookies,
                client_ip,
                listeners,
            },
        )
}

fn some_matcher() -> impl Strategy<Value = Matcher> {
    let conditions = prop_oneof![
        1 => Just(Conditions::default()),
        2 => some_conditions(),
    ];
    let hosts = prop::collection::vec(some_host(), 0..3);
    (hosts, some_path(), conditions).prop_map(|(hosts, path, conditions)| Matcher {
        name: None,
        hosts,
        path,
        conditions,
    })
}

/// Routes of which no two are equal.
fn some_matchers() -> impl Strategy<Value = Vec<Matcher>> {
    prop::collection::vec(some_matcher(), 0..24).prop_map(without_equals)
}

fn without_equals(matchers: Vec<Matcher>) -> Vec<Matcher> {
    let mut kept: Vec<Matcher> = Vec::new();
    for matcher in matchers {
        if !kept.iter().any(|other| model::are_equal(other, &matcher)) {
            kept.push(matcher);
        }
    }
    kept
}

fn some_request() -> impl Strategy<Value = Asked> {
    let host = "[abAB](\\.[abAB]){0,3}\\.?(:[0-9]{0,2})?";
    let path = prop_oneof![
        9 => "(/[abA]{0,1}){1,4}",
        1 => "\\*|",
    ];
    let field = prop_oneof![
        "[xXy]".prop_flat_map(|name| (Just(name), "[12+]{0,2}")),
        "[xX]=\"?[12]\"?(; ?[xX]=[12])?".prop_map(|line| ("Cookie".to_owned(), line)),
    ];
    let fields = prop::collection::vec(
        field.prop_map(|(name, value)| (name.into_bytes(), value.into_bytes())),
        0..4,
    );
    let query = "(([xX]|%78)(=([12+]|%31|%2[Bb]|%)){0,2}&?){0,2}";
    let ips = [
        "10.1.0.1",
        "10.2.0.1",
        "::ffff:10.1.0.1",
        "11.0.0.1",
        "2001:db8::1",
        "::1",
    ];
    let ip = prop::option::of(prop::sample::select(ips.to_vec()));
    (
        prop_oneof![Just("GET"), Just("PUT"), Just("HEAD")],
        (host, path),
        (prop::option::of(query), fields),
        (ip, 0_usize..3),
    )
        .prop_map(|(method, (host, path), (query, fields), (ip, listener))| Asked {
            method: method.into(),
            host: host.into_bytes(),
            path: path.into_bytes(),
            query: query.map(String::into_bytes),
            fields,
            client_ip: ip.map(|ip| ip.parse().unwrap()),
            listener,
        })
}

fn any_bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(0_u8.., 0..most),
        prop::collection::vec(
            prop::sample::select(b"/ab.x=;&%2\"+*:[]\0\n\xff".to_vec()),
            0..most
        ),
    ]
}

fn any_request() -> impl Strategy<Value = Asked> {
    let cookie = any_bytes(40).prop_map(|value| (b"cookie".to_vec(), value));
    let field = prop_oneof![(any_bytes(4), any_bytes(40)), cookie];
    (
        (any_bytes(8), any_bytes(300), any_bytes(100)),
        prop::option::of(any_bytes(100)),
        prop::collection::vec(field, 0..6),
        (any::<Option<IpAddr>>(), any::<usize>()),
    )
        .prop_map(
            |((method, host, path), query, fields, (client_ip, listener))| Asked {
                method,
                host,
                path,
                query,
                fields,
                client_ip,
                listener,
            },
        )
}

proptest! {
    // Each case has more than a hundred routes, so a few cases suffice.
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Hundreds of hosts, and requests with every equivalent spelling of a host.
    #[test]
    fn matches_many_hosts_like_the_model(
        hosts in prop::collection::btree_set("(\\*\\.)?[a-c]{1,2}(\\.[a-c]{1,2}){1,2}", 101..140),
        requests in prop::collection::vec("[a-cA-C]{1,2}(\\.[a-cA-C]{1,2}){1,3}\\.?(:[0-9]{0,4})?", 1..40),
    ) {
        let routes: Vec<_> = hosts.iter().map(|host| prefix(Some(host), "/")).collect();
        let router = router(&routes);
        for host in requests {
            let asked = Asked::get(&host, "/");
            prop_assert_eq!(asked.found_by(&router), model::find(&routes, &asked), "{}", host);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn matches_routes_like_the_model(
        routes in some_matchers(),
        requests in prop::collection::vec(some_request(), 1..16),
    ) {
        let router = router(&routes);
        for asked in requests {
            prop_assert_eq!(asked.found_by(&router), model::find(&routes, &asked), "{:?}", asked);
        }
    }

    /// One host and few paths, so that many routes compete.
    #[test]
    fn matches_routes_of_one_path_like_the_model(
        conditions in prop::collection::vec((some_conditions(), "/(a(/b)?)?"), 1..24),
        requests in prop::collection::vec(some_request(), 1..16),
    ) {
        let route = |(conditions, path): (_, String)| prefix(None, &path).with(conditions);
        let routes = without_equals(conditions.into_iter().map(route).collect());
        let router = router(&routes);
        for asked in requests {
            let asked = Asked { path: b"/a/b".to_vec(), ..asked };
            prop_assert_eq!(asked.found_by(&router), model::find(&routes, &asked), "{:?}", asked);
        }
    }

    #[test]
    fn equal_routes_are_those_of_the_model(routes in prop::collection::vec(some_matcher(), 0..8)) {
        let is_equal = |(index, one): (usize, &Matcher)| {
            routes.iter().skip(index + 1).any(|other| model::are_equal(one, other))
        };
        let expected = routes.iter().enumerate().any(is_equal);
        prop_assert_eq!(Router::new(&routes).is_err(), expected);
    }

    /// Only patterns and routes that are equally specific are tried in the order of the file.
    #[test]
    fn order_does_not_matter_where_specificity_decides(routes in some_matchers(), asked in some_request()) {
        let is_pattern = |route: &Matcher| matches!(route.path, PathMatcher::Regex(_));
        let routes: Vec<_> = routes.into_iter().filter(|route| !is_pattern(route)).collect();
        let mut ranks: Vec<_> = model::ranks(&routes, &asked).into_iter().map(|(rank, _)| rank).collect();
        ranks.sort_unstable();
        let is_decided = !matches!(&*ranks, [.., second, first] if second == first);
        let backward: Vec<_> = routes.iter().rev().cloned().collect();
        let one = asked.found_by(&router(&routes));
        let other = asked.found_by(&router(&backward)).map(|index| routes.len() - 1 - index);
        prop_assert_eq!(one.is_some(), other.is_some());
        if is_decided {
            prop_assert_eq!(one, other);
        }
    }

    #[test]
    fn explains_what_it_finds(routes in some_matchers(), asked in some_request()) {
        let router = router(&routes);
        let outcomes = asked.with(|request| router.explain(&routes, request));
        let found = asked.found_by(&router);
        let matching: Vec<_> = model::ranks(&routes, &asked).into_iter().map(|(_, index)| index).collect();
        for (index, outcome) in outcomes.iter().enumerate() {
            match outcome {
                Outcome::Chosen => prop_assert_eq!(found, Some(index)),
                Outcome::LessSpecific { than } => prop_assert_eq!(found, Some(*than)),
                _ => {}
            }
            let is_match = matches!(outcome, Outcome::Chosen | Outcome::LessSpecific { .. });
            prop_assert_eq!(is_match, matching.contains(&index), "{}: {}", index, outcome);
        }
    }

    #[test]
    fn routes_any_bytes_without_panic(routes in some_matchers(), asked in any_request()) {
        let with_all = [routes, vec![prefix(None, "/").with(listeners(&[usize::MAX, usize::MAX - 1]))]].concat();
        let routes = without_equals(with_all);
        let router = router(&routes);
        let found = asked.found_by(&router);
        asked.with(|request| {
            let outcomes = router.explain(&routes, request);
            let chosen = outcomes.iter().position(|outcome| *outcome == Outcome::Chosen);
            assert_eq!(chosen, found);
            for index in 0..routes.len() {
                let captures = router.captures(index, request);
                assert!(captures.is_none_or(|captures| captures.get("x").is_none()));
            }
        });
    }
}
