//! The operations of the admin API: the one list that dispatches them and that the OpenAPI document shows.

use std::net::IpAddr;

use axum::Json;
use axum::routing::on;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

use super::super::explanation::Explanation;
use super::super::plan::Planned;
use super::super::question::Question;
use super::super::sample::History;
use super::super::status::{BackendStatus, Status};
use super::operation::{Body, Content, Operation, Parameter, Place, READ, Verb, schema};
use super::{backends, dashboard, explain, feeds, log_level, openapi, plan, reads, reload, upgrade};

/// All operations.
pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        path: "/",
        id: "dashboard",
        summary: "The dashboard, which needs no token until it shows something",
        success: &[Content::text("text/html")],
        handler: |method| on(method, dashboard::index),
        ..READ
    },
    Operation {
        path: "/assets/{name}",
        id: "asset",
        summary: "A file of the dashboard",
        parameters: &[Parameter {
            name: "name",
            place: Place::Path,
            about: "The name of the file",
            schema: asset_name,
        }],
        success: &[
            Content::text("text/javascript"),
            Content::text("text/css"),
            Content::text("image/svg+xml"),
        ],
        errors: &[NO_ASSET, INVALID_PATH],
        handler: |method| on(method, dashboard::asset),
        ..READ
    },
    Operation {
        path: "/openapi.json",
        id: "openapi",
        summary: "This document",
        success: &[Content::json::<Map<String, Value>>()],
        handler: |method| on(method, show_document),
        ..READ
    },
    Operation {
        path: "/livez",
        id: "live",
        summary: "Whether the process runs",
        success: &[Content::json::<reads::Probe>()],
        handler: |method| on(method, reads::live),
        ..READ
    },
    Operation {
        path: "/readyz",
        id: "ready",
        summary: "Whether the process accepts requests",
        success: &[Content::json::<reads::Probe>()],
        errors: &[(503, "The process is stopping or not ready yet")],
        handler: |method| on(method, reads::ready),
        ..READ
    },
    Operation {
        path: "/metrics",
        id: "metrics",
        summary: "The metrics, as Prometheus text, OpenMetrics or protobuf",
        success: &[
            Content::text("text/plain"),
            Content::text("application/openmetrics-text"),
            Content::binary("application/vnd.google.protobuf"),
        ],
        handler: |method| on(method, reads::show_metrics),
        ..READ
    },
    Operation {
        path: "/api/v1/status",
        id: "status",
        summary: "The process, the pools with their backends, and the certificates",
        success: &[Content::json::<Status>()],
        handler: |method| on(method, reads::status),
        ..READ
    },
    Operation {
        path: "/api/v1/config",
        id: "config",
        summary: "The active config with all defaults, secrets masked",
        success: &[Content::yaml()],
        handler: |method| on(method, reads::config),
        ..READ
    },
    Operation {
        path: "/api/v1/config/previous",
        id: "previousConfig",
        summary: "The config that the last reload replaced",
        success: &[Content::yaml()],
        errors: &[(404, "The process has not reloaded since its start")],
        handler: |method| on(method, reads::previous_config),
        ..READ
    },
    Operation {
        path: "/api/v1/history",
        id: "history",
        summary: "The traffic of each of the last 900 seconds, and the last events",
        success: &[Content::json::<History>()],
        handler: |method| on(method, feeds::history),
        ..READ
    },
    Operation {
        path: "/api/v1/events",
        id: "events",
        summary: "Events and samples as they happen, as server-sent events, until the client closes the connection",
        parameters: &[
            Parameter {
                name: "after",
                place: Place::Query { is_required: false },
                about: "The number of an event: kept ones after it come first",
                schema: schema::<u64>,
            },
            Parameter {
                name: "Last-Event-ID",
                place: Place::Header,
                about: "The same, as browsers send it; it takes precedence",
                schema: schema::<u64>,
            },
        ],
        success: &[Content::text("text/event-stream")],
        errors: &[
            (400, "The number is not valid"),
            (503, "Too many clients follow the events"),
        ],
        handler: |method| on(method, feeds::events),
        ..READ
    },
    Operation {
        path: "/api/v1/rejected",
        id: "rejected",
        summary: "The last rejected requests and malformed responses",
        success: &[Content::json::<reads::RejectedList>()],
        handler: |method| on(method, reads::rejected),
        ..READ
    },
    Operation {
        path: "/api/v1/explain",
        id: "explain",
        summary: "What would become of a request, which is not sent",
        parameters: &[
            Parameter {
                name: "url",
                place: Place::Query { is_required: true },
                about: "Its URL: http://HOST/PATH, https://HOST/PATH, or /PATH with a header `Host`",
                schema: url,
            },
            query("method", "Its method; GET by default"),
            Parameter {
                name: "header",
                place: Place::Query { is_required: false },
                about: "A header, as `NAME: VALUE`; can be repeated",
                schema: schema::<Vec<String>>,
            },
            Parameter {
                name: "client_ip",
                place: Place::Query { is_required: false },
                about: "The address of the client; 127.0.0.1 by default",
                schema: schema::<IpAddr>,
            },
            query("listener", "The address of the listener, as in the config"),
            FORMAT,
        ],
        success: EXPLAINED,
        errors: &[INVALID_QUESTION],
        handler: |method| on(method, explain::by_url),
        ..READ
    },
    Operation {
        verb: Verb::Post,
        path: "/api/v1/explain",
        id: "explainBody",
        summary: "The same for a request that the body describes",
        parameters: &[FORMAT],
        body: Some(Body::required::<Question>()),
        success: EXPLAINED,
        errors: &[INVALID_QUESTION, TOO_LARGE],
        handler: |method| on(method, explain::by_body),
    },
    Operation {
        path: "/api/v1/log-level",
        id: "logLevel",
        summary: "The level of the operations log",
        success: &[Content::json::<log_level::LogLevelSetting>()],
        handler: |method| on(method, log_level::show),
        ..READ
    },
    Operation {
        verb: Verb::Put,
        path: "/api/v1/log-level",
        id: "setLogLevel",
        summary: "Sets the level of the operations log, until the process ends",
        body: Some(Body::required::<log_level::LogLevelSetting>()),
        success: &[Content::json::<log_level::LogLevelSetting>()],
        errors: &[INVALID_BODY, TOO_LARGE],
        handler: |method| on(method, log_level::set),
        ..READ
    },
    Operation {
        verb: Verb::Post,
        path: "/api/v1/reload",
        id: "reload",
        summary: "Reads the config again, and activates it if it has no errors",
        body: Some(Body::optional::<reload::ReloadBody>()),
        success: &[Content::json::<reload::ReloadResponse>()],
        errors: &[
            INVALID_BODY,
            TOO_LARGE,
            (
                422,
                "The config has errors; the previous configuration stays active",
            ),
            BUSY,
            TIMED_OUT,
        ],
        handler: |method| on(method, reload::reload),
        ..READ
    },
    Operation {
        verb: Verb::Post,
        path: "/api/v1/plan",
        id: "plan",
        summary: "What a reload of this config, or of the config file without one, would change; changes nothing",
        body: Some(Body::optional_yaml()),
        success: &[Content::json::<Planned>()],
        errors: &[
            INVALID_BODY,
            TOO_LARGE,
            (422, "A reload of this config would fail"),
            BUSY,
            TIMED_OUT,
        ],
        handler: plan::route,
        ..READ
    },
    Operation {
        verb: Verb::Post,
        path: "/api/v1/upgrade",
        id: "upgrade",
        summary: "Starts the program again, which takes over the listening sockets; this process drains and ends then",
        success: &[Content::json::<upgrade::UpgradeResponse>()],
        errors: &[
            (409, "The new process could not serve; this one goes on"),
            BUSY,
            TIMED_OUT,
        ],
        handler: |method| on(method, upgrade::upgrade),
        ..READ
    },
    Operation {
        verb: Verb::Post,
        path: "/api/v1/pools/{pool}/backends/{backend}/drain",
        id: "drain",
        summary: "Lets a backend finish its requests and gives it no new ones",
        parameters: &[POOL, BACKEND],
        success: &[Content::json::<BackendStatus>()],
        errors: CHANGE,
        handler: |method| on(method, backends::drain),
        ..READ
    },
    Operation {
        verb: Verb::Post,
        path: "/api/v1/pools/{pool}/backends/{backend}/ready",
        id: "makeReady",
        summary: "Gives a drained backend requests again",
        parameters: &[POOL, BACKEND],
        success: &[Content::json::<BackendStatus>()],
        errors: CHANGE,
        handler: |method| on(method, backends::ready),
        ..READ
    },
    Operation {
        verb: Verb::Put,
        path: "/api/v1/pools/{pool}/backends/{backend}/weight",
        id: "setWeight",
        summary: "Sets the weight of a backend",
        parameters: &[POOL, BACKEND],
        body: Some(Body::required::<backends::Weight>()),
        success: &[Content::json::<BackendStatus>()],
        errors: CHANGE_BY_BODY,
        handler: |method| on(method, backends::weight),
    },
];

