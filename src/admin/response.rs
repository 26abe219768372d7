//! Answers of the admin API: JSON, errors too.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// Why a request is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorResponse {
    /// `Host` is missing, there twice, or names something that is not this API.
    Host,
    /// There is no token, or a wrong one.
    Token,
    /// A page of another origin wants something changed.
    CrossOrigin,
    /// A body that is not JSON.
    NotJson,
    /// No such resource.
    NotFound,
    /// The resource does not know the method.
    Method,
    /// Too many commands wait.
    Busy,
    /// The control plane has ended or dropped the command.
    Stopping,
    /// The control plane did not answer in time.
    TimedOut,
}

impl IntoResponse for ErrorResponse {
    fn into_response(self) -> Response {
        let (status, error, message) = match self {
            Self::Host => (
                StatusCode::MISDIRECTED_REQUEST,
                "wrong_host",
                "without a token this API answers only to localhost and to the address it is bound to",
            ),
            Self::Token => (
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "a bearer token is needed",
            ),
            Self::CrossOrigin => (
                StatusCode::FORBIDDEN,
                "cross_origin",
                "other origins may not change anything here",
            ),
            Self::NotJson => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "not_json",
                "a body must be application/json",
            ),
            Self::NotFound => (
                StatusCode::NOT_FOUND,
                "not_found",
                "there is nothing at this path",
            ),
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "not with this method",
            ),
            Self::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "too many commands wait, try again",
            ),
            Self::Stopping => (
                StatusCode::SERVICE_UNAVAILABLE,
                "stopping",
                "the process is about to end",
            ),
            Self::TimedOut => (
                StatusCode::GATEWAY_TIMEOUT,
                "timed_out",
                "the command takes long; it may still be carried out",
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

/// An answer with `status` and `body`.
pub(super) fn failure(status: StatusCode, body: &Value) -> Response {
    (status, Json(body)).into_response()
}
