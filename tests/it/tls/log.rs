//! What the access log and the metrics say of a handshake.

use super::Bench;
use crate::support::http2::Http2;
use crate::support::tls::Tls;
use crate::support::{Backend, Proxy};

#[test]
fn the_log_and_the_metrics_have_what_the_handshake_has_negotiated() {
    let bench = Bench::new();
    bench.put("a", &["a.test"]);
    let backend = Backend::saying("");
    let config = "access_log: { fields: [msg, path, tls_version, tls_group, tls_cipher, alpn, sni] }";
    let proxy: Proxy = bench.before(&backend, &["a"]).config(config).start();
    bench
        .client()
        .connect(proxy.address(), "a.test")
        .get("a.test", "/one");
    let line = proxy.access_line("/one");
    assert_eq!(line["tls_version"], "TLSv1.3");
    assert_eq!(line["tls_group"], "X25519MLKEM768");
    assert!(
        line["tls_cipher"]
            .as_str()
            .is_some_and(|name| name.starts_with("TLS_AES_")),
        "{line}"
    );
    assert!(line["alpn"].is_null(), "{line}");
    assert_eq!(line["sni"], "a.test");
    let h2 = Tls::with(&bench.authority, None, &[b"h2"]);
    let client = Http2::secured(proxy.address(), &h2, "a.test");
    client.get("/two");
    assert_eq!(proxy.access_line("/two")["alpn"], "h2");
    let metrics = proxy.get_admin("/metrics").text();
    let count = |version: &str, group: &str, count: u64| {
        format!("evenkeel_tls_handshakes_total{{version=\"{version}\",group=\"{group}\"}} {count}\n")
    };
    for line in [count("TLSv1.3", "X25519MLKEM768", 2), count("other", "other", 0)] {
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
}
