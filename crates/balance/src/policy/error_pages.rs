//! Replaces the bodies of error responses with pages for people: files, or responses of a pool. The status stays.
//!
//! Pages are for clients that prefer HTML by their `Accept`; all others get what they get without this policy. A page whose file
//! could not be read is as if it were not there.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwapOption;
use evenkeel_wire::http1::normalise_path;

use super::{BuildError, Context, Decision, Feed, Notes, Policy, Source};
use crate::local::{Form as BodyForm, form, media_type_of};
use crate::request::Request;
use crate::schema::{ANY, Form, Key, Kind, Params, Section, Value};

/// The statuses that a page can be for.
const ERRORS: std::ops::RangeInclusive<u16> = 400..=599;
/// Largest file, in bytes. It is kept in memory.
const MAX_FILE: usize = 1 << 20;

const OF_POOL: Section = Section {
    name: "page",
    about: "A page that a pool serves.",
    keys: &[
        Key::new(
            "pool",
            Kind::Text(Form::new("the name of a pool")),
            "The pool that serves the page.",
        )
        .required(),
        Key::new(
            "path",
            Kind::Text(
                Form::new("a path that begins with /")
                    .matching("^/[^?#]*$")
                    .checked(is_path),
            ),
            "The path of the page, which is requested with GET.",
        )
        .required(),
    ],
};

pub(super) const KEYS: &[Key] = &[
    Key::any(
        Kind::Either(&Kind::Text(Form::new("a file").file()), &Kind::Section(&OF_POOL)),
        "The page for a status from 400 to 599 (`404`), a range (`502-504`) or a class (`5xx`); of several the narrowest one counts. Either a file of at most 1 MiB, which is read again when it changes, or a path that a pool serves. Only clients that prefer HTML by their `Accept` get pages; programs get problem details as JSON.",
    ),
    Key::new(
        "intercept",
        Kind::Flag,
        "Whether the pages replace error responses of backends too, not only local responses.",
    )
    .default("false"),
];

/// The pages, by status.
#[derive(Debug)]
pub struct ErrorPages {
    pages: Vec<Page>,
    /// For each status from 400 on, the number of its page; 0 is none.
    by_status: [u8; 200],
    intercepts: bool,
}

/// What takes the place of a body.
#[derive(Debug)]
pub enum Page {
    /// A file.
    File(Arc<FilePage>),
    /// A response of a pool.
    Pool {
        /// The name of the pool.
        pool: Box<str>,
        /// The path to request, normalised.
        path: Box<[u8]>,
    },
}

/// A file in memory.
#[derive(Debug)]
pub struct FilePage {
    path: String,
    body: ArcSwapOption<Vec<u8>>,
}

impl FilePage {
    /// The media type, by the extension of the file.
    pub fn media_type(&self) -> &'static str {
        media_type_of(&self.path)
    }

    /// The content; `None` as long as the file could not be read.
    pub fn body(&self) -> Option<Arc<Vec<u8>>> {
        self.body.load_full()
    }
}

impl ErrorPages {
    /// The page for a response with this status. `is_local` tells local responses from those of backends.
    pub fn page_for(&self, status: u16, is_local: bool) -> Option<&Page> {
        if !is_local && !self.intercepts {
            return None;
        }
        let number = self
            .by_status
            .get(usize::from(status.checked_sub(*ERRORS.start())?))?;
        self.pages.get(usize::from(number.checked_sub(1)?))
    }

    /// Whether a client with these values of `Accept` gets pages.
    pub fn is_for<'a>(accept: impl IntoIterator<Item = &'a [u8]>) -> bool {
        form(accept) == BodyForm::Html
    }

    /// The names of the pools that serve pages.
    pub fn pools(&self) -> impl Iterator<Item = &str> {
        self.pages.iter().filter_map(|page| match page {
            Page::Pool { pool, .. } => Some(&**pool),
            Page::File(_) => None,
        })
    }
}

impl Policy for ErrorPages {
    fn check(&self, _: &Request<'_>, _: &mut Notes) -> Decision {
        Decision::Continue
    }

    fn error_pages(&self) -> Option<&ErrorPages> {
        Some(self)
    }

    fn feeds(&self) -> Vec<Feed> {
        let files = self.pages.iter().filter_map(|page| match page {
            Page::File(file) => Some(Arc::clone(file)),
            Page::Pool { .. } => None,
        });
        let feed = |file: Arc<FilePage>| {
            let source = Source::File(file.path.clone());
            Feed::new(source, MAX_FILE, Arc::<AtomicBool>::default(), move |data| {
                let (file, body) = (Arc::clone(&file), Arc::new(data.to_vec()));
                Ok(Box::new(move || file.body.store(Some(body))))
            })
        };
        files.map(feed).collect()
    }
}

