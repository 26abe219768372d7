//! What holds for the lists of every source: when a list is believed, and how often lists change a pool. Pure: time is an argument.
//!
//! - The last good list is kept when a source fails, or when its list is too long.
//! - An empty list is believed once it was seen twice in a row, because a source that has lost its data often answers with an
//!   empty list.
//! - Changes are coalesced to one update in [`UPDATE_INTERVAL`].

use std::sync::Arc;
use std::time::Duration;

use evenkeel_wire::instant::Instant;

use crate::backend::Scheme;
use crate::pool::BackendSettings;

/// Minimum time between two updates by one source.
pub(super) const UPDATE_INTERVAL: Duration = Duration::from_secs(1);

/// What a source reports: a list, or why there is none.
pub(super) type Report = Result<Vec<BackendSettings>, String>;

/// The state of one source.
#[derive(Debug)]
pub(super) struct SourceState {
    limit: usize,
    has_tls: bool,
    /// The last list that was believed; empty before the first one.
    list: Arc<[BackendSettings]>,
    /// Whether the last report was an empty list that is not believed yet.
    is_unconfirmed: bool,
    /// Why the last report failed, if it did.
    error: Option<String>,
    /// Whether the list has changed since the last update.
    is_due: bool,
    updated: Option<Instant>,
}

/// What became of a report.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// The list is the one that was known.
    Same,
    /// The list is new, and an update is due.
    Changed,
    /// The list is empty and must be seen once more.
    Unconfirmed,
    /// The source has failed; the last good list is kept.
    Failed,
}

impl SourceState {
    /// A list has at most `limit` backends, and `https` URLs only if the pool has TLS settings.
    pub(super) fn new(limit: usize, has_tls: bool) -> Self {
        Self {
            limit,
            has_tls,
            list: Arc::default(),
            is_unconfirmed: false,
            error: None,
            is_due: false,
            updated: None,
        }
    }

    /// Records a report. The second value is whether the error, or the end of the errors, is to be logged.
    pub(super) fn record(&mut self, report: Report) -> (Effect, bool) {
        let checked = report.and_then(|list| self.check(list));
        let error = checked.as_ref().err().cloned();
        let is_news = error != self.error;
        self.error = error;
        let Ok(list) = checked else {
            self.is_unconfirmed = false;
            return (Effect::Failed, is_news);
        };
        let is_doubtful = list.is_empty() && !self.list.is_empty() && !self.is_unconfirmed;
        self.is_unconfirmed = is_doubtful;
        if is_doubtful {
            return (Effect::Unconfirmed, is_news);
        }
        if *list == *self.list {
            return (Effect::Same, is_news);
        }
        self.list = list.into();
        self.is_due = true;
        (Effect::Changed, is_news)
    }

    fn check(&self, list: Vec<BackendSettings>) -> Report {
        if list.len() > self.limit {
            let length = list.len();
            return Err(format!("{length} backends; a source may have {}", self.limit));
        }
        // Without TLS settings, connections to it would not be encrypted.
        let uses_tls = |backend: &&BackendSettings| backend.address.scheme == Scheme::Https;
        match list.iter().find(uses_tls).filter(|_| !self.has_tls) {
            Some(backend) => {
                let url = &backend.address.url;
                Err(format!(
                    "{url} requires TLS settings; set `tls` of the pool, such as `tls: {{ ca: system }}`"
                ))
            }
            None => Ok(list),
        }
    }

    /// The last list that was believed.
    pub(super) fn list(&self) -> &Arc<[BackendSettings]> {
        &self.list
    }

    /// Why the last report failed, if it did.
    pub(super) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// When the next update may be sent; `None` while none is due.
    pub(super) fn next_update(&self, now: Instant) -> Option<Instant> {
        let soonest = self.updated.map_or(now, |updated| updated + UPDATE_INTERVAL);
        self.is_due.then_some(soonest.max(now))
    }

