//! Updates of a roster: what stays, what is new, and what becomes of removed backends.

use super::*;
use crate::backend::{Address, Shared};
use crate::pool::eligible::{EligibleSet, FailOpen};
use crate::strategy::{self, PickContext};

/// A cell, with a clock that the test moves.
struct Bench {
    cell: RosterCell,
    now: Instant,
}

impl Bench {
    fn new(urls: &[&str]) -> Self {
        let bench = Self {
            cell: RosterCell::default(),
            now: crate::clock::now(),
        };
        bench.update(urls);
        bench
    }

    fn update(&self, urls: &[&str]) -> RosterChange {
        let wanted: Vec<_> = urls.iter().map(|url| backend(url, 1, false)).collect();
        self.update_to(&wanted)
    }

    fn update_to(&self, wanted: &[BackendSettings]) -> RosterChange {
        self.cell.update(wanted, ConnectionSettings::default(), self.now)
    }

    fn members(&self) -> Vec<Arc<Member>> {
        self.cell.load().members().to_vec()
    }

    /// Lets the workers see the last update, and releases removed backends.
    fn release(&mut self) -> bool {
        self.now += SEEN_AFTER;
        self.cell.release_removed(self.now)
    }
}

fn round_robin() -> strategy::Settings {
    strategy::Settings {
        entry: &strategy::STRATEGIES[0],
        params: crate::schema::Params::default(),
    }
}

fn backend(url: &str, weight: u32, is_backup: bool) -> BackendSettings {
    BackendSettings {
        address: Address::parse(url).unwrap(),
        weight,
        is_backup,
    }
}

fn change(added: usize, removed: usize, changed: usize) -> RosterChange {
    RosterChange {
        added,
        removed,
        changed,
    }
}

fn begin_request(member: &Member) {
    member.backend.load.begin(0, Shared::No);
}

fn end_request(member: &Member) {
    member.backend.load.end(0, Shared::No);
}

#[test]
fn backends_that_stay_are_the_same_members_in_the_new_order() {
    let bench = Bench::new(&["http://a:1", "http://b:1"]);
    let [a, b] = &bench.members()[..] else { panic!() };
    a.is_drained.store(true, Ordering::Relaxed);
    assert_eq!(
        bench.update(&["http://b:1", "http://c:1", "http://a:1"]),
        change(1, 0, 0)
    );
    let now = bench.members();
    assert!(Arc::ptr_eq(b, &now[0]) && Arc::ptr_eq(a, &now[2]));
    assert!(now[2].is_drained.load(Ordering::Relaxed));
    let roster = bench.cell.load();
    for member in &now {
        assert!(Arc::ptr_eq(roster.member(member.backend.id).unwrap(), member));
    }
}

#[test]
fn a_list_without_differences_is_no_change() {
    let bench = Bench::new(&["http://a:1", "http://b:1"]);
    assert!(bench.update(&["http://a:1", "http://B:1/"]).is_none());
}

#[test]
fn weight_and_backup_change_in_place() {
    let bench = Bench::new(&["http://a:1", "http://b:1", "http://c:1"]);
    let before = bench.members();
    let wanted = [
        backend("http://a:1", 3, false),
        backend("http://b:1", 1, true),
        backend("http://c:1", 1, false),
    ];
    assert_eq!(bench.update_to(&wanted), change(0, 0, 2));
    let now = bench.members();
    assert!(
        before
            .iter()
            .zip(&now)
            .all(|(one, other)| Arc::ptr_eq(one, other))
    );
    assert_eq!(now[0].backend.weight.load(Ordering::Relaxed), 3);
    assert!(now[1].is_backup() && !now[2].is_backup());
}

#[test]
fn other_connection_settings_keep_no_backend() {
    let bench = Bench::new(&["http://a:1"]);
    let first = bench.members();
    let with = |send_proxy| {
        let connections = ConnectionSettings {
            tls: None,
            send_proxy,
        };
        bench
            .cell
            .update(&[backend("http://a:1", 1, false)], connections, bench.now)
    };
    begin_request(&first[0]);
    assert_eq!(with(Some(ProxyVersion::V1)), change(1, 1, 0));
    let second = bench.members();
    begin_request(&second[0]);
    assert!(!Arc::ptr_eq(&first[0], &second[0]));
    assert_eq!(with(Some(ProxyVersion::V2)), change(1, 1, 0));
    assert!(!Arc::ptr_eq(&second[0], &bench.members()[0]));
    // The first one still has a request, and its connections are of the kind that is wanted again.
    with(None);
    assert!(Arc::ptr_eq(&first[0], &bench.members()[0]));
}

#[test]
fn a_removed_backend_is_remembered_until_its_requests_have_ended() {
    let mut bench = Bench::new(&["http://a:1", "http://b:1"]);
    let removed = bench.members().remove(0);
    begin_request(&removed);
    assert_eq!(bench.update(&["http://b:1"]), change(0, 1, 0));
    assert!(bench.cell.load().member(removed.backend.id).is_none());
    assert!(bench.release());
    let unfinished = bench.cell.unfinished();
    assert!(Arc::ptr_eq(&unfinished[0], &removed) && unfinished.len() == 1);
    end_request(&removed);
    assert!(bench.cell.unfinished().is_empty());
    assert!(!bench.release());
    drop(unfinished);
    assert_eq!(Arc::strong_count(&removed), 1);
}

#[test]
fn a_removed_backend_is_not_forgotten_before_the_workers_have_seen_it() {
    let mut bench = Bench::new(&["http://a:1"]);
    bench.update(&[]);
    bench.now += SEEN_AFTER / 2;
    assert!(bench.cell.release_removed(bench.now));
    assert!(!bench.release());
}

#[test]
fn a_backend_that_comes_back_before_its_last_request_has_ended_is_the_same() {
    let mut bench = Bench::new(&["http://a:1", "http://b:1"]);
    let removed = bench.members().remove(0);
    begin_request(&removed);
    bench.update(&["http://b:1"]);
    bench.release();
    assert_eq!(bench.update(&["http://b:1", "http://a:1"]), change(1, 0, 0));
    assert!(Arc::ptr_eq(&bench.members()[1], &removed));
    assert!(bench.cell.unfinished().is_empty() && !bench.release());
}

#[test]
fn no_more_than_the_bound_of_removed_backends_is_remembered() {
    let bench = Bench::new(&[]);
    let urls: Vec<String> = (0..=MAX_REMOVED)
        .map(|number| format!("http://a{number}:1"))
        .collect();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    bench.update(&urls);
    bench.members().iter().for_each(|member| begin_request(member));
    assert_eq!(bench.update(&[]), change(0, MAX_REMOVED + 1, 0));
    assert_eq!(bench.cell.unfinished().len(), MAX_REMOVED);
}

#[test]
fn an_eligible_set_keeps_the_roster_that_it_was_built_from() {
    let bench = Bench::new(&["http://a:1", "http://b:1"]);
    let set = EligibleSet::new(&bench.cell.load(), &round_robin(), &Arc::default(), FailOpen::No);
    let removed = bench.members().remove(0);
    bench.update(&["http://b:1"]);
    assert_eq!(set.roster().members().len(), 2);
    assert!(set.roster().member(removed.backend.id).is_some());
    let set = EligibleSet::new(&bench.cell.load(), &round_robin(), &Arc::default(), FailOpen::No);
    assert!(set.roster().member(removed.backend.id).is_none());
    let context = PickContext {
        tried: &[],
        in_flight_limit: None,
        key: None,
        random: 0,
        now: bench.now,
    };
    assert!((0..10).all(|_| set.pick(context).unwrap().backend.address.host == "b"));
}
