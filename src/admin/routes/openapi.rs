//! Makes the OpenAPI document (version 3.1) of a list of operations.

use axum::http::StatusCode;
use schemars::generate::{Contract, SchemaSettings};
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::super::guard;
use super::super::response::{PROBLEM, Problem};
use super::operation::{Body, Operation, Parameter, Place, Verb, schema};

/// What a request without access gets.
const WRONG_HOST: (u16, &str) = (
    421,
    "`Host` is not a name of this API, which is required without a token",
);
const NO_TOKEN: (u16, &str) = (401, "The bearer token is missing or wrong");
/// What a request that may change something can get as well.
const CHANGES: [(u16, &str); 2] = [
    (403, "A page of another origin sent the request"),
    (415, "The body is not JSON"),
];

/// The document.
pub(super) fn document(operations: &[Operation]) -> Value {
    let mut responses = settings(Contract::Serialize).into_generator();
    let mut paths = Map::new();
    for operation in operations {
        let methods = paths.entry(operation.path).or_insert_with(|| json!({}));
        if let Value::Object(methods) = methods {
            methods.insert(operation.verb.key().to_owned(), item(operation, &mut responses));
        }
    }
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "The admin API of Evenkeel",
            "description": "Shows and changes a running load balancer. Errors are problem details (RFC 9457).",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT", "identifier": "MIT" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": responses.take_definitions(true),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token of the config, if it has one.",
                },
            },
        },
    });
    name_null(&mut document);
    document
}

/// The descriptions are those of Rust types, where what JSON calls `null` has another name.
fn name_null(value: &mut Value) {
    match value {
        Value::String(text) => *text = text.replace("`None`", "`null`"),
        Value::Array(items) => items.iter_mut().for_each(name_null),
        Value::Object(entries) => entries.values_mut().for_each(name_null),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Schemas of types are among the components of the document.
fn settings(contract: Contract) -> SchemaSettings {
    SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
        settings.contract = contract;
    })
}

fn item(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let is_public = operation.verb == Verb::Get && guard::needs_no_token(operation.path);
    // An empty requirement is a request without a token: the config need not have one.
    let security = if is_public {
        json!([])
    } else {
        json!([{}, { "token": [] }])
    };
    let parameters = operation.parameters.iter();
    let parameters: Vec<Value> = parameters.map(|one| parameter(one, generator)).collect();
    let mut item = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "security": security,
        "responses": responses(operation, is_public, generator),
    });
    if let Value::Object(item) = &mut item {
        if !parameters.is_empty() {
            item.insert("parameters".to_owned(), parameters.into());
        }
        if let Some(body) = &operation.body {
            item.insert("requestBody".to_owned(), request_body(body));
        }
    }
    item
}

fn parameter(parameter: &Parameter, generator: &mut SchemaGenerator) -> Value {
    let (place, is_required) = match parameter.place {
        Place::Path => ("path", true),
        Place::Query { is_required } => ("query", is_required),
        Place::Header => ("header", false),
    };
    json!({
        "name": parameter.name,
        "in": place,
        "required": is_required,
        "description": parameter.about,
        "schema": (parameter.schema)(generator),
    })
}

/// The body has a schema of its own, because a type is read more generously than it is written.
fn request_body(body: &Body) -> Value {
    let settings = settings(Contract::Deserialize).with(|settings| settings.inline_subschemas = true);
    let mut generator = settings.into_generator();
    json!({
        "required": body.is_required,
        "content": { body.media: { "schema": (body.schema)(&mut generator) } },
    })
}

fn responses(operation: &Operation, is_public: bool, generator: &mut SchemaGenerator) -> Value {
    let mut responses = Map::new();
    let contents = operation.success.iter().map(|content| {
        let schema = (content.schema)(generator);
        (content.media.to_owned(), json!({ "schema": schema }))
    });
    let contents: Map<String, Value> = contents.collect();
    responses.insert(
        "200".to_owned(),
        json!({ "description": "OK", "content": contents }),
    );
    let mut errors = vec![WRONG_HOST];
    errors.extend((!is_public).then_some(NO_TOKEN));
    if operation.verb != Verb::Get {
        errors.extend(CHANGES);
    }
    errors.extend(operation.errors);
    let problem: Schema = schema::<Problem>(generator);
    for (status, about) in errors {
        let response = json!({
            "description": about,
            "content": { PROBLEM: { "schema": problem } },
        });
        debug_assert!(StatusCode::from_u16(status).is_ok());
        responses.insert(status.to_string(), response);
    }
    responses.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::routes::operation::{Content, READ};

    #[test]
    fn an_operation_has_its_errors_and_its_schemas() {
        const LIST: &[Operation] = &[
            Operation {
                path: "/livez",
                id: "live",
                summary: "Lives",
                success: &[Content::text("text/plain")],
                ..READ
            },
            Operation {
                verb: Verb::Put,
                path: "/x/{name}",
                id: "put",
                summary: "Puts",
                parameters: &[Parameter {
                    name: "name",
                    place: Place::Path,
                    about: "Its name",
                    schema: schema::<String>,
                }],
                body: Some(Body::required::<u32>()),
                success: &[Content::json::<crate::admin::QueueStatus>()],
                errors: &[(404, "Unknown")],
                ..READ
            },
        ];
        let document = document(LIST);
        let live = &document["paths"]["/livez"]["get"];
        assert_eq!(live["security"], json!([]));
        let statuses = |item: &Value| -> Vec<String> {
            item["responses"].as_object().unwrap().keys().cloned().collect()
        };
        assert_eq!(statuses(live), ["200", "421"]);
        let put = &document["paths"]["/x/{name}"]["put"];
        assert_eq!(statuses(put), ["200", "401", "403", "404", "415", "421"]);
        assert_eq!(put["parameters"][0]["required"], true);
        assert_eq!(put["requestBody"]["required"], true);
        let schema = &put["responses"]["200"]["content"]["application/json"]["schema"];
        assert_eq!(schema["$ref"], "#/components/schemas/QueueStatus");
        let queue = &document["components"]["schemas"]["QueueStatus"];
        assert_eq!(queue["required"], json!(["depth", "waited_ms"]));
        let problem = &put["responses"]["404"]["content"]["application/problem+json"]["schema"];
        assert_eq!(problem["$ref"], "#/components/schemas/Problem");
    }
}
