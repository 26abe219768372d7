//! Certificate files of a config, and redirects to HTTPS.

use super::{bad, good, read};
use crate::config::{Loaded, Severity};
use crate::listener::Redirect;
use crate::tls::testing::{Authority, Folder, wanted};

/// A config whose listener has this item of `certificates`.
fn listener(item: &str) -> String {
    format!("listeners: [{{ address: ':1', tls: {{ certificates: [{item}] }} }}]\nbackends: [http://a:1]\n")
}

/// A config whose pool has these keys of `tls`.
fn pool(keys: &str) -> String {
    format!(
        "listen: :1\npools:\n  a:\n    backends: [https://a:1]\n    tls: {{ {keys} }}\nroutes: [{{ pool: a }}]\n"
    )
}

fn loaded(text: &str) -> Loaded {
    read(text).unwrap_or_else(|report| panic!("{report}"))
}

#[test]
fn an_expired_certificate_is_an_error_for_check_and_a_warning_for_run() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let old = folder.put("old", &authority.sign(&wanted(&["a.test"]).days(-9, -1)));
    let ca = folder.write("ca.pem", &authority.pem());
    let of_the_pool = old.trim_matches(['{', '}', ' ']);
    for (text, line) in [
        (listener(&old), 1),
        (pool(&format!("ca: \"{ca}\", {of_the_pool}")), 5),
    ] {
        let loaded = loaded(&text);
        let [warning] = loaded.warnings.as_slice() else {
            panic!("{:?}", loaded.warnings)
        };
        let shown = warning.to_string();
        assert!(shown.contains(": warning: the certificate in ") && shown.contains("old.pem expired at 20"));
        let Err(report) = loaded.strictly() else {
            panic!("accepted:\n{text}")
        };
        assert_eq!(
            (report.errors(), report.problems[0].position.unwrap().0),
            (1, line)
        );
        assert!(
            report.to_string().contains(": error: the certificate in "),
            "{report}"
        );
    }
}

#[test]
fn a_certificate_that_is_not_valid_yet_is_a_warning_for_both() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let item = folder.put("new", &authority.sign(&wanted(&["a.test"]).days(1, 9)));
    let Ok(loaded) = loaded(&listener(&item)).strictly() else {
        panic!("refused")
    };
    assert_eq!(loaded.warnings[0].severity, Severity::Warning);
    assert!(loaded.warnings[0].message.contains("is not valid before 20"));
}

#[test]
fn warns_of_authorities_of_clients_that_are_not_asked_for_a_certificate() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let item = folder.put("site", &authority.sign_for(&["a.test"]));
    let ca = folder.write("ca.pem", &authority.pem());
    let config =
        |more: &str| listener(&item).replace("] } }", &format!("], client_ca: \"{ca}\"{more} }} }}"));
    let warnings = loaded(&config("")).warnings;
    let [warning] = warnings.as_slice() else {
        panic!("{warnings:?}")
    };
    assert!(
        warning.to_string().contains("write `client_auth: required`"),
        "{warning}"
    );
    for said in ["none", "optional", "required"] {
        let warnings = loaded(&config(&format!(", client_auth: {said}"))).warnings;
        assert!(warnings.is_empty(), "{warnings:?}");
    }
}

