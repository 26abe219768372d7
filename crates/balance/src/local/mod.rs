//! Renders the bodies of local responses: a page for people, problem details for programs (RFC 9457), or plain text, as
//! `Accept` says. Knows nothing of heads, nor of gRPC, whose errors are in trailers.

mod accept;
mod escape;
mod media;

pub use accept::{Form, form};
pub use media::media_type_of;

/// What a local response says. Every text is escaped, wherever it comes from.
#[derive(Debug, Clone, Copy)]
pub struct Problem<'a> {
    /// The status.
    pub status: u16,
    /// The error code, as in the access log.
    pub code: &'a str,
    /// The meaning of the status in a few words, such as its reason phrase.
    pub title: &'a str,
    /// The request id. Bytes that would need escaping anywhere are left out, as they are in `X-Request-Id`.
    pub request_id: Option<&'a [u8]>,
}

/// Longest title and longest code, in bytes after escaping: with all else a page stays below 2 KiB.
const MAX_TEXT: usize = 200;
/// Longest request id that is shown: none that is accepted is longer.
const MAX_ID: usize = 128;

/// Nothing is loaded from elsewhere: the page must work when nothing else does. Colours are those of the browser, so that a dark
/// mode works.
const PAGE_START: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:34em;margin:15vh auto;padding:0 1em}h1{font-size:1.5em}\
small{opacity:.7;overflow-wrap:anywhere}</style><title>";

/// Renders the body that the values of `Accept` ask for into `out`. Returns its media type. A response that may be cached needs
/// `Vary: Accept`, since its body depends on that.
pub fn render<'a>(
    accept: impl IntoIterator<Item = &'a [u8]>,
    problem: &Problem<'_>,
    out: &mut Vec<u8>,
) -> &'static str {
    let form = form(accept);
    match form {
        Form::Html => problem.html(out),
        Form::Json => problem.json(out),
        Form::Text => problem.text(out),
    }
    form.media_type()
}

impl Problem<'_> {
    fn html(&self, out: &mut Vec<u8>) {
        put(out, PAGE_START);
        self.html_title(out);
        put(out, "</title></head>\n<body><h1>");
        self.html_title(out);
        put(out, "</h1><p>");
        put(out, sentence(self.status));
        put(out, "</p><small>");
        escape::html(self.code, MAX_TEXT, out);
        if self.request_id.is_some() {
            put(out, " · request id ");
            self.id(out);
        }
        put(out, "</small></body></html>\n");
    }

    fn html_title(&self, out: &mut Vec<u8>) {
        put_number(out, self.status);
        put(out, " ");
        escape::html(self.title, MAX_TEXT, out);
    }

    /// The type is `about:blank`: the problem has no meaning beside that of its status (RFC 9457 §4.2.1).
    fn json(&self, out: &mut Vec<u8>) {
        put(out, "{\"type\":\"about:blank\",\"title\":\"");
        escape::json(self.title, MAX_TEXT, out);
        put(out, "\",\"status\":");
        put_number(out, self.status);
        put(out, ",\"detail\":\"");
        put(out, sentence(self.status));
        put(out, "\",\"code\":\"");
        escape::json(self.code, MAX_TEXT, out);
        if self.request_id.is_some() {
            put(out, "\",\"request_id\":\"");
            self.id(out);
        }
        put(out, "\"}\n");
    }

    fn text(&self, out: &mut Vec<u8>) {
        put_number(out, self.status);
        put(out, " ");
        escape::text(self.title, MAX_TEXT, out);
        put(out, ": ");
        escape::text(self.code, MAX_TEXT, out);
        put(out, "\n");
        if self.request_id.is_some() {
            put(out, "request_id: ");
            self.id(out);
            put(out, "\n");
        }
    }

    /// Writes the bytes of the request id that need no escaping anywhere: a trusted proxy may have sent any.
    fn id(&self, out: &mut Vec<u8>) {
        let id = self.request_id.unwrap_or_default();
        let end = out.len() + MAX_ID;
        repeatable(id).for_each(|part| out.extend_from_slice(part));
        out.truncate(end);
    }
}

/// The bytes of a request id that are repeated to the client, in parts: a trusted proxy may have sent anything, and these need no
/// escaping anywhere.
pub fn repeatable(id: &[u8]) -> impl Iterator<Item = &[u8]> {
    // Of most ids, one part is all of it.
    id.split(|byte| !is_repeatable(*byte))
        .filter(|part| !part.is_empty())
}

fn is_repeatable(byte: u8) -> bool {
    matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b':' | b'+' | b'/' | b'=')
}