pub(super) fn build(context: Context<'_>) -> Result<Box<dyn Policy>, BuildError> {
    Ok(Box::new(pages(context.params)?))
}

fn pages(params: &Params) -> Result<ErrorPages, BuildError> {
    let invalid = |message| BuildError::of(ANY, message);
    let mut entries = Vec::new();
    for (name, value) in params.any() {
        let statuses = Statuses::parse(name).ok_or_else(|| {
            invalid(format!(
                "{name:?} is not a status: write one from 400 to 599 such as 404, a range such as 502-504, or 4xx or 5xx"
            ))
        })?;
        entries.push((statuses, name, value));
    }
    if entries.is_empty() {
        return Err(BuildError {
            key: None,
            message:
                "`error_pages` requires a page: write a status and a file, such as `502-504: sorry.html`"
                    .to_owned(),
        });
    }
    // Wide ones first, so that narrower ones overwrite them.
    entries.sort_by_key(|(statuses, ..)| std::cmp::Reverse(statuses.width()));
    let mut pages = ErrorPages {
        pages: Vec::new(),
        by_status: [0; 200],
        intercepts: params.flag("intercept"),
    };
    for (index, (statuses, name, value)) in entries.iter().enumerate() {
        let mut wider = entries.iter().take(index);
        if let Some((_, other, _)) = wider.find(|(other, ..)| other.conflicts_with(*statuses)) {
            return Err(invalid(format!(
                "{name} and {other} are for the same statuses: write ranges that do not overlap, or one within the other"
            )));
        }
        pages.pages.push(
            page(value).ok_or_else(|| invalid(format!("{name} requires a file, or a pool and a path")))?,
        );
        // The table has a byte for each status.
        let number = u8::try_from(pages.pages.len());
        let number = number.map_err(|_| invalid("more than 255 pages: use wider ranges".to_owned()))?;
        pages
            .by_status
            .iter_mut()
            .skip(statuses.skipped())
            .take(statuses.width())
            .for_each(|slot| *slot = number);
    }
    Ok(pages)
}

fn page(value: &Value) -> Option<Page> {
    match value {
        Value::Text(path) => Some(Page::File(Arc::new(FilePage {
            path: path.clone(),
            body: ArcSwapOption::empty(),
        }))),
        Value::Section(params) => {
            let mut path = params.text("path")?.as_bytes().to_vec();
            normalise_path(&mut path).ok()?;
            Some(Page::Pool {
                pool: params.text("pool")?.into(),
                path: path.into(),
            })
        }
        _ => None,
    }
}

fn is_path(text: &str) -> bool {
    normalise_path(&mut text.as_bytes().to_vec()).is_ok()
}

/// A range of statuses, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Statuses {
    first: u16,
    last: u16,
}

impl Statuses {
    fn parse(text: &str) -> Option<Self> {
        let (first, last) = match text {
            "4xx" => (400, 499),
            "5xx" => (500, 599),
            _ => match text.split_once('-') {
                Some((first, last)) => (status(first.trim())?, status(last.trim())?),
                None => (status(text)?, status(text)?),
            },
        };
        (first <= last).then_some(Self { first, last })
    }

    fn width(self) -> usize {
        usize::from(self.last - self.first) + 1
    }

    /// How many statuses of the table come before.
    fn skipped(self) -> usize {
        usize::from(self.first - ERRORS.start())
    }

    /// Whether both hold a status and neither is within the other, or both are the same.
    fn conflicts_with(self, other: Self) -> bool {
        let is_within = |inner: Self, outer: Self| inner.first >= outer.first && inner.last <= outer.last;
        let overlaps = self.first <= other.last && other.first <= self.last;
        self == other || (overlaps && !is_within(self, other) && !is_within(other, self))
    }
}

