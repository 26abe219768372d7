//! The settings of `tracing:`.

use std::fmt;

/// The settings of `tracing:`.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// The collector.
    pub endpoint: Endpoint,
    /// The share of traces that are recorded when no caller has decided, in thousandths of a percent.
    pub sample: u32,
    /// Whose context is continued.
    pub parents: Parents,
    /// `service.name` of the spans.
    pub service_name: String,
    /// Further headers of exports: names and values, which may be secrets.
    pub headers: Vec<(String, String)>,
}

/// Whose trace context is continued. Everybody else's is replaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Parents {
    /// That of every client.
    #[default]
    Any,
    /// Only that of `trusted_proxies`.
    TrustedProxies,
}

/// How spans are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// A POST with a Protocol Buffers message as its body.
    Http,
    /// A unary gRPC call.
    Grpc,
}

/// A collector that accepts OTLP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The URL as configured.
    pub url: String,
    /// How spans are sent to it.
    pub protocol: Protocol,
    /// The same place as a URL of HTTP, with the path of exports.
    pub target: String,
}

/// Path of exports over HTTP (OTLP specification, "OTLP/HTTP Request").
const HTTP_PATH: &str = "/v1/traces";

/// Path of exports over gRPC (`opentelemetry/proto/collector/trace/v1/trace_service.proto`).
const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

impl Settings {
    /// The greatest `sample`: everything.
    pub const ALL: u32 = 100_000;

    /// The name of the service where the config has none.
    pub const SERVICE_NAME: &str = "evenkeel";
}

impl fmt::Debug for Settings {
    /// Without the values of headers, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("endpoint", &self.endpoint)
            .field("sample", &self.sample)
            .field("parents", &self.parents)
            .field("service_name", &self.service_name)
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Parses the URL of a collector: scheme, host, optional port and, over HTTP, a path. `None` if it is not valid.
    pub fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (protocol, scheme) = match scheme {
            "http" | "https" => (Protocol::Http, scheme),
            "grpc" => (Protocol::Grpc, "http"),
            "grpcs" => (Protocol::Grpc, "https"),
            _ => return None,
        };
        if !rest.bytes().all(|byte| byte.is_ascii_graphic()) || rest.contains(['?', '#', '@', '\\']) {
            return None;
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let authority = match (has_port(authority)?, protocol) {
            (true, _) => authority.to_owned(),
            // The ports that IANA has registered for OTLP.
            (false, Protocol::Http) => format!("{authority}:4318"),
            (false, Protocol::Grpc) => format!("{authority}:4317"),
        };
        let path = path.trim_end_matches('/');
        let path = match protocol {
            Protocol::Grpc if path.is_empty() => GRPC_PATH.to_owned(),
            Protocol::Grpc => return None,
            Protocol::Http if path.ends_with(HTTP_PATH) => path.to_owned(),
            Protocol::Http => format!("{path}{HTTP_PATH}"),
        };
        Some(Self {
            url: url.to_owned(),
            protocol,
            target: format!("{scheme}://{authority}{path}"),
        })
    }
}

/// Whether an authority has a port; `None` if it is not valid.
fn has_port(authority: &str) -> Option<bool> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, (!after.is_empty()).then(|| after.strip_prefix(':')))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(Some(port))),
            None => (authority, None),
        },
    };
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_host) {
        return None;
    }
    let Some(port) = port else {
        return Some(false);
    };
    let is_number = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let is_port = |port: &str| is_number(port) && matches!(port.parse::<u16>(), Ok(1..));
    port.is_some_and(is_port).then_some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_not_shown() {
        let settings = Settings {
            endpoint: Endpoint::parse("http://a").unwrap(),
            sample: 0,
            parents: Parents::Any,
            service_name: Settings::SERVICE_NAME.to_owned(),
            headers: vec![("Authorization".to_owned(), "hush".to_owned())],
        };
        assert!(!format!("{settings:?}").contains("hush"));
    }

    fn target(url: &str) -> Option<String> {
        Endpoint::parse(url).map(|endpoint| endpoint.target)
    }

    #[test]
    fn a_url_names_the_protocol_and_the_place() {
        for (url, expected) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://collector", "http://collector:4318/v1/traces"),
            (
                "https://otel.test:443/otlp/",
                "https://otel.test:443/otlp/v1/traces",
            ),
            (
                "https://otel.test:443/v1/traces",
                "https://otel.test:443/v1/traces",
            ),
            ("http://[::1]:4318", "http://[::1]:4318/v1/traces"),
        ] {
            assert_eq!(target(url).as_deref(), Some(expected), "{url}");
            assert_eq!(Endpoint::parse(url).unwrap().protocol, Protocol::Http);
        }
        let grpc = Endpoint::parse("grpcs://[::1]").unwrap();
        assert_eq!(grpc.protocol, Protocol::Grpc);
        assert_eq!(grpc.target, format!("https://[::1]:4317{GRPC_PATH}"));
        assert_eq!(target("grpc://a:1"), Some(format!("http://a:1{GRPC_PATH}")));
    }

    #[test]
    fn what_is_not_the_url_of_a_collector_is_refused() {
        for url in [
            "",
            "127.0.0.1:4318",
            "ftp://a",
            "http://",
            "http://:4318",
            "http://a:",
            "http://a:0",
            "http://a:65536",
            "http://a:+1",
            "http://a b",
            "http://me:secret@a",
            "http://a?x",
            "http://[::1",
            "http://[::1]4318",
            "grpc://a/path",
        ] {
            assert_eq!(target(url), None, "{url}");
        }
    }
}
