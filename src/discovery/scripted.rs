//! A source for tests, whose reports are a script: steps with `;` between them. A step is a list of URLs, `!` for a failure, or `?`
//! for a source that never answers.

use std::path::Path;
use std::sync::Arc;

use super::feed::Feed;
use super::{MAX_BACKENDS_PER_SOURCE, Parse, Source, SourceSettings, SourceTask};
use crate::backend::Address;
use crate::pool::BackendSettings;

pub(super) static SCRIPTED: Source = Source {
    name: "scripted",
    summary: "reports what its script says",
    keys: &[],
    limit: MAX_BACKENDS_PER_SOURCE,
    start,
};

fn start(settings: SourceSettings, parse: Parse, feed: Arc<Feed>) -> Option<SourceTask> {
    let script = settings.location().to_owned();
    Some(Box::pin(async move {
        for step in script.split(';') {
            match step {
                "?" => std::future::pending().await,
                "!" => feed.report(Err("the script says so".to_owned())),
                list => feed.report(parse(list, Path::new("."))),
            };
        }
        std::future::pending().await
    }))
}

/// The backends with these URLs.
pub(super) fn list(urls: &str) -> Vec<BackendSettings> {
    let backend = |url| BackendSettings {
        address: Address::parse(url).unwrap(),
        weight: 1,
        is_backup: false,
        name: None,
        is_drained: false,
    };
    urls.split_whitespace().map(backend).collect()
}

pub(super) fn parse(text: &str, _: &Path) -> Result<Vec<BackendSettings>, String> {
    Ok(list(text))
}
