//! The error responses of the admin API, as JSON.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// Why a request is rejected or a command failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorResponse {
    /// `Host` is missing, duplicated, or not a name of this API.
    Host,
    /// The token is missing or wrong.
    Token,
    /// A page of another origin sent a request that changes something.
    CrossOrigin,
    /// The body is not JSON.
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

impl IntoResponse for ErrorResponse {
    fn into_response(self) -> Response {
        let (status, error, message) = match self {
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
                "the Content-Type of the body must be application/json",
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
        let mut response = failure(status, &json!({ "error": error, "message": message }));
        if self == Self::Token {
            let challenge = HeaderValue::from_static("Bearer realm=\"evenkeel\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// A response with `status` and `body`.
pub(super) fn failure(status: StatusCode, body: &Value) -> Response {
    (status, Json(body)).into_response()
}
