//! The error responses of the admin API, as problem details (RFC 9457).

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

/// The media type of an error (RFC 9457 §3).
pub(super) const PROBLEM: &str = "application/problem+json";

/// What is wrong, as problem details (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct Problem {
    /// Always `about:blank`: the status and `code` say what kind of problem it is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The phrase of the status.
    title: &'static str,
    /// The status of the response.
    status: u16,
    /// What is wrong, for people.
    detail: Box<str>,
    /// What kind of problem it is, for programs.
    code: &'static str,
    /// What is wrong in detail, such as all errors of a config.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<String>,
    /// The backends that the pool has, if it has not the one that was named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    backends: Vec<String>,
}

impl Problem {
    /// A problem with this status, code for programs and text for people.
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<Box<str>>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            detail: detail.into(),
            code,
            errors: Vec::new(),
            backends: Vec::new(),
        }
    }

    /// A request that is not valid.
    pub(super) fn invalid_request(detail: impl Into<Box<str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", detail)
    }

    /// The same with a list of errors.
    pub(super) fn with_errors(self, errors: Vec<String>) -> Self {
        Self { errors, ..self }
    }

    /// The same with the backends that there are.
    pub(super) fn with_backends(self, backends: Vec<String>) -> Self {
        Self { backends, ..self }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // It was made from a status.
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let kind = [(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM))];
        (status, kind, Json(self)).into_response()
    }
}

/// Why a request is rejected or a command failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorResponse {
    /// `Host` is missing, duplicated, or not a name of this API.
    Host,
    /// The token is missing or wrong.
    Token,
    /// A page of another origin sent a request that changes something.
    CrossOrigin,
    /// The body is neither JSON nor, where a config is expected, YAML.
    NotJson,
    /// No such resource.
    NotFound,
    /// The resource does not support the method.
    Method,
    /// Too many commands are queued.
    Busy,
    /// The control plane has ended or dropped the command.
    Stopping,
    /// The control plane did not finish the command in time.
    TimedOut,
}

impl ErrorResponse {
    fn problem(self) -> Problem {
        let (status, code, detail) = match self {
            Self::Host => (
                StatusCode::MISDIRECTED_REQUEST,
                "wrong_host",
                "without a token, Host must be localhost or the address that the admin API is bound to",
            ),
            Self::Token => (
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "missing or wrong bearer token",
            ),
            Self::CrossOrigin => (
                StatusCode::FORBIDDEN,
                "cross_origin",
                "requests from other origins must not change anything",
            ),
            Self::NotJson => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "not_json",
                "the Content-Type of the body must be application/json; that of a config application/yaml",
            ),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found", "not found"),
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "method not allowed",
            ),
            Self::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "too many commands are queued; try again later",
            ),
            Self::Stopping => (
                StatusCode::SERVICE_UNAVAILABLE,
                "stopping",
                "the process is stopping",
            ),
            Self::TimedOut => (
                StatusCode::GATEWAY_TIMEOUT,
                "timed_out",
                "the command did not finish in time; it may still take effect",
            ),
        };
        Problem::new(status, code, detail)
    }
}

impl IntoResponse for ErrorResponse {
    fn into_response(self) -> Response {
        let mut response = self.problem().into_response();
        if self == Self::Token {
            let challenge = HeaderValue::from_static("Bearer realm=\"evenkeel\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
