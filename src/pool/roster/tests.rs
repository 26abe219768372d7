//! Updates of a roster: what stays, what is new, and what becomes of removed backends.

use std::sync::atomic::Ordering;

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
        name: None,
        is_drained: false,
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
fn what_an_operator_changed_stays_until_the_config_says_something_else() {
    let settings = |weight, is_drained, name: &str| BackendSettings {
        is_drained,
        name: Some(name.into()),
        ..backend("http://a:1", weight, false)
    };
    let bench = Bench::new(&[]);
    bench.update_to(&[settings(2, false, "a")]);
    let a = Arc::clone(&bench.members()[0]);
    let state = || {
        let weight = a.backend.weight.load(Ordering::Relaxed);
        (weight, a.is_drained.load(Ordering::Relaxed))
    };
    assert!(a.set_drained(true) && !a.set_drained(true));
    assert_eq!(a.set_weight(7), 2);
    assert!(bench.update_to(&[settings(2, false, "a")]).is_none());
    assert_eq!(state(), (7, true), "the config says what it said before");
    assert_eq!(bench.update_to(&[settings(3, false, "a")]), change(0, 0, 1));
    assert_eq!(state(), (3, true), "another weight, and the same `drain`");
    assert!(bench.update_to(&[settings(3, true, "a")]).is_none());
    assert!(a.set_drained(false) && a.drained_since().is_none());
    assert!(bench.update_to(&[settings(3, true, "b")]).is_none());
    assert_eq!(state(), (3, false));
    assert_eq!(a.name().as_deref(), Some("b"), "a name can change");
    assert_eq!(bench.update_to(&[settings(3, false, "b")]), change(0, 0, 0));
    assert_eq!(state(), (3, false));
}

#[test]
fn a_backend_is_found_by_its_name_or_its_url() {
    let bench = Bench::new(&[]);
    let named = BackendSettings {
        name: Some("one".into()),
        ..backend("http://a:80", 1, false)
    };
    bench.update_to(&[backend("http://b:1/", 1, false), named]);
    let roster = bench.cell.load();
    let find = |text| roster.find(text).map(|member| member.backend.address.url.clone());
    for text in ["one", "http://a:80", "http://a", "http://A/"] {
        assert_eq!(find(text).as_deref(), Some("http://a:80"), "{text}");
    }
    assert_eq!(find("http://b:1").as_deref(), Some("http://b:1/"));
    for text in ["", "a", "a:80", "https://a:80", "http://c:1"] {
        assert_eq!(find(text), None, "{text}");
    }
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
    let eligible = || {
        let (cursor, hold_off) = (Arc::default(), Arc::default());
        EligibleSet::new(
            &bench.cell.load(),
            &round_robin(),
            &cursor,
            FailOpen::No,
            &hold_off,
        )
    };
    let set = eligible();
    let removed = bench.members().remove(0);
    bench.update(&["http://b:1"]);
    assert_eq!(set.roster().members().len(), 2);
    assert!(set.roster().member(removed.backend.id).is_some());
    let set = eligible();
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

#[tokio::test]
async fn idle_connections_of_a_worker_that_ends_can_be_taken_by_others() {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    use crate::buffer::Buffers;
    use crate::message::Connection;
    use crate::pool::{BackendConnection, IdleConnections};

    let bench = Bench::new(&["http://127.0.0.1:1", "https://127.0.0.1:2"]);
    let members = bench.members();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let idle = IdleConnections::default();
    for member in &members {
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        ours.set_nonblocking(true).unwrap();
        let connection = Connection::new(OwnedFd::from(ours).into());
        let connection = BackendConnection::new(member.backend.id, connection);
        idle.give_back(connection, bench.now, Duration::from_secs(9), &Buffers::default());
    }
    idle.share_all(|backend| {
        let mut members = members.iter();
        members
            .find(|member| member.backend.id == backend)
            .map(|member| &**member)
    });
    assert!(idle.is_empty());
    let shared = members.iter().map(|member| member.shared_idle.len());
    assert_eq!(shared.collect::<Vec<_>>(), [1, 0], "a TLS connection cannot move");
}