fn status(text: &str) -> Option<u16> {
    // `u16::from_str` alone would accept a sign.
    let is_number = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    let status = text.parse().ok().filter(|_| is_number)?;
    ERRORS.contains(&status).then_some(status)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn build_from(entries: &[(&str, Value)], intercepts: bool) -> Result<ErrorPages, BuildError> {
        let entries = entries
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()));
        let mut params = Params::default();
        params.set(ANY, Value::Named(entries.collect()));
        params.set("intercept", Value::Flag(intercepts));
        pages(&params)
    }

    fn file(name: &str) -> Value {
        Value::Text(name.to_owned())
    }

    fn of_pool(pool: &str, path: &str) -> Value {
        let mut params = Params::default();
        params.set("pool", file(pool));
        params.set("path", file(path));
        Value::Section(params)
    }

    fn shown(page: Option<&Page>) -> &str {
        match page {
            Some(Page::File(file)) => &file.path,
            Some(Page::Pool { pool, .. }) => pool,
            None => "",
        }
    }

    #[test]
    fn the_narrowest_range_counts() {
        let entries = [
            ("503", file("503.html")),
            ("5xx", file("5xx.html")),
            ("404", of_pool("pages", "/a/../404.html")),
            ("502-504", file("sorry.html")),
        ];
        let pages = build_from(&entries, false).unwrap();
        for (status, expected) in [
            (399, ""),
            (400, ""),
            (404, "pages"),
            (499, ""),
            (500, "5xx.html"),
            (501, "5xx.html"),
            (502, "sorry.html"),
            (503, "503.html"),
            (504, "sorry.html"),
            (505, "5xx.html"),
            (599, "5xx.html"),
            (600, ""),
            (0, ""),
            (u16::MAX, ""),
        ] {
            assert_eq!(shown(pages.page_for(status, true)), expected, "{status}");
        }
        assert!(
            matches!(pages.page_for(404, true), Some(Page::Pool { path, .. }) if **path == *b"/404.html")
        );
        assert_eq!(pages.pools().collect::<Vec<_>>(), ["pages"]);
    }

    #[test]
    fn responses_of_backends_are_replaced_only_when_asked_for() {
        for intercepts in [false, true] {
            let pages = build_from(&[("404", file("a"))], intercepts).unwrap();
            assert_eq!(pages.page_for(404, false).is_some(), intercepts);
            assert!(pages.page_for(404, true).is_some());
        }
    }

    #[test]
    fn only_clients_that_prefer_html_get_pages() {
        assert!(ErrorPages::is_for([&b"text/html,*/*;q=0.8"[..]]));
        for other in [
            &b"application/json"[..],
            b"*/*",
            b"",
            b"text/html;q=0.1, application/json",
        ] {
            assert!(!ErrorPages::is_for([other]), "{other:?}");
        }
    }

    #[test]
    fn a_file_is_there_once_it_was_read() {
        let pages = build_from(&[("404", file("404.html")), ("500", of_pool("p", "/"))], false).unwrap();
        let body = || match pages.page_for(404, true) {
            Some(Page::File(file)) => file.body(),
            other => panic!("{other:?}"),
        };
        assert_eq!(body(), None);
        let feeds = pages.feeds();
        assert_eq!(feeds.len(), 1);
        assert_eq!(feeds[0].source, Source::File("404.html".to_owned()));
        feeds[0].take(b"<p>one").unwrap();
        let before = body();
        feeds[0].take(b"<p>two").unwrap();
        assert_eq!(before.as_deref().map(Vec::as_slice), Some(&b"<p>one"[..]));
        assert_eq!(body().as_deref().map(Vec::as_slice), Some(&b"<p>two"[..]));
        assert!(feeds[0].take(&vec![0; MAX_FILE + 1]).is_err());
    }

    #[test]
    fn messages_say_what_to_write() {
        for name in [
            "", "200", "399", "600", "40", "4040", "+404", "504-502", "404-", "6xx", "5XX", "404-abc",
            "400-600",
        ] {
            let error = build_from(&[(name, file("a"))], false).unwrap_err();
            assert!(error.message.contains("is not a status"), "{name}");
        }
        for pair in [["404", "404"], ["500-502", "502-504"], ["4xx", "400-499"]] {
            let error = build_from(&pair.map(|name| (name, file("a"))), false).unwrap_err();
            assert!(error.message.contains("do not overlap"), "{pair:?}");
        }
        assert!(
            build_from(&[], false)
                .unwrap_err()
                .message
                .contains("requires a page")
        );
        assert!(build_from(&[("404", of_pool("p", "404.html"))], false).is_err());
        assert!(build_from(&[("404", Value::Flag(true))], false).is_err());
    }

    proptest! {
        #[test]
        fn looks_up_like_a_search(ranges in prop::collection::vec((400_u16..600, 0_u16..40), 1..8), status in any::<u16>()) {
            let ranges: Vec<_> = ranges.iter().map(|(first, width)| (*first, (first + width).min(599))).collect();
            let names: Vec<_> = ranges.iter().map(|(first, last)| format!("{first}-{last}")).collect();
            let entries: Vec<_> = names.iter().map(|name| (&**name, file(name))).collect();
            if let Ok(pages) = build_from(&entries, false) {
                let holding = ranges.iter().filter(|(first, last)| (*first..=*last).contains(&status));
                let expected = holding.min_by_key(|(first, last)| last - first);
                let expected = expected.map_or(String::new(), |(first, last)| format!("{first}-{last}"));
                prop_assert_eq!(shown(pages.page_for(status, true)), expected);
            }
        }
    }
}
