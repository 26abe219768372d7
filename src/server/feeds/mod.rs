//! Reads the data of policies from files and URLs, again and again: files when they change, URLs at their interval and when a
//! policy asks. The previous data stays in use while a source fails.

mod fetch;
mod schedule;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use evenkeel_balance::policy::{Apply, Feed, FeedError, Source};
use tokio::time::MissedTickBehavior;

use self::schedule::Schedule;
use crate::bounded_file;
use crate::clock;
use crate::file_version::FileVersion;
use crate::rng::Rng;
use crate::tasks::Tasks;

pub use fetch::{AGENT, FetchError, Fetcher};

/// Interval at which files are checked, and at which what is due is looked for.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The tasks that follow sources. They end when this is dropped.
#[derive(Debug, Default)]
pub struct Feeds {
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "holds the tasks, which end when it is dropped")
    )]
    tasks: Tasks,
}

impl Feeds {
    /// Follows these feeds. Paths are relative to `folder`.
    pub fn start(feeds: Vec<Feed>, folder: &Path, fetcher: &Arc<Fetcher>) -> Self {
        let mut tasks = Tasks::default();
        for feed in feeds {
            match feed.source.clone() {
                Source::File(path) => tasks.spawn(follow_file(feed, folder.join(path))),
                Source::Url { url, interval, .. } => {
                    tasks.spawn(follow_url(feed, url, interval, Arc::clone(fetcher)));
                }
            }
        }
        Self { tasks }
    }

    /// Number of sources that are followed.
    #[cfg(test)]
    pub fn running(&mut self) -> usize {
        self.tasks.running()
    }
}

/// Reads a feed from its file now, so that a config with an invalid file is an error. The policy has the data once the result is
/// called. `None` for a feed from a URL: a start does not depend on other servers. Blocks.
///
/// # Errors
/// The file cannot be read, or its data cannot be used.
pub fn load_file(feed: &Feed, folder: &Path) -> Result<Option<Apply>, FeedError> {
    match &feed.source {
        Source::File(path) => read_file(feed, &folder.join(path)).map(Some),
        Source::Url { .. } => Ok(None),
    }
}

async fn follow_file(feed: Feed, path: PathBuf) {
    let mut report = Report::new(path.display().to_string());
    let mut last = None;
    let mut interval = tokio::time::interval(CHECK_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        // A file is read as soon as it changes, so there is nothing else to read when a policy asks.
        feed.is_wanted();
        let (feed, path) = (feed.clone(), path.clone());
        let before = last;
        // On a separate thread: a file system that hangs must not block the control plane.
        let read = tokio::task::spawn_blocking(move || {
            let version = FileVersion::at(&path);
            let is_changed = before != Some(version);
            (
                version,
                is_changed.then(|| read_file(&feed, &path).map(|apply| apply())),
            )
        });
        if let Ok((version, result)) = read.await {
            last = Some(version);
            if let Some(result) = result {
                report.log(&result);
            }
        }
    }
}

fn read_file(feed: &Feed, path: &Path) -> Result<Apply, FeedError> {
    let data = bounded_file::read(path, feed.limit).map_err(|error| FeedError(error.to_string()))?;
    feed.read(&data)
}

async fn follow_url(feed: Feed, url: String, interval: Duration, fetcher: Arc<Fetcher>) {
    let mut report = Report::new(without_query(&url).to_owned());
    let mut schedule = Schedule::new(interval);
    let mut rng = Rng::fresh();
    let mut ticks = tokio::time::interval(CHECK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if feed.is_wanted() {
            schedule.want();
        }
        if !schedule.begin(clock::now()) {
            continue;
        }
        let fetched = fetcher.fetch(&url, feed.limit).await;
        let result = fetched
            .map_err(|error| FeedError(error.to_string()))
            .and_then(|data| feed.take(&data));
        schedule.end(result.is_ok(), rng.bits());
        report.log(&result);
    }
}

/// A query may contain a secret.
fn without_query(url: &str) -> &str {
    url.split_once('?').map_or(url, |(before, _)| before)
}

/// What was logged of a source: the same failure is logged once.
#[derive(Debug)]
struct Report {
    source: String,
    has_data: bool,
    failure: Option<String>,
}

/// A line of the log.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    StillPrevious,
    NoData,
    Again,
}

impl Report {
    fn new(source: String) -> Self {
        Self {
            source,
            has_data: false,
            failure: None,
        }
    }

    fn log(&mut self, result: &Result<(), FeedError>) {
        let source = self.source.clone();
        match (self.line(result), result) {
            (Some(Line::StillPrevious), Err(error)) => {
                tracing::error!(source, %error, "Could not refresh the data of a policy; still using the previous data");
            }
            (Some(Line::NoData), Err(error)) => {
                tracing::error!(source, %error, "Could not load the data of a policy; requests that need it are refused");
            }
            (Some(Line::Again), _) => tracing::info!(source, "The data of a policy is loaded again"),
            _ => {}
        }
    }

    /// The line to log after this result.
    fn line(&mut self, result: &Result<(), FeedError>) -> Option<Line> {
        let failure = result.as_ref().err().map(ToString::to_string);
        let before = std::mem::replace(&mut self.failure, failure);
        match &self.failure {
            None => {
                self.has_data = true;
                before.map(|_| Line::Again)
            }
            failure if *failure == before => None,
            Some(_) if self.has_data => Some(Line::StillPrevious),
            Some(_) => Some(Line::NoData),
        }
    }
}

#[cfg(test)]
mod tests;
