//! The state of `top`: what is known of the process, and what is selected, filtered and asked. No input or output happens here.

use crate::clock::Instant;
use std::collections::VecDeque;
use std::time::Duration;

use super::background::First;
use super::model::{Action, BackendKey, Event, History, Sample, Update, Verb};
use super::order::Order;
use super::rates::Rates;
use super::rows::{self, Row};
use crate::admin::{BackendStatus, Status};

/// Samples that are kept: those of 15 minutes.
const SAMPLES_BOUND: usize = 900;
/// Events that are kept: as many as the process keeps.
const EVENTS_BOUND: usize = 512;
/// Bound of the filter, in characters.
const FILTER_BOUND: usize = 100;
/// How long the result of an action is shown.
const NOTICE_TIME: Duration = Duration::from_secs(6);

/// What the keys are for at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mode {
    /// Moving and commands.
    Browse,
    /// Typing the filter.
    Filter,
    /// Answering whether this is to be done.
    Confirm(Action),
    /// Reading the help.
    Help,
}

/// The connection to the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Link {
    /// It responds.
    Connected,
    /// It responds, but sends no samples and events, with the reason.
    WithoutStream(String),
    /// It does not respond, with the reason.
    Lost(String),
}

/// The state.
#[derive(Debug)]
pub(super) struct App {
    /// The address of the admin API.
    pub(super) address: String,
    pub(super) status: Status,
    pub(super) rates: Rates,
    /// The oldest first.
    pub(super) samples: VecDeque<Sample>,
    /// The oldest first.
    pub(super) events: VecDeque<Event>,
    pub(super) link: Link,
    pub(super) mode: Mode,
    pub(super) order: Order,
    /// What pools and backends must contain.
    pub(super) filter: String,
    selected: Option<BackendKey>,
    notice: Option<(Instant, Result<String, String>)>,
}

impl App {
    /// The state at the start.
    pub(super) fn new(address: String, First { status, history }: First, now: Instant) -> Self {
        let mut app = Self {
            address,
            rates: Rates::default(),
            samples: VecDeque::new(),
            events: VecDeque::new(),
            link: Link::Connected,
            mode: Mode::Browse,
            order: Order::Config,
            filter: String::new(),
            selected: None,
            notice: None,
            status,
        };
        app.rates.update(&app.status, now);
        app.take_history(history);
        app
    }

    /// Takes what is new.
    pub(super) fn update(&mut self, update: Update, now: Instant) {
        match update {
            Update::Status(status, at) => {
                self.rates.update(&status, at);
                self.status = *status;
                if matches!(self.link, Link::Lost(_)) {
                    self.link = Link::Connected;
                }
            }
            Update::History(history) => self.take_history(history),
            Update::Sample(sample) => {
                self.link = Link::Connected;
                push(&mut self.samples, sample, SAMPLES_BOUND);
            }
            // An event may be in the history already.
            Update::Event(event) if self.events.back().is_none_or(|last| last.id < event.id) => {
                push(&mut self.events, event, EVENTS_BOUND);
            }
            Update::Lost(why) => self.link = Link::Lost(why),
            Update::StreamLost(why) if !matches!(self.link, Link::Lost(_)) => {
                self.link = Link::WithoutStream(why);
            }
            Update::Acted(result) => self.notice = Some((now, result)),
            Update::Event(_) | Update::StreamLost(_) | Update::End => {}
        }
    }

    fn take_history(&mut self, history: History) {
        self.samples.clear();
        self.events.clear();
        for sample in history.samples {
            push(&mut self.samples, sample, SAMPLES_BOUND);
        }
        for event in history.events {
            push(&mut self.events, event, EVENTS_BOUND);
        }
    }

    /// The result of the last action, for a while.
    pub(super) fn notice(&self, now: Instant) -> Option<&Result<String, String>> {
        let (since, notice) = self.notice.as_ref()?;
        (now.saturating_duration_since(*since) < NOTICE_TIME).then_some(notice)
    }