    /// Records that the list is in effect.
    pub(super) fn update_sent(&mut self, now: Instant) {
        self.is_due = false;
        self.updated = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::super::scripted::list;
    use super::*;

    const LIMIT: usize = 3;

    /// A source that has reported one list.
    fn with_list(urls: &str) -> SourceState {
        let mut state = SourceState::new(LIMIT, false);
        state.record(Ok(list(urls)));
        state
    }

    fn effect(state: &mut SourceState, urls: &str) -> Effect {
        state.record(Ok(list(urls))).0
    }

    fn fail(state: &mut SourceState, error: &str) -> (Effect, bool) {
        state.record(Err(error.to_owned()))
    }

    #[test]
    fn a_list_is_believed_at_once_and_changes_only_by_another_one() {
        let mut state = SourceState::new(LIMIT, false);
        assert_eq!(effect(&mut state, "http://a:1 http://b:1"), Effect::Changed);
        assert_eq!(effect(&mut state, "http://a:1 http://b:1"), Effect::Same);
        assert_eq!(effect(&mut state, "http://a:1"), Effect::Changed);
        assert_eq!(**state.list(), *list("http://a:1"));
    }

    #[test]
    fn the_last_good_list_is_kept_when_a_source_fails() {
        let mut state = with_list("http://a:1");
        assert_eq!(fail(&mut state, "gone"), (Effect::Failed, true));
        assert_eq!(**state.list(), *list("http://a:1"));
    }

    #[test]
    fn an_error_is_news_once_and_so_is_its_end() {
        let mut state = with_list("http://a:1");
        let news = [
            fail(&mut state, "gone").1,
            fail(&mut state, "gone").1,
            fail(&mut state, "refused").1,
            state.record(Ok(list("http://a:1"))).1,
            state.record(Ok(list("http://a:1"))).1,
        ];
        assert_eq!(news, [true, false, true, true, false]);
    }

    #[test]
    fn a_list_above_the_limit_is_a_failure() {
        let mut state = with_list("http://a:1");
        assert_eq!(
            effect(&mut state, "http://a:1 http://b:1 http://c:1 http://d:1"),
            Effect::Failed
        );
        assert_eq!(state.error(), Some("4 backends; a source may have 3"));
        assert_eq!(**state.list(), *list("http://a:1"));
        assert_eq!(
            effect(&mut state, "http://a:1 http://b:1 http://c:1"),
            Effect::Changed
        );
    }

    #[test]
    fn an_https_url_is_a_failure_without_tls_settings() {
        let mut state = with_list("http://a:1");
        assert_eq!(effect(&mut state, "http://a:1 https://b"), Effect::Failed);
        assert!(
            state
                .error()
                .unwrap()
                .starts_with("https://b requires TLS settings")
        );
        let mut state = SourceState::new(LIMIT, true);
        assert_eq!(effect(&mut state, "https://b"), Effect::Changed);
    }

    #[test]
    fn an_empty_list_is_believed_when_it_is_seen_twice_in_a_row() {
        let mut state = with_list("http://a:1");
        assert_eq!(effect(&mut state, ""), Effect::Unconfirmed);
        assert_eq!(state.list().len(), 1);
        assert_eq!(effect(&mut state, ""), Effect::Changed);
        assert!(state.list().is_empty());
    }

    #[test]
    fn a_list_or_a_failure_between_two_empty_lists_resets_the_count() {
        let mut state = with_list("http://a:1");
        effect(&mut state, "");
        assert_eq!(effect(&mut state, "http://a:1"), Effect::Same);
        assert_eq!(effect(&mut state, ""), Effect::Unconfirmed);
        fail(&mut state, "gone");
        assert_eq!(effect(&mut state, ""), Effect::Unconfirmed);
    }

    #[test]
    fn a_first_list_that_is_empty_changes_nothing() {
        assert_eq!(effect(&mut SourceState::new(LIMIT, false), ""), Effect::Same);
    }

    #[test]
    fn changes_are_coalesced_to_one_update_in_an_interval() {
        let now = crate::clock::now();
        let mut state = SourceState::new(LIMIT, false);
        assert_eq!(state.next_update(now), None);
        effect(&mut state, "http://a:1");
        assert_eq!(state.next_update(now), Some(now));
        state.update_sent(now);
        assert_eq!(state.next_update(now), None);
        effect(&mut state, "http://b:1");
        effect(&mut state, "http://c:1");
        let next = state.next_update(now + UPDATE_INTERVAL / 2);
        assert_eq!(next, Some(now + UPDATE_INTERVAL));
        let late = now + 3 * UPDATE_INTERVAL;
        assert_eq!(state.next_update(late), Some(late));
    }
}
