//! Generated input: the reader never panics, and every accepted config can be printed and read again.

use proptest::prelude::*;

use super::read;
use crate::config::{Loaded, print};

/// Pieces of configs, valid and invalid.
const PIECES: [&str; 40] = [
    "listen",
    "listeners",
    "backends",
    "pools",
    "routes",
    "admin",
    "timeouts",
    "health_check",
    "retry",
    "limits",
    "token",
    "address",
    "url",
    "path",
    "status",
    "200-399",
    "causes",
    "http://a:1",
    ":8080",
    "10s",
    "64KiB",
    "off",
    "none",
    ": ",
    "\n",
    "\n  ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    ", ",
    "\"",
    "'",
    "&a ",
    "*a",
    "${X:-1}",
    "${",
    "|\n",
    "\u{feff}é\t#",
];

fn check(text: &str) {
    match read(text) {
        Ok(Loaded { config, warnings }) => {
            let _ = warnings.iter().map(ToString::to_string).collect::<String>();
            let printed = print(&config);
            let again = read(&printed).unwrap_or_else(|report| panic!("{printed}\n{report}"));
            assert_eq!(print(&again.config), printed);
        }
        Err(report) => {
            assert!(report.errors() > 0);
            assert!(!report.to_string().is_empty());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn arbitrary_text_never_panics(text in "(?s).{0,200}") {
        check(&text);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        check(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn pieces_in_any_order_never_panic(pieces in proptest::collection::vec(0..PIECES.len(), 0..60)) {
        let text: String = pieces.into_iter().map(|piece| PIECES[piece]).collect();
        check(&text);
    }

    #[test]
    fn any_value_of_any_key_never_panics(
        key in "(workers|admin|access_log|strategy|health_check|retry|limits|timeouts|trusted_proxies|pools|routes)",
        value in "[ -~]{0,40}",
    ) {
        check(&super::with(&format!("{key}: {value}\n")));
        check(&super::with(&format!("{key}: '{}'\n", value.replace('\'', "''"))));
    }
}
