//! Reads the tables of hostile input: one case per line, `row | expected | clause | description | bytes`. Empty lines
//! and lines that begin with `//` are skipped.

/// One line of a table.
#[derive(Debug, Clone)]
pub(super) struct Case {
    /// The class of input, such as `F3`.
    pub(super) row: String,
    /// What the client gets.
    pub(super) expected: Expected,
    /// The section of the RFC that applies.
    pub(super) clause: String,
    /// Description for messages.
    pub(super) name: String,
    /// The bytes.
    pub(super) bytes: Vec<u8>,
}

/// What the client gets for a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expected {
    /// Final responses with exactly these statuses; none if the message never became complete.
    Statuses(Vec<u16>),
    /// The beginning of a response, and a sign that it was truncated.
    Cut,
    /// Anything that the oracle accepts.
    Either,
}

/// Abbreviations in a table.
const SHORT: [(&str, &str); 3] = [
    ("{G}", "GET /g HTTP/1.1\\r\\nHost: a\\r\\nX-Nonce: n\\r\\n"),
    ("{P}", "POST /p HTTP/1.1\\r\\nHost: a\\r\\nX-Nonce: n\\r\\n"),
    ("{S}", "GET /smuggled HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n"),
];

/// Reads a table.
pub(super) fn read(text: &str) -> Vec<Case> {
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("//"));
    lines.map(case).collect()
}

fn case(line: &str) -> Case {
    let columns: Vec<&str> = line.splitn(5, " | ").collect();
    let [row, expected, clause, name, bytes] = columns[..] else {
        panic!("not five columns: {line}");
    };
    let statuses = expected.split_whitespace().filter(|status| *status != "-");
    let expected = match expected {
        "any" => Expected::Either,
        "cut" => Expected::Cut,
        _ => Expected::Statuses(statuses.map(|status| status.parse().expect(line)).collect()),
    };
    let bytes = SHORT.iter().fold(bytes.to_owned(), |bytes, (short, long)| {
        bytes.replace(short, long)
    });
    Case {
        row: row.to_owned(),
        expected,
        clause: clause.to_owned(),
        name: name.to_owned(),
        bytes: unescape(&bytes),
    }
}

/// Converts `\r`, `
/// `, `\t`, `\0`, `\\` and `\xNN` to bytes, and `\*NNNN(text)` to that many copies of the text.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let escaped = &rest[at + 1..];
        let (used, made) = match escaped.as_bytes().first() {
            Some(b'r') => (1, vec![b'\r']),
            Some(b'n') => (1, vec![b'\n']),
            Some(b't') => (1, vec![b'\t']),
            Some(b'0') => (1, vec![0]),
            Some(b'\\') => (1, vec![b'\\']),
            Some(b'x') => (3, vec![u8::from_str_radix(&escaped[1..3], 16).expect(text)]),
            Some(b'*') => {
                let (count, what) = escaped[1..].split_once('(').expect(text);
                let (what, _) = what.split_once(')').expect(text);
                let made = unescape(what).repeat(count.parse().expect(text));
                (count.len() + what.len() + 3, made)
            }
            _ => panic!("no such escape: {text}"),
        };
        bytes.extend(made);
        rest = &escaped[used..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}
