//! The sources of all pools: starts them, keeps those that a reload keeps, and merges their lists.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};

use tokio::sync::mpsc;
use tokio::time::timeout_at;

use super::ages::Ages;
use super::feed::Feed;
use super::{Parse, SourceSettings, Update};
use crate::clock::{self, Instant};
use crate::kept::KeptBuilder;
use crate::pool::{BackendSettings, MAX_BACKENDS};
use crate::tasks::Tasks;

/// What starting a source takes.
#[derive(Debug, Clone)]
pub struct Starter {
    /// Receives updates.
    pub updates: mpsc::Sender<Update>,
    /// Parses lists.
    pub parse: Parse,
    /// Lists the sources that run.
    pub ages: Ages,
}

/// The running sources of a config.
#[derive(Debug, Default)]
pub struct Sources {
    by_pool: HashMap<Arc<str>, Vec<Arc<RunningSource>>>,
}

/// A source and its tasks, which end with it.
#[derive(Debug)]
struct RunningSource {
    feed: Arc<Feed>,
    /// Until when a start or a reload waits for its first list.
    answer_by: Instant,
    _tasks: Tasks,
}

impl Sources {
    /// Starts these sources, except those that the previous config has started and that look in the same place.
    pub fn start(wanted: Vec<SourceSettings>, keep: &mut KeptBuilder, starter: &Starter) -> Self {
        let mut sources = Self::default();
        for settings in wanted {
            let pool = Arc::clone(&settings.pool);
            let source = match settings.is_fixed() {
                // Its list is in the config: there is nothing to keep.
                true => Arc::new(RunningSource::start(settings, starter)),
                false => {
                    let SourceSettings {
                        source,
                        params,
                        has_tls,
                        ..
                    } = &settings;
                    let name = format!("source/{pool}/{}/{has_tls}/{params:?}", source.name);
                    keep.get_or_insert(&name, || RunningSource::start(settings, starter))
                }
            };
            sources.by_pool.entry(pool).or_default().push(source);
        }
        sources
    }

    /// Waits until every source has reported once, or until the time for that has passed.
    pub async fn answered(&self) {
        for source in self.by_pool.values().flatten() {
            let answer_by = clock::to_std(source.answer_by).into();
            let answered = timeout_at(answer_by, source.feed.answered()).await;
            if answered.is_err() {
                source.feed.log_no_answer();
            }
        }
    }

    /// The backends of a pool, as its sources list them now. One that several sources list is taken from the first of them.
    pub fn backends(&self, pool: &str) -> Vec<BackendSettings> {
        let sources = self.by_pool.get(pool).map(Vec::as_slice).unwrap_or_default();
        let lists: Vec<_> = sources.iter().map(|source| source.feed.list()).collect();
        let mut seen = HashSet::new();
        let mut backends = Vec::with_capacity(lists.iter().map(|list| list.len()).sum());
        for backend in lists.iter().flat_map(|list| list.iter()) {
            if seen.insert(backend.address.identity()) {
                backends.push(backend.clone());
            }
        }
        let too_many = backends.len().saturating_sub(MAX_BACKENDS);
        backends.truncate(MAX_BACKENDS);
        if too_many > 0 {
            tracing::warn!(
                pool,
                ignored = too_many,
                "Sources of a pool list more than {MAX_BACKENDS} backends; ignoring the last ones"
            );
        }
        backends
    }
}

