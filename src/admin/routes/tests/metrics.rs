//! `/metrics`: its formats and its compression.

use std::io::Read as _;

use flate2::read::GzDecoder;

use super::*;

#[tokio::test]
async fn metrics_are_in_the_accepted_format() {
    let api = start(None, QUIET_LIMITS);
    let ask = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    let plain = raw(api.address, &format!("{ask}\r\n")).await;
    assert!(
        plain.contains("content-type: text/plain; version=0.0.4"),
        "{plain}"
    );
    assert!(
        plain.contains("evenkeel_build_info{version=\"1.2.3\"} 1\n") && !plain.contains("# EOF"),
        "{plain}"
    );
    let open = raw(
        api.address,
        &format!("{ask}Accept: application/openmetrics-text; version=1.0.0\r\n\r\n"),
    )
    .await;
    assert!(
        open.contains("content-type: application/openmetrics-text"),
        "{open}"
    );
    assert!(open.ends_with("# EOF\n"), "{open}");
    let accept = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
    let protobuf = raw(api.address, &format!("{ask}Accept: {accept},*/*;q=0.1\r\n\r\n")).await;
    assert!(
        protobuf.contains(
            "content-type: application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily"
        ),
        "{protobuf}"
    );
}

#[tokio::test]
async fn metrics_are_compressed_for_a_scraper_that_accepts_gzip() {
    let api = start(None, QUIET_LIMITS);
    let ask = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    for (line, is_compressed) in [
        ("Accept-Encoding: gzip\r\n", true),
        ("Accept-Encoding: zstd, gzip;q=0.5\r\n", true),
        ("Accept-Encoding: zstd\r\nAccept-Encoding: gzip\r\n", true),
        ("Accept-Encoding: gzip;q=0\r\n", false),
        ("Accept-Encoding: br\r\n", false),
        ("", false),
    ] {
        let response = raw_bytes(api.address, &format!("{ask}{line}\r\n")).await;
        let end = response.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        let (head, body) = response.split_at(end.expect("a whole head") + 4);
        let head = str::from_utf8(head).expect("text");
        assert!(head.contains("vary: Accept, Accept-Encoding\r\n"), "{head}");
        assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
        assert_eq!(
            head.contains("content-encoding: gzip\r\n"),
            is_compressed,
            "{line}: {head}"
        );
        let mut text = String::new();
        if is_compressed {
            let read = GzDecoder::new(body).read_to_string(&mut text);
            read.expect("the body is a whole gzip stream");
        } else {
            text.push_str(str::from_utf8(body).expect("the format is text"));
        }
        assert!(
            text.contains("evenkeel_build_info{version=\"1.2.3\"} 1\n"),
            "{text}"
        );
    }
}
