//! What routes share of their policies.

use std::path::Path;

use evenkeel_balance::policy;

use super::*;
use crate::schema::{ANY, Params, Value};
use crate::telemetry::metrics::PolicyOutcome;

const CONFIG: &str = "
listen: 127.0.0.1:8080
workers: 2
pools:
  a: { backends: [http://10.0.0.1:1] }
  b: { backends: [http://10.0.0.2:1] }
routes:
  - { host: one.test, pool: a }
  - { host: two.test, pool: b }
";

fn config() -> Config {
    let loaded = crate::config::from_text(CONFIG, "test.yaml", Path::new("/"), &|_| None);
    loaded.unwrap_or_else(|report| panic!("{report}")).config
}

fn policy(name: &str, kind: &str, key: &'static str, value: Value) -> Arc<PolicySettings> {
    let mut params = Params::default();
    params.set(key, value);
    Arc::new(PolicySettings {
        name: name.into(),
        entry: policy::by_name(kind).unwrap(),
        params,
    })
}

fn names(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.policies.iter().map(|counters| counters.name()).collect()
}

#[test]
fn routes_share_the_counters_of_a_policy_and_a_reload_keeps_them() {
    let mut config = config();
    let deny = || Value::List(vec![Value::Text("10.0.0.0/8".to_owned())]);
    let office = policy("office", "ip", "deny", deny());
    let compress = policy(
        "small",
        "compress",
        "encodings",
        Value::List(vec![Value::Word("gzip")]),
    );
    config.routes[0].policies = vec![Arc::clone(&office), compress];
    config.routes[1].policies = vec![office, policy("other", "ip", "deny", deny())];
    let first = assemble(&config, &Kept::default()).unwrap();
    // What acts on responses decides nothing about requests.
    assert_eq!(names(&first.snapshot), ["office", "other"]);
    let steps = |index: usize| &first.snapshot.routes[index].plan.as_ref().unwrap().steps;
    assert_eq!((steps(0).len(), steps(1).len()), (2, 2));
    let deciding = |index: usize| first.snapshot.routes[index].plan.as_ref().unwrap().deciding;
    assert_eq!((deciding(0), deciding(1)), (1, 2));
    steps(0)[0].counters.count(0, PolicyOutcome::Refused);
    steps(1)[0].counters.count(1, PolicyOutcome::Refused);
    let kept = first.keep.finish();
    config.routes.truncate(1);
    let second = assemble(&config, &kept).unwrap();
    assert_eq!(names(&second.snapshot), ["office"]);
    assert_eq!(second.snapshot.policies[0].value(PolicyOutcome::Refused), 2);
}

#[test]
fn a_route_without_policies_has_no_plan_and_counts_nothing() {
    let snapshot = snapshot_of(&config()).unwrap();
    assert!(snapshot.policies.is_empty());
    assert!(snapshot.routes.iter().all(|route| route.plan.is_none()));
}

#[test]
fn a_split_leaves_out_pools_without_weight() {
    let mut config = config();
    let mut params = Params::default();
    let weights = [("a", 0), ("b", 1)].map(|(pool, weight)| (pool.to_owned(), Value::Count(weight)));
    params.set(ANY, Value::Named(weights.into()));
    let uses = ["a", "b"].map(|name| PoolUse {
        name: name.into(),
        settings: None,
    });
    config.routes[0].action = Action::Split(params, uses.into());
    let snapshot = snapshot_of(&config).unwrap();
    let Target::Split(to) = &snapshot.routes[0].target else {
        panic!("not a split");
    };
    assert_eq!(to.pools, [1]);
}
