//! The media types of files that the config names as bodies.

/// By extension, in lower case.
const TYPES: &[(&str, &str)] = &[
    ("html", "text/html; charset=utf-8"),
    ("htm", "text/html; charset=utf-8"),
    ("json", "application/json"),
    ("xml", "application/xml"),
    ("svg", "image/svg+xml"),
    ("css", "text/css; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
];

/// The media type of a file by the extension of its name; plain text if the extension is not known.
pub fn media_type_of(file: &str) -> &'static str {
    let extension = file.rsplit_once('.').map_or("", |(_, extension)| extension);
    let found = TYPES
        .iter()
        .find(|(known, _)| extension.eq_ignore_ascii_case(known));
    found.map_or("text/plain; charset=utf-8", |(_, media)| media)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_tells_the_type() {
        assert_eq!(media_type_of("pages/403.HTML"), "text/html; charset=utf-8");
        assert_eq!(media_type_of("a.json"), "application/json");
        for other in ["html", "a.html.txt", "a.", "", "pages.html/sorry"] {
            assert_eq!(media_type_of(other), "text/plain; charset=utf-8", "{other}");
        }
    }
}