impl RunningSource {
    fn start(settings: SourceSettings, starter: &Starter) -> Self {
        let feed = Arc::new(Feed::new(&settings));
        let answer_by = clock::now() + settings.answer_within;
        let mut tasks = Tasks::default();
        if let Some(task) = (settings.source.start)(settings, starter.parse, Arc::clone(&feed)) {
            let aged: Weak<Feed> = Arc::downgrade(&feed);
            starter.ages.add(aged);
            tasks.spawn(task);
            tasks.spawn(Arc::clone(&feed).send_updates(starter.updates.clone()));
        }
        Self {
            feed,
            answer_by,
            _tasks: tasks,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::super::scripted::{SCRIPTED, list, parse};
    use super::*;
    use crate::kept::Kept;
    use crate::schema::{Params, Value};

    const DEADLINE: Duration = Duration::from_secs(20);

    /// Starts sources as reloads do.
    struct Bench {
        starter: Starter,
        updates: mpsc::Receiver<Update>,
        kept: Kept,
        sources: Sources,
    }

    impl Bench {
        async fn new(wanted: Vec<SourceSettings>) -> Self {
            let (sender, updates) = mpsc::channel(8);
            let mut bench = Self {
                starter: Starter {
                    updates: sender,
                    parse,
                    ages: Ages::default(),
                },
                updates,
                kept: Kept::default(),
                sources: Sources::default(),
            };
            bench.reload(wanted).await;
            bench
        }

        async fn reload(&mut self, wanted: Vec<SourceSettings>) {
            let mut keep = self.kept.next();
            self.sources = Sources::start(wanted, &mut keep, &self.starter);
            self.kept = keep.finish();
            timeout(DEADLINE, self.sources.answered()).await.unwrap();
        }

        async fn update(&mut self) -> Vec<BackendSettings> {
            let update = timeout(DEADLINE, self.updates.recv()).await;
            self.sources.backends(&update.expect("an update").unwrap().pool)
        }
    }

    fn scripted(script: &str, answer_within: Duration) -> SourceSettings {
        let mut params = Params::default();
        params.set("", Value::Text(script.to_owned()));
        SourceSettings {
            pool: "api".into(),
            source: &SCRIPTED,
            backends: Vec::new(),
            params,
            has_tls: false,
            answer_within,
        }
    }

    fn fixed(urls: &str) -> SourceSettings {
        SourceSettings::fixed(&"api".into(), &list(urls))
    }

    #[tokio::test]
    async fn the_first_list_is_there_once_a_source_has_answered() {
        let bench = Bench::new(vec![scripted("http://a:1", DEADLINE)]).await;
        assert_eq!(bench.sources.backends("api"), list("http://a:1"));
        assert!(bench.sources.backends("other").is_empty());
    }

    #[tokio::test]
    async fn lists_are_merged_in_order_and_a_backend_counts_once() {
        let wanted = vec![
            fixed("http://a:1"),
            scripted("http://b:1 http://a:1 http://c:1", DEADLINE),
        ];
        let bench = Bench::new(wanted).await;
        assert_eq!(
            bench.sources.backends("api"),
            list("http://a:1 http://b:1 http://c:1")
        );
    }

    #[tokio::test]
    async fn a_source_that_hangs_is_waited_for_no_longer_than_its_time() {
        let start = clock::now();
        let wanted = vec![fixed("http://a:1"), scripted("?", Duration::from_millis(1))];
        let bench = Bench::new(wanted).await;
        assert!(crate::clock::now() - start < DEADLINE / 2);
        assert_eq!(bench.sources.backends("api"), list("http://a:1"));
    }

    #[tokio::test]
    async fn a_source_that_fails_is_not_waited_for_and_keeps_its_last_list() {
        let bench = Bench::new(vec![scripted("!", DEADLINE)]).await;
        assert!(bench.sources.backends("api").is_empty());
        let mut bench = Bench::new(vec![scripted("http://a:1;!;http://b:1;!", DEADLINE)]).await;
        while bench.sources.backends("api") != list("http://b:1") {
            bench.update().await;
        }
    }

    #[tokio::test]
    async fn an_empty_list_takes_effect_when_the_source_has_been_asked_again() {
        let mut bench = Bench::new(vec![scripted("http://a:1;;", DEADLINE)]).await;
        while !bench.sources.backends("api").is_empty() {
            bench.update().await;
        }
        let bench = Bench::new(vec![scripted("http://a:1;;http://a:1;!;", DEADLINE)]).await;
        tokio::task::yield_now().await;
        assert_eq!(bench.sources.backends("api"), list("http://a:1"));
    }

    #[tokio::test]
    async fn every_later_list_is_announced_by_an_update() {
        let mut bench = Bench::new(vec![scripted("http://a:1", DEADLINE)]).await;
        assert_eq!(bench.update().await, list("http://a:1"));
        let feed = Arc::clone(&bench.sources.by_pool["api"][0].feed);
        feed.report(Ok(list("http://b:1")));
        assert_eq!(bench.update().await, list("http://b:1"));
    }

    #[tokio::test]
    async fn the_age_of_a_source_is_the_time_since_it_had_a_list() {
        let mut bench = Bench::new(vec![fixed("http://b:1"), scripted("http://a:1", DEADLINE)]).await;
        let feed = Arc::clone(&bench.sources.by_pool["api"][1].feed);
        let ages = bench.starter.ages.clone();
        let later = clock::now() + Duration::from_secs(60);
        let age = |now| {
            let listed = ages.list(now);
            assert_eq!(listed.len(), 1, "the list of the config has no age: {listed:?}");
            assert_eq!((&*listed[0].pool, listed[0].source), ("api", "scripted"));
            listed[0].age
        };
        let first = age(later);
        assert!(first > Duration::from_secs(40), "{first:?}");
        feed.report(Err("gone".to_owned()));
        feed.unchanged();
        assert_eq!(age(later), first, "a failure is no list");
        let report = |feed: &Feed| {
            feed.report(Ok(list("http://a:1")));
        };
        for good in [report, Feed::unchanged] {
            let before = age(later);
            tokio::time::sleep(Duration::from_millis(1)).await;
            good(&feed);
            assert!(age(later) < before);
        }
        drop(feed);
        bench.reload(Vec::new()).await;
        // Its tasks, which end at their next turn, hold it until then.
        let until_ended = async {
            while !ages.list(later).is_empty() {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, until_ended).await.unwrap();
    }

    #[tokio::test]
    async fn a_reload_keeps_a_source_that_stays_and_stops_one_that_goes() {
        let mut bench = Bench::new(vec![scripted("http://a:1", DEADLINE)]).await;
        let before = Arc::clone(&bench.sources.by_pool["api"][0]);
        bench
            .reload(vec![fixed("http://b:1"), scripted("http://a:1", DEADLINE)])
            .await;
        assert!(Arc::ptr_eq(&before, &bench.sources.by_pool["api"][1]));
        assert_eq!(bench.sources.backends("api"), list("http://b:1 http://a:1"));
        bench.reload(vec![fixed("http://b:1")]).await;
        assert_eq!(Arc::strong_count(&before), 1, "its tasks end with it");
        assert_eq!(bench.sources.backends("api"), list("http://b:1"));
    }

    #[tokio::test]
    async fn the_list_of_the_config_is_replaced_by_a_reload() {
        let mut bench = Bench::new(vec![fixed("http://a:1")]).await;
        bench.reload(vec![fixed("http://b:1")]).await;
        assert_eq!(bench.sources.backends("api"), list("http://b:1"));
    }
}
