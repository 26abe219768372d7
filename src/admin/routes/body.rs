//! Reads what a request contains, and reports what is wrong with it.

use axum::Json;
use axum::extract::Path;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::http::StatusCode;

use super::super::response::Problem;

/// The body of a request, if it is valid. `expected` says what it must be, for the error.
pub(super) fn read<T>(body: Result<Json<T>, JsonRejection>, expected: &str) -> Result<T, Problem> {
    let error = match body {
        Ok(Json(body)) => return Ok(body),
        Err(error) => error,
    };
    let detail = format!("the body must be {expected}: {}", reason(&error));
    Err(match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
        }
        _ => Problem::invalid_request(detail),
    })
}

/// The parameters of a path, if they are valid.
pub(super) fn path<T>(path: Result<Path<T>, PathRejection>) -> Result<T, Problem> {
    path.map(|Path(parameters)| parameters)
        .map_err(|error| Problem::invalid_request(format!("the path is not valid: {}", error.body_text())))
}

fn reason(error: &JsonRejection) -> String {
    match error {
        JsonRejection::MissingJsonContentType(_) => "there is none, or no `Content-Type` of JSON".to_owned(),
        _ => error.body_text(),
    }
}
