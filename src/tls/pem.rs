//! Describes the content of a PEM file (RFC 7468) for messages: its sections, or what it is if it has none. Pure.

/// Most sections that are counted.
const MOST_SECTIONS: usize = 1000;

/// The content of a file, as the end of an error message about it.
pub(super) fn holds(bytes: &[u8]) -> String {
    let mut kinds: Vec<(String, usize)> = Vec::new();
    for label in labels(bytes).take(MOST_SECTIONS) {
        let name = name(&label);
        match kinds.iter_mut().find(|(kind, _)| *kind == name) {
            Some((_, count)) => *count += 1,
            None => kinds.push((name, 1)),
        }
    }
    if kinds.is_empty() {
        return match bytes {
            [] => "it is empty".to_owned(),
            // The tag of a sequence and a length of more than one byte (X.690 §8.1.3).
            [0x30, 0x81..=0x84, ..] => {
                "it looks like DER: convert it to PEM with `openssl x509 -inform der` or `openssl pkey -inform der`"
                    .to_owned()
            }
            _ => "it contains no PEM data".to_owned(),
        };
    }
    let shown: Vec<String> = kinds
        .iter()
        .map(|(kind, count)| match count {
            1 => format!("a {kind}"),
            _ => format!("{count} {kind}s"),
        })
        .collect();
    format!("it contains {}", shown.join(" and "))
}

/// Whether a file contains an encrypted private key, as PKCS #8 (RFC 5958) or in OpenSSL's older format (RFC 1421
/// §4.6.1.1).
pub(super) fn has_encrypted_key(bytes: &[u8]) -> bool {
    let marks: [&[u8]; 2] = [b"BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED"];
    marks
        .iter()
        .any(|mark| memchr::memmem::find(bytes, mark).is_some())
}

fn name(label: &str) -> String {
    match label {
        "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => "certificate request".to_owned(),
        label if label.ends_with("PRIVATE KEY") => "private key".to_owned(),
        "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => "certificate".to_owned(),
        label => label.to_ascii_lowercase(),
    }
}

/// The labels of all sections, except parameters, which `openssl ecparam` writes before a key.
fn labels(bytes: &[u8]) -> impl Iterator<Item = String> {
    bytes.split(|byte| *byte == b'\n').filter_map(|line| {
        let label = line
            .trim_ascii()
            .strip_prefix(b"-----BEGIN ")?
            .strip_suffix(b"-----")?;
        let is_label = label.len() <= 64 && !label.ends_with(b"PARAMETERS");
        let label = std::str::from_utf8(label).ok().filter(|_| is_label)?;
        label
            .bytes()
            .all(|byte| byte.is_ascii_graphic() || byte == b' ')
            .then(|| label.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(label: &str) -> String {
        format!("-----BEGIN {label}-----\nAA==\n-----END {label}-----\n")
    }

    #[test]
    fn describes_the_content() {
        let certificate = section("CERTIFICATE");
        for (text, expected) in [
            (String::new(), "it is empty"),
            ("hello".to_owned(), "it contains no PEM data"),
            (section("RSA PRIVATE KEY"), "it contains a private key"),
            (certificate.repeat(2), "it contains 2 certificates"),
            (
                certificate.clone() + &section("PRIVATE KEY"),
                "it contains a certificate and a private key",
            ),
            (
                section("EC PARAMETERS") + &section("EC PRIVATE KEY"),
                "it contains a private key",
            ),
            (
                section("CERTIFICATE REQUEST"),
                "it contains a certificate request",
            ),
            (
                section("PUBLIC KEY").replace('\n', "\r\n"),
                "it contains a public key",
            ),
        ] {
            assert_eq!(holds(text.as_bytes()), expected, "{text}");
        }
        assert!(holds(&[0x30, 0x82, 1, 2, 3]).starts_with("it looks like DER"));
    }
}
