//! Compares origins: scheme, host and port, byte for byte as browsers send them (Fetch, "CORS check"; RFC 6454 §6.2).

/// The origins of a policy.
#[derive(Debug, Default)]
pub(super) struct Origins {
    /// Whether `*` is one of them.
    every: bool,
    exact: Vec<Box<[u8]>>,
    wildcards: Vec<Wildcard>,
}

/// `https://*.example.com:8443`, in parts around the `*`.
#[derive(Debug)]
struct Wildcard {
    /// `https://`
    start: Box<[u8]>,
    /// `.example.com:8443`
    end: Box<[u8]>,
}

/// Whether a text is an origin that can be configured.
pub(super) fn is_valid(text: &str) -> bool {
    text == "*" || normalised(text).is_ok()
}

/// Whether a text is a token (RFC 9110 §5.6.2).
pub(super) fn is_token(text: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!#$%&'*+^`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token)
}

impl Origins {
    /// The origins with these texts.
    ///
    /// # Errors
    /// Which of them is not an origin, and why.
    pub(super) fn new<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut origins = Self::default();
        for text in texts {
            if text == "*" {
                origins.every = true;
                continue;
            }
            let normalised = normalised(text).map_err(|why| format!("`{text}` is not an origin: {why}"))?;
            match normalised.split_once('*') {
                Some((start, end)) => origins.wildcards.push(Wildcard {
                    start: start.as_bytes().into(),
                    end: end.as_bytes().into(),
                }),
                None => origins.exact.push(normalised.into_bytes().into()),
            }
        }
        Ok(origins)
    }

    /// What `Access-Control-Allow-Origin` says to this origin, if it is allowed.
    pub(super) fn allow<'a>(&self, origin: &'a [u8]) -> Option<&'a [u8]> {
        let is_allowed = || {
            let is_exact = self.exact.iter().any(|exact| **exact == *origin);
            is_exact || self.wildcards.iter().any(|wildcard| wildcard.covers(origin))
        };
        match self.every {
            true => self.for_all(),
            false => is_allowed().then_some(origin),
        }
    }

    /// Whether every origin is allowed.
    pub(super) fn is_every(&self) -> bool {
        self.every
    }

    /// What is said to all, if every origin is allowed.
    pub(super) fn for_all(&self) -> Option<&'static [u8]> {
        self.every.then_some(b"*")
    }
}

impl Wildcard {
    /// Whether one or more labels stand for the `*`, and nothing else: no user name, path or port.
    fn covers(&self, origin: &[u8]) -> bool {
        let rest = origin.strip_prefix(&*self.start);
        let labels = rest.and_then(|rest| rest.strip_suffix(&*self.end));
        labels.is_some_and(is_labels)
    }
}

/// The form in which browsers send it: scheme and host in lower case, without the scheme's own port.
fn normalised(text: &str) -> Result<String, &'static str> {
    let text = text.to_ascii_lowercase();
    if text == "null" {
        return Err("`null` is sent by local files and sandboxed pages of any site");
    }
    let (scheme, authority) = text
        .split_once("://")
        .ok_or("it has no scheme such as https://")?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    if !is_scheme {
        return Err("its scheme is not valid");
    }
    if authority.contains(['/', '?', '#', '@']) {
        return Err("it is more than scheme, host and port: remove the path, also a `/` at the end");
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    if !is_host(host.strip_prefix("*.").unwrap_or(host)) {
        return Err("its host is not valid; `*.` can only be at the start");
    }
    let own_port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => 0,
    };
    let Some(port) = port else {
        return Ok(text);
    };
    match port.parse::<u16>() {
        Ok(number) if port.starts_with(|first: char| first.is_ascii_digit()) && number > 0 => {
            let is_own = number == own_port;
            let port = if is_own {
                String::new()
            } else {
                format!(":{number}")
            };
            Ok(format!("{scheme}://{host}{port}"))
        }
        _ => Err("its port is not a number from 1 to 65535"),
    }
}

fn is_host(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_labels(host.as_bytes()),
    }
}

/// Whether these are labels of a host in lower case.
fn is_labels(text: &[u8]) -> bool {
    let is_label = |label: &[u8]| {
        let is_letter =
            |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(byte);
        !label.is_empty() && label.iter().all(is_letter)
    };
    text.split(|byte| *byte == b'.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_allowed(configured: &str, origin: &str) -> bool {
        Origins::new([configured].into_iter())
            .unwrap()
            .allow(origin.as_bytes())
            .is_some()
    }

    #[test]
    fn exact_origins_are_compared_as_browsers_send_them() {
        for (configured, origin, expected) in [
            ("https://app.test", "https://app.test", true),
            ("HTTPS://App.Test:443", "https://app.test", true),
            ("http://app.test:80", "http://app.test", true),
            ("http://app.test:443", "http://app.test:443", true),
            ("https://[::1]:8443", "https://[::1]:8443", true),
            ("https://[::1]", "https://[::1]", true),
            ("https://app.test", "http://app.test", false),
            ("https://app.test", "https://app.test:8443", false),
            ("https://app.test", "https://app.test.evil.test", false),
            ("https://app.test", "https://APP.test", false),
            ("https://app.test", "null", false),
            ("https://app.test", "", false),
            ("app+x://local", "app+x://local", true),
        ] {
            assert_eq!(is_allowed(configured, origin), expected, "{configured} {origin}");
        }
    }

    #[test]
    fn a_wildcard_covers_labels_and_nothing_else() {
        for (origin, expected) in [
            ("https://a.app.test", true),
            ("https://a.b-c.app.test", true),
            ("https://app.test", false),
            ("https://.app.test", false),
            ("https://a..app.test", false),
            ("https://evil.test/.app.test", false),
            ("https://evil.test#.app.test", false),
            ("https://user@x.app.test", false),
            ("https://evil.test:1.app.test", false),
            ("https://a.app.test:8443", false),
            ("http://a.app.test", false),
            ("https://aapp.test", false),
        ] {
            assert_eq!(is_allowed("https://*.app.test", origin), expected, "{origin}");
        }
        assert!(is_allowed("https://*.app.test:8443", "https://a.app.test:8443"));
        assert!(is_allowed("https://*.app.test:443", "https://a.app.test"));
    }

    #[test]
    fn every_origin_is_told_the_same() {
        let every = Origins::new(["https://a.test", "*"].into_iter()).unwrap();
        assert_eq!(every.allow(b"https://evil.test"), Some(&b"*"[..]));
        assert_eq!(every.allow(b"null"), Some(&b"*"[..]));
    }

    #[test]
    fn texts_that_are_not_origins_are_refused() {
        for text in [
            "",
            "app.test",
            "https://",
            "https://app.test/",
            "https://app.test/path",
            "https://app.*.test",
            "https://a*.test",
            "https://*",
            "https://app.test:0",
            "https://app.test:+80",
            "https://app.test:99999",
            "https://user@app.test",
            "https://[::x]",
            "https://*.*.test",
            "://app.test",
            "null",
        ] {
            assert!(!is_valid(text), "{text}");
        }
        let error = Origins::new(["https://app.test/"].into_iter()).unwrap_err();
        assert!(
            error.contains("`https://app.test/` is not an origin: it is more than"),
            "{error}"
        );
    }
}
