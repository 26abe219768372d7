//! What is said of the routes that a request does not get.

use super::*;

#[test]
fn every_route_has_a_reason() {
    let routes = [
        prefix(None, "/"),
        prefix(Some("b.test"), "/"),
        prefix(None, "/v1"),
        regex(None, "/x[0-9]"),
        prefix(None, "/x").with(methods(&["POST", "PUT"])),
        prefix(None, "/x").with(headers([is("X-Canary", "1")])),
        prefix(None, "/x").with(headers([is("X-One", "1")])),
        prefix(None, "/x").with(headers([value("X-One", ValueMatcher::Absent)])),
        prefix(None, "/x").with(query([is("v", "2")])),
        prefix(None, "/x").with(cookies([is("beta", "1")])),
        prefix(None, "/x").with(client_ip(&["10.0.0.0/8"])),
        prefix(None, "/x").with(listeners(&[1])),
        prefix(Some("*.test"), "/x").with(headers([is("x-one", "2")])),
    ];
    let asked = Asked::get("A.test:80", "/x").field("X-One", "2").query("v=1");
    let router = router(&routes);
    asked.with(|request| {
        let outcomes = router.explain(&routes, request);
        assert_eq!(outcomes[0], Outcome::LessSpecific { than: 12 });
        let texts: Vec<_> = outcomes.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "a more specific route matched",
                "host does not match",
                "path /v1 does not match",
                "path ~/x[0-9] does not match",
                "method is not POST or PUT",
                "header X-Canary is missing",
                "header X-One does not match",
                "header X-One is present",
                "query parameter v does not match",
                "cookie beta is missing",
                "client address is not in `client_ip`",
                "listener does not match",
                "chosen",
            ]
        );
    });
}

#[test]
fn without_a_match_no_route_is_chosen() {
    let routes = [prefix(Some("b.test"), "/"), exact(None, "/v1")];
    Asked::get("a.test", "/").with(|request| {
        let outcomes = router(&routes).explain(&routes, request);
        assert_eq!(outcomes, [Outcome::Host, Outcome::Path(&routes[1].path)]);
    });
}
