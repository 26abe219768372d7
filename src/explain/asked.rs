//! The request that is asked about: what a question says, parsed by the rules for requests of clients.

use std::fmt;
use std::net::IpAddr;

use evenkeel_balance::request::Request;
use evenkeel_balance::suggest::listed;

use crate::admin::Question;
use crate::clock;
use crate::config::Config;
use crate::head::RequestHead;
use crate::http1::{HeadScan, Kind, Malformed, parse_request};

/// A request that was not sent.
pub(super) struct Asked {
    pub(super) head: RequestHead,
    pub(super) client_ip: IpAddr,
    pub(super) is_secure: bool,
    /// Index of the listener in the config.
    pub(super) listener: usize,
    listener_id: usize,
}

/// Why there is no such request.
#[derive(Debug, PartialEq, Eq)]
pub enum AskedError {
    /// The URL has neither a scheme nor a path.
    Url(String),
    /// A header without a colon.
    Header(String),
    /// A part with a line break or another control character, which would end it.
    Control(String),
    /// A listener that the config does not have, and those that it has.
    Listener(String, Vec<String>),
    /// The request would be rejected before it is routed.
    Malformed(Malformed),
}

impl Asked {
    /// The request that a question describes.
    pub(super) fn new(question: &Question, config: &Config) -> Result<Self, AskedError> {
        let parts = [&question.method, &question.url];
        let mut parts = parts.into_iter().chain(&question.headers);
        if let Some(part) = parts.find(|part| part.chars().any(char::is_control)) {
            return Err(AskedError::Control(part.clone()));
        }
        let (scheme, authority, target) = split_url(&question.url)?;
        let listener = find_listener(question.listener.as_deref(), scheme, config)?;
        let has_tls = |listener: usize| {
            config
                .listeners
                .get(listener)
                .map(|listener| listener.tls.is_some())
        };
        let text = write_head(question, authority, target)?;
        Ok(Self {
            head: parse(text.into_bytes(), config).map_err(AskedError::Malformed)?,
            client_ip: question.client_ip,
            is_secure: has_tls(listener).unwrap_or_default(),
            listener,
            listener_id: config
                .listeners
                .get(listener)
                .map_or(listener, |listener| listener.id),
        })
    }

    /// The request as decisions see it.
    pub(super) fn view(&self) -> Request<'_> {
        Request {
            head: &self.head,
            client_ip: Some(self.client_ip),
            is_secure: self.is_secure,
            listener: self.listener_id,
            now: clock::now(),
            wall: clock::wall(),
            random: 0,
        }
    }
}

/// Scheme, host with port, and target of a URL. The fragment is left out, as browsers do.
fn split_url(url: &str) -> Result<(Option<&str>, &str, &str), AskedError> {
    let url = url.split_once('#').map_or(url, |(url, _)| url);
    if url.starts_with('/') {
        return Ok((None, "", url));
    }
    let parts = url
        .split_once("://")
        .filter(|(scheme, rest)| matches!(*scheme, "http" | "https") && !rest.is_empty());
    let Some((scheme, rest)) = parts else {
        return Err(AskedError::Url(url.to_owned()));
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at_checked(end).unwrap_or((rest, ""));
    Ok((Some(scheme), authority, target))
}

/// The listener with this address. Without one, the first with or without TLS, as the scheme of the URL says.
fn find_listener(address: Option<&str>, scheme: Option<&str>, config: &Config) -> Result<usize, AskedError> {
    let addresses = config
        .listeners
        .iter()
        .map(|listener| listener.address.to_string());
    if let Some(address) = address {
        let found = addresses.clone().position(|known| known == address);
        // `:8080` in the config stands for every address, as in the config.
        let short = addresses
            .clone()
            .position(|known| address.starts_with(':') && known.ends_with(address));
        return found
            .or(short)
            .ok_or_else(|| AskedError::Listener(address.to_owned(), addresses.collect()));
    }
    let wants_tls = scheme.map(|scheme| scheme == "https");
    let mut listeners = config.listeners.iter();
    let found = listeners.position(|listener| wants_tls.is_none_or(|tls| tls == listener.tls.is_some()));
    Ok(found.unwrap_or_default())
}

/// The head of the request as a client would send it.
fn write_head(question: &Question, authority: &str, target: &str) -> Result<String, AskedError> {
    let slash = if target.starts_with('/') { "" } else { "/" };
    let mut text = format!("{} {slash}{target} HTTP/1.1\r\n", question.method);
    let mut has_host = false;
    for header in &question.headers {
        let Some((name, value)) = header.split_once(':') else {
            return Err(AskedError::Header(header.clone()));
        };
        has_host |= name.eq_ignore_ascii_case("host");
        text += &format!("{name}: {}\r\n", value.trim());
    }
    if !has_host && !authority.is_empty() {
        text += &format!("Host: {authority}\r\n");
    }
    Ok(text + "\r\n")
}

fn parse(bytes: Vec<u8>, config: &Config) -> Result<RequestHead, Malformed> {
    let mut scan = HeadScan::default();
    let end = scan.advance(&bytes, Kind::Request, &config.limits.message)?;
    let mut head = RequestHead {
        bytes,
        ..RequestHead::default()
    };
    parse_request(&mut head, &scan, end.ok_or(Malformed::BadRequestLine)?)?;
    Ok(head)
}

impl fmt::Display for AskedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => write!(
                f,
                "{url:?} is not a URL: write http://HOST/PATH or https://HOST/PATH, or /PATH with `-H 'Host: NAME'`"
            ),
            Self::Header(header) => write!(f, "the header {header:?} has no colon: write 'NAME: VALUE'"),
            Self::Control(part) => write!(f, "{part:?} contains a control character: leave it out"),
            Self::Listener(address, known) => write!(
                f,
                "the config has no listener {address}: its listeners are {}",
                listed(known.iter().map(String::as_str))
            ),
            Self::Malformed(reason) => write!(
                f,
                "the request would be rejected with status {} and the error `{}`: {reason}",
                reason.status(),
                reason.code()
            ),
        }
    }
}
