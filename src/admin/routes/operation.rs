//! An operation of the admin API: how it is dispatched, and what the OpenAPI document says of it.

use axum::routing::{MethodFilter, MethodRouter};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value};

use super::super::control::Control;

/// The media type of JSON.
pub(super) const JSON: &str = "application/json";
/// The media type of a config (RFC 9512).
pub(super) const YAML: &str = "application/yaml";

/// An operation.
pub(super) struct Operation {
    pub(super) verb: Verb,
    /// With the names of its parameters in braces.
    pub(super) path: &'static str,
    /// Its name in generated clients.
    pub(super) id: &'static str,
    /// What it does.
    pub(super) summary: &'static str,
    pub(super) parameters: &'static [Parameter],
    pub(super) body: Option<Body>,
    /// The response with status 200, in each of its forms.
    pub(super) success: &'static [Content],
    /// The errors beside those of the access control, which all operations have.
    pub(super) errors: &'static [(u16, &'static str)],
    /// Makes the route of the method.
    pub(super) handler: fn(MethodFilter) -> MethodRouter<Control>,
}

/// The method of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Post,
    Put,
}

/// A parameter of the path, the query or the headers.
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) place: Place,
    pub(super) about: &'static str,
    pub(super) schema: fn(&mut SchemaGenerator) -> Schema,
}

/// Where a parameter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Path,
    Query { is_required: bool },
    Header,
}

/// The body of a request.
#[derive(Clone, Copy)]
pub(super) struct Body {
    pub(super) media: &'static str,
    pub(super) is_required: bool,
    pub(super) schema: fn(&mut SchemaGenerator) -> Schema,
}

/// The body of a response.
#[derive(Clone, Copy)]
pub(super) struct Content {
    pub(super) media: &'static str,
    pub(super) schema: fn(&mut SchemaGenerator) -> Schema,
}

/// A read without parameters; the other fields of an operation begin with it.
pub(super) const READ: Operation = Operation {
    verb: Verb::Get,
    path: "",
    id: "",
    summary: "",
    parameters: &[],
    body: None,
    success: &[],
    errors: &[],
    handler: |_| MethodRouter::new(),
};

impl Operation {
    /// The route of the operation.
    pub(super) fn method_router(&self) -> MethodRouter<Control> {
        (self.handler)(match self.verb {
            Verb::Get => MethodFilter::GET,
            Verb::Post => MethodFilter::POST,
            Verb::Put => MethodFilter::PUT,
        })
    }
}

impl Verb {
    /// Its key in the OpenAPI document.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
            Self::Put => "put",
        }
    }
}

impl Content {
    /// JSON of this type.
    pub(super) const fn json<T: JsonSchema>() -> Self {
        Self {
            media: JSON,
            schema: schema::<T>,
        }
    }

    /// YAML, which is a map.
    pub(super) const fn yaml() -> Self {
        Self {
            media: YAML,
            schema: schema::<Map<String, Value>>,
        }
    }

    /// Text of this media type.
    pub(super) const fn text(media: &'static str) -> Self {
        Self {
            media,
            schema: schema::<String>,
        }
    }

    /// Bytes of this media type, which no schema describes.
    pub(super) const fn binary(media: &'static str) -> Self {
        Self {
            media,
            schema: schema::<Value>,
        }
    }
}

impl Body {
    /// A body of this type, without which the request is refused.
    pub(super) const fn required<T: JsonSchema>() -> Self {
        Self {
            media: JSON,
            is_required: true,
            schema: schema::<T>,
        }
    }

    /// A body of this type, or none.
    pub(super) const fn optional<T: JsonSchema>() -> Self {
        Self {
            is_required: false,
            ..Self::required::<T>()
        }
    }

    /// A config, or none.
    pub(super) const fn optional_yaml() -> Self {
        Self {
            media: YAML,
            ..Self::optional::<Map<String, Value>>()
        }
    }
}

/// The schema of a type.
pub(super) fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}
