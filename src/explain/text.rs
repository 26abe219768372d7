//! The explanation as text for people, for a terminal with 80 columns.

use std::fmt::Write;

use crate::admin::{
    Candidate, ExplainedAction, ExplainedPolicy, ExplainedPool, ExplainedRetry, Explanation,
    ForwardedRequest, HeaderChange, RouteOutcome, SplitPart,
};

/// Columns of the names on the left, at most; a longer name has a line of its own.
const WIDEST_NAME: usize = 34;
/// Maximum number of other routes that are listed for one reason; the rest is only counted.
const MOST_ROUTES: usize = 20;

/// The text of an explanation.
pub(super) fn render(explanation: &Explanation) -> String {
    let mut out = String::new();
    request(explanation, &mut out);
    if explanation.redirected_to_https {
        out += "\nThe listener redirects it to HTTPS with status 308; it is not routed.\n";
        return out;
    }
    routes(explanation, &mut out);
    policies(&explanation.policies, &mut out);
    if let Some(action) = &explanation.action {
        out += "\nAction\n";
        write_action(action, &mut out);
    }
    if let Some(forwarded) = &explanation.forwarded {
        write_forwarded(forwarded, &mut out);
    }
    if !explanation.response_headers.is_empty() {
        out += "\nChanges of the response\n";
        headers(&explanation.response_headers, &mut out);
    }
    for pool in &explanation.pools {
        write_pool(pool, &mut out);
    }
    if explanation.action.is_some() {
        let limit = explanation.body_limit.as_deref().unwrap_or("none");
        out += "\nLimits\n";
        rows(&[("body of the request".to_owned(), limit.to_owned())], &mut out);
    }
    out
}

fn request(explanation: &Explanation, out: &mut String) {
    let request = &explanation.request;
    let query = request.query.iter().flat_map(|query| ["?", query]);
    let query: String = query.collect();
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "{} {}://{}{}{query}",
        request.method, request.scheme, request.host, request.path
    );
    let _ = writeln!(
        out,
        "  from {} by listener {}",
        request.client_ip, request.listener
    );
}

/// The chosen route, then the others by the reason why they lost.
fn routes(explanation: &Explanation, out: &mut String) {
    let is_chosen = |route: &&RouteOutcome| route.outcome == "chosen";
    let mut listed: Vec<(String, String)> = Vec::new();
    let mut left_out = Vec::new();
    let routes = &explanation.routes;
    for outcome in ["chosen", "less_specific", "condition", "path", "host"] {
        let mut of_outcome = routes.iter().filter(|route| route.outcome == outcome);
        let first = of_outcome.by_ref().take(MOST_ROUTES);
        listed.extend(first.map(|route| (route.route.clone(), route.why.clone())));
        match (of_outcome.count(), outcome) {
            (0, _) => {}
            (count, "less_specific") => left_out.push(format!("{count} more routes that are less specific")),
            (count, "condition") => {
                left_out.push(format!("{count} more routes with a condition that does not hold"))
            }
            (count, _) => left_out.push(format!("{count} more routes whose {outcome} does not match")),
        }
    }
    out.push_str("\nRoutes\n");
    if !routes.iter().any(|route| is_chosen(&route)) {
        out.push_str("  No route matches: the client gets a 404 response with the error `no_route`.\n");
    }
    rows(&listed, out);
    for line in left_out {
        let _ = writeln!(out, "  and {line}");
    }
}

fn policies(policies: &[ExplainedPolicy], out: &mut String) {
    if policies.is_empty() {
        return;
    }
    out.push_str("\nPolicies, in the order in which they act\n");
    let row = |policy: &ExplainedPolicy| {
        let responds = policy.responds.as_ref();
        let responds = responds.map(|response| format!(": responds to this request with {response}"));
        (
            policy.policy.clone(),
            format!("{}{}", policy.kind, responds.unwrap_or_default()),
        )
    };
    let listed: Vec<_> = policies.iter().map(row).collect();
    rows(&listed, out);
}