/// What a person can make of a status. None of these needs escaping.
fn sentence(status: u16) -> &'static str {
    match status {
        401 => "You have to sign in first.",
        403 => "You have no access to this address.",
        404 | 410 => "There is nothing at this address.",
        405 => "This address does not support the method of the request.",
        408 => "The request took too long to arrive.",
        413 => "The request is too large.",
        414 | 431 => "The address or the headers of the request are too long.",
        421 => "The request came by a connection for another site. Please try again.",
        429 => "There were too many requests. Please try again later.",
        400..=499 => "The request could not be understood.",
        502..=504 => "The service is not available right now. Please try again in a moment.",
        500..=599 => "Something went wrong on the server. Please try again later.",
        _ => "There is nothing more to see.",
    }
}

fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn put_number(out: &mut Vec<u8>, number: u16) {
    put(out, itoa::Buffer::new().format(number));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROBLEM: Problem<'_> = Problem {
        status: 502,
        code: "backend_reset",
        title: "Bad Gateway",
        request_id: Some(b"abc-1"),
    };

    fn rendered(accept: &str, problem: &Problem<'_>) -> (&'static str, String) {
        let mut out = Vec::new();
        let media = render([accept.as_bytes()], problem, &mut out);
        (media, String::from_utf8(out).unwrap())
    }

    #[test]
    fn plain_text_has_status_code_and_request_id() {
        let (media, body) = rendered("*/*", &PROBLEM);
        assert_eq!(media, "text/plain; charset=utf-8");
        assert_eq!(body, "502 Bad Gateway: backend_reset\nrequest_id: abc-1\n");
    }

    #[test]
    fn programs_get_problem_details() {
        let (media, body) = rendered("application/json", &PROBLEM);
        assert_eq!(media, "application/problem+json");
        assert_eq!(
            body,
            "{\"type\":\"about:blank\",\"title\":\"Bad Gateway\",\"status\":502,\
             \"detail\":\"The service is not available right now. Please try again in a moment.\",\
             \"code\":\"backend_reset\",\"request_id\":\"abc-1\"}\n"
        );
        let without = Problem {
            request_id: None,
            ..PROBLEM
        };
        assert!(
            rendered("application/json", &without)
                .1
                .ends_with("\"code\":\"backend_reset\"}\n")
        );
    }

    #[test]
    fn people_get_a_page_that_needs_nothing_else() {
        let (media, body) = rendered("text/html,*/*;q=0.8", &PROBLEM);
        assert_eq!(media, "text/html; charset=utf-8");
        for part in [
            "<title>502 Bad Gateway</title>",
            "<h1>502 Bad Gateway</h1>",
            "not available right now",
            "backend_reset",
            "abc-1",
            "color-scheme",
        ] {
            assert!(body.contains(part), "{part}: {body}");
        }
        for outside in ["http:", "https:", "src=", "href=", "url(", "@import", "<script"] {
            assert!(!body.contains(outside), "{outside}");
        }
    }

    #[test]
    fn only_bytes_that_mean_nothing_are_repeated() {
        let parts = |id: &'static str| repeatable(id.as_bytes()).collect::<Vec<_>>().concat();
        for whole in ["", "aZ09-_.:+/=", "01890a5d-ac96-774b-bcce-b302099a8057"] {
            assert_eq!(parts(whole), whole.as_bytes());
        }
        assert_eq!(parts("<a>\r\nb\"\u{e9}c "), b"abc");
    }

    #[test]
    fn every_status_has_a_sentence_without_special_characters() {
        for status in 100..=999 {
            let sentence = sentence(status);
            assert!(
                sentence.ends_with('.') && !sentence.contains(['<', '>', '&', '"', '\\']),
                "{status}"
            );
        }
    }

    proptest! {
        #[test]
        fn nothing_breaks_out_of_a_body(
            title in "(\\PC|[<>&\"'\\\\\r\n\t\u{0}]){0,80}",
            code in "(\\PC|[<>&\"'\\\\\r\n\t\u{0}]){0,80}",
            id in prop::collection::vec(any::<u8>(), 0..300),
            status in 400_u16..600,
        ) {
            let problem = Problem { status, code: &code, title: &title, request_id: Some(&id) };
            let (_, html) = rendered("text/html", &problem);
            prop_assert!(html.len() <= 2 << 10, "{}", html.len());
            let plain = rendered("text/html", &PROBLEM).1;
            for special in ['<', '>', '"'] {
                prop_assert_eq!(html.matches(special).count(), plain.matches(special).count(), "{}", html);
            }
            prop_assert!(!html.contains(['\r', '\0']));

            let (_, json) = rendered("application/json", &problem);
            let read: serde_json::Value = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(read.as_object().unwrap().len(), 6);
            let shown = title.replace(|c: char| c.is_control(), " ");
            prop_assert!(shown.starts_with(read["title"].as_str().unwrap()), "{}", json);
            prop_assert_eq!(read["status"].as_u64(), Some(status.into()));

            let (_, text) = rendered("*/*", &problem);
            prop_assert_eq!(text.matches('\n').count(), 2, "{}", text);
            prop_assert!(!text.contains(['\r', '\0', '\t']));
        }
    }
}