const INVALID_BODY: (u16, &str) = (400, "The body is not valid");
const INVALID_PATH: (u16, &str) = (400, "The path is not valid");
const INVALID_QUESTION: (u16, &str) = (400, "The question does not describe a request");
const TOO_LARGE: (u16, &str) = (413, "The body is too large");
const NO_ASSET: (u16, &str) = (404, "There is no such file");
const NO_BACKEND: (u16, &str) = (404, "There is no such pool, or it has no such backend");
const BUSY: (u16, &str) = (503, "Too many commands are queued, or the process is stopping");
const TIMED_OUT: (u16, &str) = (
    504,
    "The command did not finish in time; it may still take effect",
);

/// The errors of a change of a backend.
const CHANGE: &[(u16, &str)] = &[INVALID_PATH, NO_BACKEND, BUSY, TIMED_OUT];
const CHANGE_BY_BODY: &[(u16, &str)] = &[INVALID_BODY, NO_BACKEND, TOO_LARGE, BUSY, TIMED_OUT];

/// An explanation, in the two forms that `format` selects.
const EXPLAINED: &[Content] = &[Content::json::<Explanation>(), Content::text("text/plain")];

const FORMAT: Parameter = Parameter {
    name: "format",
    place: Place::Query { is_required: false },
    about: "`json`, or `text` for people",
    schema: format_name,
};
const POOL: Parameter = Parameter {
    name: "pool",
    place: Place::Path,
    about: "The name of the pool",
    schema: schema::<String>,
};
const BACKEND: Parameter = Parameter {
    name: "backend",
    place: Place::Path,
    about: "The name of the backend in the pool, or its URL, percent-encoded",
    schema: schema::<String>,
};

