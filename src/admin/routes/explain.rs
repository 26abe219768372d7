//! The route that explains what would become of a request. Reading only: nothing is sent.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use evenkeel_balance::router;
use serde_json::{Map, Value};

use super::super::control::Control;
use super::super::question::Question;
use super::super::response::Problem;
use super::body;

/// `GET /api/v1/explain?method=GET&url=…&header=NAME:%20VALUE`, in which `header` can be repeated.
pub(super) async fn by_url(
    State(control): State<Control>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let query = query.unwrap_or_default();
    let mut fields = Map::new();
    let mut headers = Vec::new();
    for (key, value) in parse(&query) {
        match key.as_str() {
            "format" => {}
            "header" => headers.push(Value::String(value)),
            _ => drop(fields.insert(key, value.into())),
        }
    }
    fields.insert("headers".to_owned(), headers.into());
    let question = serde_json::from_value(fields.into())
        .map_err(|error| Problem::invalid_request(format!("the query is not valid: {error}")))?;
    explain(&control, &question, &query)
}

/// `POST /api/v1/explain` with a question as its body.
pub(super) async fn by_body(
    State(control): State<Control>,
    RawQuery(query): RawQuery,
    body: Result<Json<Question>, JsonRejection>,
) -> Result<Response, Problem> {
    let expected = r#"{"method": …, "url": …, "headers": …, "client_ip": …, "listener": …}, of which only `url` is required"#;
    let question = body::read(body, expected)?;
    explain(&control, &question, &query.unwrap_or_default())
}

/// Explains in the form that `format` of the query names: `json`, or `text` for people.
fn explain(control: &Control, question: &Question, query: &str) -> Result<Response, Problem> {
    let format = parse(query).find(|(key, _)| key == "format");
    let format = format.map_or_else(|| "json".to_owned(), |(_, format)| format);
    let explained = control.view.explain(question).map_err(Problem::invalid_request)?;
    match format.as_str() {
        "json" => Ok(Json(explained.explanation).into_response()),
        "text" => {
            let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
            Ok((kind, explained.text).into_response())
        }
        _ => Err(Problem::invalid_request("`format` must be json or text")),
    }
}

/// The parameters of a query, decoded. What is not UTF-8 then is replaced.
fn parse(query: &str) -> impl Iterator<Item = (String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(key), decoded(value))
    })
}

fn decoded(text: &str) -> String {
    let bytes = router::decode_query(text.as_bytes());
    String::from_utf8_lossy(bytes.as_deref().unwrap_or(text.as_bytes())).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_the_parameters_of_a_query() {
        let pairs: Vec<_> =
            parse("url=http%3A%2F%2Fa%2Fb%3Fc%3D1&header=X%3a+1&&flag&bad=%4&worse=%zz%C3").collect();
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(key, value)| (&**key, &**value)).collect();
        let expected = [
            ("url", "http://a/b?c=1"),
            ("header", "X: 1"),
            ("flag", ""),
            ("bad", "%4"),
            ("worse", "%zz\u{fffd}"),
        ];
        assert_eq!(pairs, expected);
    }
}