    /// The pools and backends that are shown, in order.
    pub(super) fn rows(&self) -> Vec<Row<'_>> {
        rows::visible(&self.status, &self.rates, self.order, &self.filter)
    }

    /// The position of the selected backend among these rows; `None` if there are no backends.
    pub(super) fn selected(&self, rows: &[Row<'_>]) -> Option<usize> {
        let is_selected = |row: &Row<'_>| row.key().is_some_and(|key| Some(&key) == self.selected.as_ref());
        let first = || rows.iter().position(|row| row.backend().is_some());
        rows.iter().position(is_selected).or_else(first)
    }

    /// Moves the selection by this number of backends.
    pub(super) fn move_by(&mut self, distance: isize) {
        let rows = self.rows();
        let keys: Vec<BackendKey> = rows.iter().filter_map(Row::key).collect();
        let at = self.selected(&rows).and_then(|at| rows.get(at)?.key());
        let at = at.and_then(|key| keys.iter().position(|other| *other == key));
        let last = keys.len().saturating_sub(1);
        let next = at.unwrap_or_default().saturating_add_signed(distance).min(last);
        self.selected = keys.get(next).cloned();
    }

    /// Asks whether this is to be done with the selected backend.
    pub(super) fn ask(&mut self, verb: Verb) {
        let rows = self.rows();
        if let Some(backend) = self.selected(&rows).and_then(|at| rows.get(at)?.key()) {
            // What is asked about stays selected, however the rows move.
            self.selected = Some(backend.clone());
            self.mode = Mode::Confirm(Action { verb, backend });
        }
    }

    /// The status of a backend, while there is one.
    pub(super) fn backend(&self, key: &BackendKey) -> Option<&BackendStatus> {
        let pool = self.status.pools.iter().find(|pool| pool.name == key.pool)?;
        pool.backends.iter().find(|backend| backend.url == key.url)
    }

    /// Adds a character to the filter.
    pub(super) fn type_filter(&mut self, typed: char) {
        if !typed.is_control() && self.filter.chars().count() < FILTER_BOUND {
            self.filter.push(typed);
        }
    }
}

fn push<T>(list: &mut VecDeque<T>, item: T, bound: usize) {
    if list.len() >= bound {
        list.pop_front();
    }
    list.push_back(item);
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    fn now() -> Instant {
        crate::clock::now()
    }

    fn url(app: &App) -> String {
        let rows = app.rows();
        let selected = app.selected(&rows).and_then(|at| rows[at].backend());
        selected.map(|backend| backend.url.clone()).unwrap_or_default()
    }

    #[test]
    fn the_selection_stays_at_its_backend_when_the_order_changes() {
        let mut app = example::app(2, 3);
        assert_eq!(url(&app), "http://127.0.0.1:8001");
        app.move_by(4);
        assert_eq!(url(&app), "http://127.0.0.1:8002", "of the second pool");
        app.move_by(100);
        let last = url(&app);
        app.status.pools.reverse();
        assert_eq!(url(&app), last);
        app.move_by(-100);
        let rows = app.rows();
        assert_eq!(app.selected(&rows), Some(1), "below the name of the first pool");
    }

    #[test]
    fn a_selected_backend_that_is_gone_or_filtered_out_is_replaced_by_the_first() {
        let mut app = example::app(1, 3);
        app.move_by(2);
        app.filter = ":8002".to_owned();
        assert_eq!(url(&app), "http://127.0.0.1:8002");
        app.filter = "nothing".to_owned();
        assert_eq!(url(&app), "");
        app.ask(Verb::Drain);
        assert_eq!(app.mode, Mode::Browse);
    }

    #[test]
    fn a_status_ends_a_lost_connection_and_a_sample_one_without_stream() {
        let mut app = example::app(1, 1);
        app.update(Update::StreamLost("closed".to_owned()), now());
        assert_eq!(app.link, Link::WithoutStream("closed".to_owned()));
        app.update(Update::Lost("refused".to_owned()), now());
        app.update(Update::StreamLost("closed".to_owned()), now());
        assert_eq!(app.link, Link::Lost("refused".to_owned()));
        let status = Box::new(app.status.clone());
        app.update(Update::Status(status, now()), now());
        assert_eq!(app.link, Link::Connected);
        app.update(Update::StreamLost("closed".to_owned()), now());
        app.update(Update::Sample(Sample::default()), now());
        assert_eq!(app.link, Link::Connected);
    }

    #[test]
    fn samples_and_events_are_bounded_and_events_come_once() {
        let mut app = example::app(1, 1);
        for id in 0..2000 {
            app.update(Update::Sample(Sample::default()), now());
            for _ in 0..2 {
                let event = Event {
                    id,
                    ..Event::default()
                };
                app.update(Update::Event(event), now());
            }
        }
        assert_eq!(
            (app.samples.len(), app.events.len()),
            (SAMPLES_BOUND, EVENTS_BOUND)
        );
        let ids: Vec<u64> = app.events.iter().map(|event| event.id).collect();
        assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
        // Another process counts anew.
        let event = Event {
            id: 1,
            ..Event::default()
        };
        let history = History {
            samples: Vec::new(),
            events: vec![event],
        };
        app.update(Update::History(history), now());
        assert_eq!((app.samples.len(), app.events.len()), (0, 1));
    }

    #[test]
    fn a_notice_disappears_after_a_while() {
        let mut app = example::app(1, 1);
        let start = now();
        app.update(Update::Acted(Err("no".to_owned())), start);
        assert_eq!(app.notice(start), Some(&Err("no".to_owned())));
        assert_eq!(app.notice(start + NOTICE_TIME), None);
    }

    #[test]
    fn the_filter_is_bounded_and_has_no_control_characters() {
        let mut app = example::app(1, 1);
        app.type_filter('\u{1b}');
        for _ in 0..2 * FILTER_BOUND {
            app.type_filter('x');
        }
        assert_eq!(app.filter, "x".repeat(FILTER_BOUND));
    }
}