/// An optional text in the query.
const fn query(name: &'static str, about: &'static str) -> Parameter {
    Parameter {
        name,
        place: Place::Query { is_required: false },
        about,
        schema: schema::<String>,
    }
}

fn format_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["json", "text"], "default": "json" })
}

fn url(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^(https?:/)?/" })
}

fn asset_name(_: &mut SchemaGenerator) -> Schema {
    let names: Vec<&str> = dashboard::names().collect();
    json_schema!({ "type": "string", "enum": names })
}

/// `GET /openapi.json`.
async fn show_document() -> Json<Value> {
    Json(document())
}

/// A function of its own: an `async` one whose body names the list cannot be in the list.
fn document() -> Value {
    openapi::document(OPERATIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_has_an_id_of_its_own_and_declares_the_parameters_of_its_path() {
        let mut ids: Vec<&str> = OPERATIONS.iter().map(|operation| operation.id).collect();
        ids.sort_unstable();
        let count = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), count, "{ids:?}");
        for operation in OPERATIONS {
            let in_path = operation.path.split('{').skip(1);
            let in_path: Vec<&str> = in_path.filter_map(|rest| rest.split('}').next()).collect();
            let declared = operation.parameters.iter();
            let declared = declared.filter(|parameter| parameter.place == Place::Path);
            let declared: Vec<&str> = declared.map(|parameter| parameter.name).collect();
            assert_eq!(declared, in_path, "{}", operation.id);
            assert!(
                !operation.summary.is_empty() && !operation.success.is_empty(),
                "{}",
                operation.id
            );
        }
    }

    #[test]
    fn the_router_has_no_route_beside_the_list() {
        let router = include_str!("mod.rs");
        assert_eq!(router.matches(".route(").count(), 1, "add operations to the list");
    }

    #[test]
    fn every_reference_of_the_document_leads_to_a_schema() {
        let document = document();
        let text = document.to_string();
        let references = text.split("\"$ref\":\"#").skip(1);
        let references: Vec<&str> = references.filter_map(|rest| rest.split('"').next()).collect();
        assert!(references.len() > 20, "{}", references.len());
        for reference in references {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
        for rust in ["`None`", "`Some", "::", "[`"] {
            assert!(!text.contains(rust), "{rust} is not a word of JSON");
        }
    }
}