#[test]
fn warns_of_two_certificates_with_the_same_name_and_key_type() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let first = folder.put("first", &authority.sign_for(&["a.test", "b.test"]));
    let rsa = folder.put("rsa", &authority.sign_rsa(&wanted(&["a.test", "b.test"])));
    let second = folder.put("second", &authority.sign_for(&["x.test", "b.test"]));
    let loaded = loaded(&listener(&[first, rsa, second].join(", ")));
    let [warning] = loaded.warnings.as_slice() else {
        panic!("{:?}", loaded.warnings)
    };
    let message = &warning.message;
    for part in [
        "second.pem is not used for `b.test`",
        "first.pem comes first",
        "(ECDSA)",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn an_invalid_file_is_reported_at_its_key() {
    let (folder, authority) = (Folder::new(), Authority::new());
    folder.put("a", &authority.sign_for(&["a.test"]));
    let item = folder.put("b", &authority.sign_for(&["b.test"]));
    folder.put("c", &authority.sign_for(&["b.test"]));
    let ca = folder.write("ca.pem", &authority.pem());
    for (text, marked, message) in [
        (
            listener(&item.replace("b.key", "c.key")),
            "c.key",
            "does not belong to the certificate",
        ),
        (
            listener(&item.replace("b.pem", "no.pem")),
            "no.pem",
            "cannot read",
        ),
        (pool("ca: no.pem"), "no.pem", "cannot read /etc/evenkeel/no.pem"),
        (
            pool(&format!(
                "ca: \"{ca}\", {}",
                item.trim_matches(['{', '}', ' ']).replace("b.key", "a.key")
            )),
            "a.key",
            "does not belong to the certificate",
        ),
    ] {
        let report = bad(&text);
        let problem = &report.problems[0];
        assert!(problem.message.contains(message), "{report}");
        let excerpt = problem.excerpt.as_ref().unwrap();
        assert!(excerpt.marked.contains(marked), "{report}");
    }
}

#[test]
fn a_redirect_is_a_flag_or_a_port() {
    let redirect = |value: &str| {
        let text =
            format!("listeners: [{{ address: ':1', redirect_to_https: {value} }}]\nbackends: [http://a:1]\n");
        read(&text).map(|loaded| loaded.config.listeners[0].redirect)
    };
    for (value, expected) in [
        ("true", Some(Redirect::ToTls)),
        ("false", None),
        ("8443", Some(Redirect::ToPort(8443))),
    ] {
        assert_eq!(redirect(value), Ok(expected), "{value}");
    }
    for value in ["0", "65536", "yes", "[443]"] {
        assert!(redirect(value).is_err(), "{value}");
    }
}

#[test]
fn a_listener_with_tls_cannot_redirect_to_https() {
    let folder = Folder::new();
    let item = folder.put("a", &Authority::new().sign_for(&["a.test"]));
    let text = listener(&item);
    good(&text);
    let report = bad(&text.replace("':1',", "':1', redirect_to_https: true,"));
    assert!(
        report.problems[0]
            .message
            .contains("`redirect_to_https` cannot be used with `tls`"),
        "{report}"
    );
}

#[test]
fn a_file_of_the_wrong_kind_is_reported_at_its_key_with_its_content() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let pair = authority.sign_for(&["a.test"]);
    folder.put("a", &pair);
    folder.write("both.pem", &format!("{}{}", pair.cert, pair.key));
    for (cert, key, column, words) in [
        (
            "a.key",
            "a.key",
            60,
            "a.key contains no PEM certificate: it contains a private key",
        ),
        (
            "a.key",
            "a.pem",
            60,
            "a.key contains no PEM certificate: it contains a private key",
        ),
        (
            "a.pem",
            "a.pem",
            0,
            "a.pem contains no PEM private key: it contains a certificate",
        ),
    ] {
        let (cert, key) = (folder.file(cert), folder.file(key));
        let column = if column == 0 { 60 + cert.len() + 9 } else { column };
        let report = bad(&listener(&format!("{{ cert: \"{cert}\", key: \"{key}\" }}")));
        assert!(report.problems[0].message.contains(words), "{report}");
        assert_eq!(report.problems[0].position, Some((1, column)), "{report}");
        let has_note = report
            .to_string()
            .contains("= `cert` and `key` name the same file");
        assert_eq!(has_note, cert == key, "{report}");
    }
    let both = folder.file("both.pem");
    good(&listener(&format!("{{ cert: \"{both}\", key: \"{both}\" }}")));
    let ca = folder.write("ca.pem", &authority.pem());
    let key = folder.file("a.key");
    let report = bad(&pool(&format!("ca: \"{ca}\", cert: \"{key}\", key: \"{key}\"")));
    assert_eq!(
        report.problems[0].excerpt.as_ref().unwrap().before,
        format!("    tls: {{ ca: \"{ca}\", cert: ")
    );
}

#[test]
fn an_encrypted_key_is_reported_with_the_command_that_decrypts_it() {
    let folder = Folder::new();
    let pair = Authority::new().sign_for(&["a.test"]);
    let item = folder.put("a", &pair);
    let new = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,2F27F6DFE7115C17256D28194C4BE8D5\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    for text in [
        new.to_owned(),
        old.to_owned(),
        old.replace('\n', "\r\n"),
        old.replace("RSA", "EC"),
    ] {
        let path = folder.write("a.key", &text);
        let report = bad(&listener(&item));
        let problem = &report.problems[0];
        assert_eq!(
            problem.message,
            format!(
                "encrypted private keys are not supported: decrypt {path} with `openssl pkey -in {path} -out NEW.key`"
            )
        );
        assert!(
            problem.excerpt.as_ref().unwrap().marked.contains("a.key"),
            "{report}"
        );
    }
}

#[test]
fn a_certificate_without_names_is_a_warning() {
    let folder = Folder::new();
    let item = folder.put("a", &Authority::new().sign(&wanted(&[]).called("a.test")));
    let loaded = loaded(&listener(&item));
    let [warning] = loaded.warnings.as_slice() else {
        panic!("{:?}", loaded.warnings)
    };
    let shown = warning.to_string();
    assert!(
        shown.starts_with("c.yaml:1:60: warning: the certificate in "),
        "{shown}"
    );
    assert!(
        shown.contains("is not valid for any host: it has no subjectAltName"),
        "{shown}"
    );
    assert!(loaded.strictly().is_ok());
}

#[test]
fn the_authorities_of_policies_and_stores_are_read_with_the_config() {
    let folder = Folder::new();
    let ca = folder.write("ca.pem", &Authority::new().pem());
    let empty = folder.write("empty.pem", "");
    let text = |lines: &str| {
        format!("listen: :1\nbackends: [http://a:1]\n{lines}\nroutes: [{{ pool: default, policies: [p] }}]\n")
    };
    for form in [
        "policies: { p: { forward_auth: { url: 'https://a/x', ca: 'FILE' } } }",
        "policies: { p: { jwt: { jwks: 'https://a/x', ca: 'FILE' } } }",
        "stores: { s: { redis: 'rediss://a:1', ca: 'FILE' } }\npolicies: { p: { rate_limit: { rate: 1/s, shared: s } } }",
    ] {
        loaded(&text(&form.replace("FILE", &ca)));
        loaded(&text(&form.replace("FILE", "system")));
        let report = bad(&text(&form.replace("FILE", &empty))).to_string();
        assert!(
            report.contains("c.yaml:3:") && report.contains("empty.pem"),
            "{report}"
        );
        let plain = form.replace("https:", "http:").replace("rediss:", "redis:");
        let report = bad(&text(&plain.replace("FILE", &ca))).to_string();
        assert!(report.contains("`ca` requires"), "{report}");
    }
}