fn write_action(action: &ExplainedAction, out: &mut String) {
    let _ = match action {
        ExplainedAction::Pool { pool } => writeln!(out, "  goes to pool {pool}"),
        ExplainedAction::Redirect { status, location } => {
            writeln!(out, "  is redirected with status {status} to\n  {location}")
        }
        ExplainedAction::Respond { status, body_bytes } => {
            writeln!(
                out,
                "  gets a response with status {status} and {body_bytes} bytes of body"
            )
        }
        ExplainedAction::Split { parts } => {
            out.push_str("  goes to one of these pools\n");
            let all: u64 = parts.iter().map(|part| part.weight).sum();
            let row = |part: &SplitPart| (part.pool.clone(), format!("weight {} of {all}", part.weight));
            let listed: Vec<_> = parts.iter().map(row).collect();
            rows(&listed, out);
            Ok(())
        }
    };
}

fn write_forwarded(forwarded: &ForwardedRequest, out: &mut String) {
    out.push_str("\nRequest to the backend\n");
    let _ = match &forwarded.target {
        Some(target) => writeln!(out, "  {} {target}", forwarded.method),
        None => writeln!(
            out,
            "  None: the rewritten path is not valid. The client gets a 500 response with\n  the error `rewrite_invalid_path`."
        ),
    };
    let _ = writeln!(out, "  Host: {}", forwarded.host);
    headers(&forwarded.headers, out);
    if let Some(mirror) = &forwarded.mirror {
        let _ = writeln!(
            out,
            "  {} % of requests are copied to pool {}",
            mirror.percent, mirror.pool
        );
    }
}

fn headers(changes: &[HeaderChange], out: &mut String) {
    for change in changes {
        let _ = match &change.value {
            Some(value) => writeln!(out, "  {:<6} {}: {value}", change.change, change.name),
            None => writeln!(out, "  {:<6} {}", change.change, change.name),
        };
    }
}

fn write_pool(pool: &ExplainedPool, out: &mut String) {
    let _ = writeln!(out, "\nPool {}, strategy {}", pool.pool, pool.strategy);
    let row = |backend: &Candidate| {
        let name = backend.name.as_ref().map(|name| format!(" ({name})"));
        let mut note = format!("weight {}", backend.weight);
        if backend.backup {
            note += ", backup";
        }
        if let Some(score) = backend.score {
            note += &format!(", score {score:.3}");
        }
        if let Some(why) = &backend.why {
            note += &format!("; no candidate: {why}");
        }
        (backend.url.clone() + &name.unwrap_or_default(), note)
    };
    if !pool.compares.is_empty() {
        let _ = writeln!(out, "  the lowest score is best: {}", pool.compares);
    }
    if let Some(sticky) = &pool.sticky {
        let backend = sticky.backend.as_deref().unwrap_or("by the strategy");
        let _ = writeln!(out, "  sticky by {}: {backend}\n    {}", sticky.by, sticky.why);
    }
    let backends: Vec<_> = pool.backends.iter().map(row).collect();
    rows(&backends, out);
    for source in &pool.sources {
        let _ = writeln!(out, "  and the backends from {source}");
    }
    retries(&pool.retries, out);
    let settings = pool.settings.iter();
    let settings: Vec<_> = settings
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect();
    out.push('\n');
    rows(&settings, out);
}

/// What is retried, and what is not and why.
fn retries(retries: &[ExplainedRetry], out: &mut String) {
    let row = |retry: &ExplainedRetry| {
        let text = match (retry.retried, retry.why) {
            (true, _) => "retried".to_owned(),
            (false, why) => format!("not retried: {}", why.unwrap_or_default()),
        };
        (retry.cause.to_owned(), text)
    };
    out.push_str("\n  When an attempt fails by\n");
    let listed: Vec<_> = retries.iter().map(row).collect();
    rows(&listed, out);
}

/// Rows of two columns. A name that is too wide for its column is followed by a line of its own.
fn rows(rows: &[(String, String)], out: &mut String) {
    let width = |name: &str| name.chars().count();
    let widths = rows
        .iter()
        .map(|(name, _)| width(name))
        .filter(|width| *width <= WIDEST_NAME);
    let column = widths.max().unwrap_or_default();
    for (name, value) in rows {
        if width(name) > WIDEST_NAME {
            let _ = writeln!(out, "  {name}\n  {:column$}  {value}", "");
        } else {
            let _ = writeln!(out, "  {name:column$}  {value}");
        }
    }
}
